//! A plan's runs, each by a worker of its own, on slots.
//!
//! The decision which run is next, and where, is pure ([`queue`], `board`, [`rules`]); a worker is a thin shell (`process`).
//! Between them stands [`schedule`]: it alone moves runs from state to state, on the calling thread, and a thread an attempt
//! runs them.
//!
//! Invariants: the failure of a run loses that run only; a run is attempted by one supervisor, however many share the
//! store; no worker outlives its supervisor, and what a worker started does not outlive the attempt.

mod board;
mod control;
mod family;
mod gpu;
mod guard;
mod memory;
mod process;
pub mod queue;
pub mod rules;
mod run;
mod setting;
mod slot;
mod told;
mod trouble;
mod worker;

use std::collections::HashMap;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::Scope;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cost::Forecast;
use crate::event::{Event, Outcome};
use crate::plan::{Plan, RunId};
use crate::store::{Attempt, Work};
use crate::time;
use guard::Guarded;
use queue::{Placement, Queue, State};
use rules::Ends;
use run::{Given, on_slots};
use trouble::{Trouble, Unusable, is_of_the_machine};

pub use control::{Control, Wish, outlive_readers};
pub use gpu::{Monitor, Use};
pub use guard::Guard;
pub use setting::{Policy, Setting};
pub use slot::{Gpu, Slot, Slots};
pub use told::{Audience, Failure, Outlook, Summary, Told, What};
pub use worker::worker_path;

pub use crate::BUILD;

/// How often the store is asked for runs of other supervisors.
const POLL: Duration = Duration::from_millis(200);
/// How often the audience is told how things stand, and accelerators are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What an attempt says to the schedule.
enum Said {
    /// The numbers of its processes.
    Processes(Vec<u32>),
    Event(Event),
    /// None when it was stopped.
    Ended(Option<Ended>),
    /// Another supervisor has the run now.
    Lost,
    /// It could not be done, for a reason that is not its own.
    Trouble(anyhow::Error),
}

/// How an attempt ended.
struct Ended {
    outcome: Outcome,
    seconds: f64,
    /// None for a result.
    failure: Option<Failure>,
    /// The name of the attempt that failed.
    attempt: Option<String>,
}

/// Runs everything of `plan` that is not done, and returns when all has ended or `control` says stop. The audience is
/// told on this thread.
///
/// # Errors
/// When the store cannot be used, from the beginning or for longer than the policy's patience.
pub fn schedule(
    plan: &Plan,
    setting: &Setting<'_>,
    control: &Control,
    audience: &mut dyn Audience,
) -> Result<Summary> {
    match setting.store.clear_leftovers() {
        // Each run clears its own before it begins.
        Err(error) if is_of_the_machine(&error, setting.store) => {
            audience.note(&format!(
                "what an earlier supervisor left stays for now: {error:#}"
            ));
        }
        cleared => cleared.context("clearing what an earlier supervisor left")?,
    }
    let guarded = match setting.guard.as_deref().map(Guarded::by) {
        None => None,
        Some(Ok(guarded)) => Some(guarded),
        Some(Err(error)) => {
            audience.note(&format!("nobody guards what workers start: {error}"));
            None
        }
    };
    let (said, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        let mut schedule = Schedule::new(plan, setting, control, audience, scope, said);
        schedule.guarded = guarded.as_ref();
        schedule.work(&heard);
        match schedule.hopeless.take() {
            None => Ok(schedule.summary()),
            Some(error) => Err(schedule.why_stopped(error)),
        }
    })
}

/// The most devices that `slots` have for one run.
pub fn most_devices(slots: &[Slot]) -> usize {
    board::Board::new(slots).most()
}

/// The state of [`schedule`].
struct Schedule<'s, 'e, 'a> {
    plan: &'e Plan,
    setting: &'e Setting<'e>,
    control: &'e Control,
    audience: &'a mut dyn Audience,
    /// Where attempts run, and how they say something of a run.
    scope: &'s Scope<'s, 'e>,
    said: Sender<(usize, Said)>,
    begun: Instant,
    queue: Queue,
    forecast: Forecast,
    busy: HashMap<usize, Busy>,
    /// How attempts at each run ended.
    ends: HashMap<usize, Ends>,
    already: Vec<usize>,
    failed: usize,
    /// The failed attempts that we know of: those that were there before us, and our own.
    old_failures: HashMap<usize, String>,
    guarded: Option<&'e Guarded>,
    trouble: Trouble,
    /// The trouble that has lasted too long.
    hopeless: Option<anyhow::Error>,
}

