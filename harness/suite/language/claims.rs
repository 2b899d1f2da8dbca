//! The suite language: sentences of the paper that numbers can decide.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A sentence of the paper that numbers can decide.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Short name.
    pub id: String,
    /// The sentence, in our words.
    pub says: String,
    /// Where the paper says it.
    pub place: String,
    /// What must hold.
    pub holds: Statement,
}

/// What must hold for a claim.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statement {
    /// Methods are better than others.
    Order(Order),
    /// A method is the best or the worst.
    Extreme(Extreme),
    /// No significant difference.
    NotDifferent(NotDifferent),
    /// Two columns correlate over methods.
    Correlates(Correlates),
    /// The distance between two methods lies in a range.
    Gap(Gap),
    /// Values lie in a range.
    Bound(Bound),
    /// A method makes so many passes per update.
    Passes(PassesClaim),
    /// All of several statements.
    AllOf(Vec<Statement>),
    /// At least one of several statements.
    AnyOf(Vec<Statement>),
}

/// Methods are better than others, in every named column.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// A table of this file.
    pub table: String,
    /// Its columns.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// The better ones.
    #[schemars(length(min = 1))]
    pub better: Vec<String>,
    /// Whether each of them, or the best of them in each column, is meant.
    #[serde(default)]
    pub which: Which,
    /// The others.
    #[schemars(length(min = 1))]
    pub than: Vec<String>,
    /// The significance test; left out, the order of the means decides.
    #[serde(default)]
    pub test: Option<TestOver>,
}

/// Each of several methods, or the best of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Each of them.
    #[default]
    Each,
    /// The best of them in each column.
    Best,
}

/// A significance test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestOver {
    /// Which one.
    pub name: Test,
    /// Significance level, such as 0.01.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub level: f64,
    /// What the samples are.
    #[serde(default)]
    pub over: Samples,
}

/// A significance test by name; all two-sided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// Welch's t-test; from printed mean, spread and seeds when there are no samples.
    Welch,
    /// Wilcoxon signed-rank test on pairs.
    Wilcoxon,
    /// Two-sample Kolmogorov-Smirnov test.
    KolmogorovSmirnov,
}

/// What a test's samples are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Samples {
    /// One value per seed, a test per column.
    #[default]
    Seeds,
    /// One value per column, one test.
    Columns,
}

/// A method is the best or the worst, in every named column or in some.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extreme {
    /// A table of this file.
    pub table: String,
    /// Its columns.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// The method.
    pub method: String,
    /// Methods any of which may be it in its place, in each column another.
    #[serde(default)]
    pub or: Vec<String>,
    /// Best or worst.
    pub is: End,
    /// Among these methods; all rows of the table when left out.
    #[serde(default)]
    pub among: Vec<String>,
    /// In at least so many of the columns; in every one when left out.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub at_least: Option<u64>,
}

/// Best or worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// None is better.
    Best,
    /// None is worse.
    Worst,
}

/// No significant difference between two methods.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotDifferent {
    /// A table of this file.
    pub table: String,
    /// Its columns.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// One method.
    pub method: String,
    /// The other.
    pub from: String,
    /// The test.
    pub test: TestOver,
}

/// Two columns correlate over methods.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Correlates {
    /// A table of this file.
    pub table: String,
    /// One column.
    pub x: String,
    /// The columns each of which is correlated with it.
    #[schemars(length(min = 1))]
    pub y: Vec<String>,
    /// Methods that do not take part.
    #[serde(default)]
    pub without: Vec<String>,
    /// Every correlation is at least this.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// Every correlation is at most this.
    #[serde(default)]
    pub at_most: Option<f64>,
    /// The two-sided p of every correlation is below this.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p_below: Option<f64>,
}

/// `method` minus `from`, in every named column, lies in a range.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// A table of this file.
    pub table: String,
    /// Its columns.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// One method.
    pub method: String,
    /// The other.
    pub from: String,
    /// Lower end.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// Upper end.
    #[serde(default)]
    pub at_most: Option<f64>,
}

/// Values lie in a range.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// A table of this file.
    pub table: String,
    /// Its columns.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// The methods.
    #[schemars(length(min = 1))]
    pub methods: Vec<String>,
    /// Lower end.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// Upper end.
    #[serde(default)]
    pub at_most: Option<f64>,
}

/// A method makes so many passes per update.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PassesClaim {
    /// The method.
    pub method: String,
    /// Forward passes.
    pub forward: u64,
    /// Backward passes.
    pub backward: u64,
}
