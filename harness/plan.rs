//! From suites to the runs that pay for their cells. Pure: no file is read, no clock, no machine.
//!
//! Invariants: a [`RunId`] hashes everything that decides a result and nothing else; a run that several cells or
//! suites need is planned once; the order of a plan depends only on the suites and their order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::suite::{
    Column, Data, Hub, Input, Measure, MethodEntry, Model, ModelConfig, Suite, Training, Untrained,
    UntrainedTag,
};

/// Everything that decides a run's result. Paths, devices and names are not here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Where the weights come from.
    pub model: ModelSpec,
    /// The data set.
    pub data: DataSpec,
    /// The tokenizer of a text; none where it is the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<DataSpec>,
    /// How an example is read.
    pub input: Input,
    /// Portions to train on.
    pub train: Vec<String>,
    /// The portion that selects the model.
    pub select: Option<String>,
    /// How training goes; none for an untrained model.
    pub training: Option<Training>,
    /// The optimizer with every knob resolved.
    pub method: MethodEntry,
    /// The seed from which every random stream of the run derives.
    pub seed: u64,
}

/// Where the weights come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelSpec {
    /// A pinned repository of the Hugging Face Hub.
    Hub(Hub),
    /// A local folder with this content hash.
    Folder {
        /// SHA-256 of the content.
        sha256: String,
    },
    /// An architecture initialised from the run's seed.
    Config(ModelConfig),
    /// The final weights of another run.
    Stage(Box<RunSpec>),
}

/// Where the data come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataSpec {
    /// A pinned repository of the Hugging Face Hub.
    Hub(Hub),
    /// A local folder with this content hash.
    Folder {
        /// SHA-256 of the content.
        sha256: String,
    },
}

/// The first 16 hexadecimal digits of the SHA-256 of a [`RunSpec`]'s canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl DataSpec {
    /// The key of its folder in [`Job::folders`].
    pub fn key(&self) -> String {
        match self {
            DataSpec::Folder { sha256 } => sha256.clone(),
            DataSpec::Hub(hub) => folder_key(hub),
        }
    }
}

impl RunSpec {
    /// Where the tokenizer comes from that makes this run's text into tokens: its own, or that of the model, through any
    /// number of stages. None for images, and where nothing says.
    pub fn tokenizer_source(&self) -> Option<DataSpec> {
        match (&self.input, &self.tokenizer, &self.model) {
            (Input::Images(_), _, _) => None,
            (_, Some(tokenizer), _) => Some(tokenizer.clone()),
            (_, None, ModelSpec::Hub(hub)) => Some(DataSpec::Hub(hub.clone())),
            (_, None, ModelSpec::Folder { sha256 }) => Some(DataSpec::Folder {
                sha256: sha256.clone(),
            }),
            (_, None, ModelSpec::Stage(stage)) => stage.tokenizer_source(),
            (_, None, ModelSpec::Config(_)) => None,
        }
    }

    /// The run's identity.
    pub fn id(&self) -> RunId {
        Seedless::of(self).with(self.seed)
    }
}

/// A specification's canonical text around its seed, of which the identities of all seeds are made at little cost. Only a
/// stage depends on the seed elsewhere too.
struct Seedless {
    before: String,
    after: String,
}

impl Seedless {
    fn of(spec: &RunSpec) -> Seedless {
        let mut value = serde_json::to_value(spec).expect("a run specification is plain data");
        value["seed"] = Value::Null;
        let mut text = String::new();
        canonical(&value, &mut text);
        // Keys are sorted, so that of what is nested only the model's stage, which has a seed, stands before.
        let place = text.rfind("\"seed\":null").expect("the key stands there");
        let (before, after) = text.split_at(place);
        Seedless {
            before: format!("{before}\"seed\":"),
            after: after["\"seed\":null".len()..].into(),
        }
    }

    fn with(&self, seed: u64) -> RunId {
        let mut hash = Sha256::new();
        hash.update(&self.before);
        hash.update(seed.to_string());
        hash.update(&self.after);
        let bytes = hash.finalize();
        let digits = bytes.iter().take(8).map(|byte| format!("{byte:02x}"));
        RunId(digits.collect())
    }
}

/// JSON with sorted keys and no blanks, so that equal specifications are equal text.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            out.push('{');
            for (i, (key, value)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// Something to measure on a trained model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The portion of the data, `test`.
    pub on: String,
    /// What is measured.
    pub measure: Measure,
}

impl Measurement {
    /// The pair under which the value is stored as an observation.
    pub fn key(&self) -> (String, String) {
        (self.on.clone(), self.measure.key())
    }
}

