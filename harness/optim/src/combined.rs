//! ASAM on a penalised objective: the paper's combinations.

use crate::{
    Error,
    check::{at_least, range},
    data::data,
    knobs::{Adaptive, Divergence, InputNoise, PrevSnapshot, TargetMode},
};
#[cfg(feature = "torch")]
use crate::{
    ascent,
    update::{Graph, Region, Target, Update},
};

#[cfg(feature = "torch")]
pub(crate) fn trpo(knobs: &AsamTrpo, u: &mut Update) -> Result<(), Error> {
    // The target p(x; theta_{t-1}) is computed once.
    let region = Region::penalty(
        &knobs.divergence,
        Target::Stored(knobs.target_mode),
        knobs.lambda,
    );
    step(
        u,
        region.kept(),
        region.again(Target::Kept),
        knobs.rho,
        &knobs.adaptive,
    )
}

#[cfg(feature = "torch")]
pub(crate) fn mesa(knobs: &AsamMesa, u: &mut Update) -> Result<(), Error> {
    // The target p(x; theta_ema) is computed once.
    let region = Region::penalty(
        &knobs.divergence,
        Target::Stored(knobs.target_mode),
        knobs.lambda,
    );
    step(
        u,
        region.kept(),
        region.again(Target::Kept),
        knobs.rho,
        &knobs.adaptive,
    )
}

#[cfg(feature = "torch")]
pub(crate) fn r3f(knobs: &AsamR3f, u: &mut Update) -> Result<(), Error> {
    // The noised forward pass is repeated at theta + eps, with the same z or another one.
    let draws = knobs.noise_draws as usize;
    let noised = |first| Target::Noised {
        mode: knobs.target_mode,
        first,
        draws,
        graph: Graph::of(knobs.target_grad, knobs.noise_detach_embedding),
        keep_embedding: false,
    };
    let second = match knobs.combo_noise {
        ComboNoise::Shared => noised(0),
        ComboNoise::Resample => noised(draws),
    };
    let region = Region::penalty(&knobs.divergence, noised(0), knobs.lambda);
    step(u, region, region.again(second), knobs.rho, &knobs.adaptive)
}

/// ASAM with L replaced by J = L + lambda D in both passes.
#[cfg(feature = "torch")]
fn step(
    u: &mut Update,
    first: Region,
    second: Region,
    rho: f64,
    asam: &Adaptive,
) -> Result<(), Error> {
    // g = grad J(theta)
    let found = u.gradient_within(first)?;
    u.first(found);
    // T = |theta| + asam_eta;  eps = rho T^2 g / ||T g||
    let rho = u.w.constant(rho);
    let eps = ascent::adaptive(u.w, rho, asam)?;
    // h = grad J(theta + eps)
    u.perturbed(eps, asam.restore, |u| u.gradient_within(second))
}

data! {
    /// Knobs of ASAM+TRPO.
    pub struct AsamTrpo {
        /// Radius of the ascent step; >= 0. Source: 0.5 for ASAM in the paper's settings.
        pub rho: f64 = 0.5,
        /// How the gradient becomes the step.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub adaptive: Adaptive = Adaptive::default(),
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

impl AsamTrpo {
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least("rho", self.rho, 0.0)?;
        self.adaptive.check()?;
        at_least("lambda", self.lambda, 0.0)?;
        self.divergence.check()?;
        Ok(())
    }
}

data! {
    /// Knobs of ASAM+R3F.
    pub struct AsamR3f {
        /// Radius of the ascent step; >= 0. Source: 0.5 for ASAM in the paper's settings.
        pub rho: f64 = 0.5,
        /// How the gradient becomes the step.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub adaptive: Adaptive = Adaptive::default(),
        /// Weight of the distance in the objective; >= 0. Source: 0.1 in the paper's settings.
        pub lambda: f64 = 0.1,
        /// How the distance is measured.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub divergence: Divergence = Divergence::default(),
        /// Noise on the input.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub noise: InputNoise = InputNoise::default(),
        /// Noise draws per update, whose distances are averaged; >= 1, a forward pass each.
        /// Source: the paper writes an expectation, its code draws once.
        pub noise_draws: u32 = 1,
        /// Let the gradient flow through the noised branch too. Source: off in the paper's code;
        /// on in that of R3F's authors.
        pub target_grad: bool = false,
        /// Cut the noised embeddings from their table, for `target_grad: true`. Source: R3F's
        /// classification criterion does, its sequence criterion does not.
        pub noise_detach_embedding: bool = true,
        /// Whether the noised pass at the perturbed point sees the first pass's noise. Source: not
        /// released.
        pub combo_noise: ComboNoise = ComboNoise::Shared,
        /// Mode of the network that makes the target.
        pub target_mode: TargetMode = TargetMode::Released,
    }
}

impl AsamR3f {
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least("rho", self.rho, 0.0)?;
        self.adaptive.check()?;
        at_least("lambda", self.lambda, 0.0)?;
        self.divergence.check()?;
        self.noise.check()?;
        at_least("noise_draws", self.noise_draws.into(), 1.0)?;
        Ok(())
    }
}

data! {
    /// Knobs of ASAM+MESA.
    pub struct AsamMesa {
        /// Radius of the ascent step; >= 0. Source: 0.5 for ASAM in the paper's settings.
        pub rho: f64 = 0.5,
        /// How the gradient becomes the step.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub adaptive: Adaptive = Adaptive::default(),
        /// Weight of the distance in the objective; >= 0. Source: 0.1 in the paper's settings.
        pub lambda: f64 = 0.1,
        /// How the distance is measured.
        #[cfg_attr(feature = "serde", serde(flatten))]
        pub divergence: Divergence = Divergence::default(),
        /// Share of the average that an update keeps; in [0, 1). Source: 0.999 in the paper's
        /// settings; MESA's authors use 0.9998.
        pub ema_decay: f64 = 0.999,
        /// Mode of the network that makes the target.
        pub target_mode: TargetMode = TargetMode::Released,
    }
}

impl AsamMesa {
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least("rho", self.rho, 0.0)?;
        self.adaptive.check()?;
        at_least("lambda", self.lambda, 0.0)?;
        self.divergence.check()?;
        range("ema_decay", self.ema_decay, 0.0, 1.0)?;
        Ok(())
    }
}

data! {
    /// Noise of the second noised pass.
    pub enum ComboNoise {
        /// The first pass's noise.
        #[default]
        Shared,
        /// A draw of its own.
        Resample,
    }
}
