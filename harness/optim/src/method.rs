//! The methods of the comparison, as data.

use crate::{
    Asam, AsamMesa, AsamR3f, AsamTrpo, Distance, Error, FisherEstimator, FisherPasses, Fsam, Mesa,
    R3f, Sam, TramFisher, TramTheta0, TramThetaPrev, TramX, Trpo, VitNoiseAt,
};

macro_rules! methods {
    ($($variant:ident($knobs:ty) = $name:literal: $forward:literal / $backward:literal,
        $file:literal, $origin:literal, $domain:literal, $distance:literal, $summary:literal;)*) => {
        /// A method with its knobs. One update of a base optimizer performs what it decides.
        #[derive(Clone, PartialEq, Debug)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema))]
        #[cfg_attr(feature = "serde", serde(tag = "method"))]
        pub enum Method {
            $(
                #[doc = $summary]
                #[cfg_attr(feature = "serde", serde(rename = $name))]
                $variant($knobs),
            )*
        }

        impl Method {
            /// Every method's name, in the paper's order.
            pub const NAMES: &[&str] = &[$($name),*];

            /// Every method with its default knobs, in the paper's order.
            pub fn all() -> Vec<Self> {
                vec![$(Self::$variant(Default::default())),*]
            }

            /// The name that suites use.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name),* }
            }

            /// What the method does, in a sentence.
            pub fn summary(&self) -> &'static str {
                match self { $(Self::$variant(_) => $summary),* }
            }

            /// The file that implements it, beside this one.
            pub fn file(&self) -> &'static str {
                match self { $(Self::$variant(_) => $file),* }
            }

            /// Where it was published.
            pub fn origin(&self) -> &'static str {
                match self { $(Self::$variant(_) => $origin),* }
            }

            /// Where the trust region lies: `parameters`, `outputs`, both or none.
            pub fn domain(&self) -> &'static str {
                match self { $(Self::$variant(_) => $domain),* }
            }

            /// What is held small, in the paper's notation.
            pub fn distance(&self) -> &'static str {
                match self { $(Self::$variant(_) => $distance),* }
            }

            fn default_passes(&self) -> Passes {
                match self { $(Self::$variant(_) => Passes { forward: $forward, backward: $backward, per_example: false }),* }
            }

            /// Whether every knob is in its range; the error names the knob.
            pub fn check(&self) -> Result<(), Error> {
                match self { $(Self::$variant(knobs) => knobs.check()),* }
            }
        }
    };
}

methods! {
    Base(NoKnobs) = "base": 1 / 1, "base.rs", "TRAM paper, Section B.1",
        "none", "none", "The base optimizer alone.";
    Sam(Sam) = "sam": 2 / 2, "sam.rs", "Foret et al. (2021)",
        "parameters", "||eps|| <= rho",
        "SAM: the gradient at the worst point of a ball around the weights.";
    Asam(Asam) = "asam": 2 / 2, "asam.rs", "Kwon et al. (2021); TRAM paper, equation 2",
        "parameters", "||eps / |theta||| <= rho",
        "ASAM: SAM in a ball that scales with each weight.";
    Fsam(Fsam) = "fsam": 2 / 2, "fsam.rs", "Kim et al. (2022); TRAM paper, equation 8",
        "parameters", "eps' F eps <= gamma^2",
        "Fisher SAM: SAM in an ellipsoid given by the Fisher information.";
    Trpo(Trpo) = "trpo": 2 / 1, "trpo.rs", "Schulman et al. (2015), as a penalty; TRAM paper, equation 4",
        "outputs", "KL(p(x; theta_{t-1}) || p(x; theta_t))",
        "TRPO: a penalty on moving away from the previous iterate's predictions.";
    R3f(R3f) = "r3f": 2 / 1, "r3f.rs", "Aghajanyan et al. (2021); TRAM paper, equation 5",
        "outputs", "KL(p(x + z; theta) || p(x; theta))",
        "R3F: a penalty on predictions that change with noise on the input.";
    Mesa(Mesa) = "mesa": 2 / 1, "mesa.rs", "Du et al. (2022)",
        "outputs", "KL(p(x; theta_ema) || p(x; theta_t))",
        "MESA: a penalty on moving away from the averaged weights' predictions.";
    AsamTrpo(AsamTrpo) = "asam_trpo": 3 / 2, "combined.rs", "TRAM paper, Table 11",
        "parameters and outputs",
        "||eps / |theta||| <= rho; KL(p(x; theta_{t-1}) || p(x; theta_t))",
        "ASAM on TRPO's penalised objective, in both passes.";
    AsamR3f(AsamR3f) = "asam_r3f": 4 / 2, "combined.rs", "TRAM paper, Table 11",
        "parameters and outputs",
        "||eps / |theta||| <= rho; KL(p(x + z; theta) || p(x; theta))",
        "ASAM on R3F's penalised objective, in both passes.";
    AsamMesa(AsamMesa) = "asam_mesa": 3 / 2, "combined.rs", "TRAM paper, Table 11",
        "parameters and outputs",
        "||eps / |theta||| <= rho; KL(p(x; theta_ema) || p(x; theta_t))",
        "ASAM on MESA's penalised objective, in both passes.";
    TramThetaPrev(TramThetaPrev) = "tram_theta_prev": 3 / 2, "tram.rs", "TRAM paper, algorithm 1",
        "parameters and outputs",
        "||eps / |theta||| <= KL(p(x; theta_{t-1}) || p(x; theta_t))",
        "TRAM-theta_{t-1}: ASAM whose radius is the distance from the previous iterate's predictions.";
    TramTheta0(TramTheta0) = "tram_theta_0": 3 / 2, "tram.rs", "TRAM paper, algorithm 1",
        "parameters and outputs",
        "||eps / |theta||| <= KL(p(x; theta_0) || p(x; theta_t))",
        "TRAM-theta_0: ASAM whose radius is the distance from the initial weights' predictions.";
    TramX(TramX) = "tram_x": 3 / 2, "tram.rs", "TRAM paper, algorithm 1",
        "parameters and outputs",
        "||eps / |theta||| <= KL(p(x + z; theta_t) || p(x; theta_t))",
        "TRAM-x: ASAM whose radius is the distance between predictions on noised and clean input.";
    TramFisher(TramFisher) = "tram_fisher": 3 / 3, "tram_fisher.rs", "TRAM paper, algorithm 2",
        "parameters and outputs", "eps' F(x + z) eps <= gamma^2",
        "TRAM-Fisher: Fisher SAM with the information taken on noised input.";
}

