//! Leases: one supervisor at a run, on file systems without reliable locks and machines without a common clock.
//!
//! A lease is a chain of files, none of which is ever overwritten by another. The first is `<run id>`; who takes over
//! from the holder with nonce `N` creates `<run id>.N`. Both are exclusive creations, which even NFS grants to one
//! alone, so of several that find a holder gone exactly one succeeds it; and as a nonce never comes back, nobody
//! succeeds a holder that he did not judge. The holder is the last of the chain. It gives the lease back by succeeding
//! itself, which nobody else can do from then on, and removing the chain from its first file.
//!
//! The holder counts up a number in its file. An observer takes it for gone when the process has ended, where that can
//! be seen, or when the observer has looked at the same number for [`PATIENCE`] by its own monotonic clock; two clocks
//! are never compared. A holder that was only asleep finds a successor when it asks [`Lease::is_lost`]. Between its
//! question and its deed it may fall asleep again; then two publish the run, each atomically, with the same result.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::orphans::started;

/// How long a holder that gives no sign of life is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Signs of life within [`PATIENCE`]: many, so that a slow disk or a busy machine costs nobody a lease.
const BEATS: u32 = 15;

/// The exclusive right to make an attempt at a run, until dropped.
#[derive(Debug)]
pub struct Lease {
    /// The first file of the chain.
    path: PathBuf,
    holder: Holder,
    /// The heartbeat found a successor.
    lost: Arc<AtomicBool>,
    /// Dropped, it ends the heartbeat.
    stop: Option<Sender<()>>,
    heart: Option<JoinHandle<()>>,
}

/// Who has a lease, as its file says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Holder {
    /// For people.
    pub(super) host: String,
    pub(super) pid: u32,
    /// The kernel's run and the process namespace in which `pid` means something; empty where there are none.
    realm: String,
    /// When the process started, in the kernel's ticks: a process number is used again.
    start: u64,
    pub(super) nonce: String,
}

/// What an observer has seen of leases so far, to tell those that stand still. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    patience: Duration,
    seen: Arc<Mutex<HashMap<PathBuf, Sight>>>,
}

/// The last look at a lease.
#[derive(Debug)]
struct Sight {
    end: End,
    at: Instant,
    /// How long it was watched unchanged.
    still: Duration,
}

/// A file of a chain; looked at, its end.
#[derive(Clone, Debug, PartialEq)]
struct End {
    path: PathBuf,
    text: Vec<u8>,
}

impl Observer {
    pub(super) fn new(patience: Duration) -> Observer {
        let seen = Arc::default();
        Observer { patience, seen }
    }

    /// The lease at `path`, or none while another has it.
    pub(super) fn take(&self, path: &Path) -> io::Result<Option<Lease>> {
        let place = match end(path)? {
            None => path.to_path_buf(),
            Some(end) if self.is_gone(path, &end) => successor(path, &end.nonce()),
            Some(_) => return Ok(None),
        };
        let holder = Holder::us();
        let Some(file) = create(&place, &holder)? else {
            return Ok(None);
        };
        // The chain may have been given back between our look and our entry: then what we entered hangs nowhere.
        if !is_last(path, &holder.nonce)? {
            fs::remove_file(&place)?;
            return Ok(None);
        }
        let (stop, stopped) = mpsc::channel();
        let every = self.patience / BEATS;
        let lost = Arc::new(AtomicBool::new(false));
        let heart = Heart {
            file,
            path: path.into(),
            nonce: holder.nonce.clone(),
            lost: lost.clone(),
        };
        let heart = std::thread::Builder::new()
            .spawn(move || heart.beat(every, &stopped))
            .inspect_err(|_| drop(fs::remove_file(&place)))?;
        Ok(Some(Lease {
            path: path.into(),
            holder,
            lost,
            stop: Some(stop),
            heart: Some(heart),
        }))
    }

    /// Whether anybody has the lease at `path`, as far as was seen. A file that cannot be read is somebody's.
    pub(super) fn is_held(&self, path: &Path) -> bool {
        match end(path) {
            Ok(None) => false,
            Ok(Some(end)) => !self.is_gone(path, &end),
            Err(_) => true,
        }
    }

    /// Whether the holder at the end of the chain at `path` has ended, or has been watched too long without a beat.
    fn is_gone(&self, path: &Path, end: &End) -> bool {
        if end.holder().is_some_and(|holder| holder.has_ended()) {
            return true;
        }
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let sight = seen.entry(path.into()).or_insert_with(|| Sight {
            end: end.clone(),
            at: now,
            still: Duration::ZERO,
        });
        if sight.end != *end {
            (sight.end, sight.still) = (end.clone(), Duration::ZERO);
        } else {
            // Time in which we did not look, asleep perhaps like the holder, counts for no more than a beat.
            sight.still += (now - sight.at).min(self.patience / BEATS);
        }
        sight.at = now;
        sight.still >= self.patience
    }
}

impl Lease {
    /// Whether another took the holder for gone and has the lease now. Without an answer from the file system, it is
    /// taken for lost.
    pub fn is_lost(&self) -> bool {
        !is_last(&self.path, &self.holder.nonce).unwrap_or(false)
    }

