#![cfg_attr(feature = "torch", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "torch"),
    doc = "The methods of `optim` as plain data: the same sources without libtorch."
)]

mod asam;
#[cfg(feature = "torch")]
mod ascent;
mod base;
mod check;
mod combined;
mod data;
#[cfg(feature = "torch")]
mod distance;
mod error;
mod fsam;
mod knobs;
mod mesa;
mod method;
#[cfg(feature = "torch")]
mod noise;
#[cfg(feature = "torch")]
mod optimizer;
mod r3f;
mod sam;
#[cfg(feature = "torch")]
mod state;
#[cfg(feature = "torch")]
mod step;
#[cfg(feature = "torch")]
mod task;
mod tram;
mod tram_fisher;
mod trpo;
#[cfg(feature = "torch")]
mod update;
#[cfg(feature = "torch")]
mod update_base;
#[cfg(feature = "torch")]
mod weights;

pub use asam::Asam;
pub use base::{Adam, Base, Constant, Cosine, CosineStep, Length, Polynomial, Schedule, Sgd};
pub use combined::{AsamMesa, AsamR3f, AsamTrpo, ComboNoise};
#[cfg(feature = "torch")]
pub use distance::distance;
pub use error::Error;
pub use fsam::Fsam;
pub use knobs::*;
pub use mesa::Mesa;
pub use method::{Method, NoKnobs, Passes};
#[cfg(feature = "torch")]
pub use noise::{Draw, Noise, NoiseSource};
#[cfg(feature = "torch")]
pub use optimizer::{Keep, Optimizer, Options};
pub use r3f::R3f;
pub use sam::Sam;
#[cfg(feature = "torch")]
pub use step::{Numbers, Record, Step, Tensors};
#[cfg(feature = "torch")]
pub use task::{Accumulated, Output, Pass, Rows, Share, Task};
pub use tram::{TramTheta0, TramThetaPrev, TramX};
pub use tram_fisher::{FisherPasses, TramFisher};
pub use trpo::Trpo;
