//! The suite language: the paper's tables.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A table of the paper: methods x columns.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Short name, `table3`.
    pub id: String,
    /// Caption.
    pub title: String,
    /// Where the reported numbers stand, `Table 3`.
    pub place: String,
    /// What the numbers are over seeds.
    #[serde(default)]
    pub statistic: Statistic,
    /// What the reported numbers carry besides a mean.
    #[serde(default)]
    pub spread: Spread,
    /// A table of this file where the paper prints the spread of these numbers: cells of the same method and column.
    #[serde(default)]
    pub spread_from: Option<String>,
    /// A table of this file that prints some of the same cells, those of the same method and column: among the verdicts
    /// they count there.
    #[serde(default)]
    pub repeats: Option<String>,
    /// A table of this file whose printed numbers stand here beside another reading of its methods. Such a table is none of
    /// the paper's: its verdicts do not count, a report of the paper alone leaves it out, and a plan counts its runs apart.
    #[serde(default)]
    pub reading_of: Option<String>,
    /// Seeds behind each reported number.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub reported_seeds: Option<u64>,
    /// Seeds to run for this table, when not the suite's.
    #[serde(default)]
    pub seeds: Option<Vec<u64>>,
    /// Columns, in the printed order.
    #[schemars(length(min = 1))]
    pub columns: Vec<Column>,
    /// Rows, in the printed order.
    #[schemars(length(min = 1))]
    pub rows: Vec<Row>,
    /// The methods that the paper prints as the best of a column, in bold, by the column's id.
    #[serde(default)]
    pub bold: IndexMap<String, Vec<String>>,
}

/// What a number is over seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// Their mean.
    #[default]
    Mean,
    /// Their standard deviation.
    Sd,
}

/// The kind of a printed ±.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// None is printed.
    #[default]
    None,
    /// Standard deviation over seeds.
    Sd,
    /// Half-width of the 95% confidence interval of the mean over seeds.
    Ci95,
    /// Standard deviation over the columns a derived column averages.
    SdOverColumns,
}

/// A column of a table: measured (`task`, `on`), or derived from other columns (`mean`, `sd`, `correlation`).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Column {
    /// Measured on a portion of a task's data.
    Measured(MeasuredColumn),
    /// The arithmetic mean of other columns.
    Mean(MeanColumn),
    /// The standard deviation over other columns.
    Sd(SdColumn),
    /// Pearson's correlation over seeds of one column with others, averaged over these.
    Correlation(CorrelationColumn),
}

/// Measured on a portion of a task's data.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeasuredColumn {
    /// Short name, unique in the table.
    pub id: String,
    /// Header; the id when left out.
    #[serde(default)]
    pub title: Option<String>,
    /// A task of this file.
    pub task: String,
    /// The portion of its data, `test` or `ar/test`.
    pub on: String,
    /// A metric of this file; the task's when left out.
    #[serde(default)]
    pub metric: Option<String>,
    /// Overrides the table's.
    #[serde(default)]
    pub spread: Option<Spread>,
    /// Whether it is only measured, for other columns to be derived from: rows have no entry for it, and no report
    /// shows it.
    #[serde(default)]
    pub hidden: bool,
}

/// The arithmetic mean of other columns of the table.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeanColumn {
    /// Short name, unique in the table.
    pub id: String,
    /// Header; the id when left out.
    #[serde(default)]
    pub title: Option<String>,
    /// Ids of the columns it averages.
    #[schemars(length(min = 1))]
    pub mean: Vec<String>,
    /// Overrides the table's.
    #[serde(default)]
    pub spread: Option<Spread>,
}

/// The standard deviation over other columns of the table.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SdColumn {
    /// Short name, unique in the table.
    pub id: String,
    /// Header; the id when left out.
    #[serde(default)]
    pub title: Option<String>,
    /// Ids of the columns.
    #[schemars(length(min = 2))]
    pub sd: Vec<String>,
}

/// Pearson's correlation over seeds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrelationColumn {
    /// Short name, unique in the table.
    pub id: String,
    /// Header; the id when left out.
    #[serde(default)]
    pub title: Option<String>,
    /// The two sides.
    pub correlation: CorrelationOver,
    /// Overrides the table's.
    #[serde(default)]
    pub spread: Option<Spread>,
}

/// One column against others.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrelationOver {
    /// The id of one column.
    pub of: String,
    /// Ids of the others; their correlations are averaged.
    #[schemars(length(min = 1))]
    pub with: Vec<String>,
}

/// A row of a table.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// A method of this file.
    pub method: String,
    /// First column of the row; the method when left out.
    #[serde(default)]
    pub title: Option<String>,
    /// Rows of one group stand together.
    #[serde(default)]
    pub group: Option<String>,
    /// What is printed, one entry a column that is not hidden, between blanks: `87.97±0.12 92.85±0.31`; `-` for an empty cell.
    #[serde(default)]
    pub reported: Option<String>,
}

/// A table of correlations, over methods, between one column of another table and each of the rest.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DerivedTable {
    /// Short name, `table9`.
    pub id: String,
    /// Caption.
    pub title: String,
    /// Where the reported numbers stand.
    pub place: String,
    /// The table it is computed from.
    pub from: String,
    /// The column every other one is correlated with.
    pub correlation_with: String,
    /// Methods that do not take part.
    #[serde(default)]
    pub without: Vec<String>,
    /// Its rows.
    #[schemars(length(min = 1))]
    pub rows: Vec<DerivedRow>,
}

/// A correlation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DerivedRow {
    /// First column of the row.
    pub title: String,
    /// The column, or the columns whose mean is meant.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// What is printed.
    #[serde(default)]
    pub reported: Option<String>,
    /// The significance level the paper marks it with.
    #[serde(default)]
    pub p_below: Option<f64>,
}

/// A printed whole with its printed parts, such as the size of a data set and of its portions.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Total {
    /// What it is of.
    pub title: String,
    /// Where the paper prints it, `Table 7`.
    pub place: String,
    /// The whole: `397M`, `1.1B`, `393K` or a plain number.
    pub whole: String,
    /// The parts by name, written alike.
    #[schemars(length(min = 1))]
    pub parts: IndexMap<String, String>,
}
