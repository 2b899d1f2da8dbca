//! TRAM and the methods it is compared with.

mod asam;
mod base;
mod check;
mod combined;
mod data;
mod error;
mod fsam;
mod knobs;
mod mesa;
mod method;
mod r3f;
mod sam;
mod tram;
mod tram_fisher;
mod trpo;

pub use asam::Asam;
pub use base::{Adam, Base, Constant, Cosine, CosineStep, Length, Polynomial, Schedule, Sgd};
pub use combined::{AsamMesa, AsamR3f, AsamTrpo, ComboNoise};
pub use error::Error;
pub use fsam::Fsam;
pub use knobs::*;
pub use mesa::Mesa;
pub use method::{Method, NoKnobs, Passes};
pub use r3f::R3f;
pub use sam::Sam;
pub use tram::{TramTheta0, TramThetaPrev, TramX};
pub use tram_fisher::{FisherPasses, TramFisher};
pub use trpo::Trpo;
