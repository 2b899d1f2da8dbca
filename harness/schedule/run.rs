//! One attempt at a run, on one slot or several.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::guard::Guarded;
use super::process::{self, End, Launch, Limits};
use super::rules::Ends;
use super::trouble::is_of_the_machine;
use super::{Control, Ended, Failure, Said, Setting, Slot, memory};
use crate::event::{Environment, Event, Outcome, RunRecord};
use crate::plan::{Checkpoints, Job, Meeting, Member, PlannedRun};
use crate::store::{Attempt, Work};

/// Lines of the log that a failure shows.
const LOG_END: usize = 12;
/// What the system says, in a worker's words too, when a disk is full or no process and no thread can be started.
const NO_ROOM: [&str; 2] = [
    "No space left on device",
    "Resource temporarily unavailable",
];
/// How long a worker may take to end its update and write a checkpoint when the user wants to stop: tens of gigabytes
/// for the largest models, to a file system that many share.
const SAVING: Duration = Duration::from_secs(300);

/// What an attempt is given besides the run.
pub(super) struct Given<'a> {
    pub(super) attempt: Attempt,
    /// Its slots, by their places among all.
    pub(super) slots: Vec<usize>,
    /// How earlier attempts ended.
    pub(super) ends: Ends,
    /// Who ends what it starts, should we die.
    pub(super) guarded: Option<&'a Guarded>,
}

/// One attempt, on a thread of its own.
pub(super) fn on_slots(
    run: &PlannedRun,
    given: Given<'_>,
    setting: &Setting<'_>,
    control: &Control,
    say: &(dyn Fn(Said) + Sync),
) {
    let Given {
        attempt,
        slots,
        mut ends,
        guarded,
    } = given;
    let slots: Vec<&Slot> = slots.iter().map(|&slot| &setting.slots[slot]).collect();
    let begun = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let places = Places {
            slots: &slots,
            guarded,
        };
        attempt_run(run, &attempt, setting, &places, control, say)
    }));
    attempt.end_processes();
    let failed = |message: String| Some((Outcome::Failed { message }, None));
    let ended = match result {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) if !attempt.is_lost() && is_of_the_machine(&error, setting.store) => {
            drop(attempt);
            return say(Said::Trouble(error));
        }
        Ok(Err(error)) => failed(format!("{error:#}")),
        Err(_) => failed("the supervisor panicked; this is a bug".into()),
    };
    if let Some((Outcome::Failed { message }, _)) = &ended
        && (NO_ROOM.iter().any(|words| message.contains(words))
            || setting.store.try_to_write().is_err())
    {
        drop(attempt);
        return say(Said::Trouble(anyhow::anyhow!("{message}")));
    }
    if !matches!(&ended, Some((outcome, _)) if outcome.is_result()) && attempt.is_lost() {
        drop(attempt);
        return say(Said::Lost);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let ended = ended.map(|(outcome, environment)| {
        if outcome.is_result() {
            return Ended {
                outcome,
                seconds,
                failure: None,
                attempt: None,
            };
        }
        let again = (setting.again)(run);
        let log_end = attempt.log_end(LOG_END);
        let count = ends.count(&outcome) + 1;
        let kept = attempt.fail(outcome.clone(), count, seconds, environment, &again);
        let folder = kept.is_ok().then(|| setting.store.failed_folder(&run.id));
        Ended {
            outcome,
            seconds,
            failure: Some(Failure {
                log_end,
                folder,
                again,
            }),
            attempt: Some(attempt.name().to_string()),
        }
    });
    // The lease goes before the schedule goes on, so that nobody waits for a run that has ended.
    drop(attempt);
    say(Said::Ended(ended));
}

type Ending = (Outcome, Option<Environment>);

/// Where the worker's processes are, and who guards them.
struct Places<'a> {
    slots: &'a [&'a Slot],
    guarded: Option<&'a Guarded>,
}

