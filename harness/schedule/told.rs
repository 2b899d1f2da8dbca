//! What a schedule tells while it works, and at its end.

use std::path::PathBuf;

use crate::event::{Event, Outcome};
use crate::plan::{PlannedRun, RunId};

/// What there is to show of a schedule.
#[derive(Clone, Debug)]
pub struct Told<'a> {
    /// The slot's place among the slots; none for a run that is on none of ours.
    pub slot: Option<usize>,
    /// The run.
    pub run: &'a PlannedRun,
    /// What happened.
    pub what: What,
}

/// What happened to a run.
#[derive(Clone, Debug)]
pub enum What {
    /// It was done before, or another supervisor did it meanwhile.
    Already,
    /// Another supervisor is at it; we wait.
    Waiting,
    /// It was done before, and its files are not what they were: it is done again.
    Damaged {
        /// Which file, and how.
        what: String,
    },
    /// It began.
    Started {
        /// It is trained already and only measured.
        measured_only: bool,
    },
    /// Its worker told something.
    Event(Event),
    /// It ended; a result is in the store.
    Ended {
        /// How.
        outcome: Outcome,
        /// Wall-clock time it took, in seconds.
        seconds: f64,
        /// What helps to find out why, when it is no result.
        failure: Option<Failure>,
    },
    /// It cannot begin because the run it starts from failed or left no weights.
    Blocked,
    /// The user stopped it.
    Interrupted,
}

/// What helps to find out why a run failed.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// The last lines of its log.
    pub log_end: Vec<String>,
    /// Where the rest is.
    pub folder: Option<PathBuf>,
    /// The command that does it again.
    pub again: String,
}

/// How the runs of a plan ended, each run in one list, in the plan's order.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// Done by us.
    pub done: Vec<RunId>,
    /// Done before, or by another supervisor.
    pub already: Vec<RunId>,
    /// Failed.
    pub failed: Vec<RunId>,
    /// Never begun: the run they start from failed or left no weights.
    pub blocked: Vec<RunId>,
    /// Stopped, or never begun, because the user wanted to stop.
    pub interrupted: Vec<RunId>,
}
