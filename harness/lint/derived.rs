//! What is computed from other printed numbers, computed again.

use crate::judge::p_text;
use crate::stats::student_t_two_sided;
use crate::suite::{Column, Spread, Suite};

use super::rounding::{self, Computed, Range, Rounded, half_unit};
use super::sheet::{Sheet, place, printed};
use super::{Finding, Rule, Severity};

/// Averages, deviations, and spreads over columns.
pub(super) fn columns(sheet: &Sheet, found: &mut Vec<Finding>) {
    for row in 0..sheet.table.rows.len() {
        for (c, column) in sheet.table.columns.iter().enumerate() {
            let Some(cell) = sheet.cell(row, c) else {
                continue;
            };
            let (name, ids, computed) = match column {
                Column::Mean(mean) => {
                    let computed = sheet
                        .cells(row, &mean.mean)
                        .map(|cells| rounding::mean(&cells).into());
                    ("average", &mean.mean, computed)
                }
                Column::Sd(sd) => {
                    let computed = sheet
                        .cells(row, &sd.sd)
                        .and_then(|cells| rounding::deviation(&cells));
                    ("standard deviation", &sd.sd, computed)
                }
                Column::Measured(_) | Column::Correlation(_) => continue,
            };
            let mut weigh = |name: &str, value: f64, decimals: u32, computed: &Computed| {
                let Some(severity) = computed.against(value, decimals) else {
                    return;
                };
                let what = format!("the {name} of the {} printed numbers", ids.len());
                let follows = outcome(&what, severity, value, decimals, computed);
                let population = computed.population(ids.len());
                let (severity, follows) = match population.against(value, decimals) {
                    None if name != "average" => (
                        Severity::Note,
                        format!(
                            "{what} is {:.*} with n - 1 in its denominator, and what is printed only with n",
                            decimals as usize + 1,
                            computed.value
                        ),
                    ),
                    _ => (severity, follows),
                };
                found.push(Finding {
                    severity,
                    rule: Rule::DerivedColumn,
                    place: sheet.row(row),
                    also: Vec::new(),
                    subject: sheet.subject(row, c),
                    stated: match name == "spread" {
                        true => format!("is printed with ±{value}"),
                        false => format!("is printed as {}", printed(cell)),
                    },
                    follows,
                    off: Some(value - computed.value),
                });
            };
            if let Some(computed) = &computed {
                weigh(name, cell.value, cell.decimals, computed);
            }
            let over_columns = cell.kind == Spread::SdOverColumns;
            if let (Column::Mean(_), Some(spread), true) = (column, cell.spread, over_columns) {
                let cells = sheet.cells(row, ids);
                if let Some(computed) = cells.and_then(|cells| rounding::deviation(&cells)) {
                    weigh("spread", spread, decimals_of(spread), &computed);
                }
            }
        }
    }
}

/// Digits after the point that a spread surely has; a printed zero at its end is not kept.
fn decimals_of(spread: f64) -> u32 {
    let text = spread.to_string();
    text.split_once('.').map_or(0, |(_, digits)| digits.len()) as u32
}

/// Correlations over methods, and the significance they are marked with.
pub(super) fn tables(suite: &Suite, found: &mut Vec<Finding>) {
    for (i, derived) in suite.derived_tables.iter().enumerate() {
        let sheets = Sheet::all(suite);
        let Some(sheet) = sheets.iter().find(|sheet| sheet.table.id == derived.from) else {
            continue;
        };
        let methods: Vec<usize> = (0..sheet.table.rows.len())
            .filter(|row| !derived.without.contains(&sheet.table.rows[*row].method))
            .collect();
        let side = |ids: &[String]| {
            let mean = |row: &usize| Some(rounding::mean(&sheet.cells(*row, ids)?));
            methods.iter().map(mean).collect::<Option<Vec<Rounded>>>()
        };
        let mut columns = sheet.table.columns.iter();
        let x_title = columns
            .find(|column| column.id() == derived.correlation_with)
            .map_or(&*derived.correlation_with, Column::title);
        for (j, row) in derived.rows.iter().enumerate() {
            let Some((value, decimals)) = row.printed() else {
                continue;
            };
            let at = place(
                suite,
                &format!("/derived_tables/{i}/rows/{j}"),
                &derived.place,
            );
            let subject = format!("{} with {}", row.title, x_title);
            let shown = format!("{value:.*}", decimals as usize);
            let x = side(std::slice::from_ref(&derived.correlation_with));
            let computed = x
                .zip(side(&row.columns))
                .and_then(|(x, y)| rounding::correlation(&x, &y));
            if let Some((computed, severity)) =
                computed.and_then(|c| Some((c, c.against(value, decimals)?)))
            {
                let what = format!(
                    "the correlation over the {} methods of `{}`",
                    methods.len(),
                    derived.from
                );
                found.push(Finding {
                    severity,
                    rule: Rule::DerivedTable,
                    place: at.clone(),
                    also: Vec::new(),
                    subject: subject.clone(),
                    stated: format!("is printed as {shown}"),
                    follows: outcome(&what, severity, value, decimals, &computed),
                    off: Some(value - computed.value),
                });
            }
            let nearest_one = (value.abs() + half_unit(decimals)).min(1.0);
            let p = smallest_p_of(nearest_one, methods.len());
            if let Some(level) = row.p_below.filter(|level| p >= *level) {
                found.push(Finding {
                    severity: Severity::Contradiction,
                    rule: Rule::Significance,
                    place: at,
                    also: Vec::new(),
                    subject,
                    stated: format!("is printed as {shown} with p < {level}"),
                    follows: format!(
                        "a correlation of {shown} over {} methods has p = {}",
                        methods.len(),
                        p_text(p)
                    ),
                    off: None,
                });
            }
        }
    }
}

/// Two-sided p of a correlation of `n` pairs; 1 for fewer than three, which support no test.
fn smallest_p_of(r: f64, n: usize) -> f64 {
    if n < 3 {
        return 1.0;
    }
    let df = (n - 2) as f64;
    student_t_two_sided(r * (df / ((1.0 - r) * (1.0 + r))).sqrt(), df)
}

/// What follows instead, by how much it is off, and what rounding has to do with it.
fn outcome(
    what: &str,
    severity: Severity,
    value: f64,
    decimals: u32,
    computed: &Computed,
) -> String {
    let digits = decimals as usize + 1;
    let Range { low, high } = computed.reached;
    let why = match severity {
        Severity::Contradiction => "and rounding allows only",
        Severity::Doubt
            if computed
                .reached
                .distance(&Range::around(value, half_unit(decimals)))
                > 0.0 =>
        {
            "and no rounding that a search finds reaches it, from"
        }
        Severity::Doubt => "and only unlikely roundings reach it: they allow",
        Severity::Note => "which rounding explains: it allows",
    };
    format!(
        "{what} is {:.digits$}, off by {:.digits$}, {why} {low:.digits$} to {high:.digits$}",
        computed.value,
        (value - computed.value).abs(),
    )
}
