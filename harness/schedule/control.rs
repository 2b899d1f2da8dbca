//! How a user stops: let the running runs finish, or end them at a checkpoint, or end them at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::low_level::emulate_default_handler;

/// Whether signals are nothing to us any more.
static OVER: AtomicBool = AtomicBool::new(false);

/// What the user wants, from any thread.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<AtomicUsize>);

/// What to do about it; each is more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Go on.
    GoOn,
    /// Begin nothing new.
    Finish,
    /// End what runs, with time to write a checkpoint.
    Stop,
    /// End what runs at once.
    Kill,
}

impl Control {
    /// One that follows the signals of this process from now on. Ctrl-C (SIGINT) asks for one thing more each time;
    /// SIGTERM and SIGUSR1, which batch systems send before they end a job, and SIGHUP, the end of a terminal, ask to stop
    /// however often they come. Under `nohup` the end of a terminal means nothing.
    pub fn of_signals() -> io::Result<Control> {
        let control = Control::default();
        let ours = control.clone();
        let mut wanted = vec![SIGINT, SIGTERM, SIGUSR1];
        wanted.extend((!is_ignored(SIGHUP)).then_some(SIGHUP));
        let mut signals = signal_hook::iterator::Signals::new(wanted)?;
        let hear = move |signal| match signal {
            _ if OVER.load(Ordering::SeqCst) => drop(emulate_default_handler(signal)),
            SIGINT => ours.interrupt(),
            _ => ours.stop(),
        };
        std::thread::Builder::new().spawn(move || signals.forever().for_each(hear))?;
        Ok(control)
    }

    /// From now on signals do to this process what they do to one that does not know them: there is nothing left to save.
    pub fn give_back_signals() {
        OVER.store(true, Ordering::SeqCst);
    }

    /// Asks once more to stop.
    pub fn interrupt(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// Asks to end what runs, at a checkpoint.
    pub fn stop(&self) {
        self.0.fetch_max(Wish::Stop as usize, Ordering::SeqCst);
    }

    /// What is wanted now.
    pub fn wish(&self) -> Wish {
        match self.0.load(Ordering::SeqCst) {
            0 => Wish::GoOn,
            1 => Wish::Finish,
            2 => Wish::Stop,
            _ => Wish::Kill,
        }
    }
}

impl Wish {
    /// What happens now, and what asking once more would do; none where nothing was asked.
    pub fn meaning(self) -> Option<&'static str> {
        match self {
            Wish::GoOn => None,
            Wish::Finish => Some(
                "stopping: nothing new begins, what runs goes on to its end; Ctrl-C again lets it save itself and end",
            ),
            Wish::Stop => {
                Some("stopping: what runs saves itself and ends; Ctrl-C again ends it at once")
            }
            Wish::Kill => Some("stopping: what runs is ended at once"),
        }
    }
}

fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: all zeros is a valid value, and without a new action the call only writes the old one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// From now on a reader of our output that goes away costs what it would have read, and does not end us; nor does a file
/// that grows over a limit, which is an error like that of a full disk, here and in programs that we start.
pub fn outlive_readers() {
    // SAFETY: the calls touch no memory of ours. The standard library gives children the default of SIGPIPE back.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_request_to_stop_kills_nothing_and_an_interrupt_after_it_does() {
        let control = Control::default();
        control.stop();
        control.stop();
        assert_eq!(control.wish(), Wish::Stop);
        control.interrupt();
        assert_eq!(control.wish(), Wish::Kill);
        control.stop();
        assert_eq!(control.wish(), Wish::Kill);
    }
}
