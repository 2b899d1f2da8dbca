//! `harness report`: the comparison, from what the store holds, or the paper alone.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::json;

use super::{Exit, print_json, run, shown, sources};
use crate::event::{Outcome, RunRecord};
use crate::plan::{Plan, RunId, expand, run_spec};
use crate::report::terminal::{self, Style, plain};
use crate::report::{Rendered, Report, render};
use crate::show;
use crate::store::{Held, Named, Store, write_together};
use crate::suite::{Column, Suite};

/// How many damaged runs are named.
const NAMED: usize = 10;

/// What to report, and where.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder for the reports
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
    /// Show the paper's numbers alone, whatever has run; written into `paper/` in the suite's folder
    #[arg(long, conflicts_with = "strict")]
    paper_only: bool,
    /// End with exit code 6 when our numbers refute a claim
    #[arg(long)]
    strict: bool,
}

pub fn report(
    suites: &[Suite],
    store: &Store,
    options: &Options,
    json: bool,
) -> anyhow::Result<Exit> {
    let mut written = Vec::new();
    let mut refuted = Vec::new();
    for suite in suites {
        let rendered = match options.paper_only {
            true => render(
                Report::of_paper(suite),
                &options.out.join(&suite.name).join("paper"),
            )?,
            false => write(suite, store, &options.out)?,
        };
        if !json {
            show(&rendered);
        }
        let claims: Vec<&str> = rendered
            .report
            .refuted()
            .map(|claim| claim.id.as_str())
            .collect();
        refuted.extend(
            claims
                .iter()
                .map(|id| format!("{} of {}", plain(id), suite.name)),
        );
        written.push(json!({
            "suite": suite.name, "folder": rendered.folder, "files": rendered.files, "refuted": claims,
        }));
    }
    if json {
        print_json(&written)?;
    }
    if options.strict && !refuted.is_empty() {
        eprintln!("refuted on our numbers: {}", refuted.join(", "));
        return Ok(Exit::ClaimRefuted);
    }
    Ok(Exit::Success)
}

/// Writes a suite's report into its own folder of `out`. Runs whose files are damaged are named on standard error.
pub fn write(suite: &Suite, store: &Store, out: &Path) -> anyhow::Result<Rendered> {
    let plan = expand(std::slice::from_ref(suite));
    let Held { records, damaged } = records(&plan, store);
    warn(suite, &plan, &damaged, store);
    let report = Report::of(suite, &plan, &records);
    let mut rendered = render(report, &out.join(&suite.name))?;
    let path = rendered.folder.join("observations.parquet");
    write_together(&path, &suite.name, &named(suite, &records))?;
    rendered.files.push(path);
    Ok(rendered)
}

/// The recorded runs by the tasks and methods that the suite's tables know them by, in the order of the tables. A run
/// that two tasks share, as a model evaluated as it is, comes once for each.
pub fn named<'a>(suite: &'a Suite, records: &'a BTreeMap<RunId, RunRecord>) -> Vec<Named<'a>> {
    let mut found: IndexMap<(RunId, &str, &str), Named<'a>> = IndexMap::new();
    let mut ids: HashMap<(&str, &str, u64), RunId> = HashMap::new();
    for table in &suite.tables {
        for (row, &seed) in table
            .rows
            .iter()
            .flat_map(|row| table.seeds.iter().map(move |seed| (row, seed)))
        {
            for column in &table.columns {
                let Column::Measured(measured) = column else {
                    continue;
                };
                let (task, method) = (measured.task.as_str(), row.method.as_str());
                let id = ids
                    .entry((task, method, seed))
                    .or_insert_with(|| run_spec(suite, task, method, seed).id());
                let Some((run, record)) = records.get_key_value(id) else {
                    continue;
                };
                let named = found
                    .entry((id.clone(), task, method))
                    .or_insert_with(|| Named {
                        task,
                        method,
                        seed,
                        run,
                        observations: &record.observations,
                        cells: vec![Vec::new(); record.observations.len()],
                    });
                let metric = suite.metric_of(measured).measure.key();
                let used = record
                    .observations
                    .iter()
                    .rposition(|seen| seen.on == measured.on && seen.metric == metric)
                    .filter(|_| record.outcome == Outcome::Completed);
                let cell = format!("{}/{}", table.id, measured.id);
                if let Some(cells) = used.map(|at| &mut named.cells[at])
                    && !cells.contains(&cell)
                {
                    cells.push(cell);
                }
            }
        }
    }
    found.into_values().collect()
}

/// The tables on the terminal, and the file to open.
pub fn show(rendered: &Rendered) {
    let page = terminal::page(&rendered.report, Style::of_stdout());
    show::print(format!("{page}\nreport: {}\n", shown(&rendered.files[0])));
}

/// Names runs whose files are damaged, and the command that does each again.
fn warn(suite: &Suite, plan: &Plan, damaged: &BTreeMap<RunId, String>, store: &Store) {
    let runs = plan.runs.iter().filter(|run| damaged.contains_key(&run.id));
    for run in runs.take(NAMED) {
        let home = sources::home(store);
        let again = run::again(std::slice::from_ref(suite), &home, run);
        show::say(format!(
            "warning: run {} counts as failed: {}\n  again: {again}",
            run.id, damaged[&run.id]
        ));
    }
    if damaged.len() > NAMED {
        let more = damaged.len() - NAMED;
        show::say(format!(
            "warning: {more} more runs are damaged; `harness run` does them again"
        ));
    }
}

/// What the store holds of the plan's runs. A run whose latest attempt failed, or whose files are damaged, has an outcome
/// and no numbers.
pub fn records(plan: &Plan, store: &Store) -> Held {
    let ids: Vec<RunId> = plan.runs.iter().map(|run| run.id.clone()).collect();
    let mut held = store.held(&ids);
    for id in ids {
        if held.records.contains_key(&id) {
            continue;
        }
        let record = match (held.damaged.get(&id), store.failed(&id)) {
            (Some(what), _) => {
                // A report does not tell where on a machine files lie.
                let folder = format!("{}/", store.folder(&id).display());
                let what = what.replace(&folder, "");
                without_numbers(format!("its files are damaged: {what}"))
            }
            (None, Ok(None)) => continue,
            (None, Ok(Some(failed))) => RunRecord {
                outcome: failed.outcome,
                environment: failed.environment.unwrap_or_default(),
                seconds: failed.seconds,
                observations: Vec::new(),
                no_value: Default::default(),
            },
            (None, Err(_)) => without_numbers("what it left is damaged".into()),
        };
        held.records.insert(id, record);
    }
    held
}

fn without_numbers(message: String) -> RunRecord {
    RunRecord {
        outcome: Outcome::Failed { message },
        environment: Default::default(),
        seconds: 0.0,
        observations: Vec::new(),
        no_value: Default::default(),
    }
}
