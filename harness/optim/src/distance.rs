//! Distances between predictive distributions.

use tch::{Kind, Reduction as Sum, Tensor};
use torch_ext::sweep;

use crate::{Distance, DistanceInput, Divergence, Error, KlDirection, MmdKernel, Reduction, Share};

/// D(target || current) as `knobs` measure it: 0-d, in nats for a KL, in at least single precision.
///
/// `target`, `current`: logits, `[batch, class]` or `[batch, position, vocabulary]`. Gradients
/// flow into both, as far as they carry any.
pub fn distance(knobs: &Divergence, target: &Tensor, current: &Tensor) -> Result<Tensor, Error> {
    Ok(partial(knobs, target, current, Share::WHOLE, Slope::InGraph)?.value)
}

/// A distance, and `lambda` times its gradient in the current logits where the graph does not
/// have it.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) value: Tensor,
    pub(crate) slope: Option<Tensor>,
}

/// Where the gradient of a distance goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Slope {
    /// Into the graph of the value.
    InGraph,
    /// Beside the value, times this lambda, if that is faster; else into the graph.
    Beside(f64),
}

/// Whether a distance is no sum over examples, so that of a batch that is cut all logits have to be together.
pub(crate) fn needs_all(knobs: &Divergence) -> bool {
    knobs.distance == Distance::Mmd
}

/// The summand of one micro-batch in the distance of the whole batch.
pub(crate) fn partial(
    knobs: &Divergence,
    target: &Tensor,
    current: &Tensor,
    share: Share,
    slope: Slope,
) -> Result<Measured, Error> {
    let (target, current) = (at_least_float(target), at_least_float(current));
    let size = current.size();
    if target.size() != size || size.len() < 2 {
        return Err(Error::Task(format!(
            "logits of shape {size:?} cannot be compared with a target of shape {:?}",
            target.size()
        )));
    }
    let elements = size.iter().product::<i64>() as f64;
    let (batch, rows) = (size[0] as f64, elements / size[size.len() - 1] as f64);
    // The published divisor contains the batch size twice, so the share enters twice.
    let weight = match knobs.reduction {
        Reduction::Published => share.examples * share.examples,
        _ => share.examples,
    };
    let weight = weight * knobs.distance_scale;
    if knobs.distance == Distance::Kl {
        let divisor = match knobs.reduction {
            Reduction::PerDistribution => rows,
            Reduction::PerExample => batch,
            Reduction::PerElement => elements,
            Reduction::Published => elements * batch,
        };
        return kl(knobs, &target, &current, slope, weight / divisor);
    }
    let (p, q) = match knobs.distance_input {
        DistanceInput::Logits => (target, current),
        DistanceInput::Probs => (
            target.softmax(-1, None::<Kind>),
            current.softmax(-1, None::<Kind>),
        ),
    };
    let mean = match knobs.distance {
        Distance::L2 => (q - p).norm_scalaropt_dim(2, -1, false).mean(None::<Kind>),
        _ => mmd(knobs, &p, &q, share)?,
    };
    // A mean over rows has no further divisor but the published one.
    let divisor = if knobs.reduction == Reduction::Published {
        batch
    } else {
        1.0
    };
    Ok(Measured {
        value: scaled(mean, weight / divisor),
        slope: None,
    })
}

/// `factor` times tau^2 KL(target || current) in the wanted direction, summed over everything.
fn kl(
    knobs: &Divergence,
    target: &Tensor,
    current: &Tensor,
    slope: Slope,
    factor: f64,
) -> Result<Measured, Error> {
    let tau = knobs.temperature;
    let plain = knobs.kl_direction == KlDirection::Forward && tau == 1.0;
    if plain && sweep::fits(target) && sweep::fits(current) && !target.requires_grad() {
        if !current.requires_grad() {
            return Ok(Measured {
                value: sweep::kl(target, current)? * factor,
                slope: None,
            });
        }
        if let Slope::Beside(lambda) = slope {
            let (sum, slope) = sweep::kl_with_slope(target, current, lambda * factor)?;
            return Ok(Measured {
                value: sum * factor,
                slope: Some(slope),
            });
        }
    }
    let log_p = scaled(target.shallow_clone(), 1.0 / tau).log_softmax(-1, None::<Kind>);
    let log_q = scaled(current.shallow_clone(), 1.0 / tau).log_softmax(-1, None::<Kind>);
    // sum p (log p - log q)
    let forward = || log_q.kl_div(&log_p, Sum::Sum, true);
    // sum q (log q - log p)
    let reverse = || log_p.kl_div(&log_q, Sum::Sum, true);
    let sum = match knobs.kl_direction {
        KlDirection::Forward => forward(),
        KlDirection::Reverse => reverse(),
        KlDirection::Symmetric => forward() + reverse(),
    };
    Ok(Measured {
        value: scaled(sum, tau * tau * factor),
        slope: None,
    })
}

/// mean k(p_i, p_j) + k(q_i, q_j) - 2 k(p_i, q_j) over all ordered pairs, the diagonal kept.
fn mmd(knobs: &Divergence, p: &Tensor, q: &Tensor, share: Share) -> Result<Tensor, Error> {
    if p.dim() != 2 {
        return Err(Error::Task(format!(
            "`distance: mmd` needs logits [batch, class], not {:?}",
            p.size()
        )));
    }
    if share != Share::WHOLE {
        return Err(Error::Task(
            "`distance: mmd` compares every pair of examples, so the batch of a penalty cannot be cut \
             into micro-batches or shared"
                .to_owned(),
        ));
    }
    let k = |x: &Tensor, y: &Tensor| {
        // Without the expansion |x|^2 + |y|^2 - 2 x y, whose rounding shows on the diagonal.
        let s = Tensor::cdist(x, y, 2.0, 2).square();
        let kernels = knobs
            .mmd_bandwidths
            .iter()
            .map(|&c| match knobs.mmd_kernel {
                MmdKernel::Imq => c / (&s + c),
                MmdKernel::Imq2 => (&s + c * c).rsqrt(),
                MmdKernel::Imq3 => c * c / (&s + c * c),
                MmdKernel::Rbf => (&s * (-0.5 / c)).exp(),
            });
        kernels
            .reduce(|a, b| a + b)
            .expect("checked: at least one bandwidth")
    };
    Ok((k(p, p) + k(q, q) - k(p, q) * 2.0).mean(None::<Kind>))
}

fn scaled(x: Tensor, factor: f64) -> Tensor {
    if factor == 1.0 { x } else { x * factor }
}

fn at_least_float(x: &Tensor) -> Tensor {
    match x.kind() {
        Kind::Half | Kind::BFloat16 => x.to_kind(Kind::Float),
        _ => x.shallow_clone(),
    }
}
