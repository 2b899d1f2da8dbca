//! A plan's runs, each in its own process, on slots.
//!
//! The decision which run is next is pure ([`queue`]); a worker process is a thin shell (`process`). Between them
//! stands [`schedule`]: it alone moves runs from state to state, on the calling thread, and a thread a slot runs them.
//!
//! Invariants: the failure of a run loses that run only; a run is attempted by one supervisor, however many share the
//! store; no worker outlives its supervisor.

mod control;
mod process;
pub mod queue;
mod run;
mod slot;
mod told;
mod worker;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::event::{Event, Outcome};
use crate::plan::{Plan, PlannedRun, RunId};
use crate::store::{Attempt, Store, Work};
use queue::{Queue, State};
use run::on_slot;

pub use control::{Control, Wish};
pub use slot::{Slot, Slots};
pub use told::{Failure, Summary, Told, What};
pub use worker::worker_path;

pub use crate::BUILD;

/// How often the store is asked for runs of other supervisors.
const POLL: Duration = Duration::from_millis(200);

/// Where and with what runs are run.
pub struct Setting<'a> {
    /// Where results go.
    pub store: &'a Store,
    /// Where they come from.
    pub slots: &'a [Slot],
    /// The program that does a run.
    pub worker: PathBuf,
    /// Local folders by content hash.
    pub folders: BTreeMap<String, PathBuf>,
    /// Where workers keep prepared data for one another; none keeps nothing.
    pub cache: Option<PathBuf>,
    /// How often a run in training saves itself; none never does.
    pub checkpoint_every: Option<Duration>,
    /// The command with which a user does one run again.
    pub again: &'a (dyn Fn(&PlannedRun) -> String + Sync),
}

/// What a slot says to the schedule.
enum Said {
    Event(Event),
    Ended(Option<(Outcome, f64, Option<Failure>)>),
    /// Another supervisor has the run now.
    Lost,
}

/// Runs everything of `plan` that is not done, and returns when all has ended or `control` says stop. `tell` is
/// called on this thread. Fails only when the store cannot be used at all.
pub fn schedule(
    plan: &Plan,
    setting: &Setting<'_>,
    control: &Control,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Summary> {
    setting
        .store
        .clear_leftovers()
        .context("clearing what an earlier supervisor left")?;
    let mut schedule = Schedule::new(plan, setting, control, tell)?;
    std::thread::scope(|scope| {
        let (said, heard) = mpsc::channel();
        for slot in 0..setting.slots.len() {
            let (give, given) = mpsc::channel::<(usize, Attempt)>();
            let said = said.clone();
            schedule.idle.push((slot, give));
            scope.spawn(move || {
                for (run, attempt) in given {
                    on_slot(&plan.runs[run], attempt, setting, slot, control, &|what| {
                        // The schedule outlives its slots.
                        let _ = said.send((slot, run, what));
                    });
                }
            });
        }
        drop(said);
        schedule.work(&heard);
        // Without givers, the slots' threads end.
        schedule.idle.clear();
    });
    Ok(schedule.summary())
}

/// The state of [`schedule`].
struct Schedule<'a> {
    plan: &'a Plan,
    setting: &'a Setting<'a>,
    control: &'a Control,
    tell: &'a mut dyn FnMut(Told<'_>),
    queue: Queue,
    /// Slots with nothing to do, the first last.
    idle: Vec<(usize, Sender<(usize, Attempt)>)>,
    busy: HashMap<usize, Sender<(usize, Attempt)>>,
    already: Vec<usize>,
    /// Names of the failed attempts that were there before us.
    old_failures: HashMap<usize, String>,
}

