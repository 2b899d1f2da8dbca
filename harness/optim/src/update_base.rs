//! The base optimizer's update over the flat buffers.

use tch::{Kind, Tensor};
use torch_ext::{fused_adam, fused_sgd};

use crate::{Base, Error, weights::Weights};

/// Moments and, for every parameter, how many updates it has had.
#[derive(Debug)]
pub(crate) struct BaseState {
    base: Base,
    decays: Vec<bool>,
    pub(crate) updates: Vec<u64>,
    /// Velocity, or first and second moment; flat.
    pub(crate) moments: Vec<(&'static str, Tensor)>,
}

impl BaseState {
    pub(crate) fn new(base: Base, no_decay: &[String], w: &Weights) -> Self {
        let zeros = || w.theta.zeros_like();
        let moments = match &base {
            Base::Sgd(sgd) if sgd.momentum == 0.0 => vec![],
            Base::Sgd(_) => vec![("velocity", zeros())],
            Base::Adam(_) | Base::Adamw(_) => vec![("moment1", zeros()), ("moment2", zeros())],
        };
        let exempt = |name: &str| {
            no_decay
                .iter()
                .any(|fragment| name.contains(fragment.as_str()))
        };
        let decays = w.names().map(|name| !exempt(name)).collect();
        Self {
            base,
            decays,
            updates: vec![0; w.len()],
            moments,
        }
    }

    /// theta <- U(theta, h, lr) for every parameter that `w.grad` has reached.
    pub(crate) fn update(&mut self, w: &Weights, lr: f64) -> Result<(), Error> {
        let decay = self.base.weight_decay();
        let key = |i: usize| {
            let exempt = decay != 0.0 && !self.decays[i];
            w.reached(i).then_some((self.updates[i], exempt))
        };
        for (range, (updates, exempt)) in w.ranges(key) {
            let (theta, grad) = ([range.of(&w.theta)], [range.of(&w.grad)]);
            let moments: Vec<[Tensor; 1]> = self
                .moments
                .iter()
                .map(|(_, flat)| [range.of(flat)])
                .collect();
            let weight_decay = if exempt { 0.0 } else { decay };
            match &self.base {
                Base::Sgd(sgd) => {
                    let sgd = torch_ext::Sgd {
                        lr,
                        momentum: sgd.momentum,
                        weight_decay,
                        first: updates == 0,
                    };
                    fused_sgd(&theta, &grad, moments.first().map_or(&[], |m| m), sgd)?;
                }
                Base::Adam(adam) | Base::Adamw(adam) => {
                    let decoupled = matches!(self.base, Base::Adamw(_));
                    let (betas, eps) = (adam.betas, adam.eps);
                    let adam = torch_ext::Adam {
                        lr,
                        betas,
                        eps,
                        weight_decay,
                        decoupled,
                    };
                    let number = (updates + 1) as f64;
                    let step = [Tensor::full([0_i64; 0], number, (Kind::Float, w.device()))];
                    fused_adam(&theta, &grad, &moments[0], &moments[1], &step, adam)?;
                }
            }
        }
        for (i, updates) in self.updates.iter_mut().enumerate() {
            *updates += u64::from(w.reached(i));
        }
        Ok(())
    }
}
