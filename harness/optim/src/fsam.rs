//! Fisher SAM (Kim et al., 2022).

use crate::{Error, data::data, knobs::Fisher};
#[cfg(feature = "torch")]
use crate::{
    FisherEstimator,
    ascent::{self, Information},
    update::{Input, Update},
};

#[cfg(feature = "torch")]
pub(crate) fn step(knobs: &Fsam, u: &mut Update) -> Result<(), Error> {
    let fisher = &knobs.fisher;
    // g = grad L(theta)
    let found = u.gradient(Input::Clean)?;
    u.first(found);
    // f = g^2, the square of the mean gradient or the mean of squares
    let f = match fisher.fisher_estimator {
        FisherEstimator::BatchGradient => Information::Own,
        FisherEstimator::PerExample => u.fisher_per_example(Input::Clean)?,
    };
    // w = 1 / (1 + eta f);  eps = gamma w g / sqrt(sum g w g)  (eq. 8)
    let eps = ascent::fisher(u.w, f, fisher)?;
    // h = grad L(theta + eps)
    u.perturbed(eps, fisher.restore, |u| u.gradient(Input::Clean))
}

data! {
    /// Knobs of Fisher SAM.
    pub struct Fsam {
        /// The Fisher information and the step's radius.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub fisher: Fisher = Fisher::default(),
    }
}

impl Fsam {
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.fisher.check()?;
        Ok(())
    }
}
