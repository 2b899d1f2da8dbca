//! What ran, and where.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Environment, Outcome, RunRecord};
use crate::plan::{Plan, PlannedRun, RunId, with_starts};
use crate::suite::Suite;

/// The planned runs of a suite and how they ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runs {
    /// How many are planned.
    pub planned: usize,
    /// How many completed.
    pub completed: usize,
    /// How many ended in each other way, `diverged at step 40`, with the first runs that did.
    pub endings: BTreeMap<String, Vec<String>>,
    /// How many have no record.
    pub not_run: usize,
    /// Wall-clock time of all recorded runs together, in seconds.
    pub seconds: f64,
    /// Every one, in the order of the plan.
    pub each: Vec<Ran>,
}

/// A planned run and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// Its identity.
    pub id: RunId,
    /// The method's name.
    pub method: String,
    /// The task's name.
    pub task: String,
    /// The seed.
    pub seed: u64,
    /// How it ended; none when it has not run.
    pub outcome: Option<Outcome>,
    /// Wall-clock time it took, in seconds; 0 when it has not run.
    pub seconds: f64,
}

impl Ran {
    /// `SAM on digits, seed 1 (76bee849e2bf1e39)`.
    pub fn text(&self) -> String {
        format!(
            "{} on {}, seed {} ({})",
            self.method, self.task, self.seed, self.id
        )
    }
}

impl Runs {
    /// Counts the runs of `plan` that belong to `suite`.
    pub fn of(suite: &Suite, plan: &Plan, records: &BTreeMap<RunId, RunRecord>) -> Runs {
        let mut runs = Runs::default();
        for run in plan.runs.iter().filter(|run| belongs(run, &suite.name)) {
            let record = records.get(&run.id);
            let ran = Ran {
                id: run.id.clone(),
                method: run.method.clone(),
                task: run.task.clone(),
                seed: run.spec.seed,
                outcome: record.map(|record| record.outcome.clone()),
                seconds: record.map_or(0.0, |record| record.seconds),
            };
            runs.planned += 1;
            runs.seconds += ran.seconds;
            match &ran.outcome {
                None => runs.not_run += 1,
                Some(Outcome::Completed) => runs.completed += 1,
                Some(other) => {
                    let endings = runs.endings.entry(other.to_string()).or_default();
                    endings.push(ran.text());
                }
            }
            runs.each.push(ran);
        }
        runs
    }

    /// `10 of 12 runs completed, 1 diverged at step 40, 1 not run`.
    pub fn text(&self) -> String {
        let mut words = vec![format!(
            "{} of {} runs completed",
            self.completed, self.planned
        )];
        words.extend(
            self.endings
                .iter()
                .map(|(ending, runs)| format!("{} {ending}", runs.len())),
        );
        if self.not_run > 0 {
            words.push(format!("{} not run", self.not_run));
        }
        words.join(", ")
    }
}

/// A run pays for a cell of the suite, or is a stage that pays for none.
fn belongs(run: &PlannedRun, suite: &str) -> bool {
    run.cells.is_empty() || run.cells.iter().any(|cell| cell.suite == suite)
}

/// Where the runs behind one cell ran, as far as it matters for trusting it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The properties in which they differ: `build`, `libtorch`, ...
    pub mixed: Vec<&'static str>,
    /// Whether one of them was made by another build of the harness than this program.
    pub stale: bool,
}

/// Where the runs of a plan ran.
pub struct Origins<'a> {
    records: &'a BTreeMap<RunId, RunRecord>,
    /// As [`Plan::starts`] gives them.
    starts: BTreeMap<&'a RunId, &'a RunId>,
}

impl<'a> Origins<'a> {
    /// Of the runs of `plan`.
    pub fn new(plan: &'a Plan, records: &'a BTreeMap<RunId, RunRecord>) -> Origins<'a> {
        Origins {
            records,
            starts: plan.starts(),
        }
    }

    /// Of the runs `ids` and those that they start from. One that failed before it said where it ran says nothing.
    pub fn of(&self, ids: &BTreeSet<RunId>) -> Origin {
        let mut values: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
        let all = with_starts(ids, &self.starts);
        let environments = all
            .iter()
            .filter_map(|id| Some(&self.records.get(id)?.environment));
        let nowhere = Environment::default();
        for environment in environments.filter(|environment| **environment != nowhere) {
            for (property, value) in describe(environment) {
                values.entry(property).or_default().insert(value);
            }
        }
        let stale = values
            .get("build")
            .is_some_and(|builds| builds.iter().any(|build| build != crate::BUILD));
        let mixed = values
            .into_iter()
            .filter(|(_, values)| values.len() > 1)
            .map(|(property, _)| property);
        Origin {
            mixed: mixed.collect(),
            stale,
        }
    }
}

