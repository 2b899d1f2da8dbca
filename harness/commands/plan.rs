//! `harness plan`: cells, distinct runs, what they cost, which are done, what each pays for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::str::FromStr;

use serde_json::json;

use super::select::{Only, select};
use super::{Exit, fetch, print_json, report};
use crate::cost::{Basis, Choice, DEVICE, Estimate, Knowledge, Part, choose, download};
use crate::plan::{CellRef, Plan, PlannedRun, RunId, expand};
use crate::store::Store;
use crate::suite::Suite;

/// A plan with more runs than this is listed when that is asked for.
const LISTED: usize = 60;

/// Device time, `200h`, `90m` or `3600s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// In seconds.
    pub seconds: f64,
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Budget, String> {
        let wrong = || format!("`{text}` is no device time; write `200h`, `90m` or `3600s`");
        let units = [('h', 3600.0), ('m', 60.0), ('s', 1.0)];
        let found = units
            .into_iter()
            .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
        let (number, unit) = found.ok_or_else(wrong)?;
        let number = number
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite() && *number >= 0.0);
        Ok(Budget {
            seconds: number.ok_or_else(wrong)? * unit,
        })
    }
}

/// How the plan is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Its runs if they are few.
    Short,
    /// All its runs.
    Full,
}

/// The runs that are chosen: by conditions, and by what a budget pays for.
pub fn planned(
    suites: &[Suite],
    only: &[Only],
    budget: Option<Budget>,
    store: &Store,
) -> anyhow::Result<(Plan, Option<Choice>)> {
    let whole = expand(suites);
    let Some(budget) = budget else {
        return Ok((select(whole, only)?, None));
    };
    // What the conditions leave out may not be chosen, but claims and tables go on needing it.
    let selected = select(whole.clone(), only)?;
    let chosen: BTreeSet<&RunId> = selected.runs.iter().map(|run| &run.id).collect();
    let mut costs = costs(suites, &whole, store)?;
    for (run, cost) in whole.runs.iter().zip(&mut costs) {
        if let Some(cost) = cost.as_mut().filter(|_| !chosen.contains(&run.id)) {
            cost.seconds = None;
        }
    }
    let choice = choose(suites, &whole, &costs, budget.seconds);
    let runs = selected
        .runs
        .into_iter()
        .filter(|run| choice.runs.contains(&run.id))
        .collect();
    Ok((Plan { runs }, Some(choice)))
}

/// What each run costs; none for one that is done.
fn costs(suites: &[Suite], plan: &Plan, store: &Store) -> anyhow::Result<Vec<Option<Estimate>>> {
    let records = report::records(plan, store).records;
    let knowledge = Knowledge::of(suites, plan, &records);
    // Runs of one method on one task of a suite differ by their seeds alone, and so cost the same.
    let mut known: HashMap<(&str, &str, &str), Estimate> = HashMap::new();
    let mut estimate = |run| match first_names(run) {
        Some(names) => *known
            .entry(names)
            .or_insert_with(|| knowledge.estimate(run)),
        None => knowledge.estimate(run),
    };
    // A damaged run has a record without a result, and is to be done again.
    let is_done = |run: &PlannedRun| match records.get(&run.id) {
        Some(record) if record.outcome.is_result() => store.is_done(run),
        _ => Ok(false),
    };
    plan.runs
        .iter()
        .map(|run| Ok((!is_done(run)?).then(|| estimate(run))))
        .collect()
}

/// The suite, task and method that a run was planned for first; none for a stage.
fn first_names(run: &PlannedRun) -> Option<(&str, &str, &str)> {
    let cell = run.cells.first()?;
    Some((&cell.suite, &run.task, &run.method))
}

