//! ASAM: adaptive sharpness-aware minimisation (Kwon et al., 2021).

use crate::{Error, check::at_least, data::data, knobs::Adaptive};

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
