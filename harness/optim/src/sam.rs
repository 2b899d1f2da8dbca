//! SAM: sharpness-aware minimisation (Foret et al., 2021).

use crate::{
    Error,
    check::at_least,
    data::data,
    knobs::{Perturbation, Restore},
};

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
