//! A run.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::sources::one_run;
use super::again::Again;
use super::{Exit, commands, print_json, records, shown};
use crate::event::Environment;
use crate::plan::{PlannedRun, RunId, expand};
use crate::report::Origins;
use crate::store::Store;
use crate::suite::Suite;

pub fn run(prefix: &str, suites: &[Suite], store: &Store, json: bool) -> anyhow::Result<Exit> {
    let plan = expand(suites);
    let id = one_run(prefix, plan.runs.iter().map(|run| &run.id))?;
    let suites = of(suites, plan.runs.iter().find(|run| run.id == *id));
    let ids = BTreeSet::from([id.clone()]);
    let (plan, held) = records(suites, &ids, store);
    let planned = plan.runs.iter().find(|run| run.id == *id);
    let planned = planned.expect("it is of the plan");
    let record = held.records.get(id);
    let origin = Origins::new(&plan, &held.records).of(&ids);
    let again = Again {
        suites,
        plan: &plan,
        store,
        records: &held.records,
    };
    let again = again.commands(&ids, &[]);
    if json {
        print_json(&json!({
            "run": planned, "outcome": record.map(|record| &record.outcome), "seconds": record.map(|record| record.seconds),
            "environment": record.map(|record| &record.environment), "stale": origin.stale,
            "folder": record.map(|_| folder(store, id)), "again": again,
        }))?;
        return Ok(Exit::Success);
    }
    println!(
        "run {id}: {} on {}, seed {}",
        planned.method, planned.task, planned.spec.seed
    );
    match record {
        None => println!("it has not run"),
        Some(record) => {
            println!(
                "{} after {:.1} s; its files: {}",
                record.outcome,
                record.seconds,
                shown(&folder(store, id))
            );
            if record.environment != Environment::default() {
                println!("{}", place(&record.environment));
            }
        }
    }
    if let Some(words) = origin.words() {
        println!("{words}");
    }
    feeds(planned);
    println!(
        "\nwhat decides its result:\n{}",
        serde_yaml::to_string(&planned.spec)?
    );
    if let Some(record) = record.filter(|record| !record.observations.is_empty()) {
        println!("what it measured last:");
        for wanted in &planned.measurements {
            let (on, metric) = wanted.key();
            match record.value(&on, &metric) {
                Some(value) => println!("  {metric} on {on}: {value}"),
                None => println!("  {metric} on {on}: nothing"),
            }
        }
    }
    let mut out = String::new();
    commands(&mut out, &again);
    print!("{out}");
    Ok(Exit::Success)
}

/// What ran it, and where.
fn place(environment: &Environment) -> String {
    format!(
        "harness {} ({}, build {}), libtorch {}, {} ({}), {} threads, {} processes, {}, {} parameters",
        environment.harness,
        environment.revision,
        environment.build,
        environment.libtorch,
        environment.device,
        environment.device_name,
        environment.threads,
        environment.processes,
        environment.cpu_capability,
        environment.parameters
    )
}

/// The first suite that a run feeds; all, where it only feeds other runs.
fn of<'a>(suites: &'a [Suite], run: Option<&PlannedRun>) -> &'a [Suite] {
    let cells = run.into_iter().flat_map(|run| &run.cells);
    let fed: BTreeSet<&str> = cells.map(|cell| cell.suite.as_str()).collect();
    let first = suites
        .iter()
        .find(|suite| fed.contains(suite.name.as_str()));
    first.map_or(suites, std::slice::from_ref)
}

/// The cells that it pays for.
fn feeds(run: &PlannedRun) {
    if let Some(stage) = &run.needs {
        println!("it starts from the weights of run {stage}");
    }
    if run.cells.is_empty() {
        println!("it feeds no cell of its own, but the runs that start from it");
    }
    for cell in &run.cells {
        println!(
            "it feeds {}/{}/{} of {}",
            cell.table, cell.method, cell.column, cell.suite
        );
    }
}

fn folder(store: &Store, id: &RunId) -> std::path::PathBuf {
    match store.has(id) {
        true => store.folder(id),
        false => store.failed_folder(id),
    }
}
