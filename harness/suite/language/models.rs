//! The suite language: where a network comes from.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a network comes from: give one of `hub`, `folder`, `config`, `stage`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Model {
    /// A repository of the Hugging Face Hub.
    Hub(Hub),
    /// A local folder of the same layout.
    Folder(Folder),
    /// An architecture in the Hugging Face configuration format, initialised from the run's seed.
    Config(ConfigModel),
    /// The final weights of another run that this file declares, such as pre-training.
    Stage(StageModel),
}

/// A repository of the Hugging Face Hub, pinned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// `owner/name`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*/[A-Za-z0-9_-][A-Za-z0-9_.-]*$"))]
    pub hub: String,
    /// Full commit hash, so that the same file always means the same bytes.
    #[schemars(regex(pattern = r"^[0-9a-f]{40}$"))]
    pub revision: String,
}

/// A local folder, pinned by its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// Path, relative to the suite file.
    pub folder: String,
    /// Hash of the folder's content, as `harness validate` prints it when it differs.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// An architecture without weights.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigModel {
    /// The keys of a Hugging Face `config.json`; `model_type` chooses the family.
    pub config: ModelConfig,
}

/// The keys of a Hugging Face `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelConfig {
    /// `vit`, `gpt2` or `xlm-roberta`.
    pub model_type: ModelType,
    /// Every other key, with the meaning and defaults of the reference implementation.
    #[serde(flatten)]
    pub keys: IndexMap<String, serde_json::Value>,
}

/// A family of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModelType {
    /// Vision transformer with a classifier.
    Vit,
    /// GPT-2 language model.
    Gpt2,
    /// XLM-RoBERTa sequence classifier.
    XlmRoberta,
}

/// Weights from another run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageModel {
    /// The run that makes them.
    pub stage: Stage,
}

/// A run whose final weights another run starts from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// A task of this file.
    pub task: String,
    /// A method of this file.
    pub method: String,
    /// Its seed; left out, the seed of the run that starts from it.
    #[serde(default)]
    pub seed: Option<u64>,
}
