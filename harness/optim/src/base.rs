//! Base optimizers and learning-rate schedules, as data.

use crate::{
    Error,
    check::{at_least, positive, range},
    data::data,
};

/// The optimizer that performs the update.
#[derive(Clone, PartialEq, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)
)]
#[cfg_attr(feature = "serde", serde(tag = "name", rename_all = "snake_case"))]
pub enum Base {
    /// v <- momentum v + (h + weight_decay theta); theta <- theta - lr v.
    Sgd(Sgd),
    /// Adam on h + weight_decay theta.
    Adam(Adam),
    /// theta <- theta (1 - lr weight_decay), then Adam on h.
    Adamw(Adam),
}

data! {
    /// Stochastic gradient descent, without dampening or Nesterov's correction.
    pub struct Sgd {
        /// Learning rate at the schedule's peak; >= 0. Source: 5e-4 for vision in the paper.
        pub lr: f64 = 5e-4,
        /// Share of the velocity that is kept; in [0, 1). Source: not stated in the paper.
        pub momentum: f64 = 0.9,
        /// L2 term added to the gradient; >= 0. Source: no value in the paper.
        pub weight_decay: f64 = 0.0,
    }
}

data! {
    /// Adam and AdamW, with bias correction.
    pub struct Adam {
        /// Learning rate at the schedule's peak; >= 0. Source: 2e-5 for language in the paper.
        pub lr: f64 = 2e-5,
        /// Decay rates of the moments; each in [0, 1). Source: (0.9, 0.99) in the paper.
        pub betas: (f64, f64) = (0.9, 0.99),
        /// Added to the root of the second moment; >= 0. Source: the customary value.
        pub eps: f64 = 1e-8,
        /// Weight decay; >= 0. Source: no value in the paper.
        pub weight_decay: f64 = 0.0,
    }
}

impl Base {
    /// The learning rate that a schedule scales.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.lr,
            Self::Adam(adam) | Self::Adamw(adam) => adam.lr,
        }
    }

    /// The weight decay.
    pub fn weight_decay(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.weight_decay,
            Self::Adam(adam) | Self::Adamw(adam) => adam.weight_decay,
        }
    }

    /// Whether every number is in its range; the error names the knob.
    pub fn check(&self) -> Result<(), Error> {
        at_least("lr", self.lr(), 0.0)?;
        at_least("weight_decay", self.weight_decay(), 0.0)?;
        match self {
            Self::Sgd(sgd) => range("momentum", sgd.momentum, 0.0, 1.0),
            Self::Adam(adam) | Self::Adamw(adam) => {
                range("betas", adam.betas.0, 0.0, 1.0)?;
                range("betas", adam.betas.1, 0.0, 1.0)?;
                at_least("eps", adam.eps, 0.0)
            }
        }
    }
}

/// How the learning rate moves over a run. Update t = 1, 2, ... uses k = t - 1 + `offset`.
#[derive(Clone, PartialEq, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)
)]
#[cfg_attr(feature = "serde", serde(tag = "name", rename_all = "snake_case"))]
pub enum Schedule {
    /// The base optimizer's rate throughout.
    Constant(Constant),
    /// Linear warm-up, then a power of the remaining share down to `lr_end`.
    Polynomial(Polynomial),
    /// Linear warm-up, then half a cosine down to `lr_end`.
    Cosine(Cosine),
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant(Constant {})
    }
}

/// No knobs.
#[derive(Clone, PartialEq, Debug, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)
)]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Constant {}

data! {
    /// Polynomial decay.
    pub struct Polynomial {
        /// Updates of linear warm-up from 0. Source: 10,000 of 50,000 in the paper.
        pub warmup: u64 = 0,
        /// Exponent of the decay; > 0. Source: the customary value.
        pub power: f64 = 1.0,
        /// Rate at and after the end; >= 0. Source: the customary value.
        pub lr_end: f64 = 1e-7,
        /// Added to the number of the update: 0 starts the warm-up with a rate of 0, 1 skips
        /// that update. Source: 0 in the paper's trainer.
        pub offset: u64 = 0,
    }
}

