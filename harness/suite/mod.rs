//! What a paper says, from YAML: models, tasks, methods, tables with every reported number, figures and claims.
//!
//! [`read`] parses a file once into meaning. Text becomes a tree with places ([`yaml`]), the tree is checked
//! against the JSON Schema of the language ([`check`]), and the whole is checked for sense ([`sense`]); each pass
//! reports all it finds, with file, line and column. A [`Suite`] that exists refers only to names that exist.

mod check;
mod language;
mod lines;
mod problem;
mod reported;
mod sense;
mod settings;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

pub use language::*;
pub use lines::Lines;
pub use problem::{Problem, Problems, nearest};
pub use reported::{Reported, amount};
pub(crate) use settings::is_no_setting;
pub use settings::{Setting, Source};

/// What messages call the file of a [`Suite`].
const SUITE: &str = "suite";

/// In place of a portion of the data: training itself.
pub const TRAINING: &str = "training";

/// One experiment family of a paper.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The file it was read from; relative folders start there.
    pub path: PathBuf,
    /// SHA-256 of the file's text.
    pub sha256: String,
    /// Short name.
    pub name: String,
    /// One line.
    pub title: String,
    /// The publication.
    pub citation: Citation,
    /// The networks.
    pub models: IndexMap<String, Model>,
    /// What can be measured.
    pub metrics: IndexMap<String, Metric>,
    /// How training goes.
    pub training: IndexMap<String, Training>,
    /// Data, model, training and metric put together.
    pub tasks: IndexMap<String, Task>,
    /// Optimizers with their hyper-parameters.
    pub methods: IndexMap<String, MethodEntry>,
    /// How cells are judged.
    pub verdicts: Rule,
    /// Tables with parsed cells.
    pub tables: Vec<SuiteTable>,
    /// Tables computed from other tables.
    pub derived_tables: Vec<DerivedTable>,
    /// Wholes with their parts.
    pub totals: Vec<Total>,
    /// Figures.
    pub figures: Vec<Figure>,
    /// Claims.
    pub claims: Vec<Claim>,
    /// Every value that the file sets, with what it says about where the value comes from.
    pub settings: Vec<Setting>,
    /// Where in the file all this stands.
    pub lines: Lines,
}

/// A table with parsed cells.
#[derive(Clone, Debug)]
pub struct SuiteTable {
    /// Short name.
    pub id: String,
    /// Caption.
    pub title: String,
    /// Where the reported numbers stand.
    pub place: String,
    /// What the numbers are over seeds.
    pub statistic: Statistic,
    /// What the reported numbers carry besides a mean, and what ours show.
    pub spread: Spread,
    /// The table among whose verdicts its cells count that both have.
    pub repeats: Option<String>,
    /// The table of the paper that it sets beside another reading of the methods.
    pub reading_of: Option<String>,
    /// Seeds to run.
    pub seeds: Vec<u64>,
    /// Columns in order.
    pub columns: Vec<Column>,
    /// Rows in order.
    pub rows: Vec<SuiteRow>,
    /// The methods printed in bold, by column.
    pub bold: IndexMap<String, Vec<String>>,
}

/// A row with parsed cells.
#[derive(Clone, Debug)]
pub struct SuiteRow {
    /// The method.
    pub method: String,
    /// First column of the row.
    pub title: String,
    /// Rows of one group stand together.
    pub group: Option<String>,
    /// What is reported, one entry a column; none where nothing is.
    pub reported: Vec<Option<Reported>>,
}

impl Suite {
    /// The table called `id`.
    pub fn table(&self, id: &str) -> Option<&SuiteTable> {
        self.tables.iter().find(|table| table.id == id)
    }

    /// The metric a measured column shows.
    pub fn metric_of(&self, column: &MeasuredColumn) -> &Metric {
        &self.metrics[column
            .metric
            .as_ref()
            .unwrap_or(&self.tasks[&column.task].metric)]
    }
}

impl SuiteTable {
    /// What is reported for `method` in `column`.
    pub fn reported(&self, method: &str, column: &str) -> Option<&Reported> {
        let c = self.columns.iter().position(|other| other.id() == column)?;
        let row = self.rows.iter().find(|row| row.method == method)?;
        row.reported.get(c)?.as_ref()
    }
}

impl Column {
    /// Short name, unique in the table.
    pub fn id(&self) -> &str {
        match self {
            Column::Measured(column) => &column.id,
            Column::Mean(column) => &column.id,
            Column::Sd(column) => &column.id,
            Column::Correlation(column) => &column.id,
        }
    }

    /// Header.
    pub fn title(&self) -> &str {
        let title = match self {
            Column::Measured(column) => &column.title,
            Column::Mean(column) => &column.title,
            Column::Sd(column) => &column.title,
            Column::Correlation(column) => &column.title,
        };
        title.as_deref().unwrap_or(self.id())
    }

    /// Whether it is measured without being shown.
    pub fn hidden(&self) -> bool {
        matches!(self, Column::Measured(column) if column.hidden)
    }

    /// The spread this column prints instead of its table's.
    pub fn spread(&self) -> Option<Spread> {
        match self {
            Column::Measured(column) => column.spread,
            Column::Mean(column) => column.spread,
            Column::Sd(_) => Some(Spread::None),
            Column::Correlation(column) => column.spread,
        }
    }
}

