//! `harness plan`: cells, distinct runs, which are done, what each pays for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::json;

use super::select::{Only, select};
use super::{Exit, fetch, print_json};
use crate::plan::{CellRef, PlannedRun, expand};
use crate::store::Store;
use crate::suite::Suite;

pub fn plan(suites: &[Suite], only: &[Only], store: &Path, json: bool) -> anyhow::Result<Exit> {
    let plan = select(expand(suites), only)?;
    let store = Store::open(store)?;
    let done: Vec<bool> = plan
        .runs
        .iter()
        .map(|run| store.is_done(run))
        .collect::<Result<_, _>>()?;
    let cells: BTreeSet<&CellRef> = plan.runs.iter().flat_map(|run| &run.cells).collect();
    if json {
        let runs: Vec<_> = plan
            .runs
            .iter()
            .zip(&done)
            .map(|(run, done)| {
                json!({
                    "id": run.id, "task": run.task, "method": run.method, "seed": run.spec.seed, "done": done,
                    "needs": run.needs, "measurements": run.measurements, "cells": run.cells, "spec": run.spec,
                })
            })
            .collect();
        print_json(&json!({ "cells": cells.len(), "runs": runs }))?;
        return Ok(Exit::Success);
    }
    let missing = done.iter().filter(|done| !**done).count();
    println!(
        "{} cells, {} distinct runs, {} done, {missing} to do",
        cells.len(),
        plan.runs.len(),
        done.len() - missing
    );
    let to_do = plan.runs.iter().zip(&done).filter(|(_, done)| !**done);
    if let Some(line) = fetch::outlook(to_do.map(|(run, _)| run))? {
        println!("{line}");
    }
    println!();
    println!(
        "{:<16} {:<6} {:<20} {:<20} {:>6}  pays for",
        "run", "state", "task", "method", "seed"
    );
    for (run, done) in plan.runs.iter().zip(done) {
        let state = if done { "done" } else { "to do" };
        println!(
            "{} {state:<6} {:<20} {:<20} {:>6}  {}",
            run.id,
            run.task,
            run.method,
            run.spec.seed,
            pays_for(run)
        );
    }
    Ok(Exit::Success)
}

/// `smoke/digits: 2 cells`, one entry a table.
fn pays_for(run: &PlannedRun) -> String {
    if run.cells.is_empty() {
        return "the runs that start from it".into();
    }
    let mut tables: BTreeMap<String, usize> = BTreeMap::new();
    for cell in &run.cells {
        *tables
            .entry(format!("{}/{}", cell.suite, cell.table))
            .or_default() += 1;
    }
    let one = |(table, n): (String, usize)| {
        if n == 1 {
            table
        } else {
            format!("{table} ({n} cells)")
        }
    };
    tables.into_iter().map(one).collect::<Vec<_>>().join(", ")
}
