//! TRAM-Fisher: Fisher SAM with the information taken on noised input (algorithm 2 of the paper).

use crate::{
    Error,
    data::data,
    knobs::{Fisher, InputNoise},
};

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
