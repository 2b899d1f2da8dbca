//! One worker, of a process or several: started, listened to, and its end turned into an [`Outcome`].
//!
//! No worker outlives its supervisor: the kernel ends it when the attempt's thread ends, and so does the end of its
//! standard input. Nothing a worker started outlives the worker: they are one process group, and who leaves it is known
//! by its environment.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::BUILD;
use super::control::{Control, Wish};
use super::memory;
use super::slot::Slot;
use crate::event::{Environment, Event, Observation, Outcome};
use crate::store::MARK;

/// How long a worker has between the request to end and its end, when it has nothing to save.
const GRACE: Duration = Duration::from_secs(2);
/// How long a worker may take to end after it told its outcome, or after one of its group has died.
const FAREWELL: Duration = Duration::from_secs(10);
/// How often wishes and limits are looked at; the end of a process is noticed at once.
const TICK: Duration = Duration::from_millis(100);
/// How often who waits for a worker's words asks whether the worker is still there.
const LULL: Duration = Duration::from_secs(1);
/// A longer line is no event.
const LONGEST_LINE: u64 = 1 << 20;
/// Exit status of a process that is not the first of its group and ran out of memory.
const OUT_OF_MEMORY: i32 = libc::ENOMEM;

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
}

/// When a worker is ended.
pub(super) struct Limits<'a> {
    pub(super) control: &'a Control,
    /// How long it may take to write a checkpoint before its end; none where it writes none.
    pub(super) saving: Option<Duration>,
    /// How long it may take in all.
    pub(super) timeout: Option<Duration>,
    /// How long it may tell nothing.
    pub(super) stall: Option<Duration>,
}

/// Why we end a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// What it said is wrong.
    Fault,
    /// It told its outcome and goes on.
    Lingers,
    /// One of its group has died.
    Alone,
    /// The user wants to stop.
    Wish,
    TimedOut(Duration),
    Stalled(Duration),
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
    };
    // Held until the worker has ended: it takes the end of its input for our end.
    let mut inputs = Vec::new();
    let mut outputs = Vec::new();
    for mut command in commands(launch) {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(launch.log.try_clone()?);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", launch.worker.display()))?;
        inputs.extend(child.stdin.take());
        outputs.extend(child.stdout.take());
        group.members.push(Member::new(child));
    }
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
        let listener = scope.spawn(|| listen(first, log, &heard, tell));
        // The others tell no events; what a library prints there belongs to the log.
        for output in outputs.map(pipe) {
            scope.spawn(|| copy_lines(output, log));
        }
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
                hear(&event, log, &mut heard)?;
                drop(heard);
                tell(&event);
            }
            Err(_) => note(log, text.trim_end())?,
        }
    }
    Ok(())
}

fn copy_lines(mut output: impl BufRead, log: &File) {
    let mut line = Vec::new();
    // What cannot be logged costs no run.
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

/// The processes of a worker.
struct Group {
    /// The signal that asks them to end.
    request: libc::c_int,
    members: Vec<Member>,
}

struct Member {
    child: Child,
    /// Readable when the process has ended; none where the kernel has no such thing.
    fd: Option<OwnedFd>,
    /// We asked it to end.
    asked: bool,
    status: Option<ExitStatus>,
}

impl Member {
    fn new(child: Child) -> Member {
        // SAFETY: the call touches no memory of ours, and the descriptor it returns is nobody else's.
        let fd = unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, child.id() as libc::pid_t, 0);
            (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as RawFd))
        };
        Member {
            child,
            fd,
            asked: false,
            status: None,
        }
    }

    fn pid(&self) -> libc::pid_t {
        self.child.id() as libc::pid_t
    }
}

impl Group {
    fn pids(&self) -> Vec<u32> {
        let pids = self.members.iter().map(|member| member.child.id());
        pids.collect()
    }

    fn signal(&mut self, signal: libc::c_int) {
        let members = self.members.iter_mut();
        for member in members.filter(|member| member.status.is_none()) {
            member.asked = true;
            // SAFETY: the call touches no memory of ours. A group that is gone is no error.
            unsafe { libc::kill(-member.pid(), signal) };
        }
    }