/// A run that is on slots.
#[derive(Default)]
struct Busy {
    slots: Vec<usize>,
    pids: Vec<u32>,
}

impl<'s, 'e, 'a> Schedule<'s, 'e, 'a> {
    fn new(
        plan: &'e Plan,
        setting: &'e Setting<'e>,
        control: &'e Control,
        audience: &'a mut dyn Audience,
        scope: &'s Scope<'s, 'e>,
        said: Sender<(usize, Said)>,
    ) -> Self {
        let mut old_failures = HashMap::new();
        for (i, run) in plan.runs.iter().enumerate() {
            // A damaged record of a failure is as good as none.
            if let Ok(Some(failed)) = setting.store.failed(&run.id) {
                old_failures.insert(i, failed.attempt);
            }
        }
        let forecast = setting.forecast.clone();
        let mut queue = Queue::new(
            plan,
            setting.slots,
            setting.policy.order,
            &forecast.seconds(),
        );
        for (i, slot) in setting.slots.iter().enumerate() {
            if let Some(seen) = slot.gpu().and_then(|gpu| setting.monitor.look(gpu)) {
                queue.has_memory(i, seen.memory);
            }
        }
        Schedule {
            plan,
            setting,
            control,
            audience,
            scope,
            said,
            begun: Instant::now(),
            queue,
            forecast,
            busy: HashMap::new(),
            ends: HashMap::new(),
            already: Vec::new(),
            failed: 0,
            old_failures,
            guarded: None,
            trouble: Trouble::default(),
            hopeless: None,
        }
    }

