//! A run in training, saved to be gone on with: `update-1200.safetensors`, every tensor, and `update-1200.json`, all else.
//!
//! A checkpoint is there when its JSON file is: both are written beside and renamed, that one last. It names the run and
//! what it ran on, and holds the CRC-32C of both files. Two are kept. What is damaged, or was made by another program or
//! another kind of machine, whose bits would differ, is passed over for the one before it, and at last for the start. So is
//! what a CRC vouches for and no run like this can have written.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::Tensor;

use crate::models::WeightsError;
use crate::models::safetensors::{TensorFile, whole, write};
use harness::event::{Environment, Event};
use harness::plan::{Job, RunId};

/// The form of the files below; a reader refuses others.
const FORMAT: u32 = 1;
/// Checkpoints that stay.
const KEPT: usize = 2;
/// At an evaluation and at the last update, this part of the time between two checkpoints is enough.
const AT_A_MILESTONE: f64 = 0.5;

/// The JSON file.
#[derive(Serialize, Deserialize)]
struct Signed {
    /// CRC-32C of `checkpoint` as compact JSON.
    crc32c: String,
    checkpoint: Value,
}

/// All of a checkpoint but the tensors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u32,
    run: RunId,
    environment: Environment,
    /// CRC-32C of the file of tensors.
    tensors: String,
    /// Updates done.
    pub(super) step: u64,
    /// Wall-clock seconds of the run by then.
    pub(super) seconds: f64,
    /// What training told by then.
    pub(super) told: Vec<Told>,
}

impl Manifest {
    /// Refuses times that are none and what training never tells: told again, an ending would end the run.
    fn check(&self) -> Result<()> {
        let is_time = |seconds: f64| seconds.is_finite() && seconds >= 0.0;
        ensure!(
            is_time(self.seconds),
            "it took {} seconds until then",
            self.seconds
        );
        for Told { seconds, event } in &self.told {
            ensure!(
                is_time(*seconds),
                "something was told after {seconds} seconds"
            );
            let step = match event {
                Event::Progress { step, .. } => *step,
                Event::Observed(seen) => seen.step,
                Event::NoValue { .. } => 0,
                _ => bail!("training tells no such thing as {event:?}"),
            };
            ensure!(
                step <= self.step,
                "it holds what was told at update {step}, which is later"
            );
        }
        Ok(())
    }
}

/// What training told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Wall-clock seconds of the run by then.
    pub(super) seconds: f64,
    pub(super) event: Event,
}

/// A checkpoint that was found whole and fitting.
pub(super) struct Found {
    pub(super) manifest: Manifest,
    pub(super) tensors: TensorFile,
}

impl Found {
    /// The tensor called `name`, on the host; none where there is none.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<Tensor>, WeightsError> {
        let known = self.tensors.entries.contains_key(name);
        known.then(|| self.tensors.read(name)).transpose()
    }

    /// The tensor called `name`, on the host.
    pub(super) fn needed(&self, name: &str) -> Result<Tensor> {
        let tensor = self.tensor(name)?;
        tensor.with_context(|| format!("it lacks `{name}`"))
    }
}

/// The checkpoints of a run, and its clock.
pub(super) struct Checkpoints {
    folder: PathBuf,
    every: Duration,
    run: RunId,
    environment: Environment,
    /// When the latest was written, or training began.
    since: Instant,
    /// The updates of those that are ours to go on from, the latest last.
    kept: Vec<u64>,
}

impl Checkpoints {
    /// Those that the job asks for.
    pub(super) fn of(job: &Job, environment: &Environment) -> Option<Checkpoints> {
        let wanted = job.checkpoints.as_ref()?;
        Some(Checkpoints {
            folder: wanted.folder.clone(),
            every: Duration::try_from_secs_f64(wanted.every).unwrap_or(Duration::MAX),
            run: job.spec.id(),
            environment: environment.clone(),
            since: Instant::now(),
            kept: Vec::new(),
        })
    }

    /// The latest that is whole and of which `fits` finds nothing wrong; why others are passed over goes to `note`.
    pub(super) fn latest(
        &mut self,
        fits: impl Fn(&Found) -> Result<()>,
        note: &mut dyn FnMut(String),
    ) -> Option<Found> {
        let mut steps = steps(&self.folder);
        while let Some(step) = steps.pop() {
            let found = self.read(step);
            match found.and_then(|found| fits(&found).map(|()| found)) {
                Ok(found) => {
                    // The one before is kept unseen: it is looked at if this one fails.
                    self.kept = steps.pop().into_iter().chain([step]).collect();
                    return Some(found);
                }
                Err(error) => note(format!(
                    "the checkpoint at update {step} is passed over: {error:#}"
                )),
            }
        }
        None
    }

    /// The one at update `step`, which the first process of a group goes on from; why not goes to `note`. On what it was
    /// made is for that process to say.
    pub(super) fn at(
        &self,
        step: u64,
        fits: impl Fn(&Found) -> Result<()>,
        note: &mut dyn FnMut(String),
    ) -> Option<Found> {
        let found = self.read_anywhere(step);
        match found.and_then(|found| fits(&found).map(|()| found)) {
            Ok(found) => Some(found),
            Err(error) => {
                note(format!(
                    "the checkpoint at update {step} cannot be read: {error:#}"
                ));
                None
            }
        }
    }

    fn read(&self, step: u64) -> Result<Found> {
        let found = self.read_anywhere(step)?;
        same_bits(&found.manifest.environment, &self.environment)?;
        Ok(found)
    }

