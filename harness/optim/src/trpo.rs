//! TRPO's constraint as a penalty (after Schulman et al., 2015).

#[cfg(feature = "torch")]
use crate::update::{Region, Target, Update};
use crate::{
    Error,
    check::at_least,
    data::data,
    knobs::{Divergence, PrevSnapshot, TargetMode},
};

#[cfg(feature = "torch")]
pub(crate) fn step(knobs: &Trpo, u: &mut Update) -> Result<(), Error> {
    // D = KL(p(x; theta_{t-1}) || p(x; theta_t));  g = grad (L + lambda D)
    let target = Target::Stored(knobs.target_mode);
    let found = u.gradient_within(Region::penalty(&knobs.divergence, target, knobs.lambda))?;
    u.first(found);
    Ok(())
}

data! {
    /// Knobs of TRPO.
    pub struct Trpo {
        /// Weight of the distance in the objective; >= 0. Source: 0.1 in the paper's settings.
        pub lambda: f64 = 0.1,
        /// How the distance is measured.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub divergence: Divergence = Divergence::default(),
        /// When theta_{t-1} is copied. Source: before the update in the paper; its code copies
        /// after it, so that the distance vanishes.
        pub prev_snapshot: PrevSnapshot = PrevSnapshot::BeforeUpdate,
        /// Mode of the network that makes the target.
        pub target_mode: TargetMode = TargetMode::Released,
    }
}

impl Trpo {
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least("lambda", self.lambda, 0.0)?;
        self.divergence.check()?;
        Ok(())
    }
}
