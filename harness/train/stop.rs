//! A request to end, which training grants when it has saved itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGTERM, SIGUSR1};
use signal_hook::{flag, low_level};

/// Who may ask training to end after the update it is at.
pub trait Stop {
    /// Training begins to ask: from now on, a request waits for the next update's end.
    fn listen(&self);
    /// Training asks no more: a request ends the process.
    fn ignore(&self);
    /// Whether to end now that `step` updates are done.
    fn wanted(&self, step: u64) -> bool;
}

/// SIGTERM and SIGUSR1 of this process. Outside training they do what they do by default: end it.
#[derive(Debug)]
pub struct Signals {
    idle: Arc<AtomicBool>,
    /// The signal that came; 0 for none.
    came: Arc<AtomicUsize>,
}

impl Signals {
    /// Takes charge of both signals.
    pub fn take() -> io::Result<Signals> {
        let (idle, came) = (Arc::new(AtomicBool::new(true)), Arc::default());
        for signal in [SIGTERM, SIGUSR1] {
            flag::register_conditional_default(signal, Arc::clone(&idle))?;
            flag::register_usize(signal, Arc::clone(&came), signal as usize)?;
        }
        Ok(Signals { idle, came })
    }

    /// Ends the process by the signal that came.
    pub fn end(&self) -> io::Result<()> {
        match self.came.load(Ordering::SeqCst) as libc::c_int {
            0 => Ok(()),
            signal => low_level::emulate_default_handler(signal),
        }
    }
}

impl Stop for Signals {
    fn listen(&self) {
        self.idle.store(false, Ordering::SeqCst);
    }

    fn ignore(&self) {
        self.idle.store(true, Ordering::SeqCst);
    }

    fn wanted(&self, _: u64) -> bool {
        self.came.load(Ordering::SeqCst) != 0
    }
}
