//! Networks, a file each, in the Hugging Face layout: `config.json` says the shape, `model.safetensors` holds the
//! weights under the reference implementation's names.

pub mod config;
pub mod vit;
mod weights;

pub use config::ConfigError;
pub use vit::{Vit, VitConfig};
pub use weights::{Init, Loaded, Parameter, Weights, WeightsError};
