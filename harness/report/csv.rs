//! Every cell on a line, in full precision.
//!
//! `seeds` has `seed=value` for every seed with one, and the seed alone behind a correlation; `absent` the planned seeds
//! without one as `seed=ending (run)`, behind a correlation over methods after the method's name.
//! `mixed` names the properties in which the runs of a cell differ; `stale` says that another build made one of them.
//! A text that a spreadsheet would take for a formula has a single quote in front.
//! `p` asks whether ours is different, `p_equivalent` whether it is as different as `margin`; `interval_low` and
//! `interval_high` bound the difference, at 90% unless the suite says otherwise.

use std::collections::BTreeSet;

use super::{Comparison, Derived, DerivedLine, Line, Origin, Report, Shown};
use crate::judge::{Absent, Weighed};
use crate::plan::RunId;
use crate::suite::Spread;

const HEADER: &str = "suite,table,group,method,column,paper,paper_spread,paper_spread_kind,paper_seeds,ours,ours_sd,\
                      ours_ci95,n,planned,missing,difference,interval_low,interval_high,p,p_equivalent,margin,margin_is,\
                      verdict,seeds_to_decide,reason,seeds,runs,absent,mixed,stale";

/// The cells of all tables and of those computed from them, comma-separated (RFC 4180); an empty field where there is nothing.
pub fn cells(report: &Report) -> String {
    let mut out = format!("{HEADER}\n");
    for table in report.shown_tables() {
        let mut group = String::new();
        for row in &table.rows {
            if let Some(starts) = &row.group {
                group.clone_from(starts);
            }
            for (column, cell) in table.columns.iter().zip(&row.cells) {
                line(
                    &mut out,
                    &fields(&report.name, table, &group, row, &column.id, cell),
                );
            }
        }
    }
    for table in &report.derived {
        for row in &table.rows {
            line(&mut out, &derived(&report.name, table, row));
        }
    }
    out
}

fn fields(
    suite: &str,
    table: &Comparison,
    group: &str,
    row: &Line,
    column: &str,
    cell: &Shown,
) -> Vec<String> {
    let count = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let reported = cell.reported.as_ref();
    let weighed = cell.weighed.as_ref();
    let kind = reported
        .and_then(|reported| reported.spread.map(|_| reported.kind))
        .map(|kind| match kind {
            Spread::None => "",
            Spread::Sd => "sd",
            Spread::Ci95 => "ci95",
            Spread::SdOverColumns => "sd_over_columns",
        });
    let seeds: Vec<String> = cell
        .seeds
        .iter()
        .map(|seed| match seed.value {
            Some(value) => format!("{}={value}", seed.seed),
            None => seed.seed.to_string(),
        })
        .collect();
    let absent: Vec<String> = cell.absent.iter().map(lost).collect();
    let mut fields = vec![
        suite.into(),
        table.id.clone(),
        group.into(),
        row.method.clone(),
        column.into(),
        number(reported.map(|reported| reported.value)),
        number(reported.and_then(|reported| reported.spread)),
        kind.unwrap_or_default().into(),
        count(reported.and_then(|reported| reported.seeds)),
        number(cell.estimate.map(|estimate| estimate.mean)),
        number(cell.estimate.and_then(|estimate| estimate.sd)),
        number(cell.estimate.and_then(|estimate| estimate.ci95())),
        cell.n.to_string(),
        cell.planned.to_string(),
        cell.missing.clone().unwrap_or_default(),
    ];
    fields.extend(judged(weighed));
    fields.extend(sources(&seeds, &cell.runs, &absent, &cell.origin));
    fields
}

/// The fields from `seeds` to `stale`.
fn sources(
    seeds: &[String],
    runs: &BTreeSet<RunId>,
    absent: &[String],
    origin: &Origin,
) -> [String; 5] {
    let runs: Vec<String> = runs.iter().map(ToString::to_string).collect();
    let stale = if origin.stale { "yes" } else { "" };
    [
        seeds.join(" "),
        runs.join(" "),
        absent.join("; "),
        origin.mixed.join(" "),
        stale.into(),
    ]
}

fn lost(absent: &Absent) -> String {
    format!("{}={} ({})", absent.seed, absent.ending(), absent.run)
}

/// The fields from `difference` to `reason`.
fn judged(weighed: Option<&Weighed>) -> Vec<String> {
    let Some(weighed) = weighed else {
        return vec![String::new(); 10];
    };
    let interval = |end: usize| number(weighed.interval.map(|interval| interval[end]));
    vec![
        number(weighed.difference),
        interval(0),
        interval(1),
        number(weighed.p),
        number(weighed.p_equivalent),
        number(Some(weighed.margin)),
        weighed.basis.to_string(),
        weighed.verdict.to_string(),
        weighed
            .seeds_to_decide
            .map_or(String::new(), |seeds| seeds.to_string()),
        weighed.reason.clone(),
    ]
}

/// A correlation over methods: the row's title stands for the method, n counts methods.
fn derived(suite: &str, table: &Derived, row: &DerivedLine) -> Vec<String> {
    let value = &row.value;
    let mut fields = vec![String::new(); HEADER.split(',').count()];
    let n = value.ours.map_or(0, |ours| ours.n);
    for (at, field) in [
        (0, suite.to_string()),
        (1, table.id.clone()),
        (3, row.title.clone()),
        (4, "correlation".into()),
        (
            5,
            number(value.printed.as_ref().map(|printed| printed.value)),
        ),
        (9, number(value.ours.map(|ours| ours.r))),
        (12, n.to_string()),
        (13, (n + value.missing.len()).to_string()),
    ] {
        fields[at] = field;
    }
    if !value.missing.is_empty() {
        fields[14] = format!("no number for {}", value.missing.join(" "));
    }
    fields.truncate(15);
    fields.extend(judged(value.weighed.as_ref()));
    let seeds = row.methods.iter().flat_map(|(_, seeds)| seeds);
    let seeds: BTreeSet<u64> = seeds.map(|seed| seed.seed).collect();
    let seeds: Vec<String> = seeds.iter().map(ToString::to_string).collect();
    let absent = row.absent.iter();
    let absent: Vec<String> = absent
        .map(|(method, absent)| format!("{method} {}", lost(absent)))
        .collect();
    fields.extend(sources(&seeds, &row.runs, &absent, &row.origin));
    fields
}

fn line(out: &mut String, fields: &[String]) {
    let fields: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
    out.push_str(&fields.join(","));
    out.push('\n');
}

fn number(value: Option<f64>) -> String {
    value
        .filter(|value| value.is_finite())
        .map(|value| value.to_string())
        .unwrap_or_default()
}

fn quoted(field: &str) -> String {
    let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if formula && field.parse::<f64>().is_err() {
        return quoted(&format!("'{field}"));
    }
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.into()
    }
}
