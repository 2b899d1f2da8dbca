//! Networks, a file each, in the Hugging Face layout: `config.json` says the shape, `model.safetensors` holds the
//! weights under the reference implementation's names.

pub mod config;
pub mod gpt2;
mod layers;
pub(crate) mod safetensors;
mod stored;
pub mod vit;
mod weights;
pub mod xlmr;

use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};
use tch::Device;

pub use config::ConfigError;
pub use gpt2::{Gpt2, Gpt2Config};
use harness::suite::{ModelConfig, ModelType};
pub use layers::{Activation, Activations};
pub use stored::{Head, Loaded, WeightsError};
pub use vit::{Vit, VitConfig};
pub use weights::{Init, Parameter, Weights};
pub use xlmr::{XlmRoberta, XlmRobertaConfig};

/// A network of any family.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a process holds one or two")]
pub enum Network {
    /// Image classifier.
    Vit(Vit),
    /// Language model.
    Gpt2(Gpt2),
    /// Classifier of texts.
    XlmRoberta(XlmRoberta),
}

/// Why a network could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Its configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] torch_ext::Error),
    /// Classes were asked of a language model.
    #[error("gpt2 is a language model and has no classes, but {0} were asked for")]
    Classes(i64),
}

impl Network {
    /// The network that `config` describes, with `classes` classes where that is given, and fresh weights from the
    /// stream that starts at `seed`.
    pub fn new(
        config: &ModelConfig,
        classes: Option<i64>,
        seed: u64,
        device: Device,
    ) -> Result<Self, ModelError> {
        if let Some(count) = classes.filter(|&count| count < 1) {
            let problem = format!("should be at least 1, found {count}");
            return Err(config::wrong("num_labels", problem).into());
        }
        // Names of other classes do not fit.
        let rename = |count: &mut i64, names: &mut Vec<String>| {
            if let Some(classes) = classes.filter(|classes| classes != count) {
                *count = classes;
                names.clear();
            }
        };
        Ok(match config.model_type {
            ModelType::Vit => {
                let mut config = VitConfig::read(config)?;
                rename(&mut config.num_labels, &mut config.label_names);
                Self::Vit(Vit::new(config, seed, device)?)
            }
            ModelType::Gpt2 => {
                if let Some(classes) = classes {
                    return Err(ModelError::Classes(classes));
                }
                Self::Gpt2(Gpt2::new(Gpt2Config::read(config)?, seed, device)?)
            }
            ModelType::XlmRoberta => {
                let mut config = XlmRobertaConfig::read(config)?;
                rename(&mut config.num_labels, &mut config.label_names);
                Self::XlmRoberta(XlmRoberta::new(config, seed, device)?)
            }
        })
    }

    /// Its parameters.
    pub fn weights(&self) -> &Weights {
        match self {
            Self::Vit(model) => &model.weights,
            Self::Gpt2(model) => &model.weights,
            Self::XlmRoberta(model) => &model.weights,
        }
    }

    /// What its blocks leave for the backward pass; everything, unless told.
    pub fn set_activations(&mut self, activations: Activations) {
        match self {
            Self::Vit(model) => model.set_activations(activations),
            Self::Gpt2(model) => model.set_activations(activations),
            Self::XlmRoberta(model) => model.set_activations(activations),
        }
    }

    /// Reads weights from a repository's folder, or from one safetensors file. Values are converted to the network's
    /// kind. Nothing changes when names or shapes do not fit.
    pub fn load(&self, path: &Path, head: Head) -> Result<Loaded, WeightsError> {
        let layout = match self {
            Self::Vit(_) => &Vit::LAYOUT,
            Self::Gpt2(_) => &Gpt2::LAYOUT,
            Self::XlmRoberta(_) => &XlmRoberta::LAYOUT,
        };
        stored::load(self.weights(), layout, path, head)
    }

    /// Writes `model.safetensors` and `config.json` to an existing folder, each whole or not at all, as the reference
    /// implementation reads them.
    pub fn save(&self, folder: &Path) -> Result<(), WeightsError> {
        self.weights().save(&folder.join(stored::WHOLE))?;
        let text = serde_json::to_string_pretty(&self.config_json()).expect("plain JSON");
        safetensors::whole(&folder.join("config.json"), |file| {
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")
        })
    }

    /// The content of `config.json`.
    fn config_json(&self) -> Value {
        let labels = |count, names: &[String]| {
            Map::from_iter(
                config::label_maps(count, names).map(|(key, map)| (key.to_string(), map)),
            )
        };
        let (model_type, class, shape, labels) = match self {
            Self::Vit(Vit { config, .. }) => (
                "vit",
                "ViTForImageClassification",
                json!(config),
                labels(config.num_labels, &config.label_names),
            ),
            Self::Gpt2(Gpt2 { config, .. }) => {
                ("gpt2", "GPT2LMHeadModel", json!(config), Map::new())
            }
            Self::XlmRoberta(XlmRoberta { config, .. }) => (
                "xlm-roberta",
                "XLMRobertaForSequenceClassification",
                json!(config),
                labels(config.num_labels, &config.label_names),
            ),
        };
        let mut all = Map::new();
        all.insert("model_type".into(), json!(model_type));
        all.insert("architectures".into(), json!([class]));
        if let Value::Object(shape) = shape {
            all.extend(shape);
        }
        all.extend(labels);
        all.into()
    }
}