impl<'a> Schedule<'a> {
    fn new(
        plan: &'a Plan,
        setting: &'a Setting<'a>,
        control: &'a Control,
        tell: &'a mut dyn FnMut(Told<'_>),
    ) -> Result<Self> {
        let mut old_failures = HashMap::new();
        for (i, run) in plan.runs.iter().enumerate() {
            // A damaged record of a failure is as good as none.
            if let Ok(Some(failed)) = setting.store.failed(&run.id) {
                old_failures.insert(i, failed.attempt);
            }
        }
        let queue = Queue::new(plan);
        let (idle, busy, already) = (Vec::new(), HashMap::new(), Vec::new());
        Ok(Schedule {
            plan,
            setting,
            control,
            tell,
            queue,
            idle,
            busy,
            already,
            old_failures,
        })
    }

    fn work(&mut self, heard: &mpsc::Receiver<(usize, usize, Said)>) {
        self.idle.reverse();
        let mut asked = Instant::now();
        loop {
            if self.control.wish() != Wish::GoOn {
                for run in [
                    self.queue.all(State::Pending),
                    self.queue.all(State::Elsewhere),
                ]
                .concat()
                {
                    self.queue.set(run, State::Interrupted);
                }
            } else {
                if asked.elapsed() >= POLL {
                    asked = Instant::now();
                    for run in self.queue.all(State::Elsewhere) {
                        self.ask_again(run);
                    }
                }
                self.fill();
            }
            if self.queue.is_over() {
                return;
            }
            match heard.recv_timeout(POLL / 4) {
                Ok((slot, run, said)) => {
                    self.hear(slot, run, said);
                    while let Ok((slot, run, said)) = heard.try_recv() {
                        self.hear(slot, run, said);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("the slots' threads live as long as the schedule")
                }
            }
        }
    }

    /// Gives runs to slots until either are used up.
    fn fill(&mut self) {
        while !self.idle.is_empty() {
            let Some(run) = self.queue.next() else { return };
            match self.begin(run) {
                Ok(Some(attempt)) => {
                    let (slot, give) = self.idle.pop().expect("one is idle");
                    self.queue.set(run, State::Running);
                    let measured_only = matches!(attempt.work(), Work::Measure { .. });
                    self.say(Some(slot), run, What::Started { measured_only });
                    give.send((run, attempt))
                        .expect("a slot's thread waits for runs");
                    self.busy.insert(slot, give);
                }
                Ok(None) => {}
                Err(error) => self.lose(run, &error),
            }
        }
    }

    /// An attempt at `run`, or none when it was moved to another state instead.
    fn begin(&mut self, run: usize) -> Result<Option<Attempt>> {
        let (store, planned) = (self.setting.store, &self.plan.runs[run]);
        // A run whose files cannot be read is done again: that gives the same.
        let damage = store.damage(&planned.id);
        if damage.is_none() && store.is_done(planned)? {
            self.already(run);
            return Ok(None);
        }
        if let Some(stage) = &planned.needs
            && store.intact_weights(stage)?.is_none()
        {
            self.move_to(run, State::Blocked);
            self.say(None, run, What::Blocked);
            return Ok(None);
        }
        let Some(lease) = store.lease(&planned.id)? else {
            if self.queue.state(run) != State::Elsewhere {
                self.queue.set(run, State::Elsewhere);
                self.say(None, run, What::Waiting);
            }
            return Ok(None);
        };
        // Another may have ended it between our look and our lease.
        let mut damage = damage.and_then(|_| store.damage(&planned.id));
        let mut work = match &damage {
            None => store.work(planned)?,
            Some(_) => Work::Train,
        };
        if work == Work::Nothing {
            self.already(run);
            return Ok(None);
        }
        if let Work::Measure { .. } = &work
            && let Err(error) = store.intact_weights(&planned.id)
        {
            (damage, work) = (Some(format!("{error:#}")), Work::Train);
        }
        if let Some(what) = damage {
            self.say(None, run, What::Damaged { what });
        }
        if let Some(failed) = store.failed(&planned.id).ok().flatten()
            && self.old_failures.get(&run) != Some(&failed.attempt)
        {
            // Another supervisor of this time failed at it; so it is for us.
            let folder = Some(store.failed_folder(&planned.id));
            let failure = Failure {
                log_end: Vec::new(),
                folder,
                again: failed.again,
            };
            self.end(None, run, failed.outcome, failed.seconds, Some(failure));
            return Ok(None);
        }
        store.begin(lease, planned, work).map(Some)
    }

    /// Whether a run that another supervisor was at has ended.
    fn ask_again(&mut self, run: usize) {
        let (store, planned) = (self.setting.store, &self.plan.runs[run]);
        if !store.is_leased(&planned.id) {
            self.queue.set(run, State::Pending);
        }
    }

    fn already(&mut self, run: usize) {
        self.already.push(run);
        self.queue.set(run, State::Done);
        self.say(None, run, What::Already);
    }

    fn lose(&mut self, run: usize, error: &anyhow::Error) {
        let again = (self.setting.again)(&self.plan.runs[run]);
        let failure = Failure {
            again,
            ..Failure::default()
        };
        self.end(
            None,
            run,
            Outcome::Failed {
                message: format!("{error:#}"),
            },
            0.0,
            Some(failure),
        );
    }

    fn hear(&mut self, slot: usize, run: usize, said: Said) {
        match said {
            Said::Event(event) => self.say(Some(slot), run, What::Event(event)),
            Said::Lost => {
                self.free(slot);
                self.queue.set(run, State::Elsewhere);
                self.say(Some(slot), run, What::Waiting);
            }
            Said::Ended(ended) => {
                self.free(slot);
                match ended {
                    Some((outcome, seconds, failure)) => {
                        self.end(Some(slot), run, outcome, seconds, failure)
                    }
                    None => {
                        self.queue.set(run, State::Interrupted);
                        self.say(Some(slot), run, What::Interrupted);
                    }
                }
            }
        }
    }

    fn free(&mut self, slot: usize) {
        if let Some(give) = self.busy.remove(&slot) {
            self.idle.push((slot, give));
        }
    }

    fn end(
        &mut self,
        slot: Option<usize>,
        run: usize,
        outcome: Outcome,
        seconds: f64,
        failure: Option<Failure>,
    ) {
        let state = if failure.is_none() {
            State::Done
        } else {
            State::Failed
        };
        self.say(
            slot,
            run,
            What::Ended {
                outcome,
                seconds,
                failure,
            },
        );
        self.move_to(run, state);
    }

    fn move_to(&mut self, run: usize, state: State) {
        for blocked in self.queue.set(run, state) {
            self.say(None, blocked, What::Blocked);
        }
    }

    fn say(&mut self, slot: Option<usize>, run: usize, what: What) {
        (self.tell)(Told {
            slot,
            run: &self.plan.runs[run],
            what,
        });
    }

    fn summary(&self) -> Summary {
        let ids = |state| -> Vec<RunId> {
            self.queue
                .all(state)
                .into_iter()
                .map(|run| self.plan.runs[run].id.clone())
                .collect()
        };
        let already = |id: &RunId| {
            self.already
                .iter()
                .any(|&run| self.plan.runs[run].id == *id)
        };
        let (already, done) = ids(State::Done).into_iter().partition(already);
        Summary {
            done,
            already,
            failed: ids(State::Failed),
            blocked: ids(State::Blocked),
            interrupted: ids(State::Interrupted),
        }
    }
}