/// What a worker is given: the run, what to measure, and where things lie on this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The run.
    pub spec: RunSpec,
    /// What to measure when it is trained.
    pub measurements: Vec<Measurement>,
    /// Local folders by content hash; of a repository of the hub, by [`folder_key`].
    pub folders: BTreeMap<String, std::path::PathBuf>,
    /// The weights of the run this one starts from.
    pub stage: Option<std::path::PathBuf>,
    /// Where prepared data are kept for the next run; none keeps nothing.
    #[serde(default)]
    pub cache: Option<std::path::PathBuf>,
    /// `cpu`, `cuda:0`, ...
    pub device: String,
    /// Threads to compute with.
    pub threads: usize,
    /// Start from these final weights of an earlier run of the same specification and only measure.
    pub finished: Option<std::path::PathBuf>,
    /// Where and how often training saves itself; none never does.
    #[serde(default)]
    pub checkpoints: Option<Checkpoints>,
    /// This process's place where several do the run together; none when it does it alone.
    #[serde(default)]
    pub member: Option<Member>,
}

/// Checkpoints of a run in training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoints {
    /// The folder that they lie in; it need not be there yet.
    pub folder: std::path::PathBuf,
    /// Seconds from one to the next.
    pub every: f64,
}

/// A process's place among several that do one run together, each on a device of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number, from zero. The first one alone tells events and writes files.
    pub rank: usize,
    /// How many they are.
    pub size: usize,
    /// Where they meet.
    pub meeting: Meeting,
}

/// Where the processes of a run meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meeting {
    /// At a file that does not exist yet; for processes of one machine.
    File(std::path::PathBuf),
    /// At a free port of the machine that the process of rank 0 is on.
    Port {
        /// The machine's name or address.
        host: String,
        /// The port.
        port: u16,
    },
}

/// The key in [`Job::folders`] of a repository of the hub, `owner/name@revision`.
pub fn folder_key(hub: &Hub) -> String {
    format!("{}@{}", hub.hub, hub.revision)
}

/// One cell of one table, the reason for a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CellRef {
    /// The suite's name.
    pub suite: String,
    /// The table's id.
    pub table: String,
    /// The row's method.
    pub method: String,
    /// The column's id.
    pub column: String,
}

/// A run with the cells it pays for.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedRun {
    /// Its identity.
    pub id: RunId,
    /// Everything that decides its result.
    pub spec: RunSpec,
    /// The task's name in the first suite that asked.
    pub task: String,
    /// The method's name in the first suite that asked.
    pub method: String,
    /// What to measure, by observation key.
    pub measurements: Vec<Measurement>,
    /// The cells it pays for; empty for a stage that only feeds other runs.
    pub cells: BTreeSet<CellRef>,
    /// The run whose weights it starts from.
    pub needs: Option<RunId>,
    /// How many devices do it together, as the first suite that asked says; its result is the same but for rounding.
    pub devices: usize,
}

/// The ordered set of runs of one or more suites.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    /// Each run once; a run stands after the run it needs.
    pub runs: Vec<PlannedRun>,
}

impl Plan {
    /// The run that each run starts from, of those that start from one.
    pub fn starts(&self) -> BTreeMap<&RunId, &RunId> {
        let runs = self.runs.iter();
        runs.filter_map(|run| Some((&run.id, run.needs.as_ref()?)))
            .collect()
    }
}

/// Runs with all that they start from. `starts` is [`Plan::starts`].
pub fn with_starts<'a>(
    ids: impl IntoIterator<Item = &'a RunId>,
    starts: &BTreeMap<&'a RunId, &'a RunId>,
) -> BTreeSet<&'a RunId> {
    let mut all = BTreeSet::new();
    for id in ids {
        let mut next = Some(id);
        while let Some(id) = next.filter(|id| all.insert(*id)) {
            next = starts.get(id).copied();
        }
    }
    all
}

/// Every run that the tables of `suites` need, each once, in the order of suites, tables, seeds, rows and columns.
pub fn expand(suites: &[Suite]) -> Plan {
    let mut runs: IndexMap<RunId, PlannedRun> = IndexMap::new();
    for suite in suites {
        let mut ids = Ids::default();
        for table in &suite.tables {
            for &seed in &table.seeds {
                for row in &table.rows {
                    for column in &table.columns {
                        let Column::Measured(measured) = column else {
                            continue;
                        };
                        let metric = suite.metric_of(measured);
                        let run = ids.run(&mut runs, suite, &measured.task, &row.method, seed);
                        let wanted = Measurement {
                            on: measured.on.clone(),
                            measure: metric.measure.clone(),
                        };
                        if !run.measurements.contains(&wanted) {
                            run.measurements.push(wanted);
                        }
                        run.cells.insert(CellRef {
                            suite: suite.name.clone(),
                            table: table.id.clone(),
                            method: row.method.clone(),
                            column: measured.id.clone(),
                        });
                    }
                }
            }
        }
    }
    Plan {
        runs: runs.into_values().collect(),
    }
}