impl Origin {
    /// What stands behind the number: `†` where it is mixed, `°` where it is stale.
    pub fn signs(&self) -> &'static str {
        match (self.mixed.is_empty(), self.stale) {
            (true, false) => "",
            (true, true) => "°",
            (false, false) => "†",
            (false, true) => "†°",
        }
    }

    /// The same in words.
    pub fn words(&self) -> Option<String> {
        let mixed = (!self.mixed.is_empty())
            .then(|| format!("its runs differ in {}", self.mixed.join(", ")));
        let stale = self
            .stale
            .then(|| "made by another build than this program's".to_string());
        let words: Vec<String> = mixed.into_iter().chain(stale).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// The environments behind a report's numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Provenance {
    /// Every property with its values and how many runs had each.
    pub properties: Vec<(&'static str, BTreeMap<String, usize>)>,
    /// The same of what moves no digit.
    pub beside: Vec<(&'static str, BTreeMap<String, usize>)>,
}

impl Provenance {
    /// Collects the environments of the plan's completed runs.
    pub fn of(plan: &Plan, records: &BTreeMap<RunId, RunRecord>) -> Provenance {
        let mut provenance = Provenance::default();
        let completed = |run: &&PlannedRun| {
            records
                .get(&run.id)
                .is_some_and(|record| record.outcome == Outcome::Completed)
        };
        for run in plan.runs.iter().filter(completed) {
            let environment = &records[&run.id].environment;
            count(&mut provenance.properties, describe(environment));
            count(&mut provenance.beside, describe_beside(environment));
        }
        provenance
    }

    /// The properties in which runs differ: their numbers are not strictly comparable.
    pub fn mixed(&self) -> Vec<&'static str> {
        self.properties
            .iter()
            .filter(|(_, values)| values.len() > 1)
            .map(|(name, _)| *name)
            .collect()
    }
}

fn count(
    properties: &mut Vec<(&'static str, BTreeMap<String, usize>)>,
    values: Vec<(&'static str, String)>,
) {
    for (i, (name, value)) in values.into_iter().enumerate() {
        if properties.len() == i {
            properties.push((name, BTreeMap::new()));
        }
        *properties[i].1.entry(value).or_default() += 1;
    }
}

fn or_none(text: &str) -> String {
    match text.is_empty() {
        true => "none".to_string(),
        false => text.to_string(),
    }
}

/// What is told for a reader and moves no digit; `not recorded` by an older build.
fn describe_beside(environment: &Environment) -> Vec<(&'static str, String)> {
    let beside = &environment.beside;
    let known = |text: String, known: bool| match known {
        true => text,
        false => "not recorded".to_string(),
    };
    let text = |text: &str| known(text.into(), !text.is_empty());
    let gibibytes = beside.memory as f64 / f64::from(1 << 30);
    vec![
        ("processor", text(&beside.processor)),
        ("cores", known(beside.cores.to_string(), beside.cores > 0)),
        (
            "memory",
            known(format!("{gibibytes:.1} GiB"), beside.memory > 0),
        ),
        ("tch", text(&beside.tch)),
        (
            "driver",
            or_none(beside.driver.as_deref().unwrap_or_default()),
        ),
        ("compiler", text(&beside.rustc)),
        ("system", text(&beside.system)),
    ]
}

fn describe(environment: &Environment) -> Vec<(&'static str, String)> {
    // `cuda:0` and `cuda:1` are the same kind of place.
    let device = environment.device.split(':').next().unwrap_or_default();
    vec![
        ("harness", or_none(&environment.harness)),
        ("build", or_none(&environment.build)),
        ("revision", or_none(&environment.revision)),
        ("libtorch", or_none(&environment.libtorch)),
        (
            "device",
            format!(
                "{} ({})",
                or_none(device),
                or_none(&environment.device_name)
            ),
        ),
        ("threads", environment.threads.to_string()),
        ("processes", environment.processes.to_string()),
        ("instruction set", or_none(&environment.cpu_capability)),
        (
            "MKL_CBWR",
            or_none(environment.mkl_cbwr.as_deref().unwrap_or_default()),
        ),
        (
            "CUDA",
            or_none(environment.cuda.as_deref().unwrap_or_default()),
        ),
        (
            "cuDNN",
            or_none(environment.cudnn.as_deref().unwrap_or_default()),
        ),
    ]
}
