//! The processes of a worker: watched until the last has ended, ended when they must be, and what their ends mean.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{End, Heard, Limits, note};
use crate::event::Outcome;
use crate::schedule::control::Wish;
use crate::schedule::family::Family;
use crate::schedule::{guard, memory};

/// How long a worker has between the request to end and its end, when it has nothing to save.
const GRACE: Duration = Duration::from_secs(2);
/// How long a worker may take to end after it told its outcome, or after one of its group has died.
const FAREWELL: Duration = Duration::from_secs(10);
/// How often wishes and limits are looked at; the end of a process is noticed at once.
const TICK: Duration = Duration::from_millis(200);
/// How often it is looked who descends from the worker.
const LOOK: Duration = Duration::from_secs(5);
/// Exit status of a process that is not the first of its group and ran out of memory.
const OUT_OF_MEMORY: i32 = libc::ENOMEM;

/// Why we end a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// What it said is wrong.
    Fault,
    /// It told its outcome and goes on.
    Lingers,
    /// One of its group has died.
    Alone,
    /// The user wants to stop.
    Wish,
    /// Another supervisor took us for gone, and has the run and its checkpoints.
    Lost,
    TimedOut(Duration),
    Stalled(Duration),
}

/// The processes of a worker.
pub(super) struct Group {
    /// The signal that asks them to end.
    pub(super) request: libc::c_int,
    pub(super) members: Vec<Member>,
    /// They and whatever descends from them.
    pub(super) family: Family,
}

pub(super) struct Member {
    child: Child,
    /// Readable when the process has ended; none where the kernel has no such thing.
    fd: Option<OwnedFd>,
    /// We asked it to end.
    asked: bool,
    status: Option<ExitStatus>,
}

impl Member {
    pub(super) fn new(child: Child) -> Member {
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
    pub(super) fn pids(&self) -> Vec<u32> {
        let pids = self.members.iter().map(|member| member.child.id());
        pids.collect()
    }

    /// Kills and waits for those that were started.
    pub(super) fn abandon(&mut self) {
        self.signal(libc::SIGKILL);
        for member in &mut self.members {
            let _ = member.child.wait();
            guard::has_ended(&member.child);
        }
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
    pub(super) fn watch(
        &mut self,
        limits: &Limits<'_>,
        heard: &Mutex<Heard>,
    ) -> Result<Option<Reason>> {
        let begun = Instant::now();
        let mut asked: Option<(Reason, Instant)> = None;
        let mut told: Option<Instant> = None;
        let mut died: Option<Instant> = None;
        let mut looked = begun;
        loop {
            if looked.elapsed() > LOOK {
                looked = Instant::now();
                self.family.look();
            }
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
                _ if (limits.is_lost)() => Some(Reason::Lost),
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
                (_, Some(Reason::Lost)) => {
                    // It must not write a checkpoint any more: they are another's.
                    asked = Some((Reason::Lost, Instant::now()));
                    self.family.look();
                    self.signal(libc::SIGKILL);
                }
                (None, Some(reason)) => {
                    asked = Some((reason, Instant::now()));
                    self.family.look();
                    self.signal(self.request);
                }
                (Some((reason, since)), _) => {
                    let saves = matches!(reason, Reason::Wish | Reason::TimedOut(_));
                    let grace = limits.saving.filter(|_| saves).unwrap_or(GRACE);
                    if since.elapsed() > grace || wish == Wish::Kill {
                        self.family.look();
                        self.signal(libc::SIGKILL);
                    }
                }
                (None, None) => {}
            }
            self.wait();
        }
        self.family.end();
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
                guard::has_ended(&member.child);
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
            None => std::thread::sleep(TICK / 20),
        }
    }

    /// What the worker's end means.
    pub(super) fn end(
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
            Some(Reason::Lost) => return Ok(End::Stopped),
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
