//! What an update tells.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::Passes;

/// How much an update tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Record {
    /// What comes for free: losses, distance, radius, rate.
    #[default]
    Scalars,
    /// The norms too, each a sweep over the parameters.
    Norms,
    /// Copies of the intermediate tensors too, for tests and debugging.
    Tensors,
}

/// One update. Tensors are 0-d and still on the device: reading one waits for it, so read every
/// hundredth update or so, and through [`Step::read`] in one transfer.
///
/// With micro-batches, every value is the one of the whole batch.
#[derive(Debug)]
pub struct Step {
    /// Number of the update, from one.
    pub update: u64,
    /// Its learning rate.
    pub lr: f64,
    /// Mean task loss of the first pass executed, at theta.
    pub loss: Tensor,
    /// The loss, plus lambda times the distance for methods with a penalty.
    pub objective: Tensor,
    /// The trust region's distance at theta, if the method has one.
    pub distance: Option<Tensor>,
    /// Radius of the ascent step: rho, gamma or the distance, capped; none without a step.
    pub radius: Option<Tensor>,
    /// Norm or root that scales the step, without `norm_eps`.
    pub denominator: Option<Tensor>,
    /// Mean task loss of the second pass; the first pass's if there is none.
    pub loss_perturbed: Tensor,
    /// Objective of the second pass; the first pass's if there is none.
    pub objective_perturbed: Tensor,
    /// Penalty's distance at the perturbed point; the first pass's if there is no second.
    pub distance_perturbed: Option<Tensor>,
    /// Factor applied by clipping, if there is clipping.
    pub clip_coef: Option<Tensor>,
    /// 2-norm of the first pass's gradient; with [`Record::Norms`].
    pub grad_norm: Option<Tensor>,
    /// 2-norm of the perturbation; with [`Record::Norms`].
    pub eps_norm: Option<Tensor>,
    /// 2-norm of the gradient handed to clipping; with [`Record::Norms`] or clipping.
    pub grad_norm_perturbed: Option<Tensor>,
    /// Forward and backward passes, counted as they ran; each micro-batch counts.
    pub passes: Passes,
    /// Examples in each micro-batch.
    pub(crate) examples: Vec<i64>,
    /// Intermediate tensors; with [`Record::Tensors`].
    pub tensors: Tensors,
}

/// Copies of intermediate tensors. A parameter without a gradient has no entry.
#[derive(Debug, Default)]
pub struct Tensors {
    /// First-pass logits, per micro-batch.
    pub logits: Vec<Tensor>,
    /// Target logits, per micro-batch and draw.
    pub target_logits: Vec<Tensor>,
    /// First-pass gradient of the objective.
    pub grad: BTreeMap<String, Tensor>,
    /// Gradient on noised input (TRAM-Fisher).
    pub grad_noised: BTreeMap<String, Tensor>,
    /// Perturbation.
    pub eps: BTreeMap<String, Tensor>,
    /// Second-pass gradient, before clipping.
    pub grad_perturbed: BTreeMap<String, Tensor>,
}

/// The numbers of a [`Step`], on the host. A quantity that the method does not have is 0, a
/// clipping factor that was not applied is 1, and what was not recorded is absent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Numbers {
    /// See the fields of [`Step`].
    pub loss: f64,
    #[expect(missing_docs)]
    pub objective: f64,
    #[expect(missing_docs)]
    pub distance: f64,
    #[expect(missing_docs)]
    pub radius: f64,
    #[expect(missing_docs)]
    pub denominator: f64,
    #[expect(missing_docs)]
    pub loss_perturbed: f64,
    #[expect(missing_docs)]
    pub objective_perturbed: f64,
    #[expect(missing_docs)]
    pub distance_perturbed: f64,
    #[expect(missing_docs)]
    pub clip_coef: f64,
    #[expect(missing_docs)]
    pub grad_norm: Option<f64>,
    #[expect(missing_docs)]
    pub eps_norm: Option<f64>,
    #[expect(missing_docs)]
    pub grad_norm_perturbed: Option<f64>,
}

impl Step {
    pub(crate) fn new(update: u64, lr: f64) -> Self {
        Self {
            update,
            lr,
            loss: Tensor::new(),
            objective: Tensor::new(),
            distance: None,
            radius: None,
            denominator: None,
            loss_perturbed: Tensor::new(),
            objective_perturbed: Tensor::new(),
            distance_perturbed: None,
            clip_coef: None,
            grad_norm: None,
            eps_norm: None,
            grad_norm_perturbed: None,
            passes: Passes {
                forward: 0,
                backward: 0,
                per_example: false,
            },
            examples: Vec::new(),
            tensors: Tensors::default(),
        }
    }

    /// Waits for the device and brings all numbers over in one transfer.
    pub fn read(&self) -> Numbers {
        let fields = [
            Some(&self.loss),
            Some(&self.objective),
            self.distance.as_ref(),
            self.radius.as_ref(),
            self.denominator.as_ref(),
            Some(&self.loss_perturbed),
            Some(&self.objective_perturbed),
            self.distance_perturbed.as_ref(),
            self.clip_coef.as_ref(),
            self.grad_norm.as_ref(),
            self.eps_norm.as_ref(),
            self.grad_norm_perturbed.as_ref(),
        ];
        let present: Vec<Tensor> = fields
            .iter()
            .flatten()
            .map(|x| x.to_kind(tch::Kind::Double).reshape([1]))
            .collect();
        let mut values = Vec::<f64>::try_from(Tensor::cat(&present, 0))
            .expect("a vector")
            .into_iter();
        let values = fields.map(|field| field.map(|_| values.next().expect("one per field")));
        Numbers {
            loss: values[0].expect("always there"),
            objective: values[1].expect("always there"),
            distance: values[2].unwrap_or(0.0),
            radius: values[3].unwrap_or(0.0),
            denominator: values[4].unwrap_or(0.0),
            loss_perturbed: values[5].expect("always there"),
            objective_perturbed: values[6].expect("always there"),
            distance_perturbed: values[7].unwrap_or(0.0),
            clip_coef: values[8].unwrap_or(1.0),
            grad_norm: values[9],
            eps_norm: values[10],
            grad_norm_perturbed: values[11],
        }
    }
}
