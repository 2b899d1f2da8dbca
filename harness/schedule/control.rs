//! How a user stops: let the running runs finish, or end them at a checkpoint, or end them at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

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
    /// SIGTERM and SIGUSR1, which batch systems send before they end a job, ask to stop however often they come.
    pub fn of_signals() -> io::Result<Control> {
        let control = Control::default();
        let ours = control.clone();
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
        let hear = move |signal| match signal {
            SIGINT => ours.interrupt(),
            _ => ours.stop(),
        };
        std::thread::spawn(move || signals.forever().for_each(hear));
        Ok(control)
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