pub fn plan(
    suites: &[Suite],
    only: &[Only],
    budget: Option<Budget>,
    store: &Path,
    listing: Listing,
    json: bool,
) -> anyhow::Result<Exit> {
    let store = Store::open(store)?;
    let (plan, choice) = planned(suites, only, budget, &store)?;
    let costs = costs(suites, &plan, &store)?;
    let cells: BTreeSet<&CellRef> = plan.runs.iter().flat_map(|run| &run.cells).collect();
    if json {
        let run = |(run, cost): (&PlannedRun, &Option<Estimate>)| {
            json!({
                "id": run.id, "task": run.task, "method": run.method, "seed": run.spec.seed, "done": cost.is_none(),
                "needs": run.needs, "measurements": run.measurements, "cells": run.cells, "spec": run.spec,
                "estimate": cost,
            })
        };
        let runs: Vec<_> = plan.runs.iter().zip(&costs).map(run).collect();
        let choice = choice.map(|choice| {
            json!({"seconds": choice.seconds, "claims": choice.claims, "in_part": choice.in_part, "tables": choice.tables, "left_out": choice.left_out})
        });
        let (bytes, unknown) = download(suites, &plan);
        print_json(&json!({
            "cells": cells.len(), "runs": runs, "budget": choice,
            "download": {"bytes": bytes, "unknown_repositories": unknown},
        }))?;
        return Ok(Exit::Success);
    }
    let missing = costs.iter().flatten().count();
    println!(
        "{} cells, {} distinct runs, {} done, {missing} to do",
        cells.len(),
        plan.runs.len(),
        costs.len() - missing
    );
    let to_do = plan
        .runs
        .iter()
        .zip(&costs)
        .filter(|(_, cost)| cost.is_some());
    if let Some(line) = fetch::outlook(to_do.map(|(run, _)| run))? {
        println!("{line}");
        let to_do = plan
            .runs
            .iter()
            .zip(&costs)
            .filter(|(_, cost)| cost.is_some());
        let runs = to_do.map(|(run, _)| run.clone()).collect();
        println!("{}", to_fetch(suites, &Plan { runs }));
    }
    if missing > 0 {
        println!("{}", total(&costs));
    }
    if let Some(choice) = &choice {
        settled(choice);
    }
    tables(suites, &plan, &costs);
    if listing == Listing::Full || plan.runs.len() <= LISTED {
        list(&plan, &costs);
    } else {
        println!("\n`--runs` lists the {} runs", plan.runs.len());
    }
    Ok(Exit::Success)
}

/// What is to do reads of the hub into an empty cache.
fn to_fetch(suites: &[Suite], plan: &Plan) -> String {
    let (bytes, unknown) = download(suites, plan);
    let unknown = match unknown {
        0 => String::new(),
        n => format!("; of {n} repositories nothing is stated"),
    };
    format!(
        "downloads: {:.1} GB into an empty cache, as the suites state it{unknown}",
        bytes / 1e9
    )
}

fn hours(seconds: f64) -> String {
    match seconds {
        _ if seconds < 60.0 => format!("{seconds:.0} s"),
        _ if seconds < 5400.0 => format!("{:.0} min", seconds / 60.0),
        _ if seconds < 36_000.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.0} h", seconds / 3600.0),
    }
}

/// What is to do costs in all, and what that rests on.
fn total(costs: &[Option<Estimate>]) -> String {
    let to_do: Vec<&Estimate> = costs.iter().flatten().collect();
    let count = |basis| to_do.iter().filter(|cost| cost.basis == basis).count();
    let seconds: f64 = to_do.iter().filter_map(|cost| cost.seconds).sum();
    let bytes: f64 = to_do.iter().filter_map(|cost| cost.bytes).sum();
    let known = to_do.len() - count(Basis::Unknown);
    let mut words = Vec::new();
    for (basis, what) in [
        (
            Basis::Measured,
            "measured on runs with other seeds".to_string(),
        ),
        (
            Basis::WorkedOut,
            format!("worked out for {DEVICE} from the passes alone"),
        ),
    ] {
        if count(basis) > 0 {
            words.push(format!("{} {what}", count(basis)));
        }
    }
    let unknown = match count(Basis::Unknown) {
        0 => String::new(),
        n => format!("; of {n} runs nothing is known, as their tasks state no `scale`"),
    };
    if known == 0 {
        return format!("device time: unknown{unknown}");
    }
    let gigabytes = bytes / 1e9;
    format!(
        "device time: {} ({}){unknown}; weights in the store: {gigabytes:.1} GB",
        hours(seconds),
        words.join(", ")
    )
}

/// What a budget settles and what it does not.
fn settled(choice: &Choice) {
    println!(
        "\nthe budget pays for {} runs, {} of device time",
        choice.runs.len(),
        hours(choice.seconds)
    );
    println!(
        "  they settle {} claims: {}",
        choice.claims.len(),
        choice.claims.join(", ")
    );
    if !choice.tables.is_empty() {
        println!(
            "  and fill {} tables: {}",
            choice.tables.len(),
            choice.tables.join(", ")
        );
    }
    for (claim, seconds) in &choice.left_out {
        let cost = seconds.map_or(
            "it needs runs of unknown cost, or that --only leaves out".into(),
            |seconds| format!("{} by itself", hours(seconds)),
        );
        match choice.in_part.iter().find(|part| part.claim == *claim) {
            Some(Part { seeds, of, .. }) => {
                println!("  in part: {claim} ({seeds} seeds of {of}; {cost})");
            }
            None => println!("  left out: {claim} ({cost})"),
        }
    }
    println!("  `harness run` with the same --budget makes these runs");
}

