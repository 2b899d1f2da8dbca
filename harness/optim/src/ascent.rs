//! From a gradient to an ascent step: its direction, and how far to go along it.

use tch::{Kind, Tensor};
use torch_ext::sweep;

use crate::{
    Adaptive, AsamScope, Error, Fisher, FisherInverse, Perturbation,
    weights::{Range, Weights},
};

/// eps = direction * radius / (denominator + norm_eps)
#[derive(Debug)]
pub(crate) struct Ascent {
    pub(crate) radius: Tensor,
    pub(crate) denominator: Tensor,
    norm_eps: f64,
    direction: Direction,
    /// 2-norm of the direction, where it has come up.
    length: Option<Tensor>,
}

#[derive(Debug)]
enum Direction {
    /// In the gradient buffer.
    Grad,
    /// In the saved copy's buffer.
    Saved,
    /// T^2 g, with g in the gradient buffer and T = |theta| + eta where the range is scaled.
    Scaled {
        eta: f64,
        ranges: Vec<(Range, bool)>,
    },
}

impl Ascent {
    /// The factor of the direction: 0-d.
    fn scale(&self, kind: Kind) -> Tensor {
        (&self.radius / (&self.denominator + self.norm_eps)).to_kind(kind)
    }

    /// saved <- theta + eps
    pub(crate) fn write(&self, w: &mut Weights) -> Result<(), Error> {
        let (theta, grad) = (w.theta.shallow_clone(), w.grad.shallow_clone());
        let kind = w.kind();
        let saved = w.saved();
        match &self.direction {
            Direction::Scaled { eta, ranges } => {
                let scale = self.scale(Kind::Double);
                for (range, scaled) in ranges {
                    let (theta, grad) = (range.of(&theta), range.of(&grad));
                    let eta = scaled.then_some(*eta);
                    sweep::perturb(&mut range.of(saved), &theta, &grad, &scale, eta)?;
                }
            }
            Direction::Grad => {
                let _ = theta.addcmul_out(saved, &grad, &self.scale(kind));
            }
            Direction::Saved => {
                let _ = theta.addcmul_out(saved, &saved.shallow_clone(), &self.scale(kind));
            }
        }
        Ok(())
    }

    /// ||eps||, before [`Self::write`].
    pub(crate) fn eps_norm(&self, w: &Weights) -> Tensor {
        let length = match (&self.length, &self.direction) {
            (Some(length), _) => length.shallow_clone(),
            (None, Direction::Saved) => norm(w.saved.as_ref().expect("it holds the direction")),
            (None, _) => norm(&w.grad),
        };
        length * self.scale(Kind::Double)
    }
}

/// eps = rho g / ||g||
pub(crate) fn plain(w: &mut Weights, radius: Tensor, norm_eps: f64, form: Perturbation) -> Ascent {
    let denominator = norm(&w.grad);
    let mut length = Some(denominator.shallow_clone());
    if form == Perturbation::Published {
        // eps = rho / ||g|| on every coordinate
        for (range, ()) in w.ranges(|i| w.reached(i).then_some(())) {
            let _ = range.of(&w.grad).fill_(1.0);
        }
        length = None;
    }
    Ascent {
        radius,
        denominator,
        norm_eps,
        direction: Direction::Grad,
        length,
    }
}

