//! Submits runs and waits until each has ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::slurm::{self, Error, Listed, State};
use super::submissions::Submissions;
use super::{Command, Profile};
use crate::event::Outcome;
use crate::plan::{Plan, PlannedRun, RunId};
use crate::schedule::{Audience, Control, Failure, Outlook, Summary, Told, What, Wish};
use crate::store::{FailedAttempt, Store, Work};

/// How often a user's wish to stop is noticed.
const TICK: Duration = Duration::from_millis(100);
/// The longest pause while Slurm does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// In so many looks in a row a run must be in no queue before it is given up as lost: files of other machines come late.
const LOOKS: u32 = 2;
/// Lines of a task's log that a failure shows.
const LOG_END: usize = 12;

/// Where and how jobs run.
pub struct Setting<'a> {
    /// What the user says about the cluster.
    pub profile: &'a Profile,
    /// Where results go, on every node.
    pub store: &'a Store,
    /// What a task runs.
    pub command: Command,
    /// The command with which a user does one run again.
    pub again: &'a dyn Fn(&PlannedRun) -> String,
    /// Told what is neither the beginning nor the end of a run, in a line.
    pub note: &'a dyn Fn(&str),
}

/// Submits everything of `plan` that is not done, unless it is in the queue, and returns when all has ended or `control` says
/// stop, which leaves the jobs where they are.
///
/// # Errors
/// When the store cannot be used, or Slurm refuses a submission.
pub fn watch(
    plan: &Plan,
    setting: &Setting<'_>,
    control: &Control,
    audience: &mut dyn Audience,
) -> Result<Summary> {
    let submissions = Submissions::of(setting.store.dir())?;
    let mut open = submissions.open();
    let mut watch = Watch {
        plan,
        setting,
        submissions,
        audience,
        runs: plan
            .runs
            .iter()
            .map(|run| Run {
                submissions: open.remove(&run.id).unwrap_or_default(),
                ..Run::new(setting.store, run)
            })
            .collect(),
        foreign: None,
        held: BTreeSet::new(),
        largest_array: None,
    };
    watch.work(control)?;
    Ok(watch.summary())
}

/// What is known of a run.
struct Run {
    stage: Stage,
    /// The name of the failed attempt that was there before us.
    old_failure: Option<String>,
    /// Its submissions since a user was told last how it ended, whoever made them.
    submissions: BTreeSet<u64>,
    /// Whether we saw one of them: nothing is given up untried.
    tried: bool,
    /// In how many looks in a row it was in no queue.
    missed: u32,
    /// Its latest task that we know of.
    task: Option<Task>,
    told_started: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Already,
    Done,
    Failed,
    Blocked,
    Interrupted,
}

#[derive(Clone, Debug)]
struct Task {
    submission: u64,
    listed: Listed,
}

impl Run {
    fn new(store: &Store, run: &PlannedRun) -> Run {
        // A damaged record of a failure is as good as none.
        let old = store.failed(&run.id).ok().flatten();
        Run {
            stage: Stage::Open,
            old_failure: old.map(|failed| failed.attempt),
            submissions: BTreeSet::new(),
            tried: false,
            missed: 0,
            task: None,
            told_started: false,
        }
    }

    fn is_live(&self) -> bool {
        self.task
            .as_ref()
            .is_some_and(|task| !matches!(task.listed.state, State::Ended(_)))
    }

    /// How Slurm says that its task ended.
    fn ending(&self) -> Option<&str> {
        match &self.task.as_ref()?.listed.state {
            State::Ended(state) => Some(state),
            _ => None,
        }
    }
}

struct Watch<'a> {
    plan: &'a Plan,
    setting: &'a Setting<'a>,
    submissions: Submissions,
    audience: &'a mut dyn Audience,
    runs: Vec<Run>,
    /// Tasks that had ended before we looked first: what became of them is in the store, or is to be done again.
    foreign: Option<BTreeSet<(String, usize)>>,
    /// Tasks of which was said that they are held, and why.
    held: BTreeSet<(String, String)>,
    largest_array: Option<usize>,
}

