//! What runs leave behind, on disk.
//!
//! ```text
//! STORE/<run id>/            a run that is done
//!     spec.yaml              its specification, everything resolved
//!     metrics.json           how it ended, the seconds it took, the final value of everything it observed
//!     observations.parquet   everything it observed: run, step, on, metric, value
//!     environment.json       where it ran
//!     log.txt                what it said besides
//!     SHA256SUMS             what is in the files around it, but the log
//!     model.safetensors      its final weights, which `config.json` beside them makes a network again
//!     training.parquet       how its training went: a row for every look at the loss
//!     events.out.tfevents.*  the same and every observation, for TensorBoard
//! STORE/.failed/<run id>/    the latest attempt at a run that failed: spec.yaml, job.json, outcome.json, log.txt,
//!                            again.txt, and the last two as far as it came
//! STORE/.running/            attempts that are being made
//! STORE/.checkpoints/<run id>/   where its training was, for the next attempt; gone when the run is done
//! STORE/.leases/<run id>     who makes an attempt, with a sign of life; `<run id>.*` who took over from whom
//! STORE/.live/               what each supervisor does right now
//! ```
//!
//! Invariants: a folder is complete when it has its name, because it is written elsewhere, synced and renamed; what a
//! finished run measured never changes; a run has at most one attempt at a time, whoever makes it.

mod attempt;
mod checksums;
mod files;
mod lease;
mod live;
mod orphans;
mod source;
mod tensorboard;
mod together;
mod training_log;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rayon::prelude::*;

use checksums::Sums;
use source::Source;

use crate::event::{Outcome, RunRecord};
use crate::plan::{Measurement, PlannedRun, RunId, RunSpec};

pub use attempt::Attempt;
pub use files::{FailedAttempt, is_read};
pub use lease::Lease;
pub use live::Live;
pub use orphans::{MARK, end_marked, started};
pub use source::Bundle;
pub use together::{Named, write_together};
pub use training_log::TrainingLog;

const RUNNING: &str = ".running";
const FAILED: &str = ".failed";
const LEASES: &str = ".leases";
const CHECKPOINTS: &str = ".checkpoints";
const LIVE: &str = ".live";
const MODEL: &str = "model.safetensors";
const CONFIG: &str = "config.json";

/// A folder of runs.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    observer: lease::Observer,
    /// Where runs are read from instead of the folder.
    bundle: Option<Arc<Bundle>>,
}

/// What is known of runs that are done.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Those whose files are as they were.
    pub records: BTreeMap<RunId, RunRecord>,
    /// What is wrong with the others, naming a file.
    pub damaged: BTreeMap<RunId, String>,
}

/// What is left to do for a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// It is done.
    Nothing,
    /// All of it.
    Train,
    /// It is trained, and asked for more than it measured.
    Measure {
        /// Its final weights.
        weights: PathBuf,
        /// What it did not measure.
        missing: Vec<Measurement>,
    },
}

