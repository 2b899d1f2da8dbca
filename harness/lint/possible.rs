//! What a printed number can be at all.

use crate::suite::{Column, Measure, Spread, Suite, amount};

use super::rounding::{EPSILON, Range, half_unit};
use super::sheet::{Sheet, place, printed};
use super::{Finding, Rule, Severity};

/// Of more values than this the largest spread is taken from a bound that is a little too large.
const MANY: f64 = 10_000.0;

/// Values outside of their metric's range, and spreads that no values in it have.
pub(super) fn values(sheet: &Sheet, found: &mut Vec<Finding>) {
    for row in 0..sheet.table.rows.len() {
        for (c, column) in sheet.table.columns.iter().enumerate() {
            let Some(cell) = sheet.cell(row, c) else {
                continue;
            };
            let mut push = |rule: Rule, stated: String, follows: String, off: Option<f64>| {
                found.push(Finding {
                    severity: Severity::Contradiction,
                    rule,
                    place: sheet.row(row),
                    also: Vec::new(),
                    subject: sheet.subject(row, c),
                    stated,
                    follows,
                    off,
                });
            };
            let possible = possible(sheet, column);
            let off = possible.distance(&Range::of(cell));
            if off > EPSILON {
                push(
                    Rule::Value,
                    format!("is printed as {}", printed(cell)),
                    format!(
                        "{}, outside by {off:.*}",
                        says(&possible),
                        cell.decimals as usize + 1
                    ),
                    Some(off),
                );
                continue;
            }
            let Some(spread) = cell.spread_beside() else {
                continue;
            };
            let stated = format!("is printed with ±{spread}");
            let over_seeds = matches!(cell.kind, Spread::Sd | Spread::Ci95);
            if over_seeds && cell.seeds == Some(1) {
                push(
                    Rule::Spread,
                    stated,
                    "one seed has no spread over seeds".into(),
                    None,
                );
                continue;
            }
            let n = match (cell.kind, column) {
                (Spread::Sd, _) => cell.seeds,
                (Spread::SdOverColumns, Column::Mean(mean)) => Some(mean.mean.len() as u64),
                (Spread::SdOverColumns, Column::Correlation(column)) => {
                    Some(column.correlation.with.len() as u64)
                }
                _ => None,
            };
            let Some(n) = n.filter(|n| *n >= 2) else {
                continue;
            };
            let most = most_spread(&possible, cell.value, half_unit(cell.decimals), n);
            if spread > most + half_unit(cell.decimals) {
                push(
                    Rule::Spread,
                    stated,
                    format!(
                        "{n} values with mean {} have a standard deviation of at most {most:.2}, since {}",
                        printed(cell),
                        says(&possible)
                    ),
                    Some(spread - most),
                );
            }
        }
    }
}

/// What a column's values lie between.
fn possible(sheet: &Sheet, column: &Column) -> Range {
    let range = |low, high| Range { low, high };
    match column {
        Column::Measured(measured) => match sheet.suite.metric_of(measured).measure {
            Measure::Accuracy => range(0.0, 100.0),
            Measure::Perplexity(_) => range(1.0, f64::INFINITY),
            Measure::Cka(_) => range(0.0, 1.0),
            Measure::Loss | Measure::Distance | Measure::MaxDistance | Measure::Sharpness(_) => {
                range(0.0, f64::INFINITY)
            }
        },
        Column::Mean(mean) => {
            let source = sheet
                .table
                .columns
                .iter()
                .find(|other| mean.mean.iter().any(|id| id == other.id()));
            source.map_or(range(f64::NEG_INFINITY, f64::INFINITY), |source| {
                possible(sheet, source)
            })
        }
        Column::Sd(_) => range(0.0, f64::INFINITY),
        Column::Correlation(_) => range(-1.0, 1.0),
    }
}

fn says(possible: &Range) -> String {
    match possible {
        Range { low, high } if high.is_infinite() => format!("it is at least {low}"),
        Range { low, high } => format!("it lies from {low} to {high}"),
    }
}

/// The largest standard deviation of `n` values of a range whose mean rounds to `mean`. All but one of them then lie at
/// its ends.
fn most_spread(possible: &Range, mean: f64, half: f64, n: u64) -> f64 {
    let n = n as f64;
    // Means above the lower end. Without an upper end one value may hold all of the sum.
    let least = (mean - half - possible.low).max(0.0);
    let most = (mean + half).min(possible.high) - possible.low;
    let width = (possible.high - possible.low).min(n * most);
    if width <= 0.0 {
        return 0.0;
    }
    let variance = |mean: f64| {
        let sum = n * mean;
        let at_the_end = (sum / width + EPSILON).floor();
        let rest = sum - at_the_end * width;
        (at_the_end * width.powi(2) + rest.powi(2) - sum * mean) / (n - 1.0)
    };
    if n > MANY {
        // All of them at the ends (Bhatia and Davis 2000), for the mean that is nearest to the middle.
        let mean = (width / 2.0).clamp(least, most.max(least));
        return (mean * (width - mean) * n / (n - 1.0)).sqrt();
    }
    // Between means that need no rest the variance is convex.
    let without_rest = (0..=n as u64)
        .map(|ends| ends as f64 * width / n)
        .filter(|mean| (least..=most).contains(mean));
    let means = without_rest.chain([least, most]);
    means.map(variance).fold(0.0, f64::max).sqrt()
}

/// Parts that exceed their whole, or leave some of it.
pub(super) fn totals(suite: &Suite, found: &mut Vec<Finding>) {
    for (i, total) in suite.totals.iter().enumerate() {
        // Both are checked when a suite is read.
        let whole = amount(&total.whole);
        let parts: Result<Vec<(f64, f64)>, String> =
            total.parts.values().map(|part| amount(part)).collect();
        let (Ok((whole, unit)), Ok(parts)) = (whole, parts) else {
            continue;
        };
        let sum: f64 = parts.iter().map(|(part, _)| part).sum();
        let half = (unit + parts.iter().map(|(_, unit)| unit).sum::<f64>()) / 2.0;
        let (severity, verb) = match sum - whole {
            over if over > half + EPSILON => (Severity::Contradiction, "more than the whole"),
            over if over < -half - EPSILON => (Severity::Doubt, "less, if these are all its parts"),
            _ => continue,
        };
        let named: Vec<String> = total
            .parts
            .iter()
            .map(|(name, part)| format!("{name} {part}"))
            .collect();
        found.push(Finding {
            severity,
            rule: Rule::Total,
            place: place(suite, &format!("/totals/{i}"), &total.place),
            also: Vec::new(),
            subject: total.title.clone(),
            stated: format!("is printed as {}", total.whole),
            follows: format!(
                "{} make {}, {} {verb}",
                named.join(", "),
                short(sum),
                short((sum - whole).abs())
            ),
            off: Some(sum - whole),
        });
    }
}

/// An amount in the form it is printed in, to four digits.
fn short(amount: f64) -> String {
    let (value, letter) = match amount {
        _ if amount >= 1e9 => (amount / 1e9, "B"),
        _ if amount >= 1e6 => (amount / 1e6, "M"),
        _ if amount >= 1e3 => (amount / 1e3, "K"),
        _ => (amount, ""),
    };
    let digits = (3 - value.max(1.0).log10().floor() as i32).max(0) as usize;
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{letter}")
}
