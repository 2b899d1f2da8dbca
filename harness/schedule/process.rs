//! One worker, of a process or several: started, listened to, and its end turned into an [`Outcome`].
//!
//! No worker outlives its supervisor: the kernel ends it when the attempt's thread ends, and so does the end of its
//! standard input. Nothing a worker started outlives the worker: they are one process group, and who leaves it is known
//! by its environment or by its parents.

mod group;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::BUILD;
use super::control::Control;
use super::family::Family;
use super::guard::{self, Guarded};
use super::memory;
use super::slot::Slot;
use super::trouble::CannotStart;
use crate::event::{Environment, Event, Observation, Outcome};
use crate::store::MARK;
use group::{Group, Member};

/// How often who waits for a worker's words asks whether the worker is still there.
const LULL: Duration = Duration::from_secs(1);
/// A longer line is no event.
const LONGEST_LINE: u64 = 1 << 20;

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
    /// When it told something last.
    last: Option<Instant>,
}

/// How a worker ended.
pub(super) enum End {
    /// By itself, or because of what it said or did not say.
    Ended(Outcome),
    /// Because the user wants to stop.
    Stopped,
}

/// What is started: a process for every job, each on a slot, the first of which tells.
pub(super) struct Launch<'a> {
    pub(super) worker: &'a Path,
    /// The job of each process.
    pub(super) jobs: &'a [PathBuf],
    /// The slot of each process.
    pub(super) slots: &'a [&'a Slot],
    /// The attempt's folder.
    pub(super) out: &'a Path,
    pub(super) log: &'a File,
    pub(super) guarded: Option<&'a Guarded>,
}

/// When a worker is ended.
pub(super) struct Limits<'a> {
    pub(super) control: &'a Control,
    /// Whether the run is another supervisor's now.
    pub(super) is_lost: &'a (dyn Fn() -> bool + Sync),
    /// How long it may take to write a checkpoint before its end; none where it writes none.
    pub(super) saving: Option<Duration>,
    /// How long it may take in all.
    pub(super) timeout: Option<Duration>,
    /// How long it may tell nothing.
    pub(super) stall: Option<Duration>,
}

