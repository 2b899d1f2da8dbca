//! `harness status`: how far the suites are.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde_json::json;

use super::{Exit, print_json, run, sources, watch};
use crate::cluster;
use crate::plan::{PlannedRun, expand};
use crate::store::Store;
use crate::suite::Suite;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    Done,
    Running,
    Failed,
    Damaged,
    Missing,
}

pub fn status(suites: &[Suite], store: &Store, json: bool) -> anyhow::Result<Exit> {
    let plan = expand(suites);
    let standings: Vec<(&PlannedRun, Standing)> = plan
        .runs
        .par_iter()
        .map(|run| (run, standing(store, run)))
        .collect();
    let queued = cluster::queued(store.dir()).unwrap_or_else(|error| {
        eprintln!("note: not known what of these runs waits in the queue: {error:#}");
        BTreeMap::new()
    });
    if json {
        let one = |(run, standing): &(&PlannedRun, Standing)| json!({ "id": run.id, "task": run.task, "method": run.method, "seed": run.spec.seed, "standing": standing, "queue": queued.get(&run.id) });
        print_json(&standings.iter().map(one).collect::<Vec<_>>())?;
        return Ok(Exit::Success);
    }
    let mut tables: BTreeMap<String, [usize; 5]> = BTreeMap::new();
    for (run, standing) in &standings {
        let mut fed: Vec<_> = run
            .cells
            .iter()
            .map(|cell| format!("{}/{}", cell.suite, cell.table))
            .collect();
        fed.dedup();
        for table in fed {
            tables.entry(table).or_default()[*standing as usize] += 1;
        }
    }
    println!(
        "{:<32} {:>6} {:>8} {:>7} {:>8} {:>8}",
        "table", "done", "running", "failed", "damaged", "missing"
    );
    for (table, [done, running, failed, damaged, missing]) in tables {
        println!("{table:<32} {done:>6} {running:>8} {failed:>7} {damaged:>8} {missing:>8}");
    }
    let runs = standings.iter().map(|(run, _)| *run);
    print!("{}", cluster::queue_lines(runs, &queued));
    for (run, standing) in &standings {
        let name = format!("{} {} seed {}", run.task, run.method, run.spec.seed);
        match standing {
            Standing::Failed => match store.failed(&run.id) {
                Ok(Some(failed)) => {
                    println!("\n{name}: {}\n  again: {}", failed.outcome, failed.again);
                }
                Ok(None) => {}
                Err(error) => {
                    let again = run::again(suites, &sources::home(store), run);
                    println!("\n{name}: failed; {error:#}\n  again: {again}");
                }
            },
            Standing::Damaged => {
                let what = store.damage(&run.id).unwrap_or_default();
                let again = run::again(suites, &sources::home(store), run);
                println!("\n{name}: {what}\n  again: {again}");
            }
            Standing::Done | Standing::Running | Standing::Missing => {}
        }
    }
    let now = watch::show(store);
    if !now.is_empty() {
        println!("\n{}", now.join("\n"));
    }
    Ok(Exit::Success)
}

fn standing(store: &Store, run: &PlannedRun) -> Standing {
    let done = match store.altered(&run.id) {
        None => store.is_done(run).ok(),
        Some(_) => None,
    };
    if done == Some(true) {
        Standing::Done
    } else if store.is_leased(&run.id) {
        Standing::Running
    } else if done.is_none() {
        Standing::Damaged
    } else if !matches!(store.failed(&run.id), Ok(None)) {
        // What a failed attempt left may be damaged too.
        Standing::Failed
    } else {
        Standing::Missing
    }
}
