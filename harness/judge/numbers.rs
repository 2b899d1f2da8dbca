//! The numbers of one side, the paper's or ours, under the same names.

use std::collections::BTreeMap;

use crate::stats::{Correlation, Estimate, fisher_error, pearson};
use crate::suite::{
    DerivedRow, DerivedTable, Direction, Reported, Rule, Spread, Suite, SuiteTable,
};

use super::cell::Kind;
use super::margin::Basis;
use super::pair::EQUAL;
use super::scaled;
use super::verdict::p_text;
use super::{Cell, Cells, Verdict, Weighed, direction, printed_estimate};

/// Whose numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// As printed.
    Paper,
    /// As measured.
    Ours,
}

/// The numbers of one side.
#[derive(Clone, Copy)]
pub struct Numbers<'a> {
    /// The suite.
    pub suite: &'a Suite,
    /// Our cells.
    pub cells: &'a Cells,
    /// Whose.
    pub side: Side,
}

/// One number with what is known of its spread.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// The mean.
    pub mean: f64,
    /// Mean, standard deviation over seeds and seeds, where at least two seeds stand behind it.
    pub estimate: Option<Estimate>,
    /// The value of each seed; empty for printed numbers.
    pub seeds: BTreeMap<u64, f64>,
    /// Digits after the point worth printing.
    pub decimals: usize,
}

impl<'a> Numbers<'a> {
    /// The number of `method` in `column` of `table`.
    pub(super) fn value(&self, table: &str, method: &str, column: &str) -> Option<Value> {
        let (cell, reported) = self.find(table, method, column)?;
        match self.side {
            Side::Paper => {
                let reported = reported?;
                Some(Value {
                    mean: reported.value,
                    estimate: printed_estimate(reported),
                    seeds: BTreeMap::new(),
                    decimals: reported.decimals as usize,
                })
            }
            Side::Ours => {
                let estimate = cell?.estimate?;
                Some(Value {
                    mean: estimate.mean,
                    estimate: estimate.sd.is_some().then_some(estimate),
                    // A deviation over seeds is no value of any of them.
                    seeds: cell?
                        .samples
                        .iter()
                        .filter(|_| cell.is_some_and(|cell| cell.kind == Kind::Mean))
                        .map(|sample| (sample.seed, sample.value))
                        .collect(),
                    decimals: reported.map_or(2, |reported| reported.decimals as usize + 1),
                })
            }
        }
    }

    fn find(
        &self,
        table: &str,
        method: &str,
        column: &str,
    ) -> Option<(Option<&'a Cell>, Option<&'a Reported>)> {
        let table = self.suite.table(table)?;
        let c = table
            .columns
            .iter()
            .position(|other| other.id() == column)?;
        let r = table.rows.iter().position(|row| row.method == method)?;
        Some((
            self.cells.at(&table.id, r, c),
            table.rows[r].reported.get(c).and_then(Option::as_ref),
        ))
    }

