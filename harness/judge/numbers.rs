//! The numbers of one side, the paper's or ours, under the same names.

use std::collections::BTreeMap;

use crate::stats::{Correlation, Estimate, pearson};
use crate::suite::{DerivedRow, DerivedTable, Direction, Reported, Suite, SuiteTable};

use super::{Cell, Cells, direction, printed_estimate};

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
                    seeds: cell?
                        .samples
                        .iter()
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
    pub printed: Option<f64>,
    /// Digits after the point.
    pub decimals: usize,
    /// Recomputed from the numbers the paper prints.
    pub recomputed: Option<Correlation>,
    /// From ours, over the methods that have numbers.
    pub ours: Option<Correlation>,
    /// Methods without a number of ours.
    pub missing: Vec<String>,
}

/// Computes a row of a derived table on both sides.
pub fn derived_value(
    suite: &Suite,
    cells: &Cells,
    table: &DerivedTable,
    row: &DerivedRow,
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
    let text = row
        .reported
        .as_deref()
        .map(|text| text.trim().replace('\u{2212}', "-"));
    DerivedValue {
        printed: text.as_deref().and_then(|text| text.parse().ok()),
        decimals: text
            .as_deref()
            .and_then(|text| text.split_once('.'))
            .map_or(2, |(_, digits)| digits.len()),
        recomputed: side(Side::Paper).0,
        ours,
        missing,
    }
}
