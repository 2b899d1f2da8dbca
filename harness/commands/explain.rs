//! `harness explain`: what a number is made of, or what a run is, and the command that makes it again.

use std::path::Path;

use serde_json::json;

use super::sources::one_run;
use super::{BadInput, Exit, print_json, quoted, report, run, shown};
use crate::event::{Outcome, RunRecord};
use crate::plan::{Plan, PlannedRun, RunId, expand, run_spec};
use crate::report::{Comparison, Report, Shown};
use crate::store::Store;
use crate::suite::{Column, Suite, nearest};

pub fn explain(what: &str, suites: &[Suite], at: &Store, json: bool) -> anyhow::Result<Exit> {
    let store = at.dir();
    match what
        .split_once('/')
        .and_then(|(table, rest)| Some((table, rest.rsplit_once('/')?)))
    {
        Some((table, (row, column))) => cell([table, row, column], suites, store, at, json),
        None if what.contains('/') => {
            Err(BadInput(format!("`{what}` is no cell: write TABLE/ROW/COLUMN")).into())
        }
        None => a_run(what, suites, store, at, json),
    }
}

/// The place of `wanted` among `known`.
fn find<'a>(
    what: &str,
    wanted: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Result<usize, BadInput> {
    known
        .clone()
        .position(|name| name == wanted)
        .ok_or_else(|| {
            let advice = match nearest(wanted, known.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there is {}", known.collect::<Vec<_>>().join(", ")),
            };
            BadInput(format!("there is no {what} `{wanted}`; {advice}"))
        })
}

fn cell(
    [table, row, column]: [&str; 3],
    suites: &[Suite],
    dir: &Path,
    store: &Store,
    json: bool,
) -> anyhow::Result<Exit> {
    let tables: Vec<(&Suite, usize)> = suites
        .iter()
        .flat_map(|suite| (0..suite.tables.len()).map(move |i| (suite, i)))
        .collect();
    let ids: Vec<&str> = tables
        .iter()
        .map(|(suite, i)| suite.tables[*i].id.as_str())
        .collect();
    let (suite, t) = tables[find("table", table, ids.iter().copied())?];
    let plan = expand(std::slice::from_ref(suite));
    let records = report::records(&plan, store).records;
    let report = Report::of(suite, &plan, &records);
    let planned = &suite.tables[t];
    let shown_table = &report.tables[t];
    let r = find(
        "row",
        row,
        shown_table.rows.iter().map(|row| row.method.as_str()),
    )?;
    let c = find("column", column, planned.columns.iter().map(Column::id))?;
    let head = shown_table
        .columns
        .iter()
        .position(|head| head.id == column)
        .ok_or_else(|| {
            BadInput(format!(
                "column `{column}` of `{table}` is not shown; the columns made of it are"
            ))
        })?;
    let cell = &shown_table.rows[r].cells[head];
    let measured = columns_under(planned, &planned.columns[c]);
    let line = suite.lines.of(&format!("/tables/{t}/rows/{r}/reported"));
    let runs: Vec<SeedRun> = planned
        .seeds
        .iter()
        .flat_map(|&seed| measured.iter().map(move |column| (seed, column)))
        .map(|(seed, column)| {
            let id = run_spec(suite, &column.task, row, seed).id();
            let metric = suite.metric_of(column).measure.key();
            SeedRun::of(seed, column.on.clone(), metric, records.get(&id), id)
        })
        .collect();
    let again = again(suite, dir, &[("table", table), ("method", row)]);
    if json {
        let weighed = cell.weighed.as_ref();
        print_json(&json!({
            "suite": suite.name, "table": table, "row": row, "column": column, "place": shown_table.place,
            "paper": cell.paper.as_ref().map(ToString::to_string), "line": line,
            "ours": cell.estimate.map(|estimate| json!({"mean": estimate.mean, "sd": estimate.sd, "n": estimate.n, "ci95": estimate.ci95()})),
            "verdict": weighed.map(|weighed| weighed.verdict.to_string()),
            "reason": weighed.map(|weighed| weighed.reason.clone()),
            "runs": runs.iter().map(SeedRun::json).collect::<Vec<_>>(), "again": again,
        }))?;
        return Ok(Exit::Success);
    }
    print!(
        "{}",
        text(
            suite,
            shown_table,
            [row, &shown_table.columns[head].title],
            cell,
            line,
            &runs,
            &again
        )
    );
    Ok(Exit::Success)
}

/// The measured columns that a column shows, through means and deviations.
fn columns_under<'a>(
    table: &'a crate::suite::SuiteTable,
    column: &'a Column,
) -> Vec<&'a crate::suite::MeasuredColumn> {
    let over = match column {
        Column::Measured(measured) => return vec![measured],
        Column::Mean(mean) => &mean.mean,
        Column::Sd(sd) => &sd.sd,
        Column::Correlation(_) => return Vec::new(),
    };
    let named = table
        .columns
        .iter()
        .filter(|other| over.iter().any(|id| id == other.id()));
    named
        .flat_map(|other| columns_under(table, other))
        .collect()
}

/// A value behind a cell, and the run that it comes from.
struct SeedRun {
    seed: u64,
    run: RunId,
    on: String,
    metric: String,
    /// Step and value, if the run has one.
    value: Option<(u64, f64)>,
    /// What became of the run, where it has none.
    instead: String,
}

