//! What was submitted, kept in the store beside the runs, so that any later head process knows whose a job is.
//!
//! ```text
//! STORE/.cluster/<number>/   a submission, written before Slurm is asked
//!     runs                   the run of each task of the array, a line each
//!     script.sh              the batch script
//!     submit.sh              the command that submits it
//!     job                    the number Slurm gave; missing when its answer was lost
//!     <task>.log             what the task printed, over all its starts
//!     ended                  its runs of which a user was told how they ended, a line each
//! STORE/.cluster/lock        locked while one head process looks at the queue and submits
//! ```
//!
//! How often a run was tried is the number of its submissions after the one in whose `ended` it stands last. So a head that
//! takes the place of one that died, or was left, goes on counting, but tries once at least; and whoever was told that a run
//! is done, failed, cancelled or given up, and asks for it again, gets as many attempts as the first time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::profile::Profile;
use super::script::{self, Command};
use crate::plan::RunId;

const FOLDER: &str = ".cluster";
const ENDED: &str = "ended";

/// The submissions of a store.
#[derive(Clone, Debug)]
pub struct Submissions {
    dir: PathBuf,
    prefix: String,
}

/// One of them, as it is about to be given to `sbatch`.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Its number.
    pub number: u64,
    /// Its folder.
    pub folder: PathBuf,
    /// The words behind `sbatch`.
    pub words: Vec<String>,
}

impl Submissions {
    /// Whether there are any of the store at `store`.
    pub fn exist(store: &Path) -> bool {
        store.join(FOLDER).is_dir()
    }

    /// Those of the store at `store`.
    ///
    /// # Errors
    /// When Slurm cannot write a file at such a path.
    pub fn of(store: &Path) -> Result<Submissions> {
        let shown = store.to_str().unwrap_or("\\");
        ensure!(
            !shown.contains(['%', '\\']) && !shown.chars().any(char::is_control),
            "the store {} has a character in its path that Slurm reads as its own: `%`, a backslash or a line break",
            store.display()
        );
        let hash = Sha256::digest(shown.as_bytes());
        let hash: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Submissions {
            dir: store.join(FOLDER),
            prefix: format!("harness-{hash}-"),
        })
    }

    /// The exclusive right to look and submit; none while another head process has it. A file system without locks gives
    /// it to all: then two heads at the same moment may submit a run twice, and the lease makes the second wait.
    pub fn lock(&self) -> Result<Option<File>> {
        fs::create_dir_all(&self.dir).with_context(|| self.dir.display().to_string())?;
        let path = self.dir.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            _ => Ok(Some(file)),
        }
    }

    /// Writes a submission of `runs`.
    pub fn write(
        &self,
        profile: &Profile,
        command: &Command,
        runs: &[RunId],
    ) -> Result<Submission> {
        let (number, folder) = self.next()?;
        let list: String = runs.iter().map(|run| format!("{run}\n")).collect();
        let put = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            Ok::<_, anyhow::Error>(path)
        };
        let list = put("runs", &list)?;
        put("script.sh", &script::script(profile, command, &list))?;
        let name = format!("{}{number}", self.prefix);
        let words = script::submission(profile, &name, &folder, runs.len());
        let quoted: Vec<String> = words.iter().map(|word| script::word(word)).collect();
        put("submit.sh", &format!("sbatch {}\n", quoted.join(" ")))?;
        Ok(Submission {
            number,
            folder,
            words,
        })
    }

    /// The number of the submission that a job of this name belongs to; none for a stranger's.
    pub fn number(&self, name: &str) -> Option<u64> {
        name.strip_prefix(&self.prefix)?.parse().ok()
    }

    /// The runs of a submission, in the order of its tasks; empty when it is gone.
    pub fn runs(&self, number: u64) -> Vec<RunId> {
        let text = fs::read_to_string(self.folder(number).join("runs")).unwrap_or_default();
        text.lines().map(|line| RunId(line.to_string())).collect()
    }

    /// The submissions of every run since a user was told last how it ended; runs without one are left out.
    pub fn open(&self) -> BTreeMap<RunId, BTreeSet<u64>> {
        let mut open: BTreeMap<RunId, BTreeSet<u64>> = BTreeMap::new();
        let mut numbers: Vec<u64> = self.numbers().unwrap_or_default();
        numbers.sort_unstable();
        for number in numbers {
            for run in self.runs(number) {
                open.entry(run).or_default().insert(number);
            }
            let ended = fs::read_to_string(self.folder(number).join(ENDED)).unwrap_or_default();
            for run in ended.lines() {
                open.remove(&RunId(run.to_string()));
            }
        }
        open
    }

    /// A user is told how a run ended whose latest submission this is.
    pub fn end(&self, number: u64, run: &RunId) -> Result<()> {
        let path = self.folder(number).join(ENDED);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        // In one piece, as other heads may write there too.
        file.and_then(|mut file| file.write_all(format!("{run}\n").as_bytes()))
            .with_context(|| path.display().to_string())
    }

    /// What a task printed.
    pub fn log(&self, number: u64, task: usize) -> PathBuf {
        self.folder(number).join(format!("{task}.log"))
    }

    fn folder(&self, number: u64) -> PathBuf {
        self.dir.join(number.to_string())
    }

    fn numbers(&self) -> Result<Vec<u64>> {
        let entries = fs::read_dir(&self.dir).with_context(|| self.dir.display().to_string())?;
        let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
        Ok(entries.filter_map(|entry| number(entry.ok()?)).collect())
    }

    /// A new folder: the making of a folder is what no two processes can both do.
    fn next(&self) -> Result<(u64, PathBuf)> {
        let mut number = self.numbers()?.into_iter().max().unwrap_or(0) + 1;
        loop {
            let folder = self.folder(number);
            match fs::create_dir(&folder) {
                Ok(()) => return Ok((number, folder)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error).with_context(|| folder.display().to_string()),
            }
        }
    }
}
