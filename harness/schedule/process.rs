//! One worker process: started, listened to, and its end turned into an [`Outcome`].
//!
//! No worker outlives its supervisor: the kernel ends it when the slot's thread ends, and so does the end of its
//! standard input. Nothing a worker started outlives the worker: they are one process group.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::BUILD;
use super::control::{Control, Wish};
use super::slot::Slot;
use crate::event::{Environment, Event, Observation, Outcome};

/// How long a worker has between the request to end and its end, when it has nothing to save.
const GRACE: Duration = Duration::from_secs(2);
/// How long a worker may take to end after it told its outcome.
const FAREWELL: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// What a worker told.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) environment: Option<Environment>,
    pub(super) observations: Vec<Observation>,
    pub(super) no_value: BTreeSet<(String, String)>,
    outcome: Option<Outcome>,
    /// Wall-clock time of earlier attempts that this one goes on from, in seconds.
    pub(super) resumed: f64,
    /// Why we ended it.
    fault: Option<String>,
}

/// How a worker ended.
pub(super) enum End {
    /// By itself, or because of what it said.
    Ended(Outcome),
    /// Because the user wants to stop.
    Stopped,
}

/// Runs `worker run job out` to its end; `tell` gets every event, on another thread. `saving` is how long it may take to
/// write a checkpoint when the user wants to stop; none where it writes none.
#[expect(
    clippy::too_many_arguments,
    reason = "a process is where everything meets"
)]
pub(super) fn run(
    worker: &Path,
    job: &Path,
    out: &Path,
    slot: Slot,
    log: &File,
    control: &Control,
    saving: Option<Duration>,
    tell: &(dyn Fn(&Event) + Sync),
) -> Result<(Heard, End)> {
    let mut command = command(worker, job, out, slot);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", worker.display()))?;
    // Held until the worker has ended: it takes the end of its input for our end.
    let input = child.stdin.take();
    let output = child.stdout.take().expect("standard output is a pipe");
    let heard = Mutex::new(Heard::default());
    let (status, stopped) = std::thread::scope(|scope| {
        let listener = scope.spawn(|| listen(output, log, &heard, tell));
        let ended = watch(&mut child, control, saving, &heard);
        match listener.join() {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        ended
    })?;
    drop(input);
    let mut heard = heard
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let end = match heard.outcome.take() {
        _ if heard.fault.is_some() => End::Ended(Outcome::Failed {
            message: heard.fault.take().unwrap_or_default(),
        }),
        Some(outcome) => {
            if !status.success() {
                note(
                    log,
                    &format!("the worker told `{outcome}` and then ended with {status}"),
                )?;
            }
            End::Ended(outcome)
        }
        None if stopped => End::Stopped,
        None => End::Ended(untold(status)),
    };
    Ok((heard, end))
}

/// Appends a line to the log.
pub(super) fn note(mut log: &File, line: &str) -> io::Result<()> {
    log.write_all(format!("{line}\n").as_bytes())
}

fn command(worker: &Path, job: &Path, out: &Path, slot: Slot) -> Command {
    let threads = slot.threads().to_string();
    let mut command = Command::new(worker);
    command.arg("run").arg(job).arg(out).process_group(0);
    command
        .env("OMP_NUM_THREADS", &threads)
        .env("MKL_NUM_THREADS", &threads)
        .env("OMP_WAIT_POLICY", "passive");
    if let Slot::Gpu(index) = slot {
        command.env("CUDA_VISIBLE_DEVICES", index.to_string());
    }
    end_with_us(&mut command);
    command
}

/// The kernel ends the child when the thread that started it ends, which waits for the child.
#[cfg(target_os = "linux")]
fn end_with_us(command: &mut Command) {
    let us = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) != 0 {
                return Err(io::Error::last_os_error());
            }
            // We may have ended before the call.
            if libc::getppid() as u32 != us {
                libc::_exit(libc::EXIT_FAILURE);
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_us(_: &mut Command) {}

/// Reads events until standard output ends. A line that is none goes to the log.
fn listen(
    output: ChildStdout,
    log: &File,
    heard: &Mutex<Heard>,
    tell: &dyn Fn(&Event),
) -> io::Result<()> {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        match serde_json::from_str::<Event>(text.trim()) {
            Ok(event) => {
                hear(
                    &event,
                    log,
                    &mut heard.lock().expect("no thread panics with it"),
                )?;
                tell(&event);
            }
            Err(_) => note(log, text.trim_end())?,
        }
        line.clear();
    }
    Ok(())
}

fn hear(event: &Event, log: &File, heard: &mut Heard) -> io::Result<()> {
    match event {
        Event::Started(environment) => {
            if environment.build != BUILD {
                heard.fault = Some(format!(
                    "the worker was built from other sources ({}) than this program ({}); run `cargo build`",
                    environment.build, BUILD
                ));
            }
            heard.environment = Some(environment.clone());
        }
        Event::Preparing { .. } | Event::Progress { .. } => {}
        Event::Resumed {
            step,
            steps,
            seconds,
        } => {
            heard.resumed = *seconds;
            note(log, &format!("resumed at update {step} of {steps}"))?;
        }
        Event::Again { told, .. } => hear(told, log, heard)?,
        Event::Observed(observation) => heard.observations.push(observation.clone()),
        Event::NoValue { on, metric } => {
            note(log, &format!("{metric} on {on} has no finite value"))?;
            heard.no_value.insert((on.clone(), metric.clone()));
        }
        Event::Note { text } => note(log, text)?,
        Event::Finished(outcome) => heard.outcome = Some(outcome.clone()),
    }
    Ok(())
}

/// Waits for the worker's end and brings it about when it must be. Says also whether the user wanted it.
fn watch(
    child: &mut Child,
    control: &Control,
    saving: Option<Duration>,
    heard: &Mutex<Heard>,
) -> Result<(ExitStatus, bool)> {
    let group = child.id() as libc::pid_t;
    let mut asked: Option<Instant> = None;
    let mut told: Option<Instant> = None;
    let mut stopped = false;
    while !has_ended(group)? {
        let (fault, outcome) = heard.lock().map_or((false, false), |heard| {
            (heard.fault.is_some(), heard.outcome.is_some())
        });
        if outcome {
            told.get_or_insert_with(Instant::now);
        }
        let lingers = told.is_some_and(|since| since.elapsed() > FAREWELL);
        match asked {
            None if fault || lingers || control.wish() >= Wish::Stop => {
                stopped = control.wish() >= Wish::Stop;
                asked = Some(Instant::now());
                signal(group, libc::SIGTERM);
            }
            Some(since) => {
                let grace = saving.filter(|_| stopped && !fault).unwrap_or(GRACE);
                if since.elapsed() > grace || control.wish() == Wish::Kill {
                    signal(group, libc::SIGKILL);
                }
            }
            None => {}
        }
        std::thread::sleep(POLL);
    }
    // Whoever asked us to stop may have asked the worker as well, as a batch system does.
    stopped |= control.wish() >= Wish::Stop;
    // Its number stays taken until we wait for it, so this cannot meet a stranger.
    signal(group, libc::SIGKILL);
    Ok((child.wait()?, stopped))
}

/// Whether the process has ended; it is not waited for yet.
fn has_ended(pid: libc::pid_t) -> io::Result<bool> {
    // SAFETY: all zeros is a valid value, and the call writes nothing else.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        match libc::waitid(
            libc::P_PID,
            pid as libc::id_t,
            &mut info,
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
        ) {
            0 => Ok(info.si_pid() == pid),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn signal(group: libc::pid_t, signal: libc::c_int) {
    // SAFETY: the call touches no memory of ours. A group that is gone is no error.
    unsafe { libc::kill(-group, signal) };
}

/// The outcome of a worker that told none.
fn untold(status: ExitStatus) -> Outcome {
    match status.signal() {
        Some(signal) => Outcome::Killed { signal },
        None => Outcome::Failed {
            message: format!("the worker told no outcome and ended with {status}"),
        },
    }
}
