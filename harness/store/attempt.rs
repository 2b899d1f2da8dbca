//! One attempt at a run: a folder of its own that becomes the run, becomes a failure, or goes.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::source::Source;
use super::{CONFIG, FAILED, FailedAttempt, LIVE, Lease, MODEL, RUNNING, Store, TrainingLog, Work};
use super::{checksums, files, orphans, training_log};
use crate::event::{Environment, Outcome, RunRecord};
use crate::plan::PlannedRun;

pub(super) const LOG: &str = "log.txt";
const JOB: &str = "job.json";
const MEETING: &str = "meeting";

/// An attempt at a run. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Attempt {
    store: Store,
    run: PlannedRun,
    work: Work,
    folder: PathBuf,
    name: String,
    // Declared last: the folder goes before the right to it.
    lease: Lease,
}

impl Store {
    /// Begins an attempt at `run`, to do `work`.
    pub fn begin(&self, lease: Lease, run: &PlannedRun, work: Work) -> Result<Attempt> {
        // In containers two supervisors may have the same number; no two leases have the same nonce.
        let name = format!("{}.{}", std::process::id(), lease.nonce());
        let folder = self.make(RUNNING)?.join(format!("{}.{name}", run.id));
        // A supervisor that died a moment ago may have held the lease when leftovers were cleared.
        self.clear(&lease, &run.id)?;
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let attempt = Attempt {
            store: self.clone(),
            run: run.clone(),
            work,
            folder,
            name,
            lease,
        };
        files::write_spec(&attempt.folder, &run.spec)?;
        Ok(attempt)
    }
}

impl Store {
    /// Writes a file and removes it again.
    ///
    /// # Errors
    /// When the store has no room, cannot be written, or no file can be opened.
    pub fn try_to_write(&self) -> Result<()> {
        let path = self.make(LIVE)?.join(format!(".{}", std::process::id()));
        let result = File::create(&path).and_then(|mut file| {
            file.write_all(&[0; 1 << 16])?;
            file.sync_all()
        });
        let _ = fs::remove_file(&path);
        result.with_context(|| path.display().to_string())
    }
}

impl Attempt {
    /// Where the worker may write.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether another supervisor took ours for gone: the run is its business now.
    pub fn is_lost(&self) -> bool {
        self.lease.is_lost()
    }

    /// The same as the heartbeat saw it last, without asking the file system.
    pub fn is_known_lost(&self) -> bool {
        self.lease.is_known_lost()
    }

    /// What the attempt is to do.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Where the job of the worker's process of that rank goes; it does not outlive a success, as it names places on this
    /// machine.
    pub fn job(&self, rank: usize) -> PathBuf {
        match rank {
            0 => self.folder.join(JOB),
            _ => self.folder.join(format!("job-{rank}.json")),
        }
    }

    /// Where the worker's processes meet.
    pub fn meeting(&self) -> PathBuf {
        self.folder.join(MEETING)
    }

    /// Ends what the worker left running, in whatever process group.
    pub fn end_processes(&self) {
        orphans::end(&self.folder);
    }

