//! What the queue holds of a store's runs, for those who ask and do not wait.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::slurm::{self, State};
use super::submissions::Submissions;
use crate::plan::{PlannedRun, RunId};

/// How long the queue may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A run's task in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Queued {
    /// The task as Slurm's commands name it: `12_3`.
    pub job: String,
    /// Where it is.
    #[serde(flatten)]
    pub standing: Standing,
}

/// Where a task in the queue is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Standing {
    /// It waits to begin, or to begin again.
    Waiting,
    /// It runs.
    Running,
    /// It will not begin by itself.
    Held {
        /// Slurm's reason.
        reason: String,
    },
}

/// The runs of the store at `store` that are in the queue. Asks nobody when nothing was ever submitted from there.
///
/// # Errors
/// When Slurm is not there or does not answer within five seconds.
pub fn queued(store: &Path) -> Result<BTreeMap<RunId, Queued>> {
    let mut found: BTreeMap<RunId, Queued> = BTreeMap::new();
    if !Submissions::exist(store) {
        return Ok(found);
    }
    let submissions = Submissions::of(store)?;
    let mut runs: HashMap<u64, Vec<RunId>> = HashMap::new();
    for listed in slurm::queue(PATIENCE)? {
        let standing = match listed.state {
            State::Pending => Standing::Waiting,
            State::Running => Standing::Running,
            State::Held(reason) => Standing::Held { reason },
            State::Ended(_) => continue,
        };
        let Some(number) = submissions.number(&listed.name) else {
            continue;
        };
        let runs = runs
            .entry(number)
            .or_insert_with(|| submissions.runs(number));
        let Some(run) = runs.get(listed.task) else {
            continue;
        };
        let job = format!("{}_{}", listed.job, listed.task);
        // Should two heads have submitted it at once, the one that runs tells more.
        if standing == Standing::Running || !found.contains_key(run) {
            found.insert(run.clone(), Queued { job, standing });
        }
    }
    Ok(found)
}

/// What of `runs` is in the queue, to be read: how many wait, run and are held, and how those held are let go. Empty when
/// none is there.
pub fn queue_lines<'a>(
    runs: impl Iterator<Item = &'a PlannedRun>,
    queued: &BTreeMap<RunId, Queued>,
) -> String {
    let (mut waiting, mut running, mut held) = (0, 0, 0);
    let mut each = String::new();
    for run in runs {
        let Some(task) = queued.get(&run.id) else {
            continue;
        };
        match &task.standing {
            Standing::Waiting => waiting += 1,
            Standing::Running => running += 1,
            Standing::Held { reason } => {
                held += 1;
                let (job, seed) = (&task.job, run.spec.seed);
                let _ = writeln!(
                    each,
                    "{} {} seed {seed}: held ({reason}) until `scontrol release {job}`",
                    run.task, run.method
                );
            }
        }
    }
    let counts = [(waiting, "waiting"), (running, "running"), (held, "held")];
    let said: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    match said.is_empty() {
        true => String::new(),
        false => format!("\nin the queue: {}\n{each}", said.join(", ")),
    }
}
