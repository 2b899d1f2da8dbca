//! The suite language: how training goes.

use methods::{Base, Schedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How training goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The base optimizer that applies the final gradient.
    pub base: Base,
    /// The learning rate over time, as a multiple of the base optimizer's.
    pub schedule: Schedule,
    /// How long: `{steps: 50000}` or `{epochs: 200}`.
    pub length: Length,
    /// Examples (images, blocks, pairs) per update.
    #[schemars(range(min = 1))]
    pub batch: u64,
    /// Parts a batch is cut into to fit the device; the update is the whole batch's.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub micro_batches: u64,
    /// Whether backward passes compute the inside of every block again instead of keeping it: slower by a third, and a
    /// deep network fits. Changes no number.
    #[serde(default)]
    pub activation_checkpointing: bool,
    /// Number format of forward and backward passes; parameters stay float32.
    #[serde(default)]
    pub precision: Precision,
    /// Largest norm of the gradient handed to the base optimizer; left out, no clipping.
    #[serde(default)]
    pub clip_norm: Option<f64>,
    /// Fragments of parameter names exempt from weight decay.
    #[serde(default)]
    pub no_decay: Vec<String>,
    /// How often the task's `select` portion is evaluated; left out, only at the end.
    #[serde(default)]
    pub evaluate_every: Option<Length>,
    /// Which model is measured at the end.
    #[serde(default)]
    pub selection: Selection,
}

fn one() -> u64 {
    1
}

/// A stretch of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// Updates.
    Steps(#[schemars(range(min = 1))] u64),
    /// Passes over the training data.
    Epochs(#[schemars(range(min = 1))] u64),
}

/// Number format of forward and backward passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision throughout.
    #[default]
    Float32,
    /// bfloat16 where autocast allows, float32 elsewhere.
    Bfloat16,
}

/// Which model is measured at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The one after the last update.
    #[default]
    Last,
    /// The one with the lowest loss on the task's `select` portion.
    Best,
}
