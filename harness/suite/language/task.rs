//! The suite language: data, inputs and methods, put together in a task.

use methods::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Folder, Hub};

/// Data, model, training and metric put together.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// A model of this file.
    pub model: String,
    /// The data set.
    pub data: Data,
    /// The tokenizer of a text; the model's own when left out.
    #[serde(default)]
    pub tokenizer: Option<Data>,
    /// How an example is read and fed to the model.
    pub input: Input,
    /// Portions to train on: a split (`train`), or a domain or language with one (`en/train`).
    #[schemars(length(min = 1))]
    pub train: Vec<String>,
    /// The portion whose loss selects the model.
    #[serde(default)]
    pub select: Option<String>,
    /// A training of this file.
    pub training: String,
    /// The metric of this file that columns show unless they name another.
    pub metric: String,
    /// How many devices do a run together, each with a part of every batch. Its result is the same but for rounding.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    pub devices: u32,
    /// How large the paper says the portions are; shown beside what is counted.
    #[serde(default)]
    pub sizes: Option<Sizes>,
    /// How large its runs are, from which `harness plan` works out their cost before any has run.
    #[serde(default)]
    pub scale: Option<Scale>,
}

fn one() -> u32 {
    1
}

/// How large the runs of a task are.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Parameters of the network.
    #[schemars(range(min = 1))]
    pub parameters: f64,
    /// Those of them that every token is multiplied with, without tables that are only looked up; all when left out.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub computing: Option<f64>,
    /// Tokens of an example; patches of an image.
    #[schemars(range(min = 1))]
    pub tokens: f64,
    /// Training examples; needed where a training is so many epochs long.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub examples: Option<f64>,
    /// Bytes of the files of its data on the hub, as far as is known.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub download: Option<f64>,
}

/// How large the paper says portions are.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Where it says so.
    pub place: String,
    /// What it counts.
    pub unit: SizeUnit,
    /// Portions with their size as printed, `380M`.
    pub portions: indexmap::IndexMap<String, String>,
}

/// What the size of a portion counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SizeUnit {
    /// Images, blocks or pairs.
    Examples,
    /// Tokens of text.
    Tokens,
}

impl SizeUnit {
    /// The metric under which a run observes it.
    pub fn metric(self) -> &'static str {
        match self {
            SizeUnit::Examples => "examples",
            SizeUnit::Tokens => "tokens",
        }
    }
}

/// Where a data set or a tokenizer comes from: give `hub` or `folder`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Data {
    /// A repository of the Hugging Face Hub.
    Hub(Hub),
    /// A local folder of the same layout.
    Folder(Folder),
}

/// How an example is read and fed to the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Images with a class label.
    Images(Images),
    /// Plain text cut into blocks of tokens.
    TextBlocks(TextBlocks),
    /// Pairs of sentences with a class label.
    SentencePairs(SentencePairs),
}

/// Images with a class label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// Column of the encoded images.
    #[serde(default = "Images::image")]
    pub image: String,
    /// Column of the labels.
    #[serde(default = "Images::label")]
    pub label: String,
    /// Subtracted from pixel values in 0..1.
    #[serde(default = "Images::half")]
    pub mean: f64,
    /// They are then divided by this.
    #[serde(default = "Images::half")]
    pub std: f64,
    /// What training does to an image besides resizing.
    #[serde(default)]
    pub augmentation: Augmentation,
    /// Number of classes; the configuration's `num_labels` when left out. A classifier of another size starts anew.
    #[serde(default)]
    #[schemars(range(min = 2))]
    pub classes: Option<u64>,
}

impl Images {
    fn image() -> String {
        "image".into()
    }
    fn label() -> String {
        "label".into()
    }
    fn half() -> f64 {
        0.5
    }
}

/// What training does to an image besides resizing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Augmentation {
    /// Nothing.
    #[default]
    None,
    /// A random crop, resized, and a random horizontal flip.
    CropFlip,
}

/// Plain text cut into blocks of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextBlocks {
    /// Tokens per block.
    #[schemars(range(min = 2))]
    pub length: u64,
    /// Column of the texts, where they lie in Parquet.
    #[serde(default = "TextBlocks::text")]
    pub text: String,
}

impl TextBlocks {
    fn text() -> String {
        "text".into()
    }
}

/// Pairs of sentences with a class label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SentencePairs {
    /// Longest pair in tokens; longer ones lose their end.
    #[schemars(range(min = 4))]
    pub max_length: u64,
    /// Column of the first sentence.
    #[serde(default = "SentencePairs::first")]
    pub first: String,
    /// Column of the second.
    #[serde(default = "SentencePairs::second")]
    pub second: String,
    /// Column of the label.
    #[serde(default = "Images::label")]
    pub label: String,
    /// Number of classes; the configuration's `num_labels` when left out. A classifier of another size starts anew.
    #[serde(default)]
    #[schemars(range(min = 2))]
    pub classes: Option<u64>,
}

impl SentencePairs {
    fn first() -> String {
        "premise".into()
    }
    fn second() -> String {
        "hypothesis".into()
    }
}

/// A method: `{method: sam, rho: 0.05}`, or `{method: untrained}` for the model evaluated as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MethodEntry {
    /// The model as it is, without training.
    Untrained(Untrained),
    /// An optimizer with its hyper-parameters.
    Trained(Method),
}

/// The model as it is, without training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Untrained {
    /// Always `untrained`.
    pub method: UntrainedTag,
}

/// The word `untrained`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UntrainedTag {
    /// No training.
    Untrained,
}
