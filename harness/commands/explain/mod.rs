//! `harness explain`: what a number is made of, or what a run is, and the command that makes it again.

mod again;
mod cell;
mod derived;
mod run;
mod seed;

use std::collections::BTreeSet;

use super::{BadInput, Exit, print_json, report, shown};
use crate::plan::{Plan, RunId, expand, with_starts};
use crate::store::{Held, Store};
use crate::suite::{Column, MeasuredColumn, Suite, SuiteTable, nearest};
use seed::SeedRun;

pub fn explain(what: &str, suites: &[Suite], store: &Store, json: bool) -> anyhow::Result<Exit> {
    let tables = suites
        .iter()
        .flat_map(|suite| suite.tables.iter().map(move |table| (suite, &table.id)));
    let derived = suites.iter().flat_map(|suite| {
        let tables = suite.derived_tables.iter();
        tables.map(move |table| (suite, &table.id))
    });
    let all: Vec<_> = tables.chain(derived).collect();
    let no_cell = || BadInput(format!("`{what}` is no cell: write TABLE/ROW/COLUMN"));
    let Some((table, _)) = what.split_once('/') else {
        return match all.iter().any(|(_, id)| *id == what) {
            true => Err(no_cell().into()),
            false => run::run(what, suites, store, json),
        };
    };
    let named: Vec<(&Suite, &str)> = suites
        .iter()
        .flat_map(|suite| {
            let within = what.strip_prefix(&suite.name);
            let within = within.and_then(|rest| rest.strip_prefix('/'));
            [Some(what), within]
                .into_iter()
                .flatten()
                .map(move |cell| (suite, cell))
        })
        .filter(|(suite, cell)| names(suite, cell))
        .collect();
    let (suite, cell) = match named[..] {
        [one] => one,
        // What is wrong is said of the first suite that has such a table.
        [] => (
            all[find("table", table, all.iter().map(|(_, id)| id.as_str()))?].0,
            what,
        ),
        [..] => {
            let suites: Vec<&str> = named.iter().map(|(suite, _)| suite.name.as_str()).collect();
            let suites = suites.join(" and ");
            let text = format!("`{what}` is a cell of {suites}: write SUITE/TABLE/ROW/COLUMN");
            return Err(BadInput(text).into());
        }
    };
    let (table, rest) = cell.split_once('/').ok_or_else(no_cell)?;
    if suite.table(table).is_none() {
        return derived::derived([table, rest], suite, store, json);
    }
    let (row, column) = rest.rsplit_once('/').ok_or_else(no_cell)?;
    cell::cell([table, row, column], suite, store, json)
}

/// Whether `cell` is a cell of `suite`, or a row of a derived table.
fn names(suite: &Suite, cell: &str) -> bool {
    let Some((id, rest)) = cell.split_once('/') else {
        return false;
    };
    let Some(table) = suite.table(id) else {
        let mut tables = suite.derived_tables.iter();
        let table = tables.find(|table| table.id == id);
        return table.is_some_and(|table| derived::row(table, rest).is_some());
    };
    let in_table = |(row, id): (&str, &str)| {
        column(table, id).is_some() && table.rows.iter().any(|known| known.method == row)
    };
    rest.rsplit_once('/').is_some_and(in_table)
}

/// The place of `wanted` among `known`.
fn find<'a>(
    what: &str,
    wanted: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Result<usize, BadInput> {
    let place = known.clone().position(|name| name == wanted);
    place.ok_or_else(|| {
        let advice = match nearest(wanted, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there is {}", known.collect::<Vec<_>>().join(", ")),
        };
        BadInput(format!("there is no {what} `{wanted}`; {advice}"))
    })
}

/// Gives the runs behind a number their values. With them, each once, come the plan of the suite and what the store holds.
fn look(suite: &Suite, runs: &mut [SeedRun], store: &Store) -> (BTreeSet<RunId>, Plan, Held) {
    let ids = runs.iter().map(|run| run.run.clone()).collect();
    let (plan, held) = records(std::slice::from_ref(suite), &ids, store);
    runs.iter_mut().for_each(|run| run.look(&held.records));
    (ids, plan, held)
}

/// What the store holds of these runs and those that they start from, with the plan of all.
fn records(suites: &[Suite], ids: &BTreeSet<RunId>, store: &Store) -> (Plan, Held) {
    let plan = expand(suites);
    let all = with_starts(ids, &plan.starts());
    let runs = plan.runs.iter().filter(|run| all.contains(&run.id));
    let few = Plan {
        runs: runs.cloned().collect(),
    };
    let held = report::records(&few, store);
    (plan, held)
}

/// The measured columns that columns rest on, through means, deviations and correlations, each once.
fn columns_under<'a>(table: &'a SuiteTable, ids: &[String]) -> Vec<&'a MeasuredColumn> {
    let mut found: Vec<&MeasuredColumn> = Vec::new();
    for column in ids.iter().flat_map(|id| column(table, id)) {
        let under = match column {
            Column::Measured(measured) => vec![measured],
            Column::Mean(mean) => columns_under(table, &mean.mean),
            Column::Sd(sd) => columns_under(table, &sd.sd),
            Column::Correlation(over) => {
                let mut ids = vec![over.correlation.of.clone()];
                ids.extend(over.correlation.with.iter().cloned());
                columns_under(table, &ids)
            }
        };
        let new = |measured: &&MeasuredColumn| found.iter().all(|known| known.id != measured.id);
        let new: Vec<&MeasuredColumn> = under.into_iter().filter(new).collect();
        found.extend(new);
    }
    found
}

fn column<'a>(table: &'a SuiteTable, id: &str) -> Option<&'a Column> {
    table.columns.iter().find(|column| column.id() == id)
}

/// A line of an explanation: a word, and what there is to say.
fn line(out: &mut String, word: &str, text: &str) {
    out.push_str(&format!("{word:<9}{text}\n"));
}

/// The commands at the end of an explanation.
fn commands(out: &mut String, commands: &[String]) {
    match commands {
        [one] => out.push_str(&format!("\nto make it again: {one}\n")),
        each => {
            out.push_str("\nto make it again, with the devices that its runs had:\n");
            for command in each {
                out.push_str(&format!("  {command}\n"));
            }
        }
    }
}