    /// The table called `id`.
    pub(super) fn table(&self, id: &str) -> Option<&'a SuiteTable> {
        self.suite.table(id)
    }

    /// Which way is better in a column.
    pub(super) fn better(&self, table: &str, column: &str) -> Option<Direction> {
        let table = self.suite.table(table)?;
        direction(
            self.suite,
            table,
            table.columns.iter().find(|other| other.id() == column)?,
        )
    }

    /// The mean of several columns.
    pub fn mean(&self, table: &str, method: &str, columns: &[String]) -> Option<f64> {
        let values: Option<Vec<f64>> = columns
            .iter()
            .map(|column| Some(self.value(table, method, column)?.mean))
            .collect();
        let values = values.filter(|values| !values.is_empty())?;
        Some(values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Pearson's correlation, over methods, of a column with the mean of others, and the methods that lack a number.
    pub fn over_methods(
        &self,
        table: &str,
        x: &str,
        y: &[String],
        without: &[String],
    ) -> (Option<Correlation>, Vec<String>) {
        let mut missing = Vec::new();
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        for row in self.table(table).map_or(&[][..], |table| &table.rows) {
            if without.contains(&row.method) {
                continue;
            }
            match (
                self.mean(table, &row.method, &[x.to_string()]),
                self.mean(table, &row.method, y),
            ) {
                (Some(x), Some(y)) => {
                    xs.push(x);
                    ys.push(y);
                }
                _ => missing.push(row.method.clone()),
            }
        }
        // Two points correlate perfectly whatever they are.
        let correlation = if xs.len() < 3 {
            None
        } else {
            pearson(&xs, &ys)
        };
        (correlation, missing)
    }
}

/// A row of a derived table.
#[derive(Clone, Debug, PartialEq)]
pub struct DerivedValue {
    /// As printed.
    pub printed: Option<Reported>,
    /// Digits after the point.
    pub decimals: usize,
    /// Recomputed from the numbers the paper prints.
    pub recomputed: Option<Correlation>,
    /// From ours, over the methods that have numbers.
    pub ours: Option<Correlation>,
    /// Methods without a number of ours.
    pub missing: Vec<String>,
    /// Ours against what is printed; none where nothing is.
    pub weighed: Option<Weighed>,
}

/// Computes a row of a derived table on both sides, and judges ours by what is printed.
pub fn derived_value(
    suite: &Suite,
    cells: &Cells,
    table: &DerivedTable,
    row: &DerivedRow,
    rule: &Rule,
) -> DerivedValue {
    let side = |side| {
        let numbers = Numbers { suite, cells, side };
        numbers.over_methods(
            &table.from,
            &table.correlation_with,
            &row.columns,
            &table.without,
        )
    };
    let (ours, missing) = side(Side::Ours);
    let recomputed = side(Side::Paper).0;
    let printed = row.printed().map(|(value, decimals)| Reported {
        value,
        decimals,
        spread: None,
        kind: Spread::None,
        spread_place: None,
        seeds: None,
        place: table.place.clone(),
    });
    let weighed = printed.as_ref().map(|printed| {
        let mut weighed = weigh(ours.as_ref(), &missing, printed, rule);
        if let Some(recomputed) = recomputed {
            let unit = 10f64.powi(-(printed.decimals as i32));
            if (recomputed.r - printed.value).abs() > unit / 2.0 + EQUAL {
                let decimals = printed.decimals as usize;
                weighed.reason +=
                    &format!("; the paper's own numbers give {:.decimals$}", recomputed.r);
            }
        }
        if let (Some(level), Some(ours)) = (row.p_below, ours) {
            let word = if ours.p < level { "below" } else { "not below" };
            weighed.reason += &format!(
                "; that there is none has p = {} in ours, {word} the paper's {level}",
                p_text(ours.p)
            );
        }
        weighed
    });
    DerivedValue {
        decimals: printed
            .as_ref()
            .map_or(2, |printed| printed.decimals as usize),
        printed,
        recomputed,
        ours,
        missing,
        weighed,
    }
}

/// A correlation over some of the methods is another one than over all.
fn weigh(
    ours: Option<&Correlation>,
    missing: &[String],
    printed: &Reported,
    rule: &Rule,
) -> Weighed {
    let lacks = match missing.is_empty() {
        true => "fewer than three methods have numbers that vary".to_string(),
        false => format!("no number for {}", missing.join(", ")),
    };
    match ours {
        None => {
            let error = fisher_error(missing.len()).unwrap_or(f64::INFINITY);
            let basis = Basis::Errors(rule.spreads);
            Weighed::untested(Verdict::NotRun, lacks, rule.spreads * error, basis)
        }
        Some(ours) if missing.is_empty() => scaled::over_methods(ours, printed, rule),
        Some(ours) => {
            let mut weighed = scaled::over_methods(ours, printed, rule);
            weighed.verdict = Verdict::Inconclusive;
            weighed.reason +=
                &format!("; {lacks}, and a correlation over the others is another one");
            weighed
        }
    }
}
