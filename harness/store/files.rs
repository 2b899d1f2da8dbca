//! The files of a run's folder. Every error names its file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use polars::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::checksums::{SUMS, Sums};
use super::source::Source;
use crate::event::{Environment, Observation, Outcome, RunRecord};
use crate::plan::{RunId, RunSpec};

const SPEC: &str = "spec.yaml";
const METRICS: &str = "metrics.json";
const OBSERVATIONS: &str = "observations.parquet";
const ENVIRONMENT: &str = "environment.json";
const FAILURE: &str = "outcome.json";
/// What a record is read from.
pub(super) const SMALL: [&str; 4] = [SPEC, METRICS, OBSERVATIONS, ENVIRONMENT];

/// Whether a store reads a file of this name, so that it must be in a [`Bundle`](super::Bundle).
pub fn is_read(name: &str) -> bool {
    SMALL.contains(&name) || [SUMS, FAILURE].contains(&name)
}

/// `metrics.json`: the numbers at a glance.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Metrics {
    pub(super) outcome: Outcome,
    pub(super) seconds: f64,
    /// The final value by portion and metric; null where it was measured and has none.
    values: BTreeMap<String, BTreeMap<String, Option<f64>>>,
}

impl Metrics {
    /// Whether the measurement stored under `key` is there.
    pub(super) fn has(&self, key: &(String, String)) -> bool {
        self.values
            .get(&key.0)
            .is_some_and(|metrics| metrics.contains_key(&key.1))
    }
}

/// `outcome.json` of an attempt that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// A name that no two attempts share.
    pub attempt: String,
    /// How many attempts in a row had ended in the same way, with this one.
    #[serde(default = "one")]
    pub count: u32,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Wall-clock time it took, in seconds.
    pub seconds: f64,
    /// Where it ran, if it came so far to say so.
    pub environment: Option<Environment>,
    /// The command that does this run again.
    pub again: String,
}

fn one() -> u32 {
    1
}

pub(super) fn write_spec(folder: &Path, spec: &RunSpec) -> Result<()> {
    let path = folder.join(SPEC);
    let text = serde_yaml::to_string(spec).with_context(|| path.display().to_string())?;
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    // A specification that does not survive its file would only be noticed when it is needed.
    read_spec(&Source::folder(folder), &spec.id()).map(drop)
}

pub(super) fn write_record(folder: &Path, id: &RunId, record: &RunRecord) -> Result<()> {
    let mut values: BTreeMap<String, BTreeMap<String, Option<f64>>> = BTreeMap::new();
    let mut put = |on: &str, metric: &str, value| {
        let metrics = values.entry(on.into()).or_default();
        metrics.insert(metric.into(), value);
    };
    for (on, metric) in &record.no_value {
        put(on, metric, None);
    }
    for seen in &record.observations {
        put(&seen.on, &seen.metric, Some(seen.value));
    }
    let metrics = Metrics {
        outcome: record.outcome.clone(),
        seconds: record.seconds,
        values,
    };
    write_json(&folder.join(METRICS), &metrics)?;
    write_json(&folder.join(ENVIRONMENT), &record.environment)?;
    let path = folder.join(OBSERVATIONS);
    write_observations(&path, id, &record.observations).with_context(|| path.display().to_string())
}

pub(super) fn write_failed(folder: &Path, failed: &FailedAttempt) -> Result<()> {
    write_json(&folder.join(FAILURE), failed)
}

/// None when the run is not done.
pub(super) fn read_metrics(source: &Source) -> Result<Option<Metrics>> {
    if !source.exists() {
        return Ok(None);
    }
    json(&source.path(METRICS), &source.read(METRICS)?).map(Some)
}