/// How many runs each table needs, and how many of those others need too.
fn tables(suites: &[Suite], plan: &Plan, costs: &[Option<Estimate>]) {
    let mut found: BTreeMap<String, (usize, usize, f64, BTreeSet<&str>)> = BTreeMap::new();
    let mut stages = 0;
    for (run, cost) in plan.runs.iter().zip(costs) {
        let fed: BTreeSet<(&str, &str)> = run
            .cells
            .iter()
            .map(|cell| (cell.suite.as_str(), cell.table.as_str()))
            .collect();
        stages += usize::from(fed.is_empty());
        for &(suite, table) in &fed {
            let entry = found.entry(format!("{suite}/{table}")).or_default();
            entry.0 += 1;
            entry.1 += usize::from(fed.len() > 1);
            entry.2 += cost.and_then(|cost| cost.seconds).unwrap_or(0.0);
            entry.3.extend(
                fed.iter()
                    .filter(|other| other.1 != table)
                    .map(|other| other.1),
            );
        }
    }
    println!(
        "\n{:<34} {:>5} {:>7} {:>10}  shared with",
        "table", "runs", "shared", "to do"
    );
    for (table, (runs, shared, seconds, others)) in found {
        let others: Vec<&str> = others.into_iter().collect();
        println!(
            "{table:<34} {runs:>5} {shared:>7} {:>10}  {}",
            hours(seconds),
            others.join(", ")
        );
    }
    let mut words = vec![kinds(plan.runs.iter())];
    if stages > 0 {
        words.push(format!("{stages} of them only as the start of others"));
    }
    println!(
        "a run that several tables share is made once: {}",
        words.join(", ")
    );
    let readings: BTreeSet<(&str, &str)> = suites
        .iter()
        .flat_map(|suite| suite.tables.iter().map(move |table| (suite, table)))
        .filter(|(_, table)| table.reading_of.is_some())
        .map(|(suite, table)| (suite.name.as_str(), table.id.as_str()))
        .collect();
    let is_reading = |run: &&PlannedRun| {
        let mut tables = run.cells.iter();
        !run.cells.is_empty()
            && tables.all(|cell| readings.contains(&(cell.suite.as_str(), cell.table.as_str())))
    };
    let (read, paper): (Vec<&PlannedRun>, Vec<&PlannedRun>) =
        plan.runs.iter().partition(is_reading);
    if !read.is_empty() {
        println!(
            "the paper's tables need {}; other readings of its methods need {} besides",
            kinds(paper.into_iter()),
            kinds(read.into_iter())
        );
    }
}

/// `477 trainings, 2 evaluations of models as they are`.
fn kinds<'a>(runs: impl Iterator<Item = &'a PlannedRun>) -> String {
    let (trained, untrained): (Vec<_>, Vec<_>) = runs.partition(|run| run.spec.training.is_some());
    let evaluations = match untrained.len() {
        0 => None,
        1 => Some("1 evaluation of a model as it is".to_string()),
        n => Some(format!("{n} evaluations of models as they are")),
    };
    let trainings = match trained.len() {
        1 => "1 training".to_string(),
        n => format!("{n} trainings"),
    };
    std::iter::once(trainings)
        .chain(evaluations)
        .collect::<Vec<_>>()
        .join(", ")
}

fn list(plan: &Plan, costs: &[Option<Estimate>]) {
    println!(
        "\n{:<16} {:<6} {:>8} {:<20} {:<20} {:>6}  pays for",
        "run", "state", "cost", "task", "method", "seed"
    );
    for (run, cost) in plan.runs.iter().zip(costs) {
        let (state, time) = match cost {
            None => ("done", String::new()),
            Some(cost) => ("to do", cost.seconds.map_or("?".into(), hours)),
        };
        println!(
            "{} {state:<6} {time:>8} {:<20} {:<20} {:>6}  {}",
            run.id,
            run.task,
            run.method,
            run.spec.seed,
            pays_for(run)
        );
    }
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