    /// Whether the heartbeat has seen that; it looks at every beat.
    pub fn is_known_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// What no other lease has in its name.
    pub(super) fn nonce(&self) -> &str {
        &self.holder.nonce
    }

    /// Gives the lease back, if it is still ours.
    fn release(&self) -> io::Result<()> {
        let mut chain = links(&self.path)?;
        let last = successor(&self.path, &self.holder.nonce);
        if chain.last().and_then(End::holder).as_ref() != Some(&self.holder)
            || create(&last, &Holder::us())?.is_none()
        {
            return Ok(());
        }
        chain.push(End {
            path: last,
            text: Vec::new(),
        });
        // The first file first: without it there is no chain, and whoever comes next begins one.
        chain
            .iter()
            .try_for_each(|link| match fs::remove_file(&link.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(heart) = self.heart.take() {
            let _ = heart.join();
        }
        // What cannot be removed now stands still, and is taken over.
        let _ = self.release();
    }
}

impl Holder {
    pub(super) fn us() -> Holder {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let pid = std::process::id();
        Holder {
            host: read("/proc/sys/kernel/hostname").trim().into(),
            pid,
            realm: realm().unwrap_or_default(),
            start: started(pid).unwrap_or_default(),
            nonce: format!("{:016x}", RandomState::new().build_hasher().finish()),
        }
    }

    /// Whether the process can be seen to have ended; nobody sees that from another machine or container.
    pub(super) fn has_ended(&self) -> bool {
        realm().is_some_and(|realm| realm == self.realm) && started(self.pid) != Some(self.start)
    }
}

impl End {
    /// None of a holder that ended in the middle of its first line, and of a file that something else has damaged.
    fn holder(&self) -> Option<Holder> {
        let line = self.text.split(|&byte| byte == b'\n').next()?;
        let holder: Holder = serde_json::from_slice(line).ok()?;
        // It becomes part of a file's name.
        let is_ours = |nonce: &str| {
            (1..=16).contains(&nonce.len()) && nonce.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        is_ours(&holder.nonce).then_some(holder)
    }

    /// Without a nonce of its own, one after its name, so that torn files may follow one another.
    fn nonce(&self) -> String {
        let name = self.path.extension().unwrap_or_default();
        self.holder().map_or_else(
            || format!("{}torn", name.to_string_lossy()),
            |holder| holder.nonce,
        )
    }
}

/// Creates the file of a holder, or nothing where there is one.
fn create(path: &Path, holder: &Holder) -> io::Result<Option<File>> {
    match File::create_new(path) {
        Ok(mut file) => {
            let line = format!("{}\n", serde_json::to_string(holder)?);
            let written = file
                .write_all(line.as_bytes())
                .and_then(|()| file.sync_data());
            if let Err(error) = written {
                // A torn one would hold the run until somebody has waited for it long enough.
                let _ = fs::remove_file(path);
                return Err(error);
            }
            Ok(Some(file))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

/// The sign of life of a holder.
struct Heart {
    /// Held open: by its name we might meet a stranger's.
    file: File,
    path: PathBuf,
    nonce: String,
    lost: Arc<AtomicBool>,
}

impl Heart {
    /// Counts up at the end of the file until told to stop, or until another has the lease.
    fn beat(&self, every: Duration, stopped: &mpsc::Receiver<()>) {
        let Ok(end) = self.file.metadata().map(|metadata| metadata.len()) else {
            return;
        };
        for count in 1u64.. {
            match stopped.recv_timeout(every) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return,
            }
            // A beat that fails is made up for by the next, or missed by those who watch.
            let line = format!("{count:020}\n");
            let _ = self.file.write_all_at(line.as_bytes(), end);
            let _ = self.file.sync_data();
            // Without an answer nothing is known; the next beat asks again.
            if let Ok(false) = is_last(&self.path, &self.nonce) {
                return self.lost.store(true, Ordering::SeqCst);
            }
        }
    }
}

fn successor(path: &Path, nonce: &str) -> PathBuf {
    path.with_extension(nonce)
}

/// The files of a chain, in order; none when nobody has the lease.
fn links(path: &Path) -> io::Result<Vec<End>> {
    let mut chain = Vec::new();
    let mut next = path.to_path_buf();
    loop {
        let text = match fs::read(&next) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(chain),
            read => read?,
        };
        let link = End { path: next, text };
        next = successor(path, &link.nonce());
        chain.push(link);
        // No holder writes that; but whatever did, nobody must follow it for ever.
        if chain.iter().any(|link| link.path == next) {
            return Ok(chain);
        }
    }
}

fn end(path: &Path) -> io::Result<Option<End>> {
    Ok(links(path)?.pop())
}

fn is_last(path: &Path, nonce: &str) -> io::Result<bool> {
    Ok(end(path)?.is_some_and(|end| end.nonce() == nonce))
}

/// Where our process numbers mean something: this boot of this kernel, this process namespace.
fn realm() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}
