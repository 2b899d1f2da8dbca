//! ASAM: adaptive sharpness-aware minimisation (Kwon et al., 2021).

use crate::{Error, check::at_least, data::data, knobs::Adaptive};
#[cfg(feature = "torch")]
use crate::{
    ascent,
    update::{Input, Update},
};

#[cfg(feature = "torch")]
pub(crate) fn step(knobs: &Asam, u: &mut Update) -> Result<(), Error> {
    // g = grad L(theta)
    let found = u.gradient(Input::Clean)?;
    u.first(found);
    // T = |theta| + asam_eta;  eps = rho T^2 g / ||T g||  (eq. 2)
    let rho = u.w.constant(knobs.rho);
    let eps = ascent::adaptive(u.w, rho, &knobs.adaptive)?;
    // h = grad L(theta + eps)
    u.perturbed(eps, knobs.adaptive.restore, |u| u.gradient(Input::Clean))
}

data! {
    /// Knobs of ASAM.
    pub struct Asam {
        /// Radius of the ascent step; >= 0. Source: 0.5 for ASAM in the paper's settings.
        pub rho: f64 = 0.5,
        /// How the gradient becomes the step.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub adaptive: Adaptive = Adaptive::default(),
    }
}

impl Asam {
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least("rho", self.rho, 0.0)?;
        self.adaptive.check()?;
        Ok(())
    }
}
