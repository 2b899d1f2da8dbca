//! The suite language: how cells are judged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How verdicts are reached. The margin within which a number counts as the same is the largest of
/// - one unit of the last printed digit: finer than that the paper does not say what its number is;
/// - `spreads` of the paper's standard deviations over seeds, where it prints a spread: about 95% of the paper's
///   own runs lie that close to their mean;
/// - `relative` of the printed value, where it prints none.
///
/// It never depends on our own spread, which would let a noisy implementation pass more easily.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Significance level of both tests, the one of no difference and the one of equivalence; below 0.5.
    #[serde(default = "Rule::level")]
    #[schemars(range(min = 0.0, max = 0.5))]
    pub level: f64,
    /// Margin in standard deviations of the paper.
    #[serde(default = "Rule::spreads")]
    #[schemars(range(min = 0.0))]
    pub spreads: f64,
    /// Margin relative to the printed value, for want of a spread.
    #[serde(default = "Rule::relative")]
    #[schemars(range(min = 0.0))]
    pub relative: f64,
}

impl Default for Rule {
    fn default() -> Rule {
        Rule {
            level: Rule::level(),
            spreads: Rule::spreads(),
            relative: Rule::relative(),
        }
    }
}

impl Rule {
    fn level() -> f64 {
        0.05
    }
    fn spreads() -> f64 {
        2.0
    }
    fn relative() -> f64 {
        0.01
    }
}
