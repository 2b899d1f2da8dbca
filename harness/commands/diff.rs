//! `harness diff`: whether two result sets agree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{BadInput, Exit, print_json, sources};
use crate::diff::{Apart, Diff, Lone, RunDiff, Tolerance, diff};
use crate::plan::{RunId, expand};

/// How many runs of a kind are named.
const NAMED: usize = 20;
/// How many observations of a run are named that the other side lacks.
const FEW: usize = 5;

/// What to compare, and how closely.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A store's folder or an archive
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The other one
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Compare the runs of these suites alone
    #[arg(value_name = "SUITE")]
    suites: Vec<PathBuf>,
    /// Let values differ by this share of their size
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = positive)]
    tolerance: f64,
    /// Let values differ by this much, in their own unit
    #[arg(long, value_name = "AMOUNT", default_value_t = 0.0, value_parser = positive)]
    absolute: f64,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("it is a number, zero or more".into()),
    }
}

pub fn compare(options: &Options, json: bool) -> anyhow::Result<Exit> {
    let wanted: Option<Vec<RunId>> = match options.suites.is_empty() {
        true => None,
        false => {
            let plan = expand(&super::read(&options.suites)?);
            Some(plan.runs.into_iter().map(|run| run.id).collect())
        }
    };
    let records = |path: &Path| -> anyhow::Result<_> {
        let store = sources::result_set(path)?;
        let ids = match &wanted {
            Some(ids) => ids.clone(),
            None => store.done()?,
        };
        Ok(store.held(&ids))
    };
    let (mut a, mut b) = (records(&options.a)?, records(&options.b)?);
    let damaged: BTreeMap<RunId, String> = a.damaged.into_iter().chain(b.damaged).collect();
    for id in damaged.keys() {
        a.records.remove(id);
        b.records.remove(id);
    }
    if a.records.is_empty() && b.records.is_empty() && damaged.is_empty() {
        return Err(BadInput("neither side holds a run".into()).into());
    }
    let tolerance = Tolerance {
        relative: options.tolerance,
        absolute: options.absolute,
    };
    let found = Diff {
        damaged,
        ..diff(&a.records, &b.records, tolerance)
    };
    if json {
        print_json(&found)?;
    } else {
        print!("{}", text(&found, tolerance));
    }
    Ok(if found.agrees() {
        Exit::Success
    } else {
        Exit::Differ
    })
}

/// The comparison, for a reader.
fn text(found: &Diff, tolerance: Tolerance) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    let how = match (tolerance.relative, tolerance.absolute) {
        (0.0, 0.0) => "to the last bit".to_string(),
        (relative, absolute) => format!("within {relative} of their size or {absolute}"),
    };
    let agree = found.compared - found.differ.len();
    line(format!(
        "{} runs on both sides, {agree} agree {how}",
        found.compared
    ));
    for (side, ids) in [("the first", &found.only_a), ("the second", &found.only_b)] {
        if !ids.is_empty() {
            line(format!("{} runs in {side} alone: {}", ids.len(), few(ids)));
        }
    }
    for (id, what) in found.damaged.iter().take(NAMED) {
        line(format!("{id} cannot be compared: {what}"));
    }
    if found.damaged.len() > NAMED {
        let more = found.damaged.len() - NAMED;
        line(format!("and {more} damaged runs more; --json has them"));
    }
    if !found.environments.is_empty() {
        line("environments differ (shown, not compared):".into());
        for (property, [a, b]) in &found.environments {
            let list = |values: &std::collections::BTreeSet<String>| {
                values.iter().cloned().collect::<Vec<_>>().join(", ")
            };
            line(format!("  {property}: {} | {}", list(a), list(b)));
        }
    }
    for (id, run) in found.differ.iter().take(NAMED) {
        line(format!("{id} differs"));
        for detail in details(run) {
            line(format!("  {detail}"));
        }
    }
    if found.differ.len() > NAMED {
        line(format!(
            "and {} runs more; --json has them",
            found.differ.len() - NAMED
        ));
    }
    out
}

fn details(run: &RunDiff) -> Vec<String> {
    let mut details = Vec::new();
    if let Some([a, b]) = &run.outcomes {
        details.push(format!("{a} | {b}"));
    }
    for (side, keys) in [("first", &run.only_a), ("second", &run.only_b)] {
        if !keys.is_empty() {
            let keys: Vec<String> = keys
                .iter()
                .map(|(on, metric)| format!("{metric} on {on}"))
                .collect();
            details.push(format!("measured by the {side} alone: {}", keys.join(", ")));
        }
    }
    for (side, lone) in [("first", &run.alone_a), ("second", &run.alone_b)] {
        details.extend(lone.iter().take(FEW).map(|lone| {
            let Lone {
                step,
                on,
                metric,
                value,
            } = lone;
            format!("observed by the {side} alone: {metric} on {on} at update {step}: {value}")
        }));
        if lone.len() > FEW {
            let more = lone.len() - FEW;
            details.push(format!(
                "and {more} more by the {side} alone; --json has them"
            ));
        }
    }
    if run.values > 0 {
        details.push(format!("{} values differ", run.values));
    }
    let apart = |apart: &Apart| {
        let [a, b] = apart.values;
        format!(
            "{} on {} at update {}: {a} | {b} ({:.1e} of their size)",
            apart.metric,
            apart.on,
            apart.step,
            apart.relative()
        )
    };
    details.extend(
        run.largest
            .iter()
            .map(|found| format!("furthest apart: {}", apart(found))),
    );
    details.extend(
        run.first
            .iter()
            .map(|found| format!("training parts with {}", apart(found))),
    );
    details
}

fn few(ids: &[RunId]) -> String {
    let mut words: Vec<String> = ids.iter().take(NAMED).map(ToString::to_string).collect();
    if ids.len() > NAMED {
        words.push(format!("and {} more", ids.len() - NAMED));
    }
    words.join(", ")
}
