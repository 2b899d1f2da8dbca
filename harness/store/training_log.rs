//! What a run told while it trained, for TensorBoard and as a table.
//!
//! Both files say when things happened, so they differ between repeats of a run; no result is read from them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use polars::prelude::*;

use super::tensorboard::{self, EventFile};
use crate::event::{Event, Observation};

const TABLE: &str = "training.parquet";
/// The portion that stands for training itself.
const TRAINING: &str = "training";
/// A table is written whole; a run that is killed loses at most so much of it.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// The log of an attempt: `events.out.tfevents.*`, in which every number is as soon as it is told, and
/// `training.parquet`, a row for every look at the loss. Neither is there before there is something to write.
#[derive(Debug)]
pub struct TrainingLog {
    folder: PathBuf,
    begun: Instant,
    /// Seconds of earlier attempts that this one goes on from.
    earlier: f64,
    events: Option<EventFile>,
    rows: Vec<Row>,
    saved: Option<Instant>,
}

/// One look at training.
#[derive(Clone, Debug, Default)]
struct Row {
    step: u64,
    /// Since the run began.
    seconds: f64,
    loss: Option<f64>,
    lr: f64,
    distance: Option<f64>,
    eps_norm: Option<f64>,
    grad_norm: Option<f64>,
    examples_per_second: Option<f64>,
    tokens_per_second: Option<f64>,
}

impl TrainingLog {
    /// An empty log of an attempt that begins now, in the attempt's folder.
    pub(super) fn new(folder: &Path) -> TrainingLog {
        TrainingLog {
            folder: folder.into(),
            begun: Instant::now(),
            earlier: 0.0,
            events: None,
            rows: Vec::new(),
            saved: None,
        }
    }

    /// Adds what `event` says about training. A loss that is not finite is null in the table and NaN in TensorBoard.
    pub fn hear(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Resumed { seconds, .. } => {
                self.earlier = *seconds;
                Ok(())
            }
            Event::Again { seconds, told } => self.hear_at(*seconds, told),
            _ => self.hear_at(self.earlier + self.begun.elapsed().as_secs_f64(), event),
        }
    }

    /// What was told `seconds` after the run began.
    fn hear_at(&mut self, seconds: f64, event: &Event) -> Result<()> {
        match event {
            Event::Progress {
                step,
                loss,
                lr,
                examples_per_second,
                tokens_per_second,
                ..
            } => {
                // What was observed at the look before is complete now.
                let saved = self.save_when_due();
                self.rows.push(Row {
                    step: *step,
                    seconds,
                    loss: *loss,
                    lr: *lr,
                    examples_per_second: *examples_per_second,
                    tokens_per_second: *tokens_per_second,
                    ..Row::default()
                });
                let told = [
                    ("training/loss", Some(loss.unwrap_or(f64::NAN))),
                    ("training/lr", Some(*lr)),
                    ("speed/examples_per_second", *examples_per_second),
                    ("speed/tokens_per_second", *tokens_per_second),
                ];
                let present = told
                    .iter()
                    .filter_map(|(tag, value)| Some((*tag, (*value)?)));
                saved.and(self.scalars(*step, present))
            }
            Event::Observed(seen) => self.observe(seen),
            _ => Ok(()),
        }
    }

    /// Completes the table. The log of an attempt that is never finished lacks its last rows there.
    pub fn finish(mut self) -> Result<()> {
        self.save()
    }

    fn observe(&mut self, seen: &Observation) -> Result<()> {
        let look = self.rows.last_mut().filter(|row| row.step == seen.step);
        if let (TRAINING, Some(row)) = (seen.on.as_str(), look) {
            match seen.metric.as_str() {
                // Its progress said so.
                "loss" | "lr" => return Ok(()),
                "distance" => row.distance = Some(seen.value),
                "eps_norm" => row.eps_norm = Some(seen.value),
                "grad_norm" => row.grad_norm = Some(seen.value),
                _ => {}
            }
        }
        let tag = format!("{}/{}", seen.on, seen.metric);
        self.scalars(seen.step, [(tag.as_str(), seen.value)])
    }

    fn scalars<'a>(
        &mut self,
        step: u64,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<()> {
        let events = match &mut self.events {
            Some(events) => events,
            none => none.insert(EventFile::create(&self.folder).context("TensorBoard's file")?),
        };
        events.scalars(step, values).context("TensorBoard's file")
    }

    fn save_when_due(&mut self) -> Result<()> {
        if self.saved.is_none_or(|since| since.elapsed() >= SAVE_EVERY) {
            self.save()?;
        }
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let path = self.folder.join(TABLE);
        // Under another name first: who reads the table meanwhile finds a whole one.
        let fresh = path.with_extension("parquet.new");
        write_table(&fresh, &self.rows)
            .and_then(|()| Ok(fs::rename(&fresh, &path)?))
            .with_context(|| path.display().to_string())?;
        self.saved = Some(Instant::now());
        Ok(())
    }
}

/// Whether `name` is a file of a training log.
pub(super) fn is_part(name: &str) -> bool {
    name == TABLE || name.starts_with(tensorboard::PREFIX)
}

fn write_table(path: &Path, rows: &[Row]) -> Result<()> {
    let steps: Vec<u64> = rows.iter().map(|row| row.step).collect();
    let numbers: [(&str, fn(&Row) -> Option<f64>); 8] = [
        ("seconds", |row| Some(row.seconds)),
        ("loss", |row| row.loss),
        ("lr", |row| Some(row.lr)),
        ("distance", |row| row.distance),
        ("eps_norm", |row| row.eps_norm),
        ("grad_norm", |row| row.grad_norm),
        ("examples_per_second", |row| row.examples_per_second),
        ("tokens_per_second", |row| row.tokens_per_second),
    ];
    let mut columns = vec![Column::new("step".into(), steps)];
    columns.extend(
        numbers.map(|(name, of)| Column::new(name.into(), rows.iter().map(of).collect::<Vec<_>>())),
    );
    let mut table = DataFrame::new(rows.len(), columns)?;
    ParquetWriter::new(File::create(path)?)
        .with_compression(ParquetCompression::Uncompressed)
        .finish(&mut table)?;
    Ok(())
}