/// No knobs.
#[derive(Clone, PartialEq, Debug, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)
)]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct NoKnobs {}

impl NoKnobs {
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Passes of one update over the whole batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passes {
    /// Forward passes, those of stored models included.
    pub forward: u32,
    /// Backward passes.
    pub backward: u32,
    /// One further forward and backward pass per example of the batch, each over one example.
    pub per_example: bool,
}

impl Method {
    /// Where an image network takes the method's input noise; the pixels if there is none.
    pub fn vit_noise_at(&self) -> VitNoiseAt {
        match self {
            Self::R3f(k) => k.noise.vit_noise_at,
            Self::AsamR3f(k) => k.noise.vit_noise_at,
            Self::TramX(k) => k.noise.vit_noise_at,
            Self::TramFisher(k) => k.noise.vit_noise_at,
            _ => VitNoiseAt::default(),
        }
    }

    /// Whether a batch may be cut into micro-batches, or shared by processes: not for a penalty that compares every pair of
    /// its examples.
    pub fn can_be_cut(&self) -> bool {
        let divergence = match self {
            Self::Trpo(k) => &k.divergence,
            Self::R3f(k) => &k.divergence,
            Self::Mesa(k) => &k.divergence,
            Self::AsamTrpo(k) => &k.divergence,
            Self::AsamR3f(k) => &k.divergence,
            Self::AsamMesa(k) => &k.divergence,
            _ => return true,
        };
        divergence.distance != Distance::Mmd
    }

    /// Passes of one update, as the paper's Tables 1 and 2 count them. TRAM-Fisher needs the three
    /// gradients of the paper's algorithm, where the table counts two (`fisher_passes: two_pass`).
    pub fn passes(&self) -> Passes {
        let mut passes = self.default_passes();
        match self {
            Self::Fsam(k) => {
                passes.per_example = k.fisher.fisher_estimator == FisherEstimator::PerExample
            }
            Self::R3f(k) => passes.forward += k.noise_draws - 1,
            Self::TramX(k) => passes.forward += k.noise_draws - 1,
            Self::AsamR3f(k) => passes.forward += 2 * (k.noise_draws - 1),
            Self::TramFisher(k) => {
                let per_example = k.fisher.fisher_estimator == FisherEstimator::PerExample;
                if k.fisher_passes == FisherPasses::TwoPass || per_example {
                    (passes.forward, passes.backward) = (2, 2);
                }
                passes.per_example = per_example;
            }
            _ => {}
        }
        passes
    }
}
