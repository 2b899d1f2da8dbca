//! TRAM-Fisher: Fisher SAM with the information taken on noised input (algorithm 2 of the paper).

use crate::{
    Error,
    data::data,
    knobs::{Fisher, InputNoise},
};
#[cfg(feature = "torch")]
use crate::{
    FisherEstimator,
    ascent::{self, Information},
    update::{Input, Update},
};

#[cfg(feature = "torch")]
pub(crate) fn step(knobs: &TramFisher, u: &mut Update) -> Result<(), Error> {
    let fisher = &knobs.fisher;
    // g = grad L(theta), or grad L(x + z; theta) where two passes must do
    let two_pass = knobs.fisher_passes == FisherPasses::TwoPass;
    let found = u.gradient(if two_pass {
        Input::Noised
    } else {
        Input::Clean
    })?;
    u.first(found);
    // g~ = grad L(x + z; theta), true labels, embedding table included;  f = g~^2  (eq. 9)
    let f = match (fisher.fisher_estimator, two_pass) {
        (FisherEstimator::PerExample, _) => u.fisher_per_example(Input::Noised)?,
        (FisherEstimator::BatchGradient, true) => {
            u.capture_noised();
            Information::Own
        }
        (FisherEstimator::BatchGradient, false) => u.beside_gradient(|u| {
            u.gradient(Input::Noised)?;
            u.capture_noised();
            Ok(())
        })?,
    };
    // w = 1 / (1 + eta f);  eps = gamma w g / sqrt(sum g w g)
    let eps = ascent::fisher(u.w, f, fisher)?;
    // h = grad L(theta + eps) on clean x
    u.perturbed(eps, fisher.restore, |u| u.gradient(Input::Clean))
}

data! {
    /// Knobs of TRAM-Fisher.
    pub struct TramFisher {
        /// The Fisher information and the step's radius.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub fisher: Fisher = Fisher::default(),
        /// Noise on the input.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub noise: InputNoise = InputNoise::default(),
        /// Gradients that are computed. Source: the paper's algorithm needs three; its table
        /// counts two.
        pub fisher_passes: FisherPasses = FisherPasses::Algorithm2,
    }
}

impl TramFisher {
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.fisher.check()?;
        self.noise.check()?;
        Ok(())
    }
}

data! {
    /// Passes of TRAM-Fisher.
    pub enum FisherPasses {
        /// Clean gradient, noised gradient, perturbed gradient.
        #[default]
        Algorithm2,
        /// The noised gradient is used for the clean one as well.
        TwoPass,
    }
}