    /// Waits until every process has ended and brings that about when it must be. Says why it did.
    fn watch(&mut self, limits: &Limits<'_>, heard: &Mutex<Heard>) -> Result<Option<Reason>> {
        let begun = Instant::now();
        let mut asked: Option<(Reason, Instant)> = None;
        let mut told: Option<Instant> = None;
        let mut died: Option<Instant> = None;
        loop {
            self.collect()?;
            if self.members.iter().all(|member| member.status.is_some()) {
                break;
            }
            let (fault, outcome, last) = heard.lock().map_or((false, false, None), |heard| {
                (heard.fault.is_some(), heard.outcome.is_some(), heard.last)
            });
            if outcome {
                told.get_or_insert_with(Instant::now);
            }
            if self.members.iter().any(|member| member.status.is_some()) {
                died.get_or_insert_with(Instant::now);
            }
            let wish = limits.control.wish();
            let is_over =
                |since: Option<Instant>| since.is_some_and(|since| since.elapsed() > FAREWELL);
            let silent = last.unwrap_or(begun).elapsed();
            let reason = match (limits.timeout, limits.stall) {
                _ if fault => Some(Reason::Fault),
                _ if wish >= Wish::Stop => Some(Reason::Wish),
                _ if is_over(told) => Some(Reason::Lingers),
                _ if is_over(died) => Some(Reason::Alone),
                _ if outcome => None,
                (Some(limit), _) if begun.elapsed() > limit => Some(Reason::TimedOut(limit)),
                (_, Some(limit)) if silent > limit => Some(Reason::Stalled(limit)),
                _ => None,
            };
            match (asked, reason) {
                (None, Some(reason)) => {
                    asked = Some((reason, Instant::now()));
                    self.signal(self.request);
                }
                (Some((reason, since)), _) => {
                    let saves = matches!(reason, Reason::Wish | Reason::TimedOut(_));
                    let grace = limits.saving.filter(|_| saves).unwrap_or(GRACE);
                    if since.elapsed() > grace || wish == Wish::Kill {
                        self.signal(libc::SIGKILL);
                    }
                }
                (None, None) => {}
            }
            self.wait();
        }
        // Whoever asked us to stop may have asked the worker as well, as a batch system does.
        let wish = (limits.control.wish() >= Wish::Stop).then_some(Reason::Wish);
        Ok(asked.map(|(reason, _)| reason).or(wish))
    }

    /// Notices which processes have ended, and ends what those have started.
    fn collect(&mut self) -> Result<()> {
        for member in self
            .members
            .iter_mut()
            .filter(|member| member.status.is_none())
        {
            if has_ended(member.pid())? {
                // Its number stays taken until we wait for it, so this cannot meet a stranger.
                // SAFETY: the call touches no memory of ours.
                unsafe { libc::kill(-member.pid(), libc::SIGKILL) };
                member.status = Some(member.child.wait()?);
            }
        }
        Ok(())
    }

    /// Sleeps until a process ends, or for a moment.
    fn wait(&self) {
        let running = self.members.iter().filter(|member| member.status.is_none());
        let fds: Option<Vec<libc::pollfd>> = running
            .map(|member| {
                Some(libc::pollfd {
                    fd: member.fd.as_ref()?.as_raw_fd(),
                    events: libc::POLLIN,
                    revents: 0,
                })
            })
            .collect();
        match fds {
            // SAFETY: the array lives through the call, and its length is given.
            Some(mut fds) => unsafe {
                libc::poll(
                    fds.as_mut_ptr(),
                    fds.len() as libc::nfds_t,
                    TICK.as_millis() as libc::c_int,
                );
            },
            None => std::thread::sleep(TICK / 10),
        }
    }

    /// What the worker's end means.
    fn end(
        &self,
        reason: Option<Reason>,
        heard: &mut Heard,
        kills: Option<u64>,
        log: &File,
    ) -> Result<End> {
        let status = |member: &Member| member.status.expect("every process has ended");
        let first = status(&self.members[0]);
        if let Some(message) = heard.fault.take() {
            return Ok(End::Ended(Outcome::Failed { message }));
        }
        let told = heard.outcome.take();
        if let Some(outcome) = told.clone().filter(Outcome::is_result) {
            if !first.success() {
                note(
                    log,
                    &format!("the worker told `{outcome}` and then ended with {first}"),
                )?;
            }
            return Ok(End::Ended(outcome));
        }
        match reason {
            Some(Reason::Wish) if told.is_none() => return Ok(End::Stopped),
            Some(Reason::TimedOut(limit)) => {
                let seconds = limit.as_secs();
                return Ok(End::Ended(Outcome::TimedOut { seconds }));
            }
            Some(Reason::Stalled(limit)) => {
                let seconds = limit.as_secs();
                return Ok(End::Ended(Outcome::Stalled { seconds }));
            }
            _ => {}
        }
        // When one of several dies, the others only tell that it is gone. Whom we had to end tells nothing about the cause.
        let others = self.members[1..].iter().filter(|member| !member.asked);
        let mut ends = others.filter_map(|member| {
            let status = status(member);
            match (status.signal(), status.code()) {
                (Some(signal), _) => Some(Outcome::Killed { signal }),
                (_, Some(OUT_OF_MEMORY)) => Some(Outcome::OutOfMemory),
                _ => None,
            }
        });
        let outcome = match (told, ends.next()) {
            (Some(Outcome::Failed { .. }) | None, Some(outcome)) => outcome,
            (Some(outcome), _) => outcome,
            (None, None) => untold(first),
        };
        if outcome
            == (Outcome::Killed {
                signal: libc::SIGKILL,
            })
            && let Some(evidence) = memory::evidence(kills)
        {
            note(log, &evidence)?;
            return Ok(End::Ended(Outcome::OutOfMemory));
        }
        Ok(End::Ended(outcome))
    }
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

/// The outcome of a worker that told none.
fn untold(status: ExitStatus) -> Outcome {
    match status.signal() {
        Some(signal) => Outcome::Killed { signal },
        None => Outcome::Failed {
            message: format!("the worker told no outcome and ended with {status}"),
        },
    }
}
