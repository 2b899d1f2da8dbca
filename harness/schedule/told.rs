//! What a schedule tells while it works, and at its end.

use std::path::PathBuf;

use super::gpu::Use;
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
        /// All of its slots, by their places.
        slots: Vec<usize>,
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
    /// It ended without a result, and will be tried again.
    Again {
        /// How.
        outcome: Outcome,
        /// Wall-clock time it took, in seconds.
        seconds: f64,
        /// What helps to find out why.
        failure: Failure,
        /// How many attempts have ended in this way, and how many may.
        attempts: (u32, u32),
        /// When, in seconds from now.
        rest: f64,
    },
    /// It ended for a reason that is not its own, as a full disk, and will be tried again.
    PutBack {
        /// The reason.
        why: String,
    },
    /// The device behind its slots is gone, with these slots; the run will be tried again elsewhere.
    SlotsLost {
        /// Their places.
        slots: Vec<usize>,
    },
    /// It cannot begin because the run it starts from failed or left no weights.
    Blocked,
    /// The user stopped it.
    Interrupted,
}

/// Who is told of a schedule.
pub trait Audience {
    /// Something happened to a run.
    fn tell(&mut self, told: Told<'_>);

    /// Something happened that is of no one run, in a sentence.
    fn note(&mut self, _: &str) {}

    /// How things stand: every second, and of a cluster at every look at its queue.
    fn look(&mut self, _: &Outlook) {}
}

impl<F: FnMut(Told<'_>)> Audience for F {
    fn tell(&mut self, told: Told<'_>) {
        self(told);
    }
}

/// How a schedule stands at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outlook {
    /// Runs in the queue.
    pub waiting: usize,
    /// Runs that another supervisor is at.
    pub elsewhere: usize,
    /// Seconds until all have ended, as expected now; none where nothing is known.
    pub left: Option<f64>,
    /// What the accelerator of each slot does; none on processors, and where that is not known.
    pub devices: Vec<Option<Use>>,
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