/// Runs a worker to its end; `tell` gets every event, on another thread, and `started` the numbers of its processes.
pub(super) fn run(
    launch: &Launch<'_>,
    limits: &Limits<'_>,
    started: &dyn Fn(Vec<u32>),
    tell: &(dyn Fn(&Event) + Sync),
) -> Result<(Heard, End)> {
    let kills = memory::kills();
    let heard = Mutex::new(Heard::default());
    let mut group = Group {
        // `srun` passes this one on; at SIGTERM it kills what it has started.
        request: match launch.slots[0] {
            Slot::Task { .. } => libc::SIGUSR1,
            _ => libc::SIGTERM,
        },
        members: Vec::new(),
        family: Family::default(),
    };
    // Held until the worker has ended: it takes the end of its input for our end.
    let mut inputs = Vec::new();
    let mut outputs = Vec::new();
    for mut command in commands(launch) {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let log = launch.log.try_clone();
        let started = log.and_then(|log| guard::start(command.stderr(log)));
        let mut child = started
            .inspect_err(|_| group.abandon())
            .with_context(|| CannotStart(launch.worker.into()))?;
        inputs.extend(child.stdin.take());
        outputs.extend(child.stdout.take());
        group.members.push(Member::new(child));
    }
    group.family = Family::of(
        group.pids().iter().map(|&pid| pid as _).collect(),
        Vec::new(),
    );
    started(group.pids());
    let mut outputs = outputs.into_iter();
    let first = outputs.next().expect("standard output is a pipe");
    let log = launch.log;
    let over = AtomicBool::new(false);
    let reason = std::thread::scope(|scope| {
        let pipe = |output| {
            BufReader::new(Pipe {
                output,
                over: &over,
            })
        };
        let first = pipe(first);
        let thread = || std::thread::Builder::new();
        // The others tell no events; what a library prints there belongs to the log.
        let copying = outputs.map(pipe).try_for_each(|output| {
            thread()
                .spawn_scoped(scope, || copy_lines(output, log))
                .map(drop)
        });
        let listening = copying
            .and_then(|()| thread().spawn_scoped(scope, || listen(first, log, &heard, tell)));
        let listener = match listening {
            Ok(listener) => listener,
            Err(error) => {
                group.abandon();
                over.store(true, Ordering::SeqCst);
                return Err(error).with_context(|| CannotStart(launch.worker.into()));
            }
        };
        let reason = group.watch(limits, &heard);
        over.store(true, Ordering::SeqCst);
        match listener.join() {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        reason
    })?;
    drop(inputs);
    let mut heard = heard
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let end = group.end(reason, &mut heard, kills, launch.log)?;
    Ok((heard, end))
}

/// Appends a line to the log.
pub(super) fn note(mut log: &File, line: &str) -> io::Result<()> {
    log.write_all(format!("{line}\n").as_bytes())
}

/// One process on every slot, or one `srun` that starts them all.
fn commands(launch: &Launch<'_>) -> Vec<Command> {
    let first = launch.slots[0];
    let mut commands = Vec::new();
    if let Slot::Task { gpu, .. } = first {
        let mut command = Command::new("srun");
        command.args(["--kill-on-bad-exit=1", "--export=ALL"]);
        command.arg(format!("--ntasks={}", launch.slots.len()));
        command.args(gpu.then_some("--gpus-per-task=1"));
        command.arg(launch.worker).arg("run").arg(&launch.jobs[0]);
        command.arg(launch.out);
        command.args((launch.slots.len() > 1).then_some("--srun"));
        commands.push(command);
    } else {
        for (job, slot) in launch.jobs.iter().zip(launch.slots) {
            let mut command = Command::new(launch.worker);
            command.arg("run").arg(job).arg(launch.out);
            if let Some(gpu) = slot.gpu() {
                command.env("CUDA_VISIBLE_DEVICES", &gpu.name);
            }
            commands.push(command);
        }
    }
    let threads = first.threads().to_string();
    for command in &mut commands {
        command
            .process_group(0)
            .env("OMP_NUM_THREADS", &threads)
            .env("MKL_NUM_THREADS", &threads)
            .env("OMP_WAIT_POLICY", "passive")
            .env(MARK, launch.out);
        if let Some(guarded) = launch.guarded {
            guarded.mark(command);
        }
        end_with_us(command);
    }
    commands
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
    mut output: impl BufRead,
    log: &File,
    heard: &Mutex<Heard>,
    tell: &dyn Fn(&Event),
) -> io::Result<()> {
    let mut line = Vec::new();
    while next_line(&mut output, &mut line)? {
        let text = String::from_utf8_lossy(&line);
        match serde_json::from_str::<Event>(text.trim()) {
            Ok(event) => {
                let mut heard = heard.lock().expect("no thread panics with it");
                heard.last = Some(Instant::now());
                hear(&event, log, &mut heard);
                drop(heard);
                tell(&event);
            }
            // What cannot be logged costs no run.
            Err(_) => drop(note(log, text.trim_end())),
        }
    }
    Ok(())
}

fn copy_lines(mut output: impl BufRead, log: &File) {
    let mut line = Vec::new();
    while next_line(&mut output, &mut line).unwrap_or(false) {
        let _ = note(log, String::from_utf8_lossy(&line).trim_end());
    }
}

/// Reads the next line, or the next part of one that is too long; says whether there was any.
fn next_line(output: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let count = output.take(LONGEST_LINE).read_until(b'\n', line)?;
    Ok(count > 0)
}

fn hear(event: &Event, log: &File, heard: &mut Heard) {
    let note = |text: &str| drop(note(log, text));
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
            note(&format!("resumed at update {step} of {steps}"));
        }
        Event::Again { told, .. } => hear(told, log, heard),
        Event::Observed(observation) => heard.observations.push(observation.clone()),
        Event::NoValue { on, metric } => {
            note(&format!("{metric} on {on} has no finite value"));
            heard.no_value.insert((on.clone(), metric.clone()));
        }
        Event::Note { text } => note(text),
        Event::Finished(outcome) => heard.outcome = Some(outcome.clone()),
    }
}

/// What a worker writes, until it has ended: whoever has inherited the pipe and left its group keeps nobody waiting.
struct Pipe<'a> {
    output: ChildStdout,
    over: &'a AtomicBool,
}

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let over = self.over.load(Ordering::SeqCst);
            let mut fd = libc::pollfd {
                fd: self.output.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            let wait = if over { 0 } else { LULL.as_millis() };
            // SAFETY: one structure, which lives through the call.
            match unsafe { libc::poll(&mut fd, 1, wait as libc::c_int) } {
                0 if over => return Ok(0),
                0 => {}
                _ => return self.output.read(buffer),
            }
        }
    }
}
