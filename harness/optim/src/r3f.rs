//! R3F: robust representations from regularised fine-tuning (Aghajanyan et al., 2021).

#[cfg(feature = "torch")]
use crate::update::{Graph, Region, Target, Update};
use crate::{
    Error,
    check::at_least,
    data::data,
    knobs::{Divergence, InputNoise, TargetMode},
};

#[cfg(feature = "torch")]
pub(crate) fn step(knobs: &R3f, u: &mut Update) -> Result<(), Error> {
    // D = KL(p(x + z; theta) || p(x; theta));  g = grad (L + lambda D)
    let target = Target::Noised {
        mode: knobs.target_mode,
        first: 0,
        draws: knobs.noise_draws as usize,
        graph: Graph::of(knobs.target_grad, knobs.noise_detach_embedding),
        keep_embedding: false,
    };
    let found = u.gradient_within(Region::penalty(&knobs.divergence, target, knobs.lambda))?;
    u.first(found);
    Ok(())
}

data! {
    /// Knobs of R3F.
    pub struct R3f {
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
        /// Mode of the network that makes the target.
        pub target_mode: TargetMode = TargetMode::Released,
    }
}

impl R3f {
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_least("lambda", self.lambda, 0.0)?;
        self.divergence.check()?;
        self.noise.check()?;
        at_least("noise_draws", self.noise_draws.into(), 1.0)?;
        Ok(())
    }
}
