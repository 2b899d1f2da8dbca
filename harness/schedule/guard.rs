//! What ends a supervisor's processes when it dies without a word: the program itself, started once more, which waits for
//! the end of a pipe that only the supervisor holds.
//!
//! The kernel ends a worker whose supervisor died, but not what the worker has started, which may hold an accelerator. The
//! guard looks every two seconds who descends from the supervisor. The supervisor is who inherits its descendants' orphans, so
//! that nobody leaves its family as long as it lives.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::family::{Family, children};
use crate::store::end_marked;

/// The word by which the program knows that it is the guard.
const WORD: &str = "guard-a-supervisor";
/// The variable that names the supervisor in the environment of whatever it starts.
const MARK: &str = "HARNESS_SUPERVISOR";
/// How often the guard looks who is there.
const LOOK: Duration = Duration::from_secs(2);

/// Processes that this one has started and waits for itself.
static OURS: Mutex<BTreeSet<libc::pid_t>> = Mutex::new(BTreeSet::new());

/// Starts a process that its caller waits for, and then tells with [`has_ended`].
pub(super) fn start(command: &mut Command) -> io::Result<Child> {
    let mut ours = OURS.lock().expect("no thread panics with it");
    let child = command.spawn()?;
    ours.insert(child.id() as libc::pid_t);
    Ok(child)
}

/// A process that was started here was waited for.
pub(super) fn has_ended(child: &Child) {
    let mut ours = OURS.lock().expect("no thread panics with it");
    ours.remove(&(child.id() as libc::pid_t));
}

/// The supervisor's side: dropped, it has the guard end whatever is left.
pub(super) struct Guarded {
    guard: Child,
    mark: String,
}

impl Guarded {
    /// Starts the guard, which is `program`.
    pub(super) fn by(program: &Path) -> io::Result<Guarded> {
        let us = std::process::id();
        let mark = format!("{us}.{}", crate::store::started(us).unwrap_or_default());
        let mut command = Command::new(program);
        command.args([WORD, &mark]);
        // Who called us may have started others before.
        command.args(children(us as libc::pid_t).iter().map(i32::to_string));
        command
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: between fork and exec only an async-signal-safe call is made, and nothing is allocated.
        unsafe {
            command.pre_exec(|| match libc::setsid() {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let guard = start(&mut command)?;
        inherit_orphans(true);
        Ok(Guarded { guard, mark })
    }

    /// Marks what `command` will start as the supervisor's.
    pub(super) fn mark(&self, command: &mut Command) {
        command.env(MARK, &self.mark);
    }

    /// Waits for orphans that we inherited and that have ended.
    pub(super) fn bury(&self) {
        let ours = OURS.lock().expect("no thread panics with it");
        for child in children(std::process::id() as libc::pid_t) {
            if !ours.contains(&child) {
                // SAFETY: nobody else waits for this child, and its status goes nowhere.
                unsafe { libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG) };
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
        has_ended(&self.guard);
        self.bury();
        inherit_orphans(false);
    }
}

#[cfg(target_os = "linux")]
fn inherit_orphans(yes: bool) {
    // SAFETY: the call touches no memory of ours. Where it fails, orphans are found by their marks alone.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, libc::c_ulong::from(yes)) };
}

#[cfg(not(target_os = "linux"))]
fn inherit_orphans(_: bool) {}

/// The guard's side.
pub struct Guard {
    supervisor: libc::pid_t,
    mark: String,
    /// Children of the supervisor that were there before.
    others: Vec<libc::pid_t>,
}

impl Guard {
    /// Whether this program was started to be one.
    pub fn called() -> Option<Guard> {
        let mut words = std::env::args_os().skip(1);
        if words.next()? != WORD {
            return None;
        }
        let mut words = words.filter_map(|word| word.into_string().ok());
        let mark = words.next()?;
        let supervisor = mark.split('.').next()?.parse().ok()?;
        let others = words.filter_map(|word| word.parse().ok()).collect();
        Some(Guard {
            supervisor,
            mark,
            others,
        })
    }

    /// Waits until the supervisor has ended, and ends what is left of its processes.
    pub fn watch(&self) {
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGUSR1] {
            // SAFETY: nothing else runs.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        let us = std::process::id() as libc::pid_t;
        // SAFETY: the call has no preconditions. Whose child we are not any more has ended; somebody else may be in its place.
        let is_there = unsafe { libc::getppid() } == self.supervisor;
        let roots = is_there.then_some(self.supervisor).into_iter().collect();
        let mut others = self.others.clone();
        others.push(us);
        let mut family = Family::of(roots, others);
        loop {
            family.look();
            if is_over() {
                break;
            }
        }
        for _ in 0..100 {
            family.look();
            let any = family.end();
            end_marked(MARK, self.mark.as_ref());
            if !any {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Waits for the end of standard input, but not for long; says whether it has come.
fn is_over() -> bool {
    let mut fd = libc::pollfd {
        fd: libc::STDIN_FILENO,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one structure, which lives through the call. Nobody writes there, so whatever comes is the end.
    unsafe { libc::poll(&mut fd, 1, LOOK.as_millis() as libc::c_int) > 0 }
}
