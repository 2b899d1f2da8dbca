//! What runs cost before they are run: measured where like runs have run, else worked out from stated sizes. Pure.

mod budget;
mod forecast;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::event::{Outcome, RunRecord};
use crate::plan::{Plan, PlannedRun, RunId, RunSpec};
use crate::suite::{
    Data, Length, MethodEntry, Model, Precision, Scale, SizeUnit, Suite, Task, amount,
};

pub use budget::{Choice, Part, choose};
pub use forecast::Forecast;

/// The device that is assumed where nothing was measured: one A100.
pub const DEVICE: &str = "one A100";
/// Floating-point operations that it does in a second in single precision: 60% of 19.5e12.
const FLOAT32: f64 = 0.6 * 19.5e12;
/// The same in bfloat16: 40% of 312e12.
const BFLOAT16: f64 = 0.4 * 312e12;

/// What a run's time rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The mean of runs of the store that differ by their seed alone.
    Measured,
    /// Floating-point operations of the passes, from the suite's stated scale.
    WorkedOut,
    /// The suite states no scale, and nothing like it has run.
    Unknown,
}

/// What one run costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Device time in seconds; none where the basis is unknown.
    pub seconds: Option<f64>,
    /// Bytes that its weights take in the store; none where unknown.
    pub bytes: Option<f64>,
    /// What the time rests on.
    pub basis: Basis,
}

/// What is known about runs before they are run.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// Mean device time of finished runs in seconds, by the identity they would have with seed 0.
    measured: HashMap<RunId, f64>,
    /// Parameters of finished runs, in the same way.
    parameters: HashMap<RunId, u64>,
    /// What suites state, by their name and that of the task.
    scales: BTreeMap<(String, String), Stated>,
}

/// What a suite states of the size of a task.
#[derive(Clone, Debug)]
struct Stated {
    scale: Scale,
    /// Tokens of the portions whose sizes it states.
    tokens: BTreeMap<String, f64>,
}

impl Stated {
    fn of(task: &Task) -> Option<Stated> {
        let scale = task.scale.clone()?;
        let sizes = task.sizes.iter().flat_map(|sizes| {
            let each = match sizes.unit {
                SizeUnit::Tokens => 1.0,
                SizeUnit::Examples => scale.tokens,
            };
            let portions = sizes.portions.iter();
            portions.filter_map(move |(portion, size)| {
                Some((portion.clone(), each * amount(size).ok()?.0))
            })
        });
        Some(Stated {
            tokens: sizes.collect(),
            scale,
        })
    }
}

/// The identity that runs share which differ by their seed alone.
fn seedless(spec: &RunSpec) -> RunId {
    RunSpec {
        seed: 0,
        ..spec.clone()
    }
    .id()
}

impl Knowledge {
    /// From the suites, and what the store holds of the plan's runs.
    pub fn of(suites: &[Suite], plan: &Plan, records: &BTreeMap<RunId, RunRecord>) -> Knowledge {
        let mut sums: HashMap<RunId, (f64, f64)> = HashMap::new();
        let mut knowledge = Knowledge::default();
        for run in &plan.runs {
            let Some(record) = records
                .get(&run.id)
                .filter(|record| record.outcome == Outcome::Completed)
            else {
                continue;
            };
            let like = seedless(&run.spec);
            let (seconds, count) = sums.entry(like.clone()).or_default();
            let device_time = record.seconds * record.environment.processes.max(1) as f64;
            (*seconds, *count) = (*seconds + device_time, *count + 1.0);
            knowledge
                .parameters
                .insert(like, record.environment.parameters);
        }
        knowledge.measured = sums
            .into_iter()
            .map(|(id, (seconds, count))| (id, seconds / count))
            .collect();
        knowledge.scales = Knowledge::stated(suites).scales;
        knowledge
    }

    /// From the suites alone.
    pub fn stated(suites: &[Suite]) -> Knowledge {
        let mut knowledge = Knowledge::default();
        for suite in suites {
            for (name, task) in &suite.tasks {
                if let Some(stated) = Stated::of(task) {
                    knowledge
                        .scales
                        .insert((suite.name.clone(), name.clone()), stated);
                }
            }
        }
        knowledge
    }

    /// What `run` costs.
    pub fn estimate(&self, run: &PlannedRun) -> Estimate {
        let like = seedless(&run.spec);
        let suites = run.cells.iter().map(|cell| &cell.suite);
        let stated = suites
            .filter_map(|suite| self.scales.get(&(suite.clone(), run.task.clone())))
            .next();
        let parameters = self.parameters.get(&like).map(|count| *count as f64);
        let bytes = match &run.spec.training {
            // What is evaluated as it is leaves no weights.
            None => Some(0.0),
            Some(_) => parameters
                .or(stated.map(|stated| stated.scale.parameters))
                .map(|count| 4.0 * count),
        };
        let (seconds, basis) = match (
            self.measured.get(&like),
            stated.and_then(|stated| worked_out(run, stated)),
        ) {
            (Some(seconds), _) => (Some(*seconds), Basis::Measured),
            (None, Some(seconds)) => (Some(seconds), Basis::WorkedOut),
            (None, None) => (None, Basis::Unknown),
        };
        Estimate {
            seconds,
            bytes,
            basis,
        }
    }
}