impl Store {
    /// The store at `dir`. Nothing is made there before the first attempt at a run.
    pub fn open(dir: impl AsRef<Path>) -> Result<Store> {
        let dir = std::path::absolute(dir.as_ref())
            .with_context(|| dir.as_ref().display().to_string())?;
        match fs::metadata(&dir) {
            Ok(found) if !found.is_dir() => {
                anyhow::bail!("the store {} is not a folder", dir.display())
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("the store {}", dir.display()));
            }
        }
        let observer = lease::Observer::new(lease::PATIENCE);
        Ok(Store {
            dir,
            observer,
            bundle: None,
        })
    }

    /// The runs of a bundle, to be read and not to be added to. Messages say that they lie at `dir`.
    pub fn bundled(bundle: Bundle, dir: &Path) -> Store {
        Store {
            dir: dir.into(),
            observer: lease::Observer::new(lease::PATIENCE),
            bundle: Some(Arc::new(bundle)),
        }
    }

    /// Whether its runs are read from a bundle, so that none can be added.
    pub fn is_bundled(&self) -> bool {
        self.bundle.is_some()
    }

    /// The same, waiting so long for a supervisor that gives no sign of life instead of half a minute. All that share a
    /// store must agree on it.
    pub fn with_patience(self, patience: Duration) -> Store {
        let observer = lease::Observer::new(patience);
        Store { observer, ..self }
    }

    /// Where it lies; absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is read of the runs: the folder `within` the store.
    fn source(&self, within: String) -> Source<'_> {
        let folder = self.dir.join(&within);
        match &self.bundle {
            None => Source::folder(&folder),
            Some(bundle) => Source::bundled(bundle, within, folder),
        }
    }

    /// Whether a run is done, whatever it measured.
    pub fn has(&self, id: &RunId) -> bool {
        self.source(id.0.clone()).exists()
    }

    /// Where a run lies once it is done.
    pub fn folder(&self, id: &RunId) -> PathBuf {
        self.dir.join(&id.0)
    }

    /// Where the latest attempt at a run lies if it failed.
    pub fn failed_folder(&self, id: &RunId) -> PathBuf {
        self.dir.join(FAILED).join(&id.0)
    }

    /// Where a run in training saves itself. It outlives an attempt, and belongs to who holds the run's lease.
    pub fn checkpoints(&self, id: &RunId) -> PathBuf {
        self.dir.join(CHECKPOINTS).join(&id.0)
    }

    /// The final weights of a run that is done and left some.
    pub fn weights(&self, id: &RunId) -> Option<PathBuf> {
        Some(self.folder(id).join(MODEL)).filter(|path| path.is_file())
    }

    /// What is wrong with the files of a run that is done, naming one: its numbers cannot be read as they were. Its weights
    /// are not looked at.
    pub fn damage(&self, id: &RunId) -> Option<String> {
        self.record(id).err().map(|error| format!("{error:#}"))
    }

    /// What the checksums of a run that is done say against its files, naming one. Nothing is read but bytes, so this is
    /// quick, and finds nothing in a run of an earlier version, which has no sums.
    pub fn altered(&self, id: &RunId) -> Option<String> {
        let source = self.source(id.0.clone());
        let check = || {
            let sums = Sums::of(&source)?;
            let mut names = files::SMALL.iter();
            names.try_for_each(|name| sums.read(&source, name).map(drop))
        };
        let checked = source.exists().then(check)?;
        checked.err().map(|error| format!("{error:#}"))
    }

    /// The final weights of a run that is done, or none.
    ///
    /// # Errors
    /// When they are not what they were.
    pub fn intact_weights(&self, id: &RunId) -> Result<Option<PathBuf>> {
        checksums::check(&self.folder(id), &[MODEL, CONFIG])?;
        Ok(self.weights(id))
    }

    /// Whether a run is done and has everything that is asked of it.
    pub fn is_done(&self, run: &PlannedRun) -> Result<bool> {
        Ok(self.work(run)? == Work::Nothing)
    }

    /// What is left to do for a run. A run that diverged is done, whatever it measured.
    pub fn work(&self, run: &PlannedRun) -> Result<Work> {
        let Some(metrics) = files::read_metrics(&self.source(run.id.0.clone()))? else {
            return Ok(Work::Train);
        };
        if let Outcome::Diverged { .. } = metrics.outcome {
            return Ok(Work::Nothing);
        }
        let missing: Vec<Measurement> = run
            .measurements
            .iter()
            .filter(|wanted| !metrics.has(&wanted.key()))
            .cloned()
            .collect();
        Ok(match self.weights(&run.id) {
            _ if missing.is_empty() => Work::Nothing,
            Some(weights) => Work::Measure { weights, missing },
            None => Work::Train,
        })
    }

    /// What is known of the run, if it is done.
    pub fn record(&self, id: &RunId) -> Result<Option<RunRecord>> {
        files::read_record(&self.source(id.0.clone()), id)
    }

    /// The seconds that a run took which is done and completed, without reading what it observed.
    pub fn seconds(&self, id: &RunId) -> Option<f64> {
        let metrics = files::read_metrics(&self.source(id.0.clone()))
            .ok()
            .flatten()?;
        (metrics.outcome == Outcome::Completed).then_some(metrics.seconds)
    }

    /// What is known of those of `ids` that are done. One that is damaged costs no other.
    pub fn held(&self, ids: &[RunId]) -> Held {
        let found: Vec<_> = ids.par_iter().map(|id| self.record(id)).collect();
        let mut held = Held::default();
        for (id, record) in ids.iter().zip(found) {
            match record {
                Ok(None) => {}
                Ok(Some(record)) => drop(held.records.insert(id.clone(), record)),
                Err(error) => drop(held.damaged.insert(id.clone(), format!("{error:#}"))),
            }
        }
        held
    }

    /// The runs that are done, in the order of their ids.
    pub fn done(&self) -> Result<Vec<RunId>> {
        let mut found = Vec::new();
        // Whatever else lies here is not ours.
        let mut add = |name: &str| found.extend(run_in(name).filter(|id| id.0 == name));
        match (&self.bundle, fs::read_dir(&self.dir)) {
            (Some(bundle), _) => bundle.folders().for_each(add),
            (None, Err(error)) if error.kind() == ErrorKind::NotFound => {}
            (None, entries) => {
                for entry in entries.with_context(|| self.dir.display().to_string())? {
                    entry?.file_name().to_str().into_iter().for_each(&mut add);
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Whether a file of a run's folder holds its final weights.
    pub fn is_weights(name: &str) -> bool {
        name == MODEL
    }

    /// The specification of a run that is done.
    pub fn spec(&self, id: &RunId) -> Result<Option<RunSpec>> {
        files::read_spec(&self.source(id.0.clone()), id)
    }

    /// The latest attempt at a run, if it failed.
    pub fn failed(&self, id: &RunId) -> Result<Option<FailedAttempt>> {
        files::read_failed(&self.source(format!("{FAILED}/{id}")))
    }

    /// Whether some supervisor is at a run right now. One on another machine that went away is noticed only by a store
    /// that is asked again and again.
    pub fn is_leased(&self, id: &RunId) -> bool {
        self.observer.is_held(&self.dir.join(LEASES).join(&id.0))
    }

    /// The exclusive right to make an attempt at a run; none while another supervisor has it.
    pub fn lease(&self, id: &RunId) -> Result<Option<Lease>> {
        let folder = self.make(LEASES)?;
        let path = folder.join(&id.0);
        self.observer
            .take(&path)
            .with_context(|| path.display().to_string())
    }

    /// Removes what supervisors left behind that ended in the middle of an attempt: its folder, and the checkpoints and the
    /// lease of a run that is done.
    pub fn clear_leftovers(&self) -> Result<()> {
        self.supervisors();
        let mut ids: BTreeSet<RunId> = self.attempts()?.into_iter().map(|(id, _)| id).collect();
        let named = [CHECKPOINTS, LEASES]
            .into_iter()
            .flat_map(|folder| self.named(folder));
        ids.extend(named.filter(|id| self.folder(id).is_dir()));
        for id in ids {
            if let Some(lease) = self.lease(&id)? {
                self.clear(&lease, &id)?;
            }
        }
        Ok(())
    }

    /// Removes what earlier attempts at a run left behind. Who holds the lease owns their folders.
    fn clear(&self, _lease: &Lease, id: &RunId) -> Result<()> {
        for (_, folder) in self.attempts()?.iter().filter(|(of, _)| of == id) {
            orphans::end(folder);
            attempt::remove(folder).with_context(|| folder.display().to_string())?;
        }
        if self.folder(id).is_dir() {
            let folder = self.checkpoints(id);
            attempt::remove(&folder).with_context(|| folder.display().to_string())?;
        }
        Ok(())
    }

    /// The runs that something in one of the store's own folders is named after.
    fn named(&self, folder: &str) -> impl Iterator<Item = RunId> {
        let entries = fs::read_dir(self.dir.join(folder)).into_iter();
        let id = |entry: fs::DirEntry| run_in(&entry.file_name().to_string_lossy());
        entries.flatten().flatten().filter_map(id)
    }

    /// The folders of attempts, with the runs they are at.
    fn attempts(&self) -> Result<Vec<(RunId, PathBuf)>> {
        let Ok(entries) = fs::read_dir(self.dir.join(RUNNING)) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let id = run_in(&entry.file_name().to_string_lossy());
            found.extend(id.map(|id| (id, entry.path())));
        }
        Ok(found)
    }

    /// One of the store's own folders.
    fn make(&self, name: &str) -> Result<PathBuf> {
        let folder = self.dir.join(name);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    }
}

/// The run that a file or folder of the store is named after. None is what a file system leaves, `.nfs` with a number.
fn run_in(name: &str) -> Option<RunId> {
    let id = name.split('.').next()?;
    let is_id = id.len() == 16 && id.bytes().all(|c| c.is_ascii_hexdigit());
    is_id.then(|| RunId(id.into()))
}