/// Runs the worker and keeps its result; an ending that is no result is for the caller to keep. None when stopped.
fn attempt_run(
    run: &PlannedRun,
    attempt: &Attempt,
    setting: &Setting<'_>,
    places: &Places<'_>,
    control: &Control,
    say: &(dyn Fn(Said) + Sync),
) -> Result<Option<Ending>> {
    let begun = Instant::now();
    let slots = places.slots;
    let jobs: Vec<Job> = (0..slots.len())
        .map(|rank| job(run, attempt, setting, slots, rank))
        .collect();
    let paths: Vec<PathBuf> = (0..slots.len()).map(|rank| attempt.job(rank)).collect();
    for (job, path) in jobs.iter().zip(&paths) {
        std::fs::write(path, serde_json::to_string(job)?)
            .with_context(|| path.display().to_string())?;
    }
    let log = attempt.log()?;
    let training = Mutex::new((attempt.training_log(), false));
    let hear = |event: &Event| {
        let mut training = training.lock().unwrap_or_else(PoisonError::into_inner);
        let (training, has_failed) = &mut *training;
        // What cannot be written now may be at the end; it is said once.
        if let Err(error) = training.hear(event)
            && !std::mem::replace(has_failed, true)
        {
            complain(&log, &error);
        }
        say(Said::Event(event.clone()));
    };
    let launch = Launch {
        worker: &setting.worker,
        jobs: &paths,
        slots,
        out: attempt.folder(),
        log: &log,
        guarded: places.guarded,
    };
    let limits = Limits {
        control,
        is_lost: &|| attempt.is_known_lost(),
        saving: jobs[0].checkpoints.is_some().then_some(SAVING),
        timeout: setting.policy.timeout,
        stall: setting.policy.stall,
    };
    let ended = process::run(&launch, &limits, &|pids| say(Said::Processes(pids)), &hear);
    let (training, _) = training
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = training.finish() {
        complain(&log, &error);
    }
    let (heard, end) = ended?;
    let End::Ended(mut outcome) = end else {
        return Ok(None);
    };
    if memory::ended_without(&outcome, &attempt.log_end(LOG_END)) {
        outcome = Outcome::OutOfMemory;
    }
    if !outcome.is_result() {
        return Ok(Some((outcome, heard.environment)));
    }
    let failed = |message: String| Ok(Some((Outcome::Failed { message }, None)));
    let Some(environment) = heard.environment else {
        return failed("the worker did not say what it is".into());
    };
    let seconds = heard.resumed + begun.elapsed().as_secs_f64();
    let record = RunRecord {
        outcome: outcome.clone(),
        environment,
        seconds,
        observations: heard.observations,
        no_value: heard.no_value,
    };
    if outcome == Outcome::Completed {
        let missing: Vec<String> = attempt
            .missing(&record)
            .into_iter()
            .map(|(on, metric)| format!("{metric} on {on}"))
            .collect();
        if !missing.is_empty() {
            return failed(format!(
                "the worker completed without measuring {}",
                missing.join(", ")
            ));
        }
    }
    attempt.finish(record)?;
    Ok(Some((outcome, None)))
}

/// A run is not lost because its training cannot be logged.
fn complain(log: &File, error: &anyhow::Error) {
    let _: io::Result<()> = process::note(log, &format!("the training log has gaps: {error:#}"));
}

fn job(
    run: &PlannedRun,
    attempt: &Attempt,
    setting: &Setting<'_>,
    slots: &[&Slot],
    rank: usize,
) -> Job {
    let (measurements, finished, every) = match attempt.work() {
        Work::Measure { weights, missing } => (missing.clone(), Some(weights.clone()), None),
        _ => (run.measurements.clone(), None, setting.checkpoint_every),
    };
    Job {
        spec: run.spec.clone(),
        measurements,
        folders: setting.folders.clone(),
        stage: run
            .needs
            .as_ref()
            .and_then(|stage| setting.store.weights(stage)),
        cache: setting.cache.clone(),
        device: slots[rank].device().into(),
        threads: slots[rank].threads(),
        finished,
        checkpoints: every.map(|every| Checkpoints {
            folder: setting.store.checkpoints(&run.id),
            every: every.as_secs_f64(),
        }),
        member: (slots.len() > 1).then(|| Member {
            rank,
            size: slots.len(),
            meeting: meeting(slots[0], attempt.meeting(), |name| std::env::var(name).ok()),
        }),
    }
}

/// Where the processes of a run meet: at a file, which is for those of one machine, and where `srun` puts them on several
/// nodes at a port of the first, on which we are.
fn meeting(slot: &Slot, file: PathBuf, variable: impl Fn(&str) -> Option<String>) -> Meeting {
    let nodes = variable("SLURM_JOB_NUM_NODES").and_then(|nodes| nodes.parse::<u32>().ok());
    let host = variable("SLURMD_NODENAME").filter(|_| matches!(slot, Slot::Task { .. }));
    let free = || TcpListener::bind(("0.0.0.0", 0))?.local_addr();
    match (host, nodes) {
        (Some(host), Some(2..)) => free().map_or(Meeting::File(file), |address| Meeting::Port {
            host,
            port: address.port(),
        }),
        _ => Meeting::File(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_on_several_nodes_meet_at_a_port_of_the_first() {
        let at = |slot: &Slot, nodes: &str| {
            let variable = |name: &str| match name {
                "SLURM_JOB_NUM_NODES" => Some(nodes.to_string()),
                "SLURMD_NODENAME" => Some("n7".to_string()),
                _ => None,
            };
            meeting(slot, "meet".into(), variable)
        };
        let task = Slot::Task {
            gpu: true,
            threads: 1,
        };
        assert!(matches!(at(&task, "2"), Meeting::Port { host, port } if host == "n7" && port > 0));
        assert_eq!(at(&task, "1"), Meeting::File("meet".into()));
        assert_eq!(
            at(&Slot::Cpu { threads: 1 }, "2"),
            Meeting::File("meet".into())
        );
    }
}
