//! The observations of many runs in one table.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use polars::prelude::*;

use crate::event::Observation;
use crate::plan::RunId;

/// A run's observations under a name that a suite's tables know the run by.
#[derive(Clone, Debug)]
pub struct Named<'a> {
    /// The task.
    pub task: &'a str,
    /// The method.
    pub method: &'a str,
    /// The run's seed.
    pub seed: u64,
    /// The run.
    pub run: &'a RunId,
    /// What it observed, in that order.
    pub observations: &'a [Observation],
    /// The cells that each observation gives a value to, `table/column`; mostly none.
    pub cells: Vec<Vec<String>>,
}

/// Writes a Parquet file with a row for every observation of `runs`, in their order: `suite`, `task`, `method`, `seed`,
/// `run`, `step`, `on`, `metric`, `value`, and `cells`, a list. The same runs give the same bytes.
pub fn write_together(path: &Path, suite: &str, runs: &[Named<'_>]) -> Result<()> {
    // Written beside and renamed, so that a reader finds the old table or the new one.
    let fresh = path.with_extension(format!("parquet.{}", std::process::id()));
    write(&fresh, suite, runs)
        .and_then(|()| Ok(fs::rename(&fresh, path)?))
        .inspect_err(|_| drop(fs::remove_file(&fresh)))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn write(path: &Path, suite: &str, runs: &[Named<'_>]) -> Result<()> {
    let rows = runs.iter().map(|run| run.observations.len()).sum();
    let of_run = |of: fn(&Named<'_>) -> String| -> Vec<String> {
        runs.iter()
            .flat_map(|run| std::iter::repeat_n(of(run), run.observations.len()))
            .collect()
    };
    let seen = || runs.iter().flat_map(|run| run.observations);
    let seeds: Vec<u64> = runs
        .iter()
        .flat_map(|run| std::iter::repeat_n(run.seed, run.observations.len()))
        .collect();
    let mut cells = ListStringChunkedBuilder::new("cells".into(), rows, rows);
    for fed in runs.iter().flat_map(|run| &run.cells) {
        cells.append_values_iter(fed.iter().map(String::as_str));
    }
    let mut table = DataFrame::new(
        rows,
        vec![
            Column::new("suite".into(), vec![suite; rows]),
            Column::new("task".into(), of_run(|run| run.task.into())),
            Column::new("method".into(), of_run(|run| run.method.into())),
            Column::new("seed".into(), seeds),
            Column::new("run".into(), of_run(|run| run.run.0.clone())),
            Column::new(
                "step".into(),
                seen().map(|seen| seen.step).collect::<Vec<_>>(),
            ),
            Column::new(
                "on".into(),
                seen().map(|seen| seen.on.as_str()).collect::<Vec<_>>(),
            ),
            Column::new(
                "metric".into(),
                seen().map(|seen| seen.metric.as_str()).collect::<Vec<_>>(),
            ),
            Column::new(
                "value".into(),
                seen().map(|seen| seen.value).collect::<Vec<_>>(),
            ),
            cells.finish().into_column(),
        ],
    )?;
    let mut file = File::create(path)?;
    ParquetWriter::new(&mut file)
        .with_compression(ParquetCompression::Uncompressed)
        .finish(&mut table)?;
    file.sync_all()?;
    Ok(())
}