    /// Seconds since the beginning: the queue's time.
    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn work(&mut self, heard: &mpsc::Receiver<(usize, Said)>) {
        let (mut asked, mut looked) = (Instant::now(), None::<Instant>);
        let mut wish = Wish::GoOn;
        loop {
            if wish != self.control.wish() {
                wish = self.control.wish();
                wish.meaning()
                    .into_iter()
                    .for_each(|text| self.audience.note(text));
            }
            if wish != Wish::GoOn || self.has_given_up() {
                let waiting = [State::Pending, State::Elsewhere].map(|state| self.queue.all(state));
                for run in waiting.concat() {
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
            if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                self.look();
            }
            match heard.recv_timeout(POLL) {
                Ok((run, said)) => {
                    self.hear(run, said);
                    while let Ok((run, said)) = heard.try_recv() {
                        self.hear(run, said);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("the schedule has a sender of its own")
                }
            }
        }
    }

    fn has_given_up(&self) -> bool {
        let most = self.setting.policy.most_failures;
        self.hopeless.is_some() || most.is_some_and(|most| self.failed >= most)
    }

    /// Begins runs until room or runs are used up.
    fn fill(&mut self) {
        while !self.has_given_up() && !self.trouble.rests() {
            let Some(placement) = self.queue.next(self.now()) else {
                return;
            };
            let run = placement.run;
            match self.attempt(run) {
                Ok(Some(attempt)) => self.begin(placement, attempt),
                Ok(None) => {}
                Err(error) if is_of_the_machine(&error, self.setting.store) => {
                    let text = format!("{error:#}");
                    let rest = self.meet_trouble(error);
                    let next = match self.hopeless {
                        None => format!("tried again in {}", time::shown(rest.as_secs_f64())),
                        Some(_) => "given up".into(),
                    };
                    self.audience
                        .note(&format!("nothing can begin: {text}; {next}"));
                }
                Err(error) => self.lose(run, &format!("{error:#}")),
            }
        }
    }

    fn begin(&mut self, placement: Placement, attempt: Attempt) {
        let run = placement.run;
        self.queue.begin(&placement, self.now());
        let slots = placement.slots;
        let busy = Busy {
            slots: slots.clone(),
            pids: Vec::new(),
        };
        self.busy.insert(run, busy);
        let started = What::Started {
            measured_only: matches!(attempt.work(), Work::Measure { .. }),
            slots: slots.clone(),
        };
        self.say(run, started);
        let ends = self.ends.get(&run).copied().unwrap_or_default();
        let given = Given {
            attempt,
            slots,
            ends,
            guarded: self.guarded,
        };
        let (plan, setting, control) = (self.plan, self.setting, self.control);
        let said = self.said.clone();
        let attempt = move || {
            on_slots(&plan.runs[run], given, setting, control, &|what| {
                // The schedule outlives its attempts.
                let _ = said.send((run, what));
            });
        };
        let thread = std::thread::Builder::new().spawn_scoped(self.scope, attempt);
        if let Err(error) = thread {
            let error = anyhow::Error::from(error).context("no thread can be started");
            self.hear(run, Said::Trouble(error));
        }
    }

    /// An attempt at `run`, or none when it was moved to another state instead.
    fn attempt(&mut self, run: usize) -> Result<Option<Attempt>> {
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
            self.say(run, What::Blocked);
            return Ok(None);
        }
        let Some(lease) = store.lease(&planned.id).context(Unusable)? else {
            if self.queue.state(run) != State::Elsewhere {
                self.queue.set(run, State::Elsewhere);
                self.say(run, What::Waiting);
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
            self.say(run, What::Damaged { what });
        }
        if let Some(failed) = store.failed(&planned.id).ok().flatten()
            && self.old_failures.get(&run) != Some(&failed.attempt)
        {
            // Another supervisor of this time failed at it: it counts as if we had.
            self.ends
                .entry(run)
                .or_default()
                .set(&failed.outcome, failed.count - 1);
            let failure = Failure {
                log_end: Vec::new(),
                folder: Some(store.failed_folder(&planned.id)),
                again: failed.again,
            };
            self.failed_attempt(run, failed.outcome, failed.seconds, failure, failed.attempt);
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
        self.say(run, What::Already);
    }

    /// A run that cannot be attempted at all.
    fn lose(&mut self, run: usize, message: &str) {
        let failure = Failure {
            again: (self.setting.again)(&self.plan.runs[run]),
            ..Failure::default()
        };
        let outcome = Outcome::Failed {
            message: message.into(),
        };
        self.fail(run, outcome, 0.0, failure);
    }

    fn hear(&mut self, run: usize, said: Said) {
        match said {
            Said::Processes(pids) => {
                if let Some(busy) = self.busy.get_mut(&run) {
                    busy.pids = pids;
                }
            }
            Said::Event(event) => self.say(run, What::Event(event)),
            Said::Lost => {
                self.say(run, What::Waiting);
                self.busy.remove(&run);
                self.queue.set(run, State::Elsewhere);
            }
            Said::Trouble(error) => {
                let why = format!("{error:#}");
                self.say(run, What::PutBack { why });
                self.busy.remove(&run);
                let rest = self.meet_trouble(error);
                self.queue
                    .again(run, self.now() + rest.as_secs_f64(), false);
            }
            Said::Ended(None) => {
                self.say(run, What::Interrupted);
                self.busy.remove(&run);
                self.queue.set(run, State::Interrupted);
            }
            Said::Ended(Some(ended)) => match ended.failure {
                None => self.finish(run, ended.outcome, ended.seconds),
                Some(failure) => {
                    let attempt = ended.attempt.unwrap_or_default();
                    self.failed_attempt(run, ended.outcome, ended.seconds, failure, attempt);
                }
            },
        }
    }

    /// Trouble that is no run's own: says how long to rest. What runs may end it.
    fn meet_trouble(&mut self, error: anyhow::Error) -> Duration {
        let (rest, is_long) = self.trouble.meet(self.setting.policy.patience);
        if is_long && self.busy.is_empty() {
            self.hopeless.get_or_insert(error);
        }
        rest
    }

    /// The error of a schedule that stopped before its end.
    fn why_stopped(&self, error: anyhow::Error) -> anyhow::Error {
        let left = self.queue.all(State::Interrupted).len();
        let runs = if left == 1 { "run is" } else { "runs are" };
        error.context(format!(
            "{left} {runs} not done, because nothing can be kept"
        ))
    }

    fn finish(&mut self, run: usize, outcome: Outcome, seconds: f64) {
        self.trouble.pass();
        let is_measure = outcome == Outcome::Completed;
        let ended = What::Ended {
            outcome,
            seconds,
            failure: None,
        };
        self.say(run, ended);
        self.busy.remove(&run);
        self.queue.set(run, State::Done);
        if is_measure && self.forecast.learn(run, seconds) {
            self.queue.expect(&self.forecast.seconds());
        }
    }

    /// An attempt at a run ended without a result: it is tried again, or has failed.
    fn failed_attempt(
        &mut self,
        run: usize,
        outcome: Outcome,
        seconds: f64,
        failure: Failure,
        attempt: String,
    ) {
        self.trouble.pass();
        self.old_failures.insert(run, attempt);
        if self.retire(run) {
            return;
        }
        let before = self.ends.entry(run).or_default().count(&outcome);
        let rules = &self.setting.policy.rules;
        let Some(rest) = rules.rest(&outcome, before) else {
            return self.fail(run, outcome, seconds, failure);
        };
        let alone = outcome == Outcome::OutOfMemory;
        let again = What::Again {
            attempts: (before + 1, rules.attempts(&outcome)),
            outcome,
            seconds,
            failure,
            rest: rest.as_secs_f64(),
        };
        self.say(run, again);
        self.busy.remove(&run);
        let at = self.now() + rest.as_secs_f64();
        self.queue.again(run, at, alone);
    }

    /// Gives up slots of a run whose device is gone; says whether there was one. The run is tried again elsewhere, and
    /// that counts for nothing.
    fn retire(&mut self, run: usize) -> bool {
        let slots = match self.busy.get(&run) {
            Some(busy) => busy.slots.clone(),
            None => return false,
        };
        let is_gone = |slot: &usize| {
            let gpu = self.setting.slots[*slot].gpu();
            gpu.is_some_and(|gpu| self.setting.monitor.has_lost(gpu))
        };
        let gone: Vec<usize> = slots.into_iter().filter(is_gone).collect();
        if gone.is_empty() {
            return false;
        }
        let (mut lost, mut stuck) = (Vec::new(), Vec::new());
        for slot in gone {
            let (slots, runs) = self.queue.retire(slot);
            lost.extend(slots);
            stuck.extend(runs);
        }
        self.say(run, What::SlotsLost { slots: lost });
        self.busy.remove(&run);
        self.queue.again(run, self.now(), false);
        if !self.queue.has_room_for(run) {
            stuck.push(run);
        }
        for run in stuck {
            if self.queue.state(run) == State::Pending {
                self.lose(run, "the devices that it needs are gone");
            }
        }
        true
    }

    fn fail(&mut self, run: usize, outcome: Outcome, seconds: f64, failure: Failure) {
        self.failed += 1;
        let ended = What::Ended {
            outcome,
            seconds,
            failure: Some(failure),
        };
        self.say(run, ended);
        self.busy.remove(&run);
        self.move_to(run, State::Failed);
    }

    fn move_to(&mut self, run: usize, state: State) {
        for blocked in self.queue.set(run, state) {
            self.say(blocked, What::Blocked);
        }
    }

    fn say(&mut self, run: usize, what: What) {
        let busy = self.busy.get(&run);
        self.audience.tell(Told {
            slot: busy.and_then(|busy| busy.slots.first().copied()),
            run: &self.plan.runs[run],
            what,
        });
    }

    /// Tells the audience how things stand, and notices what runs take of their devices' memory.
    fn look(&mut self) {
        self.guarded.iter().for_each(|guarded| guarded.bury());
        let monitor = self.setting.monitor;
        for (&run, busy) in &self.busy {
            let gpus = busy
                .slots
                .iter()
                .filter_map(|&slot| self.setting.slots[slot].gpu());
            let taken = gpus
                .filter_map(|gpu| monitor.taken_by(gpu, &busy.pids))
                .max();
            if let Some(bytes) = taken
                && Some(bytes) > self.queue.memory(run)
            {
                for like in self.forecast.alike(run) {
                    self.queue.takes_memory(like, bytes);
                }
            }
        }
        let now = self.now();
        let slots = self.setting.slots.iter();
        let outlook = Outlook {
            waiting: self.queue.waiting(),
            elsewhere: self.queue.all(State::Elsewhere).len(),
            left: Some(self.queue.left(now)).filter(|&left| left > 0.0),
            devices: slots
                .map(|slot| slot.gpu().and_then(|gpu| monitor.look(gpu)))
                .collect(),
        };
        self.audience.look(&outlook);
    }

    fn summary(&self) -> Summary {
        let ids = |state| -> Vec<RunId> {
            self.queue
                .all(state)
                .into_iter()
                .map(|run| self.plan.runs[run].id.clone())
                .collect()
        };
        let already: std::collections::HashSet<&RunId> = self
            .already
            .iter()
            .map(|&run| &self.plan.runs[run].id)
            .collect();
        let (already, done) = ids(State::Done)
            .into_iter()
            .partition(|id| already.contains(id));
        Summary {
            done,
            already,
            failed: ids(State::Failed),
            blocked: ids(State::Blocked),
            interrupted: ids(State::Interrupted),
        }
    }
}