/// T = |theta| + asam_eta;  eps = rho T^2 g / ||T g||
pub(crate) fn adaptive(w: &mut Weights, radius: Tensor, knobs: &Adaptive) -> Result<Ascent, Error> {
    let scaled = |name: &str| match knobs.asam_scope {
        AsamScope::All => true,
        AsamScope::WeightsOnly => name.contains("weight"),
    };
    let (eta, norm_eps) = (knobs.asam_eta, knobs.norm_eps);
    if knobs.perturbation == Perturbation::Paper && sweep::fits(&w.theta) {
        let ranges = w.ranges(|i| Some(scaled(w.name(i))));
        let (mut squares, mut length) = (Vec::new(), Vec::new());
        for (range, scaled) in &ranges {
            let (theta, grad) = (range.of(&w.theta), range.of(&w.grad));
            if *scaled {
                let sums = sweep::norms(&theta, &grad, eta)?;
                squares.push(sums.get(1));
                length.push(sums.get(2));
            } else {
                let sum = sweep::squares(&grad)?;
                squares.push(sum.shallow_clone());
                length.push(sum);
            }
        }
        let root = |squares| Tensor::stack(squares, 0).sum(Kind::Double).sqrt();
        let (denominator, length) = (root(&squares), Some(root(&length)));
        let direction = Direction::Scaled { eta, ranges };
        return Ok(Ascent {
            radius,
            denominator,
            norm_eps,
            direction,
            length,
        });
    }
    let ranges = w.ranges(|i| w.reached(i).then(|| scaled(w.name(i))));
    for (range, _) in ranges.iter().filter(|(_, scaled)| *scaled) {
        scale_by_size(&mut range.of(&w.grad), &range.of(&w.theta), eta);
    }
    let denominator = norm(&w.grad);
    for (range, scaled) in &ranges {
        let (mut direction, theta) = (range.of(&w.grad), range.of(&w.theta));
        if knobs.perturbation == Perturbation::Published {
            // eps = rho T^2 / ||T g||
            let _ = direction.fill_(1.0);
            if *scaled {
                scale_by_size(&mut direction, &theta, eta);
            }
        }
        if *scaled {
            scale_by_size(&mut direction, &theta, eta);
        }
    }
    Ok(Ascent {
        radius,
        denominator,
        norm_eps,
        direction: Direction::Grad,
        length: None,
    })
}

/// x <- T x. With asam_eta = 0 the sign of theta stays, which neither T^2 nor a norm shows.
fn scale_by_size(x: &mut Tensor, theta: &Tensor, eta: f64) {
    let _ = match eta {
        0.0 => x.g_mul_(theta),
        eta => x.g_mul_(&theta.abs().g_add_scalar_(eta)),
    };
}

/// The diagonal f of the Fisher information, and where g is meanwhile.
#[derive(Debug)]
pub(crate) enum Information {
    /// f = g^2, with g in the gradient buffer.
    Own,
    /// f in the gradient buffer, g in the saved copy's buffer.
    Swapped,
    /// f in a tensor of its own, g in the gradient buffer.
    Apart(Tensor),
}

/// w = 1 / (1 + eta f);  eps = gamma w g / sqrt(sum g w g)
pub(crate) fn fisher(w: &mut Weights, f: Information, knobs: &Fisher) -> Result<Ascent, Error> {
    // w = 1 / (add + mul f)
    let (mul, add) = match knobs.fisher_inverse {
        FisherInverse::OnePlusEtaF => (knobs.eta, 1.0),
        FisherInverse::DampedLiteral => (1.0, knobs.fisher_damping),
    };
    let grad = w.grad.shallow_clone();
    let (mut g, f, direction) = match f {
        Information::Own => (grad, None, Direction::Grad),
        Information::Apart(f) => (grad, Some(f), Direction::Grad),
        Information::Swapped => (w.saved().shallow_clone(), Some(grad), Direction::Saved),
    };
    let sum = match sweep::fits(&g) {
        true => sweep::fisher(&mut g, f.as_ref(), mul, add)?,
        false => {
            let f = f.unwrap_or_else(|| g.square());
            let weighted = &g / (f * mul + add);
            let sum = weighted.dot(&g);
            g.copy_(&weighted);
            sum
        }
    };
    let radius = w.constant(knobs.gamma);
    let norm_eps = knobs.norm_eps;
    Ok(Ascent {
        radius,
        denominator: sum.sqrt(),
        norm_eps,
        direction,
        length: None,
    })
}

/// The 2-norm over everything: 0-d.
pub(crate) fn norm(flat: &Tensor) -> Tensor {
    match sweep::fits(flat) {
        true => sweep::squares(flat).expect("it fits").sqrt(),
        false => flat.norm(),
    }
}