    fn read_anywhere(&self, step: u64) -> Result<Found> {
        let path = self.manifest(step);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let signed: Signed = serde_json::from_str(&text).context("its JSON file is damaged")?;
        let found = crc(&mut signed.checkpoint.to_string().as_bytes())?;
        ensure!(found == signed.crc32c, "its JSON file is damaged");
        let format = &signed.checkpoint["format"];
        ensure!(*format == FORMAT, "its format is {format}, not {FORMAT}");
        let manifest: Manifest = serde_json::from_value(signed.checkpoint)?;
        ensure!(
            manifest.run == self.run && manifest.step == step,
            "it belongs to update {} of the run {}",
            manifest.step,
            manifest.run
        );
        manifest.check()?;
        let path = self.tensors(step);
        let found = crc(&mut File::open(&path).with_context(|| path.display().to_string())?)?;
        ensure!(found == manifest.tensors, "{} is damaged", path.display());
        let tensors = TensorFile::open(&path)?;
        Ok(Found { manifest, tensors })
    }

    /// Whether it is time for one; at a milestone, which would be costly to repeat, earlier.
    pub(super) fn is_due(&self, milestone: bool) -> bool {
        let share = if milestone { AT_A_MILESTONE } else { 1.0 };
        self.since.elapsed() >= self.every.mul_f64(share)
    }

    /// Writes one, and removes those that are too old. What became of it goes to `note`: training goes on without one.
    pub(super) fn write(
        &mut self,
        step: u64,
        seconds: f64,
        told: &[Told],
        tensors: &[(String, Tensor)],
        note: &mut dyn FnMut(String),
    ) {
        let begun = Instant::now();
        self.since = begun;
        if self.kept.last() == Some(&step) {
            return;
        }
        let manifest = Manifest {
            format: FORMAT,
            run: self.run.clone(),
            environment: self.environment.clone(),
            tensors: String::new(),
            step,
            seconds,
            told: told.to_vec(),
        };
        match self.put(manifest, tensors) {
            Ok(bytes) => {
                self.kept.push(step);
                note(format!(
                    "checkpoint at update {step}: {:.1} MB in {:.2} s",
                    bytes as f64 / 1e6,
                    begun.elapsed().as_secs_f64()
                ));
            }
            Err(error) => {
                note(format!("no checkpoint at update {step}: {error:#}"));
                let _ = fs::remove_file(self.tensors(step));
            }
        }
        self.remove_old();
        self.since = Instant::now();
    }

    /// The number of bytes written.
    fn put(&self, mut manifest: Manifest, tensors: &[(String, Tensor)]) -> Result<u64> {
        fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        let path = self.tensors(manifest.step);
        write(&path, tensors)?;
        // What is compared later is what the disk gives now.
        manifest.tensors = crc(&mut File::open(&path)?)?;
        let checkpoint = serde_json::to_value(&manifest)?;
        let crc32c = crc(&mut checkpoint.to_string().as_bytes())?;
        let signed = serde_json::to_vec(&Signed { crc32c, checkpoint })?;
        whole(&self.manifest(manifest.step), |file| {
            io::Write::write_all(file, &signed)
        })?;
        Ok(path.metadata()?.len() + signed.len() as u64)
    }

    /// Removes every file but those of the last two.
    fn remove_old(&mut self) {
        self.kept.drain(..self.kept.len().saturating_sub(KEPT));
        let kept: Vec<PathBuf> = self
            .kept
            .iter()
            .flat_map(|&step| [self.tensors(step), self.manifest(step)])
            .collect();
        // With none of ours there, a foreign one may yet be of use to whom it fits.
        if kept.is_empty() {
            return;
        }
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if !kept.contains(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn tensors(&self, step: u64) -> PathBuf {
        self.folder.join(format!("update-{step}.safetensors"))
    }

    fn manifest(&self, step: u64) -> PathBuf {
        self.folder.join(format!("update-{step}.json"))
    }
}

/// The updates of the checkpoints in `folder`, ascending.
fn steps(folder: &Path) -> Vec<u64> {
    let step = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let step = name.strip_prefix("update-")?.strip_suffix(".json")?;
        step.parse().ok()
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut steps: Vec<u64> = entries.filter_map(step).collect();
    steps.sort_unstable();
    steps
}

/// Refuses to go on here with what was begun there, unless both compute the same bits.
fn same_bits(there: &Environment, here: &Environment) -> Result<()> {
    let (there, here) = (serde_json::to_value(there)?, serde_json::to_value(here)?);
    let (Value::Object(there), Value::Object(here)) = (there, here) else {
        bail!("an environment is an object");
    };
    for (key, value) in &here {
        // Of a revision, the hash of the sources says all that matters; the others move no bit.
        let moves_no_bit = ["revision", "beside", "files"].contains(&key.as_str());
        if !moves_no_bit && there.get(key) != Some(value) {
            let was = there.get(key).unwrap_or(&Value::Null);
            bail!("it was made with {key} {was}, this is {value}");
        }
    }
    Ok(())
}

/// The CRC-32C of all that `from` gives, in hexadecimal.
fn crc(from: &mut dyn Read) -> io::Result<String> {
    let mut buffer = vec![0; 1 << 18];
    let mut crc = 0;
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(format!("{crc:08x}")),
            count => crc = crc32c::crc32c_append(crc, &buffer[..count]),
        }
    }
}
