//! The suite language: the shape of a YAML file, exactly as written.
//!
//! These types are the single source of the language. Their JSON Schema (`harness schema`) drives the strict
//! reader in [`super::check`] and the completion of editors; their doc comments are its documentation.

mod claims;
mod figures;
mod measures;
mod models;
mod tables;
mod task;
mod training;
mod verdicts;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use claims::*;
pub use figures::*;
pub use measures::*;
pub use models::*;
pub use tables::*;
pub use task::*;
pub use training::*;
pub use verdicts::*;

/// One experiment family of a paper: what to train, on what, and every number the paper prints about it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuiteFile {
    /// Short name, used for folders: lower-case letters, digits and hyphens.
    pub suite: String,
    /// One line that says what the suite compares.
    pub title: String,
    /// The publication whose numbers the tables report.
    pub citation: Citation,
    /// The networks, by name.
    pub models: IndexMap<String, Model>,
    /// What can be measured, by name.
    pub metrics: IndexMap<String, Metric>,
    /// How training goes, by name.
    pub training: IndexMap<String, Training>,
    /// Data, model, training and metric put together, by name.
    pub tasks: IndexMap<String, Task>,
    /// Optimizers with their hyper-parameters, by the name the tables print.
    pub methods: IndexMap<String, MethodEntry>,
    /// One run per seed for every cell; all randomness of a run derives from its seed.
    #[schemars(length(min = 1))]
    pub seeds: Vec<u64>,
    /// How cells are judged; the defaults when left out.
    #[serde(default)]
    pub verdicts: Rule,
    /// The tables, cell by cell.
    #[schemars(length(min = 1))]
    pub tables: Vec<Table>,
    /// Tables computed from other tables.
    #[serde(default)]
    pub derived_tables: Vec<DerivedTable>,
    /// Wholes that the paper prints with their parts.
    #[serde(default)]
    pub totals: Vec<Total>,
    /// Figures drawn from tables or from observations.
    #[serde(default)]
    pub figures: Vec<Figure>,
    /// Sentences that numbers can decide.
    #[serde(default)]
    pub claims: Vec<Claim>,
}

/// A publication.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Citation {
    /// Its title.
    pub title: String,
    /// Its authors, as printed.
    pub authors: String,
    /// Conference, journal or archive.
    pub venue: String,
    /// Year of publication.
    pub year: u16,
    /// arXiv number with version, `2310.03646v2`.
    #[serde(default)]
    pub arxiv: Option<String>,
    /// Its published code, or that there is none.
    #[serde(default)]
    pub code: Option<String>,
    /// The hardware it states, and where.
    #[serde(default)]
    pub hardware: Option<String>,
    /// The software versions it states, or that it states none.
    #[serde(default)]
    pub software: Option<String>,
    /// The passes of an update that it prints.
    #[serde(default)]
    pub passes: Option<PrintedPasses>,
}

/// The passes of an update that a publication prints.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrintedPasses {
    /// Where it prints them.
    pub place: String,
    /// Forward and backward passes by method, `SAM: [2, 2]`.
    pub of: IndexMap<String, [u32; 2]>,
}
