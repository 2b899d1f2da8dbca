//! SAM: sharpness-aware minimisation (Foret et al., 2021).

use crate::{
    Error,
    check::at_least,
    data::data,
    knobs::{Perturbation, Restore},
};
#[cfg(feature = "torch")]
use crate::{
    ascent,
    update::{Input, Update},
};

#[cfg(feature = "torch")]
pub(crate) fn step(knobs: &Sam, u: &mut Update) -> Result<(), Error> {
    // g = grad L(theta)
    let found = u.gradient(Input::Clean)?;
    u.first(found);
    // eps = rho g / ||g||
    let rho = u.w.constant(knobs.rho);
    let eps = ascent::plain(u.w, rho, knobs.norm_eps, knobs.perturbation);
    // h = grad L(theta + eps)
    u.perturbed(eps, knobs.restore, |u| u.gradient(Input::Clean))
}

data! {
    /// Knobs of SAM.
    pub struct Sam {
        /// Radius of the ascent step; >= 0. Source: 0.05 for SAM in the paper's settings.
        pub rho: f64 = 0.05,
        /// Along the gradient, or as the paper's released code has it: the constant
        /// rho / ||g|| on every coordinate.
        pub perturbation: Perturbation = Perturbation::Paper,
        /// Added to the norm that divides; >= 0. Source: absent from the paper; 1e-12 in its code.
        pub norm_eps: f64 = 1e-12,
        /// Which parameters return from the perturbed point.
        pub restore: Restore = Restore::All,
    }
}

impl Sam {
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least("rho", self.rho, 0.0)?;
        at_least("norm_eps", self.norm_eps, 0.0)?;
        Ok(())
    }
}
