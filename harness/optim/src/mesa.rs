//! MESA: a penalty towards the moving average of the weights (Du et al., 2022).

#[cfg(feature = "torch")]
use crate::update::{Region, Target, Update};
use crate::{
    Error,
    check::{at_least, range},
    data::data,
    knobs::{Divergence, TargetMode},
};

#[cfg(feature = "torch")]
pub(crate) fn step(knobs: &Mesa, u: &mut Update) -> Result<(), Error> {
    // D = KL(p(x; theta_ema) || p(x; theta_t));  g = grad (L + lambda D)
    let target = Target::Stored(knobs.target_mode);
    let found = u.gradient_within(Region::penalty(&knobs.divergence, target, knobs.lambda))?;
    u.first(found);
    Ok(())
}

data! {
    /// Knobs of MESA.
    pub struct Mesa {
        /// Weight of the distance in the objective; >= 0. Source: 0.1 in the paper's settings.
        pub lambda: f64 = 0.1,
        /// How the distance is measured.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub divergence: Divergence = Divergence::default(),
        /// Share of the average that an update keeps; in [0, 1). Source: 0.999 in the paper's
        /// settings; MESA's authors use 0.9998.
        pub ema_decay: f64 = 0.999,
        /// Mode of the network that makes the target.
        pub target_mode: TargetMode = TargetMode::Released,
    }
}

impl Mesa {
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least("lambda", self.lambda, 0.0)?;
        self.divergence.check()?;
        range("ema_decay", self.ema_decay, 0.0, 1.0)?;
        Ok(())
    }
}