impl Watch<'_> {
    fn work(&mut self, control: &Control) -> Result<()> {
        let poll = Duration::from_secs(self.setting.profile.poll.into());
        let mut pause = poll;
        for i in 0..self.runs.len() {
            if self
                .setting
                .store
                .is_done(&self.plan.runs[i])
                .unwrap_or(false)
            {
                self.end(i, Stage::Already, What::Already)?;
            }
        }
        loop {
            self.read_store()?;
            if self.is_over() {
                return Ok(());
            }
            match self.look_and_submit() {
                Ok(()) => pause = poll,
                Err(error) => match error.downcast::<Error>() {
                    Ok(Error::Later(words)) => {
                        if pause == poll {
                            (self.setting.note)(&format!(
                                "Slurm does not answer, waiting for it: {words}"
                            ));
                        }
                        pause = (pause * 2).min(LONGEST_PAUSE.max(poll));
                    }
                    Ok(refused) => return Err(refused.into()),
                    Err(error) => return Err(error),
                },
            }
            self.tell_outlook();
            let until = Instant::now() + pause;
            while Instant::now() < until {
                if control.wish() != Wish::GoOn {
                    self.leave();
                    return Ok(());
                }
                std::thread::sleep(TICK);
            }
        }
    }

    /// Tells the audience how many have not begun.
    fn tell_outlook(&mut self) {
        let runs_now = |run: &&Run| {
            let task = run.task.as_ref();
            task.is_some_and(|task| task.listed.state == State::Running)
        };
        let open = self.runs.iter().filter(|run| run.stage == Stage::Open);
        let outlook = Outlook {
            waiting: open.filter(|run| !runs_now(run)).count(),
            ..Outlook::default()
        };
        self.audience.look(&outlook);
    }

    fn is_over(&self) -> bool {
        self.runs.iter().all(|run| run.stage != Stage::Open)
    }

    fn open(&self) -> Vec<usize> {
        (0..self.runs.len())
            .filter(|&i| self.runs[i].stage == Stage::Open)
            .collect()
    }

    /// Finds the runs that have ended.
    fn read_store(&mut self) -> Result<()> {
        let (plan, store) = (self.plan, self.setting.store);
        for i in self.open() {
            let run = &plan.runs[i];
            if store.is_done(run).unwrap_or(false) {
                self.done(i)?;
            } else if let Some(failed) = self.failure(i) {
                self.failed(i, failed)?;
            }
        }
        // A run stands after the run it needs.
        for i in self.open() {
            let Some(stage) = &plan.runs[i].needs else {
                continue;
            };
            let before = plan.runs[..i].iter().position(|run| run.id == *stage);
            match before.map(|before| self.runs[before].stage) {
                Some(Stage::Failed | Stage::Blocked) => {
                    self.end(i, Stage::Blocked, What::Blocked)?
                }
                Some(Stage::Interrupted) => self.end(i, Stage::Interrupted, What::Interrupted)?,
                // It diverged, and left no weights.
                Some(Stage::Done | Stage::Already) if store.weights(stage).is_none() => {
                    self.end(i, Stage::Blocked, What::Blocked)?
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The failure in the store, if it is new and the run's own, whose job ended by itself: to cancel a job, or to end it at
    /// its time limit, Slurm kills the worker first, whose supervisor may live long enough to record that as a failure.
    fn failure(&self, i: usize) -> Option<FailedAttempt> {
        let run = &self.runs[i];
        let by_itself = matches!(run.ending(), None | Some("FAILED" | "COMPLETED"));
        if run.is_live() || !by_itself {
            return None;
        }
        let failed = self.setting.store.failed(&self.plan.runs[i].id);
        let failed = failed.ok().flatten()?;
        (run.old_failure.as_ref() != Some(&failed.attempt)).then_some(failed)
    }

    fn done(&mut self, i: usize) -> Result<()> {
        let run = &self.plan.runs[i];
        let Some(record) = self.setting.store.record(&run.id)? else {
            return Ok(());
        };
        let ended = What::Ended {
            outcome: record.outcome,
            seconds: record.seconds,
            failure: None,
        };
        self.end(i, Stage::Done, ended)
    }

    fn failed(&mut self, i: usize, failed: FailedAttempt) -> Result<()> {
        let id = &self.plan.runs[i].id;
        let folder = self.setting.store.failed_folder(id);
        let failure = Failure {
            log_end: last_lines(&folder.join("log.txt")),
            folder: Some(folder),
            again: failed.again,
        };
        let ended = What::Ended {
            outcome: failed.outcome,
            seconds: failed.seconds,
            failure: Some(failure),
        };
        self.end(i, Stage::Failed, ended)
    }

    /// Looks at the queue and submits what is ready and not in it.
    fn look_and_submit(&mut self) -> Result<()> {
        // Whoever has the lock submits; we see it in the queue next time.
        let Some(_lock) = self.submissions.lock()? else {
            return Ok(());
        };
        self.look()?;
        let mut ready = Vec::new();
        for i in self.open() {
            if self.runs[i].is_live() {
                continue;
            }
            self.runs[i].missed += 1;
            let store = self.setting.store;
            let planned = &self.plan.runs[i];
            let waits = planned
                .needs
                .as_ref()
                .is_some_and(|stage| store.weights(stage).is_none());
            if waits || store.is_leased(&planned.id) {
                continue;
            }
            let run = &self.runs[i];
            if !run.submissions.is_empty() && run.missed < LOOKS {
                continue;
            }
            // It may have ended between our look at the store and that at the queue, submitted by another head.
            if store.is_done(planned).unwrap_or(false) || self.failure(i).is_some() {
                continue;
            }
            match self.verdict(i) {
                Some((stage, what)) => self.end(i, stage, what)?,
                None => ready.push(i),
            }
        }
        self.submit(&ready)
    }

    fn look(&mut self) -> Result<()> {
        let listed = slurm::queue(slurm::PATIENCE)?;
        let mut ours: HashMap<u64, Vec<RunId>> = HashMap::new();
        let mut latest: BTreeMap<RunId, Task> = BTreeMap::new();
        let first = self.foreign.is_none();
        if first {
            // What another head submitted since we began may have ended already.
            let mut open = self.submissions.open();
            for (run, planned) in self.runs.iter_mut().zip(&self.plan.runs) {
                run.submissions
                    .extend(open.remove(&planned.id).unwrap_or_default());
            }
        }
        let foreign = self.foreign.get_or_insert_default();
        for listed in listed {
            let Some(submission) = self.submissions.number(&listed.name) else {
                continue;
            };
            let key = (listed.job.clone(), listed.task);
            let ended = matches!(listed.state, State::Ended(_));
            if first && ended {
                foreign.insert(key);
                continue;
            }
            if ended && foreign.contains(&key) {
                continue;
            }
            foreign.remove(&key);
            let runs = ours
                .entry(submission)
                .or_insert_with(|| self.submissions.runs(submission));
            let Some(id) = runs.get(listed.task).cloned() else {
                continue;
            };
            let task = Task { submission, listed };
            // One that lives counts before one that has ended, then the later one.
            let rank = |task: &Task| {
                (
                    !matches!(task.listed.state, State::Ended(_)),
                    task.submission,
                )
            };
            if latest
                .get(&id)
                .is_none_or(|other| rank(other) < rank(&task))
            {
                latest.insert(id, task);
            }
        }
        for i in self.open() {
            let Some(task) = latest.remove(&self.plan.runs[i].id) else {
                // The controller may have forgotten it.
                if self.runs[i].is_live() {
                    self.runs[i].task = None;
                }
                continue;
            };
            self.seen(i, task)?;
        }
        Ok(())
    }

    /// A task of a run is in the queue's list.
    fn seen(&mut self, i: usize, task: Task) -> Result<()> {
        let planned = &self.plan.runs[i];
        if let State::Held(reason) = &task.listed.state {
            let name = format!("{}_{}", task.listed.job, task.listed.task);
            if self.held.insert((name.clone(), reason.clone())) {
                (self.setting.note)(&format!(
                    "job {name} ({} {} seed {}) is held ({reason}) and begins only after `scontrol release {name}`",
                    planned.task, planned.method, planned.spec.seed
                ));
            }
        }
        let begins = task.listed.state == State::Running && !self.runs[i].told_started;
        self.runs[i].submissions.insert(task.submission);
        self.runs[i].tried = true;
        self.runs[i].task = Some(task);
        if self.runs[i].is_live() {
            self.runs[i].missed = 0;
        }
        if begins {
            self.runs[i].told_started = true;
            let work = self.setting.store.work(planned)?;
            let measured_only = matches!(work, Work::Measure { .. });
            let slots = Vec::new();
            self.say(
                i,
                What::Started {
                    measured_only,
                    slots,
                },
            );
        }
        Ok(())
    }

    /// What a run that is in no queue and has no result has come to; none when it is to be submitted.
    fn verdict(&self, i: usize) -> Option<(Stage, What)> {
        let run = &self.runs[i];
        let failed = |outcome| {
            let planned = &self.plan.runs[i];
            let log = run.submissions.last().and_then(|&number| {
                let runs = self.submissions.runs(number);
                let task = runs.iter().position(|run| *run == planned.id)?;
                Some(self.submissions.log(number, task))
            });
            let failure = Failure {
                log_end: log.as_deref().map(last_lines).unwrap_or_default(),
                folder: None,
                again: (self.setting.again)(planned),
            };
            let ended = What::Ended {
                outcome,
                seconds: 0.0,
                failure: Some(failure),
            };
            Some((Stage::Failed, ended))
        };
        match run.ending() {
            Some("CANCELLED") => Some((Stage::Interrupted, What::Interrupted)),
            Some("OUT_OF_MEMORY") => failed(Outcome::OutOfMemory),
            ending
                if run.tried && run.submissions.len() >= self.setting.profile.attempts as usize =>
            {
                let jobs = match run.submissions.len() {
                    1 => "1 job".to_string(),
                    count => format!("{count} jobs"),
                };
                let ending = match ending {
                    Some(ending) => format!("the last one ended as {ending}"),
                    None => "the last one is in the queue no more".into(),
                };
                let message = format!("{jobs} left no result in the store, {ending}");
                failed(Outcome::Failed { message })
            }
            _ => None,
        }
    }

    fn submit(&mut self, ready: &[usize]) -> Result<()> {
        if ready.is_empty() {
            return Ok(());
        }
        let profile = self.setting.profile;
        let limit = match self.largest_array {
            Some(limit) => limit,
            None => slurm::largest_array()?.unwrap_or(usize::MAX),
        };
        self.largest_array = Some(limit);
        let size = limit.min(profile.array.size as usize);
        if size == 0 {
            bail!("the cluster allows no job arrays (MaxArraySize is 0)");
        }
        for part in ready.chunks(size) {
            let ids: Vec<RunId> = part.iter().map(|&i| self.plan.runs[i].id.clone()).collect();
            let submission = self
                .submissions
                .write(profile, &self.setting.command, &ids)?;
            let job = slurm::submit(&submission.words);
            if matches!(job, Err(Error::Refused { .. })) {
                for run in &ids {
                    self.submissions.end(submission.number, run)?;
                }
            } else {
                // An answer that was lost may have been a yes: it counts, and the queue will tell.
                for &i in part {
                    let run = &mut self.runs[i];
                    (run.missed, run.task, run.told_started) = (0, None, false);
                    run.tried = true;
                    run.submissions.insert(submission.number);
                }
            }
            let job = job?;
            std::fs::write(submission.folder.join("job"), format!("{job}\n"))?;
            let runs = if part.len() == 1 { "run" } else { "runs" };
            (self.setting.note)(&format!(
                "submitted {} {runs} as job {job}: {}",
                part.len(),
                submission.folder.display()
            ));
        }
        Ok(())
    }

    /// Says how to come back, and how to end what is left in the queue.
    fn leave(&mut self) {
        let jobs: BTreeSet<String> = self
            .runs
            .iter()
            .filter(|run| run.stage == Stage::Open && run.is_live())
            .filter_map(|run| Some(run.task.as_ref()?.listed.job.clone()))
            .collect();
        let open = self.open();
        for &i in &open {
            self.runs[i].stage = Stage::Interrupted;
        }
        let list: Vec<String> = jobs.into_iter().collect();
        let mut lines = format!(
            "{} runs have not ended; the same command waits for them again",
            open.len()
        );
        if !list.is_empty() {
            lines += &format!(
                "\ntheir jobs go on; to cancel them: scancel {}",
                list.join(" ")
            );
        }
        (self.setting.note)(&lines);
    }

    /// A run has ended, and the user is told: asked for again, it is tried anew.
    fn end(&mut self, i: usize, stage: Stage, what: What) -> Result<()> {
        self.runs[i].stage = stage;
        self.say(i, what);
        match self.runs[i].submissions.last() {
            Some(&number) => self.submissions.end(number, &self.plan.runs[i].id),
            None => Ok(()),
        }
    }

    fn say(&mut self, i: usize, what: What) {
        self.audience.tell(Told {
            slot: None,
            run: &self.plan.runs[i],
            what,
        });
    }

    fn summary(&self) -> Summary {
        let ids = |stage| -> Vec<RunId> {
            let all = self.plan.runs.iter().zip(&self.runs);
            all.filter(|(_, run)| run.stage == stage)
                .map(|(planned, _)| planned.id.clone())
                .collect()
        };
        Summary {
            done: ids(Stage::Done),
            already: ids(Stage::Already),
            failed: ids(Stage::Failed),
            blocked: ids(Stage::Blocked),
            interrupted: ids(Stage::Interrupted),
        }
    }
}

fn last_lines(path: &std::path::Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_END);
    lines[from..].iter().map(|line| line.to_string()).collect()
}
