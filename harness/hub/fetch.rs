//! Several files at once, told as they come.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Hub;
use super::cache::free_space;
use super::error::Error;
use super::need::Repository;
use super::survey::{File, Holding};

/// Files that come at the same time: enough to fill a line, few enough for the hub.
const AT_ONCE: usize = 4;
/// Between two looks at whether the user wants to stop.
const LOOK: Duration = Duration::from_millis(100);

/// Something that happened to a file.
pub struct Told<'a> {
    /// Its repository.
    pub repository: &'a Repository,
    /// The file, as it was when the fetch began.
    pub file: &'a File,
    /// What happened.
    pub what: What,
}

/// What happens to a file.
#[derive(Debug)]
pub enum What {
    /// It is asked for.
    Begun,
    /// So many of its bytes are here; fewer than before when it begins anew.
    Bytes(u64),
    /// It waits.
    Waiting {
        /// Why.
        reason: String,
        /// For how long, if that is known.
        wait: Option<Duration>,
    },
    /// It is whole, verified and has its name.
    Done,
    /// It could not be had.
    Failed(Error),
}

impl Hub {
    /// Gets every file of `holdings` that is not whole; `tell` is called on this thread. Returns how many could not be
    /// had, each of which was told.
    ///
    /// # Errors
    /// [`Error::Space`] before anything is asked for; [`Error::Stopped`] at once when `stop` says so. What has come
    /// is kept.
    pub fn fetch(
        self: &Arc<Hub>,
        holdings: &[Holding],
        stop: &dyn Fn() -> bool,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<usize, Error> {
        let cache = &self.settings.cache;
        let free = free_space(cache).map_err(Error::io(cache))?;
        let needed = holdings.iter().map(Holding::to_come).sum();
        if needed > free {
            return Err(Error::Space {
                folder: cache.clone(),
                needed,
                free,
            });
        }
        let jobs: Vec<(Repository, File)> = holdings
            .iter()
            .flat_map(|holding| {
                let job = |file: &File| (holding.repository.clone(), file.clone());
                holding.missing().map(job).collect::<Vec<_>>()
            })
            .collect();
        let waiting: VecDeque<usize> = (0..jobs.len()).collect();
        let (waiting, jobs) = (Arc::new(Mutex::new(waiting)), Arc::new(jobs));
        let stopped = Arc::new(AtomicBool::new(false));
        let (say, heard) = mpsc::channel::<(usize, What)>();
        for _ in 0..AT_ONCE.min(jobs.len()) {
            let (hub, say) = (self.clone(), say.clone());
            let (waiting, jobs, stopped) = (waiting.clone(), jobs.clone(), stopped.clone());
            // Not joined: one may wait for a silent server while the user wants to leave.
            std::thread::spawn(move || {
                let stop = || stopped.load(Ordering::Relaxed);
                let next = || waiting.lock().expect("no thread panics").pop_front();
                while let Some(job) = next().filter(|_| !stop()) {
                    // A receiver that went away has been told to stop.
                    let tell = |what| drop(say.send((job, what)));
                    tell(What::Begun);
                    let (repository, file) = &jobs[job];
                    tell(match hub.download(repository, file, &stop, &tell) {
                        Ok(()) => What::Done,
                        Err(error) => What::Failed(error),
                    });
                }
            });
        }
        drop(say);
        let mut failed = 0;
        loop {
            if stop() {
                stopped.store(true, Ordering::Relaxed);
                return Err(Error::Stopped);
            }
            match heard.recv_timeout(LOOK) {
                Ok((job, what)) => {
                    failed += usize::from(matches!(what, What::Failed(_)));
                    let (repository, file) = &jobs[job];
                    tell(Told {
                        repository,
                        file,
                        what,
                    });
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(failed),
            }
        }
    }
}