data! {
    /// Cosine decay without restart.
    pub struct Cosine {
        /// Updates of linear warm-up from 0. Source: none in the paper.
        pub warmup: u64 = 0,
        /// Rate at and after the end; >= 0. Source: the customary value.
        pub lr_end: f64 = 0.0,
        /// Added to the number of the update.
        pub offset: u64 = 0,
        /// Move the rate after every update or after every epoch. Source: not stated in the paper.
        pub cosine_step: CosineStep = CosineStep::Update,
    }
}

data! {
    /// When a cosine schedule moves.
    pub enum CosineStep {
        /// After every update.
        #[default]
        Update,
        /// After every epoch.
        Epoch,
    }
}

/// How long a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Length {
    /// Updates in all; schedules end here. 0 where no schedule needs it.
    pub updates: u64,
    /// Updates in one epoch, for `cosine_step: epoch`; 0 where nothing needs it.
    pub epoch: u64,
}

impl Schedule {
    /// The rate of update `t`, counted from one.
    ///
    /// ```
    /// use optim::{Length, Polynomial, Schedule};
    /// let schedule = Schedule::Polynomial(Polynomial { warmup: 2, ..Default::default() });
    /// let length = Length { updates: 10, epoch: 0 };
    /// assert_eq!(schedule.rate(2e-5, 1, length), 0.0);
    /// assert_eq!(schedule.rate(2e-5, 3, length), 2e-5);
    /// ```
    pub fn rate(&self, lr: f64, t: u64, length: Length) -> f64 {
        match self {
            Self::Constant(_) => lr,
            Self::Polynomial(p) => {
                let (k, total) = (t - 1 + p.offset, length.updates);
                if k < p.warmup {
                    lr * k as f64 / p.warmup as f64
                } else if k >= total {
                    p.lr_end
                } else {
                    let done = (k - p.warmup) as f64 / (total - p.warmup) as f64;
                    (lr - p.lr_end) * (1.0 - done).powf(p.power) + p.lr_end
                }
            }
            Self::Cosine(c) => {
                let k = match c.cosine_step {
                    CosineStep::Update => t - 1 + c.offset,
                    CosineStep::Epoch => (t - 1 + c.offset) / length.epoch.max(1) * length.epoch,
                };
                if k < c.warmup {
                    lr * k as f64 / c.warmup as f64
                } else if k >= length.updates {
                    c.lr_end
                } else {
                    let done = (k - c.warmup) as f64 / (length.updates - c.warmup) as f64;
                    c.lr_end + (lr - c.lr_end) * (1.0 + (std::f64::consts::PI * done).cos()) / 2.0
                }
            }
        }
    }

    /// Whether every number is in its range and fits the run; the error names the knob.
    pub fn check(&self, length: Length) -> Result<(), Error> {
        let fits = |warmup: u64| match (length.updates, warmup <= length.updates) {
            (0, _) => Err(Error::knob(
                "schedule",
                "needs the number of updates in the run",
            )),
            (_, false) => Err(Error::knob(
                "warmup",
                format!(
                    "is {warmup}, longer than the run's {} updates",
                    length.updates
                ),
            )),
            _ => Ok(()),
        };
        match self {
            Self::Constant(_) => Ok(()),
            Self::Polynomial(p) => {
                positive("power", p.power)?;
                at_least("lr_end", p.lr_end, 0.0)?;
                fits(p.warmup)
            }
            Self::Cosine(c) => {
                at_least("lr_end", c.lr_end, 0.0)?;
                if c.cosine_step == CosineStep::Epoch && length.epoch == 0 {
                    return Err(Error::knob(
                        "cosine_step",
                        "needs the number of updates per epoch",
                    ));
                }
                fits(c.warmup)
            }
        }
    }
}