/// The identities of a suite's runs, each made once.
#[derive(Default)]
struct Ids<'a> {
    of_seed: HashMap<(&'a str, &'a str, u64), RunId>,
    seedless: HashMap<(&'a str, &'a str), Seedless>,
}

impl<'a> Ids<'a> {
    /// The planned run of `method` on `task` with `seed`, entered if it is new.
    fn run<'r>(
        &mut self,
        runs: &'r mut IndexMap<RunId, PlannedRun>,
        suite: &'a Suite,
        task: &'a str,
        method: &'a str,
        seed: u64,
    ) -> &'r mut PlannedRun {
        if let Some(id) = self.of_seed.get(&(task, method, seed)) {
            return runs.get_mut(id).expect("what has an identity was entered");
        }
        let spec = run_spec(suite, task, method, seed);
        let id = match spec.model {
            ModelSpec::Stage(_) => spec.id(),
            _ => {
                let seedless = self.seedless.entry((task, method));
                let seedless = seedless.or_insert_with(|| Seedless::of(&spec));
                seedless.with(spec.seed)
            }
        };
        self.of_seed.insert((task, method, seed), id.clone());
        ensure(runs, suite, spec, id, task, method)
    }
}

/// The run of `method` on `task` with `seed`. The names must exist in the suite, which a parsed suite guarantees.
pub fn run_spec(suite: &Suite, task: &str, method: &str, seed: u64) -> RunSpec {
    let task = &suite.tasks[task];
    let method = suite.methods[method].clone();
    let model = match &suite.models[&task.model] {
        Model::Hub(hub) => ModelSpec::Hub(hub.clone()),
        Model::Folder(folder) => ModelSpec::Folder {
            sha256: folder.sha256.clone(),
        },
        Model::Config(model) => ModelSpec::Config(model.config.clone()),
        Model::Stage(model) => {
            let stage = &model.stage;
            ModelSpec::Stage(Box::new(run_spec(
                suite,
                &stage.task,
                &stage.method,
                stage.seed.unwrap_or(seed),
            )))
        }
    };
    let source = |data: &Data| match data {
        Data::Hub(hub) => DataSpec::Hub(hub.clone()),
        Data::Folder(folder) => DataSpec::Folder {
            sha256: folder.sha256.clone(),
        },
    };
    let untrained = matches!(method, MethodEntry::Untrained(_));
    let spec = RunSpec {
        model,
        data: source(&task.data),
        tokenizer: task.tokenizer.as_ref().map(source),
        input: task.input.clone(),
        train: task.train.clone(),
        select: task.select.clone(),
        training: Some(suite.training[&task.training].clone()),
        method,
        seed,
    };
    if untrained { as_it_is(spec) } else { spec }
}

/// An untrained run depends on neither training nor, unless its weights are drawn from it, the seed.
fn as_it_is(spec: RunSpec) -> RunSpec {
    let seeded = matches!(spec.model, ModelSpec::Config(_));
    RunSpec {
        train: Vec::new(),
        select: None,
        training: None,
        method: MethodEntry::Untrained(Untrained {
            method: UntrainedTag::Untrained,
        }),
        seed: if seeded { spec.seed } else { 0 },
        ..spec
    }
}

/// The planned run of `spec`, entered after the run it starts from.
fn ensure<'a>(
    runs: &'a mut IndexMap<RunId, PlannedRun>,
    suite: &Suite,
    spec: RunSpec,
    id: RunId,
    task: &str,
    method: &str,
) -> &'a mut PlannedRun {
    let needs = match &spec.model {
        ModelSpec::Stage(stage_spec) => {
            let Model::Stage(model) = &suite.models[&suite.tasks[task].model] else {
                unreachable!("a stage model")
            };
            let (task, method) = (model.stage.task.clone(), model.stage.method.clone());
            Some(
                ensure(
                    runs,
                    suite,
                    (**stage_spec).clone(),
                    stage_spec.id(),
                    &task,
                    &method,
                )
                .id
                .clone(),
            )
        }
        _ => None,
    };
    let devices = suite.tasks[task].devices as usize;
    runs.entry(id.clone()).or_insert_with(|| PlannedRun {
        id,
        spec,
        task: task.to_string(),
        method: method.to_string(),
        measurements: Vec::new(),
        cells: BTreeSet::new(),
        needs,
        devices,
    })
}
