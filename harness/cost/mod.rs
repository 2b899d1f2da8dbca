//! What runs cost before they are run: measured where like runs have run, else worked out from stated sizes. Pure.

mod budget;
mod forecast;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::event::{Outcome, RunRecord};
use crate::plan::{Plan, PlannedRun, RunId, RunSpec};
use crate::suite::{Length, MethodEntry, Precision, Scale, Suite};

pub use budget::{Choice, choose};
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
    scales: BTreeMap<(String, String), Scale>,
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
                if let Some(scale) = &task.scale {
                    knowledge
                        .scales
                        .insert((suite.name.clone(), name.clone()), scale.clone());
                }
            }
        }
        knowledge
    }

    /// What `run` costs.
    pub fn estimate(&self, run: &PlannedRun) -> Estimate {
        let like = seedless(&run.spec);
        let suites = run.cells.iter().map(|cell| &cell.suite);
        let scale = suites
            .filter_map(|suite| self.scales.get(&(suite.clone(), run.task.clone())))
            .next();
        let parameters = self.parameters.get(&like).map(|count| *count as f64);
        let bytes = match &run.spec.training {
            // What is evaluated as it is leaves no weights.
            None => Some(0.0),
            Some(_) => parameters
                .or(scale.map(|scale| scale.parameters))
                .map(|count| 4.0 * count),
        };
        let (seconds, basis) = match (
            self.measured.get(&like),
            scale.and_then(|scale| worked_out(&run.spec, scale)),
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

/// 2 operations per parameter and token for a forward and 4 for a backward pass; attention, measurements and the base
/// update are left out.
fn worked_out(spec: &RunSpec, scale: &Scale) -> Option<f64> {
    let Some((examples, per_token, precision)) = passed(spec, scale.examples) else {
        return Some(0.0);
    };
    let computing = scale.computing.unwrap_or(scale.parameters);
    let operations = examples? * scale.tokens * computing * per_token;
    let speed = match precision {
        Precision::Bfloat16 => BFLOAT16,
        _ => FLOAT32,
    };
    Some(operations / speed)
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