    /// A name that no other attempt has.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The log, to append to.
    pub fn log(&self) -> Result<File> {
        let path = self.folder.join(LOG);
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| path.display().to_string())
    }

    /// An empty log of its training, which begins now.
    pub fn training_log(&self) -> TrainingLog {
        TrainingLog::new(&self.folder)
    }

    /// The last `count` lines of the log.
    pub fn log_end(&self, count: usize) -> Vec<String> {
        let bytes = fs::read(self.folder.join(LOG)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..]
            .iter()
            .map(|line| line.to_string())
            .collect()
    }

    /// What of the asked-for is not in `record`, a run that completed.
    pub fn missing(&self, record: &RunRecord) -> Vec<(String, String)> {
        let wanted = match &self.work {
            Work::Measure { missing, .. } => missing,
            _ => &self.run.measurements,
        };
        let keys = wanted.iter().map(|wanted| wanted.key());
        keys.filter(|key| record.value(&key.0, &key.1).is_none() && !record.no_value.contains(key))
            .collect()
    }

    /// Makes the attempt the run. `record.outcome` is a result. An error means that the run is not done.
    pub fn finish(&self, record: RunRecord) -> Result<()> {
        if !record.outcome.is_result() {
            bail!("an attempt that ended as `{}` is no result", record.outcome);
        }
        let place = self.store.folder(&self.run.id);
        let record = match &self.work {
            Work::Measure { .. } => self.merge(&place, record)?,
            _ => record,
        };
        files::write_record(&self.folder, &self.run.id, &record)?;
        for rank in (0..).take_while(|&rank| self.job(rank).exists()) {
            remove_file(&self.job(rank))?;
        }
        remove_file(&self.meeting())?;
        self.log()?;
        checksums::write(&self.folder)?;
        self.publish(&place)?;
        // The run is done. What cannot be removed now is removed by the next supervisor.
        let _ = remove(&self.store.failed_folder(&self.run.id));
        let _ = remove(&self.store.checkpoints(&self.run.id));
        Ok(())
    }

    /// Records the attempt as the latest failure, the one of number `count` that ended in this way.
    pub fn fail(
        &self,
        outcome: Outcome,
        count: u32,
        seconds: f64,
        environment: Option<Environment>,
        again: &str,
    ) -> Result<()> {
        let failed = FailedAttempt {
            attempt: self.name.clone(),
            count,
            outcome,
            seconds,
            environment,
            again: again.to_string(),
        };
        files::write_failed(&self.folder, &failed)?;
        let path = self.folder.join("again.txt");
        fs::write(&path, format!("{again}\n")).with_context(|| path.display().to_string())?;
        // Weights of a run that failed are of no use and may be large.
        remove_file(&self.folder.join(MODEL))?;
        self.log()?;
        let place = self.store.make(FAILED)?.join(&self.run.id.0);
        self.publish(&place)
    }

    /// The finished run at `place` with what was measured now: its training stays its own.
    fn merge(&self, place: &Path, now: RunRecord) -> Result<RunRecord> {
        let id = &self.run.id;
        let record = files::read_record(&Source::folder(place), id)?;
        let mut record = record.with_context(|| format!("run {id} is gone"))?;
        let mut keys = self.missing(&RunRecord {
            observations: Vec::new(),
            no_value: BTreeSet::new(),
            ..record.clone()
        });
        keys.dedup();
        let new = |on: &str, metric: &str| keys.iter().any(|key| key.0 == on && key.1 == metric);
        record.observations.extend(
            now.observations
                .into_iter()
                .filter(|seen| new(&seen.on, &seen.metric)),
        );
        record
            .no_value
            .extend(now.no_value.into_iter().filter(|key| keys.contains(key)));
        record.seconds += now.seconds;
        let mut log = fs::read(place.join(LOG)).unwrap_or_default();
        let names: Vec<String> = keys
            .iter()
            .map(|(on, metric)| format!("{metric} on {on}"))
            .collect();
        writeln!(
            log,
            "measured later, by build {}: {}",
            now.environment.build,
            names.join(", ")
        )?;
        log.extend(fs::read(self.folder.join(LOG)).unwrap_or_default());
        fs::write(self.folder.join(LOG), log)
            .with_context(|| self.folder.join(LOG).display().to_string())?;
        checksums::check(place, &[MODEL, CONFIG])?;
        // A network that was never trained left nothing.
        for name in [MODEL, CONFIG]
            .into_iter()
            .filter(|name| place.join(name).is_file())
        {
            self.take_over(place, name)?;
        }
        for entry in fs::read_dir(place).with_context(|| place.display().to_string())? {
            let name = entry?.file_name();
            if let Some(name) = name.to_str().filter(|name| training_log::is_part(name)) {
                self.take_over(place, name)?;
            }
        }
        Ok(record)
    }

    /// Puts the file `name` of the finished run at `place` into the attempt's folder.
    fn take_over(&self, place: &Path, name: &str) -> Result<()> {
        let (old, new) = (place.join(name), self.folder.join(name));
        remove_file(&new)?;
        if fs::hard_link(&old, &new).is_err() {
            fs::copy(&old, &new).with_context(|| format!("copy {}", old.display()))?;
        }
        Ok(())
    }

    /// Syncs the folder and gives it the name `place`, at once, whether something was there or not.
    fn publish(&self, place: &Path) -> Result<()> {
        ensure!(
            !self.is_lost(),
            "another supervisor has run {} now",
            self.run.id
        );
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            File::open(&path)
                .and_then(|file| file.sync_all())
                .with_context(|| format!("sync {}", path.display()))?;
        }
        sync_folder(&self.folder)?;
        let moved = if place.exists() {
            exchange(&self.folder, place)
        } else {
            fs::rename(&self.folder, place)
        };
        moved
            .with_context(|| format!("rename {} to {}", self.folder.display(), place.display()))?;
        // It has its name. Whether that survives a power failure is for the next supervisor to see.
        let _ = sync_folder(place.parent().unwrap_or(place));
        Ok(())
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let _ = remove(&self.folder);
    }
}

/// Removes a folder, whether it is there or not, even while a dying process still writes into it.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    for _ in 0..20 {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            result => return result,
        }
    }
    fs::remove_dir_all(folder)
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(path)
            .and_then(|file| file.sync_all())
            .with_context(|| format!("sync {}", path.display()))?;
    }
    Ok(())
}

/// Swaps two folders' names, so that a reader finds the old run or the new one, and never none.
#[cfg(target_os = "linux")]
fn exchange(new: &Path, place: &Path) -> io::Result<()> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other);
    let (from, to) = (name(new)?, name(place)?);
    // SAFETY: both are strings that end in zero and outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    match result {
        0 => Ok(()),
        // A file system without the call.
        _ => replace(new, place),
    }
}

#[cfg(not(target_os = "linux"))]
fn exchange(new: &Path, place: &Path) -> io::Result<()> {
    replace(new, place)
}

fn replace(new: &Path, place: &Path) -> io::Result<()> {
    let old = new.with_extension("old");
    fs::rename(place, &old)?;
    match fs::rename(new, place) {
        Ok(()) => remove(&old),
        Err(error) => {
            fs::rename(&old, place)?;
            Err(error)
        }
    }
}
