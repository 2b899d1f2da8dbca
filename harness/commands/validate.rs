//! `harness validate`: everything that can be known to be wrong before time is spent.

use std::path::PathBuf;

use super::{BadInput, Exit, print_json, read_each, refuse_archives, render, shown};
use crate::plan::expand;
use crate::suite;

pub fn validate(paths: &[PathBuf], json: bool) -> anyhow::Result<Exit> {
    refuse_archives(paths)?;
    let (suites, mut problems) = read_each(paths);
    problems.extend(suites.iter().filter_map(|suite| suite::locate(suite).err()));
    if json {
        let all: Vec<_> = problems
            .iter()
            .flat_map(|problems| problems.to_json().as_array().cloned().unwrap_or_default())
            .collect();
        print_json(&all)?;
        return Ok(if all.is_empty() {
            Exit::Success
        } else {
            Exit::BadInput
        });
    }
    if !problems.is_empty() {
        return Err(BadInput(render(&problems)).into());
    }
    for suite in &suites {
        let cells: usize = suite
            .tables
            .iter()
            .map(|table| table.rows.len() * table.columns.len())
            .sum();
        let runs = expand(std::slice::from_ref(suite)).runs.len();
        println!(
            "{}: {} tables, {cells} cells, {runs} runs",
            shown(&suite.path),
            suite.tables.len()
        );
    }
    Ok(Exit::Success)
}