impl Measure {
    /// Whether it is measured while training, on no portion of the data.
    pub fn is_of_training(&self) -> bool {
        matches!(self, Measure::Distance | Measure::MaxDistance)
    }

    /// The name under which it is stored: the measure, with the knobs that are not at their default.
    pub fn key(&self) -> String {
        match self {
            Measure::Accuracy => "accuracy".into(),
            Measure::Loss => "loss".into(),
            Measure::Distance => "mean_distance".into(),
            Measure::MaxDistance => "max_distance".into(),
            Measure::Perplexity(measure) => match measure.perplexity.perplexity_weighting {
                PerplexityWeighting::PredictedTokens => "perplexity".into(),
                PerplexityWeighting::BlockTokens => "perplexity(block_tokens)".into(),
            },
            Measure::Sharpness(measure) => with_knobs("sharpness", &measure.sharpness),
            Measure::Cka(measure) => with_knobs("cka", &measure.cka),
        }
    }
}

fn with_knobs(name: &str, knobs: &impl serde::Serialize) -> String {
    format!(
        "{name}{}",
        serde_json::to_string(knobs).expect("knobs are plain data")
    )
}

/// Reads a suite, or tells everything that is wrong with it.
pub fn read(path: &Path) -> Result<Suite, Problems> {
    let text = std::fs::read_to_string(path).map_err(|error| Problems::unreadable(path, &error))?;
    parse(path, &text)
}

/// The suite that `text` says; `path` is used in messages and to find relative folders.
pub fn parse(path: &Path, text: &str) -> Result<Suite, Problems> {
    let problems = |found: Vec<Problem>| Problems::new(path, text, found);
    let tree = yaml::parse(text, SUITE).map_err(problems)?;
    let file: SuiteFile = check::read(&tree, &schema(), SUITE).map_err(problems)?;
    sense::check(path, text, &tree, file).map_err(problems)
}

/// Reads another YAML file as strictly as a suite: `T`'s JSON Schema decides what is accepted. Messages call the file
/// `whole`, `profile`. `senseless` tells what the schema cannot, as places such as `/options/0` and messages.
pub fn read_strictly<T: schemars::JsonSchema + serde::de::DeserializeOwned>(
    path: &Path,
    whole: &str,
    senseless: impl FnOnce(&T) -> Vec<(String, String)>,
) -> Result<T, Problems> {
    let text = std::fs::read_to_string(path).map_err(|error| Problems::unreadable(path, &error))?;
    let problems = |found: Vec<Problem>| Problems::new(path, &text, found);
    let tree = yaml::parse(&text, whole).map_err(problems)?;
    let schema = serde_json::to_value(schemars::schema_for!(T)).expect("a schema is plain data");
    let value: T = check::read(&tree, &schema, whole).map_err(problems)?;
    let found: Vec<Problem> = senseless(&value)
        .into_iter()
        .map(|(at, message)| Problem::new(tree.place(&at), message))
        .collect();
    match found.is_empty() {
        true => Ok(value),
        false => Err(problems(found)),
    }
}

/// Where the folders that a suite names lie on this machine, by content hash.
///
/// # Errors
/// For every folder that is not there, or whose content is not what the suite says.
pub fn locate(suite: &Suite) -> Result<BTreeMap<String, PathBuf>, Problems> {
    let base = suite.path.parent().unwrap_or(Path::new("."));
    let models = suite.models.iter().filter_map(|(name, model)| match model {
        Model::Folder(folder) => Some((format!("/models/{name}"), folder)),
        _ => None,
    });
    let data = suite.tasks.iter().flat_map(|(name, task)| {
        let sources = [
            ("data", Some(&task.data)),
            ("tokenizer", task.tokenizer.as_ref()),
        ];
        sources.map(|(key, source)| match source {
            Some(Data::Folder(folder)) => Some((format!("/tasks/{name}/{key}"), folder)),
            _ => None,
        })
    });
    let data = data.flatten();
    let text = std::fs::read_to_string(&suite.path)
        .map_err(|error| Problems::unreadable(&suite.path, &error))?;
    let tree =
        yaml::parse(&text, SUITE).map_err(|found| Problems::new(&suite.path, &text, found))?;
    let place = |path: String| tree.at(&path).map_or(0..0, |node| node.span.clone());
    let mut found = Vec::new();
    let mut places: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (at, folder) in models.chain(data) {
        let path = base.join(&folder.folder);
        if places.get(&folder.sha256) == Some(&path) {
            continue;
        }
        match crate::content::sha256_of_folder(&path) {
            Ok(sha256) if sha256 == folder.sha256 => {
                places.insert(sha256, path);
            }
            Ok(sha256) => found.push(
                Problem::new(
                    place(format!("{at}/sha256")),
                    format!("the content of {} is another", path.display()),
                )
                .help(format!("it is {sha256}")),
            ),
            Err(error) => {
                let message = format!("folder {} cannot be read: {error}", path.display());
                found.push(Problem::new(place(format!("{at}/folder")), message));
            }
        }
    }
    if found.is_empty() {
        Ok(places)
    } else {
        Err(Problems::new(&suite.path, &text, found))
    }
}

/// The JSON Schema of the suite language.
pub fn schema() -> serde_json::Value {
    let mut schema =
        serde_json::to_value(schemars::schema_for!(SuiteFile)).expect("a schema is plain data");
    schema["title"] = "harness suite".into();
    schema
}