/// None when the run is not done.
pub(super) fn read_record(source: &Source, id: &RunId) -> Result<Option<RunRecord>> {
    if !source.exists() {
        return Ok(None);
    }
    let sums = Sums::of(source)?;
    let [text, metrics, table, environment] = SMALL.map(|name| sums.read(source, name));
    let metrics: Metrics = json(&source.path(METRICS), &metrics?)?;
    spec(&source.path(SPEC), &text?, id)?;
    let environment = json(&source.path(ENVIRONMENT), &environment?)?;
    let path = source.path(OBSERVATIONS);
    let observations =
        read_observations(table?, id).with_context(|| format!("{} is damaged", path.display()))?;
    let no_value = metrics.values.iter().flat_map(|(on, metrics)| {
        let without = metrics.iter().filter(|(_, value)| value.is_none());
        without.map(|(metric, _)| (on.clone(), metric.clone()))
    });
    Ok(Some(RunRecord {
        no_value: no_value.collect(),
        outcome: metrics.outcome,
        environment,
        seconds: metrics.seconds,
        observations,
    }))
}

/// None when the run is not done.
pub(super) fn read_spec(source: &Source, id: &RunId) -> Result<Option<RunSpec>> {
    if !source.exists() {
        return Ok(None);
    }
    spec(&source.path(SPEC), &source.read(SPEC)?, id).map(Some)
}

fn spec(path: &Path, bytes: &[u8], id: &RunId) -> Result<RunSpec> {
    let damaged = || format!("{} is damaged", path.display());
    let text = str::from_utf8(bytes).with_context(damaged)?;
    let spec: RunSpec = serde_yaml::from_str(text).with_context(damaged)?;
    let found = spec.id();
    ensure!(
        found == *id,
        "{} is damaged: it specifies run {found}, not {id}",
        path.display()
    );
    Ok(spec)
}

/// None when no attempt failed.
pub(super) fn read_failed(source: &Source) -> Result<Option<FailedAttempt>> {
    let found = source.find(FAILURE)?;
    found
        .map(|bytes| json(&source.path(FAILURE), &bytes))
        .transpose()
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text =
        serde_json::to_string_pretty(value).with_context(|| path.display().to_string())? + "\n";
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).with_context(|| format!("{} is damaged", path.display()))
}

fn write_observations(path: &Path, id: &RunId, observations: &[Observation]) -> Result<()> {
    let column = |of: fn(&Observation) -> &str| observations.iter().map(of).collect::<Vec<_>>();
    let mut table = DataFrame::new(
        observations.len(),
        vec![
            Column::new("run".into(), vec![id.0.as_str(); observations.len()]),
            Column::new(
                "step".into(),
                observations
                    .iter()
                    .map(|seen| seen.step)
                    .collect::<Vec<_>>(),
            ),
            Column::new("on".into(), column(|seen| &seen.on)),
            Column::new("metric".into(), column(|seen| &seen.metric)),
            Column::new(
                "value".into(),
                observations
                    .iter()
                    .map(|seen| seen.value)
                    .collect::<Vec<_>>(),
            ),
        ],
    )?;
    ParquetWriter::new(File::create(path)?)
        .with_compression(ParquetCompression::Uncompressed)
        .finish(&mut table)?;
    Ok(())
}

fn read_observations(table: Vec<u8>, id: &RunId) -> Result<Vec<Observation>> {
    // In the middle of a damaged table polars panics; a run of an earlier version has no sums that would tell before.
    catch_unwind(AssertUnwindSafe(|| observations(table, id)))
        .unwrap_or_else(|_| anyhow::bail!("the table is not what its head says"))
}

fn observations(table: Vec<u8>, id: &RunId) -> Result<Vec<Observation>> {
    // Runs are read in parallel already.
    let table = ParquetReader::new(Cursor::new(table))
        .read_parallel(ParallelStrategy::None)
        .finish()?;
    let (run, on, metric) = (
        table.column("run")?.str()?,
        table.column("on")?.str()?,
        table.column("metric")?.str()?,
    );
    let (step, value) = (table.column("step")?.u64()?, table.column("value")?.f64()?);
    let row = |i: usize| {
        ensure!(
            run.get(i) == Some(id.0.as_str()),
            "row {i} is of another run"
        );
        let observation = (|| {
            let (on, metric) = (on.get(i)?.to_string(), metric.get(i)?.to_string());
            Some(Observation {
                step: step.get(i)?,
                on,
                metric,
                value: value.get(i)?,
            })
        })();
        observation.with_context(|| format!("row {i} has a hole"))
    };
    (0..table.height()).map(row).collect()
}