impl SeedRun {
    fn of(
        seed: u64,
        on: String,
        metric: String,
        record: Option<&RunRecord>,
        run: RunId,
    ) -> SeedRun {
        let seen = record
            .filter(|record| record.outcome == Outcome::Completed)
            .and_then(|record| {
                let mut latest = record.observations.iter().rev();
                latest
                    .find(|seen| seen.on == on && seen.metric == metric)
                    .map(|seen| (seen.step, seen.value))
            });
        let instead = match record {
            None => "not run".to_string(),
            Some(record) if record.no_value.contains(&(on.clone(), metric.clone())) => {
                "no finite value".into()
            }
            Some(record) if record.outcome == Outcome::Completed => "not measured".into(),
            Some(record) => record.outcome.to_string(),
        };
        SeedRun {
            seed,
            run,
            on,
            metric,
            value: seen,
            instead,
        }
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "seed": self.seed, "run": self.run, "on": self.on, "metric": self.metric,
            "step": self.value.map(|value| value.0), "value": self.value.map(|value| value.1),
            "instead": self.value.is_none().then_some(&self.instead),
        })
    }
}

fn text(
    suite: &Suite,
    table: &Comparison,
    [row, column]: [&str; 2],
    cell: &Shown,
    line: usize,
    runs: &[SeedRun],
    again: &str,
) -> String {
    let mut out = format!(
        "{row}, {column}\n{}: {} ({})\n\n",
        table.place, table.title, suite.title
    );
    let mut line_of = |name: &str, text: String| out.push_str(&format!("{name:<9}{text}\n"));
    match (&cell.paper, &cell.reported) {
        (Some(number), Some(reported)) => {
            let seeds = reported
                .seeds
                .map_or("over an unstated number of seeds".into(), |n| {
                    format!("over {n} seeds")
                });
            line_of(
                "paper",
                format!("{number}, {seeds} ({}:{line})", shown(&suite.path)),
            );
        }
        _ => line_of("paper", "prints nothing here".into()),
    }
    match cell.estimate {
        Some(estimate) => {
            let sd = estimate
                .sd
                .map_or(String::new(), |sd| format!(", standard deviation {sd}"));
            let interval = estimate
                .ci95()
                .map_or(String::new(), |half| format!(", 95% interval ±{half}"));
            line_of(
                "ours",
                format!(
                    "{} from {} of {} seeds{sd}{interval}",
                    estimate.mean, cell.n, cell.planned
                ),
            );
        }
        None => line_of(
            "ours",
            format!("none of {} seeds has a value", cell.planned),
        ),
    }
    if let Some(weighed) = &cell.weighed {
        line_of(
            "verdict",
            format!("{}: {}", weighed.verdict, weighed.reason),
        );
    }
    out.push('\n');
    for run in runs {
        let value = match run.value {
            Some((step, value)) => format!("{value} at update {step}"),
            None => run.instead.clone(),
        };
        out.push_str(&format!(
            "seed {:<5} run {}  {} on {}: {value}\n",
            run.seed, run.run, run.metric, run.on
        ));
    }
    out.push_str(&format!("\nto make it again: {again}\n"));
    out
}

fn a_run(
    prefix: &str,
    suites: &[Suite],
    dir: &Path,
    store: &Store,
    json: bool,
) -> anyhow::Result<Exit> {
    let plan = expand(suites);
    let id = one_run(prefix, plan.runs.iter().map(|run| &run.id))?;
    let planned = plan
        .runs
        .iter()
        .find(|run| run.id == *id)
        .expect("it is of the plan");
    let mut records = report::records(
        &Plan {
            runs: vec![planned.clone()],
        },
        store,
    )
    .records;
    let record = records.remove(id);
    let again = run::again(suites, dir, planned);
    if json {
        let record = record.as_ref();
        print_json(&json!({
            "run": planned, "outcome": record.map(|record| &record.outcome), "seconds": record.map(|record| record.seconds),
            "environment": record.map(|record| &record.environment),
            "folder": record.map(|_| folder(store, id)), "again": again,
        }))?;
        return Ok(Exit::Success);
    }
    println!(
        "run {id}: {} on {}, seed {}",
        planned.method, planned.task, planned.spec.seed
    );
    match &record {
        None => println!("it has not run"),
        Some(record) => {
            println!(
                "{} after {:.1} s; its files: {}",
                record.outcome,
                record.seconds,
                shown(&folder(store, id))
            );
            let environment = &record.environment;
            println!(
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
            );
        }
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
        println!();
    }
    println!("to make it again: {again}");
    Ok(Exit::Success)
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
    Some(store.folder(id))
        .filter(|folder| folder.is_dir())
        .unwrap_or_else(|| store.failed_folder(id))
}

fn again(suite: &Suite, store: &Path, only: &[(&str, &str)]) -> String {
    let mut words = vec![
        "harness".to_string(),
        "run".into(),
        shown(&suite.path),
        "--store".into(),
        shown(store),
    ];
    for (key, value) in only {
        words.extend(["--only".to_string(), format!("{key}={value}")]);
    }
    words
        .iter()
        .map(|word| quoted(word))
        .collect::<Vec<_>>()
        .join(" ")
}
