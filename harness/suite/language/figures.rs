//! The suite language: figures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A figure.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Short name, used for the file.
    pub id: String,
    /// Caption.
    pub title: String,
    /// Where the paper shows it; left out for a figure of our own.
    #[serde(default)]
    pub place: Option<String>,
    /// What it draws.
    pub draw: Drawing,
}

/// What a figure draws.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Drawing {
    /// One point per method with its interval, ours beside the reported, one panel a column.
    Intervals(Intervals),
    /// One point per method in the plane of two columns, with regression lines.
    Scatter(Scatter),
    /// A quantity over training, one line per method, mean over seeds.
    Curves(Curves),
}

/// Points with error bars.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Intervals {
    /// A table of this file.
    pub table: String,
    /// Its columns; all when left out.
    #[serde(default)]
    pub columns: Vec<String>,
}

/// Points in a plane.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scatter {
    /// A table of this file.
    pub table: String,
    /// The column on the horizontal axis.
    pub x: String,
    /// The columns whose mean is on the vertical axis.
    #[schemars(length(min = 1))]
    pub y: Vec<String>,
    /// Methods that are left out.
    #[serde(default)]
    pub without: Vec<String>,
    /// Regression lines.
    #[serde(default)]
    pub lines: Vec<Line>,
}

/// A regression line through some methods.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Legend.
    pub title: String,
    /// The methods it is fitted to.
    #[schemars(length(min = 2))]
    pub methods: Vec<String>,
}

/// A quantity over training.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Curves {
    /// A task of this file.
    pub task: String,
    /// The observation's name: `loss`, `distance`, `lr`, ...
    pub metric: String,
    /// The observation's portion; `training` when left out.
    #[serde(default = "Curves::training")]
    pub on: String,
}

impl Curves {
    fn training() -> String {
        "training".into()
    }
}
