//! How a user stops: once to let the running runs finish, twice to end them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// What the user wants, from any thread.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<AtomicUsize>);

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    GoOn,
    /// Begin nothing new.
    Finish,
    /// End what runs.
    Stop,
}

impl Control {
    /// One that follows SIGINT (ctrl-C) and SIGTERM of this process from now on.
    pub fn of_signals() -> io::Result<Control> {
        let control = Control::default();
        let ours = control.clone();
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
        std::thread::spawn(move || signals.forever().for_each(|_| ours.interrupt()));
        Ok(control)
    }

    /// Asks once more to stop.
    pub fn interrupt(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// What is wanted now.
    pub fn wish(&self) -> Wish {
        match self.0.load(Ordering::SeqCst) {
            0 => Wish::GoOn,
            1 => Wish::Finish,
            _ => Wish::Stop,
        }
    }
}
