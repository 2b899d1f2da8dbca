//! Distances between predictive distributions.

use tch::{Kind, Reduction as Sum, Tensor};

use crate::{Distance, DistanceInput, Divergence, Error, KlDirection, MmdKernel, Reduction, Share};

/// D(target || current) as `knobs` measure it: 0-d, in nats for a KL, in at least single precision.
///
/// `target`, `current`: logits, `[batch, class]` or `[batch, position, vocabulary]`. Gradients
/// flow into both, as far as they carry any.
pub fn distance(knobs: &Divergence, target: &Tensor, current: &Tensor) -> Result<Tensor, Error> {
    partial(knobs, target, current, Share::WHOLE)
}

/// The summand of one micro-batch in the distance of the whole batch.
pub(crate) fn partial(
    knobs: &Divergence,
    target: &Tensor,
    current: &Tensor,
    share: Share,
) -> Result<Tensor, Error> {
    let (target, current) = (at_least_float(target), at_least_float(current));
    let size = current.size();
    if target.size() != size || size.len() < 2 {
        return Err(Error::Task(format!(
            "logits of shape {size:?} cannot be compared with a target of shape {:?}",
            target.size()
        )));
    }
    let elements: i64 = size.iter().product();
    let (batch, rows) = (size[0] as f64, (elements / size[size.len() - 1]) as f64);
    let value = match knobs.distance {
        Distance::Kl => {
            let sum = kl_sum(knobs, &target, &current);
            match knobs.reduction {
                Reduction::PerDistribution => sum / rows,
                Reduction::PerExample => sum / batch,
                Reduction::PerElement => sum / elements as f64,
                Reduction::Published => sum / (elements as f64 * batch),
            }
        }
        Distance::L2 | Distance::Mmd => {
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
            match knobs.reduction {
                Reduction::Published => mean / batch,
                _ => mean,
            }
        }
    };
    // The published divisor contains the batch size twice, so the share enters twice.
    let weight = match knobs.reduction {
        Reduction::Published => share.examples * share.examples,
        _ => share.examples,
    };
    Ok(scaled(value, weight * knobs.distance_scale))
}

/// KL summed over everything, times tau^2.
fn kl_sum(knobs: &Divergence, target: &Tensor, current: &Tensor) -> Tensor {
    let tau = knobs.temperature;
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
    scaled(sum, tau * tau)
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
            "`distance: mmd` compares every pair of examples, so the batch cannot be cut into \
             micro-batches"
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
