//! Every cell on a line, in full precision.

use super::{Comparison, Line, Report, Shown};
use crate::suite::Spread;

const HEADER: &str = "suite,table,group,method,column,paper,paper_spread,paper_spread_kind,paper_seeds,ours,ours_sd,\
                      ours_ci95,n,planned,missing,difference,p,margin,verdict,seeds_to_decide,reason,seeds,runs";

/// The cells of all tables, comma-separated (RFC 4180); an empty field where there is nothing.
pub fn cells(report: &Report) -> String {
    let mut out = format!("{HEADER}\n");
    for table in report.shown_tables() {
        let mut group = String::new();
        for row in &table.rows {
            if let Some(starts) = &row.group {
                group.clone_from(starts);
            }
            for (column, cell) in table.columns.iter().zip(&row.cells) {
                let fields = fields(&report.name, table, &group, row, &column.id, cell);
                out.push_str(
                    &fields
                        .iter()
                        .map(|field| quoted(field))
                        .collect::<Vec<_>>()
                        .join(","),
                );
                out.push('\n');
            }
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
    let number = |value: Option<f64>| {
        value
            .filter(|value| value.is_finite())
            .map(|value| value.to_string())
            .unwrap_or_default()
    };
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
        .map(|sample| format!("{}={}", sample.seed, sample.value))
        .collect();
    let runs: Vec<String> = cell.runs.iter().map(ToString::to_string).collect();
    vec![
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
        number(weighed.and_then(|weighed| weighed.difference)),
        number(weighed.and_then(|weighed| weighed.p)),
        number(weighed.map(|weighed| weighed.margin)),
        weighed
            .map(|weighed| weighed.verdict.to_string())
            .unwrap_or_default(),
        count(
            weighed
                .and_then(|weighed| weighed.seeds_to_decide)
                .map(|seeds| seeds as u64),
        ),
        weighed
            .map(|weighed| weighed.reason.clone())
            .unwrap_or_default(),
        seeds.join(" "),
        runs.join(" "),
    ]
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.into()
    }
}