/// 2 operations per parameter and token for a forward and 4 for a backward pass, in training, at its evaluations and for
/// the final measurements on portions whose sizes are stated, each once. Attention, the base update and what sharpness
/// takes besides are left out.
fn worked_out(run: &PlannedRun, stated: &Stated) -> Option<f64> {
    let (spec, scale) = (&run.spec, &stated.scale);
    let computing = scale.computing.unwrap_or(scale.parameters);
    let tokens = |portion: &String| stated.tokens.get(portion).copied().unwrap_or(0.0);
    let measured: BTreeSet<&String> = run.measurements.iter().map(|wanted| &wanted.on).collect();
    let mut evaluated: f64 = measured.into_iter().map(tokens).sum();
    let (mut trained, mut speed) = (0.0, FLOAT32);
    if let Some((examples, per_token, precision)) = passed(spec, scale.examples) {
        let examples = examples?;
        trained = examples * scale.tokens * per_token;
        evaluated += evaluations(spec, examples, scale) * spec.select.as_ref().map_or(0.0, tokens);
        if precision == Precision::Bfloat16 {
            speed = BFLOAT16;
        }
    }
    Some(computing * (trained + 2.0 * evaluated) / speed)
}

/// How often a run that trains on so many examples is evaluated on the way and at the end.
fn evaluations(spec: &RunSpec, examples: f64, scale: &Scale) -> f64 {
    let Some(training) = &spec.training else {
        return 0.0;
    };
    let batch = training.batch as f64;
    let updates = match training.evaluate_every {
        Some(Length::Steps(steps)) => Some(steps as f64),
        Some(Length::Epochs(epochs)) => {
            let per_epoch = scale.examples.map(|all| (all / batch).ceil());
            per_epoch.map(|updates| epochs as f64 * updates)
        }
        None => None,
    };
    updates.map_or(1.0, |updates| (examples / batch / updates).ceil())
}

/// Bytes that a plan reads of the hub, as far as suites state it, and of how many repositories they state nothing. A model
/// has four bytes a parameter; data of the same portions, as two suites may read them, are counted once.
pub fn download(suites: &[Suite], plan: &Plan) -> (f64, usize) {
    let mut known: BTreeMap<String, f64> = BTreeMap::new();
    let mut unknown: BTreeSet<String> = BTreeSet::new();
    let mut count = |repository: String, part: String, bytes: Option<f64>| match bytes {
        Some(bytes) => {
            let entry = known.entry(format!("{repository} {part}")).or_default();
            *entry = entry.max(bytes);
        }
        None => drop(unknown.insert(repository)),
    };
    let tasks: BTreeSet<(&str, &str)> = plan
        .runs
        .iter()
        .flat_map(|run| {
            run.cells
                .iter()
                .map(|cell| (cell.suite.as_str(), run.task.as_str()))
        })
        .collect();
    for suite in suites {
        for (name, task) in &suite.tasks {
            if !tasks.contains(&(suite.name.as_str(), name.as_str())) {
                continue;
            }
            let scale = task.scale.as_ref();
            if let Data::Hub(hub) = &task.data {
                let portions = task.train.join(" ");
                count(
                    hub.hub.clone(),
                    portions,
                    scale.and_then(|scale| scale.download),
                );
            }
            if let Some(Model::Hub(hub)) = suite.models.get(&task.model) {
                count(
                    hub.hub.clone(),
                    String::new(),
                    scale.map(|scale| 4.0 * scale.parameters),
                );
            }
        }
    }
    (known.values().sum(), unknown.len())
}

/// What a run computes, to be compared with other runs of its task alone; not zero.
fn work(spec: &RunSpec) -> f64 {
    match passed(spec, None) {
        None => 1.0,
        Some((Some(examples), per_token, _)) => examples * per_token,
        // As long as the training set, whatever that is.
        Some((None, per_token, _)) => per_token,
    }
}

/// Examples that a run trains on, operations for one parameter and token of one, and the precision; nothing without
/// training. `examples` is the size of the training set.
fn passed(spec: &RunSpec, examples: Option<f64>) -> Option<(Option<f64>, f64, Precision)> {
    let (MethodEntry::Trained(method), Some(training)) = (&spec.method, &spec.training) else {
        return None;
    };
    let batch = training.batch as f64;
    let updates = match training.length {
        Length::Steps(steps) => Some(steps as f64),
        Length::Epochs(epochs) => examples.map(|all| epochs as f64 * (all / batch).ceil()),
    };
    let passes = method.passes();
    let per_token = 2.0 * f64::from(passes.forward) + 4.0 * f64::from(passes.backward);
    let examples = updates.map(|updates| updates * batch);
    Some((examples, per_token, training.precision))
}
