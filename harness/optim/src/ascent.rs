//! From a gradient to an ascent step. Each function turns the gradient buffer into the step's
//! direction, in place, and says how far to go along it.

use tch::{Kind, Tensor};

use crate::{Adaptive, AsamScope, Fisher, FisherInverse, Perturbation, weights::Weights};

/// eps = direction * radius / (denominator + norm_eps); the direction lies in the gradient buffer.
#[derive(Debug)]
pub(crate) struct Ascent {
    pub(crate) radius: Tensor,
    pub(crate) denominator: Tensor,
    pub(crate) norm_eps: f64,
}

impl Ascent {
    /// The factor of the direction: 0-d, of the parameters' kind.
    pub(crate) fn scale(&self, kind: Kind) -> Tensor {
        (&self.radius / (&self.denominator + self.norm_eps)).to_kind(kind)
    }
}

/// eps = rho g / ||g||
pub(crate) fn plain(w: &mut Weights, radius: Tensor, norm_eps: f64, form: Perturbation) -> Ascent {
    let denominator = norm(&w.grad);
    if form == Perturbation::Published {
        // eps = rho / ||g|| on every coordinate
        for (range, ()) in w.ranges(|i| w.reached(i).then_some(())) {
            let _ = range.of(&w.grad).fill_(1.0);
        }
    }
    Ascent {
        radius,
        denominator,
        norm_eps,
    }
}

/// T = |theta| + asam_eta;  eps = rho T^2 g / ||T g||
pub(crate) fn adaptive(w: &mut Weights, radius: Tensor, knobs: &Adaptive) -> Ascent {
    let scaled = |name: &str| match knobs.asam_scope {
        AsamScope::All => true,
        AsamScope::WeightsOnly => name.contains("weight"),
    };
    let ranges = w.ranges(|i| w.reached(i).then(|| scaled(w.name(i))));
    for (range, scaled) in &ranges {
        if *scaled {
            scale_by_size(&mut range.of(&w.grad), &range.of(&w.theta), knobs.asam_eta);
        }
    }
    let denominator = norm(&w.grad);
    for (range, scaled) in &ranges {
        let mut direction = range.of(&w.grad);
        let theta = range.of(&w.theta);
        match (knobs.perturbation, scaled) {
            (Perturbation::Paper, true) => {
                scale_by_size(&mut direction, &theta, knobs.asam_eta);
            }
            (Perturbation::Paper, false) => {}
            // eps = rho T^2 / ||T g||
            (Perturbation::Published, true) => {
                let _ = direction.fill_(1.0);
                scale_by_size(&mut direction, &theta, knobs.asam_eta);
                scale_by_size(&mut direction, &theta, knobs.asam_eta);
            }
            (Perturbation::Published, false) => {
                let _ = direction.fill_(1.0);
            }
        }
    }
    Ascent {
        radius,
        denominator,
        norm_eps: knobs.norm_eps,
    }
}

/// x <- T x. With asam_eta = 0 the sign of theta stays, which neither T^2 nor a norm shows.
fn scale_by_size(x: &mut Tensor, theta: &Tensor, asam_eta: f64) {
    let _ = match asam_eta {
        0.0 => x.g_mul_(theta),
        eta => x.g_mul_(&theta.abs().g_add_scalar_(eta)),
    };
}

/// w = 1 / (1 + eta f);  eps = gamma w g / sqrt(sum g w g)
///
/// The gradient buffer holds g; `f` is the Fisher diagonal and is used up.
pub(crate) fn fisher(w: &mut Weights, mut f: Tensor, knobs: &Fisher) -> Ascent {
    let inverse = match knobs.fisher_inverse {
        FisherInverse::OnePlusEtaF => f.g_mul_scalar_(knobs.eta).g_add_scalar_(1.0).reciprocal_(),
        FisherInverse::DampedLiteral => f.g_add_scalar_(knobs.fisher_damping).reciprocal_(),
    };
    let mut wg = inverse;
    let _ = wg.g_mul_(&w.grad);
    let denominator = wg.dot(&w.grad).sqrt();
    w.grad.copy_(&wg);
    let radius = w.constant(knobs.gamma);
    Ascent {
        radius,
        denominator,
        norm_eps: knobs.norm_eps,
    }
}

/// The 2-norm over everything: 0-d.
pub(crate) fn norm(flat: &Tensor) -> Tensor {
    flat.norm()
}
