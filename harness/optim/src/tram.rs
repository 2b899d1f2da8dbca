//! TRAM: ASAM whose radius is a trust-region distance (algorithm 1 of the paper).

use crate::{
    Error,
    check::{at_least, positive},
    data::data,
    knobs::{Adaptive, Divergence, InputNoise, PrevSnapshot, SecondPassInput, TargetMode},
};
#[cfg(feature = "torch")]
use crate::{
    ascent,
    update::{Graph, Input, Region, Target, Update},
};

#[cfg(feature = "torch")]
pub(crate) fn theta_prev(knobs: &TramThetaPrev, u: &mut Update) -> Result<(), Error> {
    // target = p(x; theta_{t-1})
    let region = Region::measured(&knobs.divergence, Target::Stored(knobs.target_mode));
    step(
        u,
        region,
        knobs.d_max,
        knobs.tram_adaptive,
        &knobs.adaptive,
        Input::Clean,
    )
}

#[cfg(feature = "torch")]
pub(crate) fn theta_0(knobs: &TramTheta0, u: &mut Update) -> Result<(), Error> {
    // target = p(x; theta_0)
    let region = Region::measured(&knobs.divergence, Target::Stored(knobs.target_mode));
    step(
        u,
        region,
        knobs.d_max,
        knobs.tram_adaptive,
        &knobs.adaptive,
        Input::Clean,
    )
}

#[cfg(feature = "torch")]
pub(crate) fn x(knobs: &TramX, u: &mut Update) -> Result<(), Error> {
    // target = p(x + z; theta_t)
    let replay = knobs.second_pass_input == SecondPassInput::Noised;
    let target = Target::Noised {
        mode: knobs.target_mode,
        first: 0,
        draws: knobs.noise_draws as usize,
        graph: Graph::None,
        keep_embedding: replay,
    };
    let region = Region::measured(&knobs.divergence, target);
    let second = if replay {
        Input::Replayed
    } else {
        Input::Clean
    };
    step(
        u,
        region,
        knobs.d_max,
        knobs.tram_adaptive,
        &knobs.adaptive,
        second,
    )
}

/// Algorithm 1.
#[cfg(feature = "torch")]
fn step(
    u: &mut Update,
    region: Region,
    d_max: Option<f64>,
    tram_adaptive: bool,
    asam: &Adaptive,
    second: Input,
) -> Result<(), Error> {
    // g = grad L(theta_t);  d = D(target, f(x; theta_t)), a plain number
    let found = u.gradient_within(region)?;
    let d = found
        .distance
        .as_ref()
        .expect("the region was measured")
        .shallow_clone();
    u.first(found);
    u.step.distance_perturbed = None;
    // eps = d theta^2 g / ||theta g||  (eq. 7)
    let d = d_max.map_or(d.shallow_clone(), |d_max| d.clamp_max(d_max));
    let eps = match tram_adaptive {
        true => ascent::adaptive(u.w, d, asam)?,
        false => ascent::plain(u.w, d, asam.norm_eps, asam.perturbation),
    };
    // h = grad L(theta_t + eps)
    u.perturbed(eps, asam.restore, |u| u.gradient(second))
}

data! {
    /// Knobs of TRAM-theta_{t-1}.
    pub struct TramThetaPrev {
        /// How the gradient becomes the step.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub adaptive: Adaptive = Adaptive::default(),
        /// How the distance is measured.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub divergence: Divergence = Divergence::default(),
        /// Cap of the radius; > 0, none if absent. Source: the paper says the distance can be
        /// capped, and does not do it.
        pub d_max: Option<f64> = None,
        /// Scale the step by the size of the weights, as ASAM does; otherwise as SAM. Source:
        /// equation 7 of the paper.
        pub tram_adaptive: bool = true,
        /// When theta_{t-1} is copied. Source: before the update in the paper; its code copies
        /// after it, so that the distance vanishes.
        pub prev_snapshot: PrevSnapshot = PrevSnapshot::BeforeUpdate,
        /// Mode of the network that makes the target.
        pub target_mode: TargetMode = TargetMode::Released,
    }
}

impl TramThetaPrev {
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.adaptive.check()?;
        self.divergence.check()?;
        self.d_max.map_or(Ok(()), |d| positive("d_max", d))?;
        Ok(())
    }
}

data! {
    /// Knobs of TRAM-theta_0.
    pub struct TramTheta0 {
        /// How the gradient becomes the step.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub adaptive: Adaptive = Adaptive::default(),
        /// How the distance is measured.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub divergence: Divergence = Divergence::default(),
        /// Cap of the radius; > 0, none if absent. Source: the paper says the distance can be
        /// capped, and does not do it.
        pub d_max: Option<f64> = None,
        /// Scale the step by the size of the weights, as ASAM does; otherwise as SAM. Source:
        /// equation 7 of the paper.
        pub tram_adaptive: bool = true,
        /// Mode of the network that makes the target.
        pub target_mode: TargetMode = TargetMode::Released,
    }
}

impl TramTheta0 {
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.adaptive.check()?;
        self.divergence.check()?;
        self.d_max.map_or(Ok(()), |d| positive("d_max", d))?;
        Ok(())
    }
}

data! {
    /// Knobs of TRAM-x.
    pub struct TramX {
        /// How the gradient becomes the step.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub adaptive: Adaptive = Adaptive::default(),
        /// How the distance is measured.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub divergence: Divergence = Divergence::default(),
        /// Cap of the radius; > 0, none if absent. Source: the paper says the distance can be
        /// capped, and does not do it.
        pub d_max: Option<f64> = None,
        /// Scale the step by the size of the weights, as ASAM does; otherwise as SAM. Source:
        /// equation 7 of the paper.
        pub tram_adaptive: bool = true,
        /// Noise on the input.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub noise: InputNoise = InputNoise::default(),
        /// Noise draws per update, whose distances are averaged; >= 1, a forward pass each.
        /// Source: the paper writes an expectation, its code draws once.
        pub noise_draws: u32 = 1,
        /// What the second pass sees.
        pub second_pass_input: SecondPassInput = SecondPassInput::Clean,
        /// Mode of the network that makes the target.
        pub target_mode: TargetMode = TargetMode::Released,
    }
}

impl TramX {
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.adaptive.check()?;
        self.divergence.check()?;
        self.d_max.map_or(Ok(()), |d| positive("d_max", d))?;
        self.noise.check()?;
        at_least("noise_draws", self.noise_draws.into(), 1.0)?;
        Ok(())
    }
}
