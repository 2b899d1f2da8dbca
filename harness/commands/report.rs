//! `harness report`: the comparison, from what the store holds.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::{Exit, print_json, shown};
use crate::event::RunRecord;
use crate::plan::{Plan, RunId, expand};
use crate::report::terminal::{self, Style};
use crate::report::{Rendered, render};
use crate::store::Store;
use crate::suite::Suite;

pub fn report(suites: &[Suite], store: &Path, out: &Path, json: bool) -> anyhow::Result<Exit> {
    let store = Store::open(store)?;
    let mut written = Vec::new();
    for suite in suites {
        let rendered = write(suite, &store, out)?;
        if !json {
            show(&rendered);
        }
        written.push(
            json!({ "suite": suite.name, "folder": rendered.folder, "files": rendered.files }),
        );
    }
    if json {
        print_json(&written)?;
    }
    Ok(Exit::Success)
}

/// Writes a suite's report into its own folder of `out`.
pub fn write(suite: &Suite, store: &Store, out: &Path) -> anyhow::Result<Rendered> {
    let plan = expand(std::slice::from_ref(suite));
    render(
        suite,
        &plan,
        &records(&plan, store)?,
        &out.join(&suite.name),
    )
}

/// The tables on the terminal, and the file to open.
pub fn show(rendered: &Rendered) {
    print!("{}", terminal::page(&rendered.report, Style::of_stdout()));
    println!("\nreport: {}", shown(&rendered.files[0]));
}

/// What the store holds of the plan's runs; a run whose latest attempt failed has an outcome and no numbers.
pub fn records(plan: &Plan, store: &Store) -> anyhow::Result<BTreeMap<RunId, RunRecord>> {
    let ids: Vec<RunId> = plan.runs.iter().map(|run| run.id.clone()).collect();
    let mut records = store.records(&ids)?;
    for id in ids {
        if records.contains_key(&id) {
            continue;
        }
        if let Some(failed) = store.failed(&id)? {
            let environment = failed.environment.unwrap_or_default();
            let record = RunRecord {
                outcome: failed.outcome,
                environment,
                seconds: failed.seconds,
                observations: Vec::new(),
            };
            records.insert(id, record);
        }
    }
    Ok(records)
}
