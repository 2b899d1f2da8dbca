//! The suite language: what is measured, and the knobs of measuring.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A quantity, its unit and which way is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// How it is measured.
    pub measure: Measure,
    /// Which way is better.
    pub better: Direction,
    /// Unit as printed in table headers, `%`.
    #[serde(default)]
    pub unit: Option<String>,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Larger values are better.
    Higher,
    /// Smaller values are better.
    Lower,
}

/// How a quantity is measured. Plain ones are a word, those with knobs a mapping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Share of examples whose largest logit is the label, in percent.
    Accuracy,
    /// Mean task loss in nats.
    Loss,
    /// Mean trust-region distance d over the updates of training; a column shows it `on: training`.
    Distance,
    /// Largest trust-region distance d of an update of training; a column shows it `on: training`.
    MaxDistance,
    /// exp(total negative log-likelihood / tokens).
    #[serde(untagged)]
    Perplexity(PerplexityMeasure),
    /// Epsilon-sharpness (Keskar et al. 2017), in percent: TRAM paper, eq. 11.
    #[serde(untagged)]
    Sharpness(SharpnessMeasure),
    /// Linear centred kernel alignment of first-token states with the pre-trained model's: TRAM paper, eq. 12.
    #[serde(untagged)]
    Cka(CkaMeasure),
}

/// Perplexity and its one choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PerplexityMeasure {
    /// Its knobs.
    pub perplexity: PerplexityKnobs,
}

/// How the mean over blocks is weighted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PerplexityKnobs {
    /// `predicted_tokens`: a block of T tokens counts T-1; `block_tokens`: T, as the data set's own script does.
    #[serde(default)]
    pub perplexity_weighting: PerplexityWeighting,
}

/// What a block of T tokens weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PerplexityWeighting {
    /// T - 1, the tokens that were predicted.
    #[default]
    PredictedTokens,
    /// T.
    BlockTokens,
}

/// Epsilon-sharpness and its knobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharpnessMeasure {
    /// Its knobs.
    pub sharpness: SharpnessKnobs,
}

/// 100 (L_max - L_0) / (1 + L_0), with L_max found by gradient ascent inside a box around the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharpnessKnobs {
    /// Half-width of the box, relative to |theta| + 1.
    #[serde(default = "SharpnessKnobs::epsilon")]
    #[schemars(range(min = 0.0))]
    pub epsilon: f64,
    /// Step size of the ascent.
    #[serde(default = "SharpnessKnobs::lr")]
    pub lr: f64,
    /// Examples per batch.
    #[serde(default = "SharpnessKnobs::batch")]
    #[schemars(range(min = 1))]
    pub batch: u64,
    /// Batches per ascent step.
    #[serde(default = "SharpnessKnobs::accumulation")]
    #[schemars(range(min = 1))]
    pub accumulation: u64,
    /// Whether those batches' gradients are summed or averaged.
    #[serde(default)]
    pub accum_reduction: Reduction,
    /// `absolute`: epsilon (|theta| + 1), the paper's; `signed`: epsilon |theta + 1|, the released code's.
    #[serde(default, rename = "box")]
    pub box_: BoxKind,
    /// The loss after the sweep, or the largest seen.
    #[serde(default)]
    pub value: SharpnessValue,
}

impl SharpnessKnobs {
    fn epsilon() -> f64 {
        1e-5
    }
    fn lr() -> f64 {
        8e-5
    }
    fn batch() -> u64 {
        32
    }
    fn accumulation() -> u64 {
        4
    }
}

/// How several gradients become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Their sum.
    #[default]
    Sum,
    /// Their mean.
    Mean,
}

/// Shape of the box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BoxKind {
    /// epsilon (|theta| + 1).
    #[default]
    Absolute,
    /// epsilon |theta + 1|.
    Signed,
}

/// Which loss of the ascent counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SharpnessValue {
    /// The one after the sweep.
    #[default]
    Final,
    /// The largest.
    Best,
}

/// Linear CKA and its one choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CkaMeasure {
    /// Its knobs.
    pub cka: CkaKnobs,
}

/// Knobs of linear CKA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CkaKnobs {
    /// Whether columns are centred first, as the definition the paper cites assumes.
    #[serde(default = "CkaKnobs::centred")]
    pub centred: bool,
}

impl CkaKnobs {
    fn centred() -> bool {
        true
    }
}
