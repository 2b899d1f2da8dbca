//! The numbers of one side, the paper's or ours, under the same names.

use std::collections::{BTreeMap, BTreeSet};

use crate::stats::{Correlation, Estimate, fisher_error, pearson};
use crate::suite::{
    DerivedRow, DerivedTable, Direction, Reported, Rule, Spread, Suite, SuiteTable,
};

use super::cell::Kind;
use super::margin::Basis;
use super::pair::{self, EQUAL};
use super::scaled;
use super::verdict::p_text;
use super::{Cell, Cells, Finding, Ruling, Verdict, Weighed, direction, printed_estimate};

/// Digits after the point that tell a number apart: three that count, and two at least.
pub fn digits(number: f64) -> usize {
    let size = number.abs().log10().floor();
    if size.is_finite() {
        (2.0 - size).clamp(2.0, 12.0) as usize
    } else {
        2
    }
}

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
    /// Seeds that ours lacks, and why, or that there is but one; none for printed numbers.
    pub seeds_lost: Option<String>,
    /// Whether seeds of ours diverged, so that the mean is over those alone that did not.
    pub diverged: bool,
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
                    seeds_lost: None,
                    diverged: false,
                })
            }
            Side::Ours => {
                let cell = cell?;
                let estimate = cell.estimate?;
                let seeds_lost = match cell.missing() {
                    Some(missing) => Some(format!(
                        "{} of {} seeds: {missing}",
                        estimate.n, cell.planned
                    )),
                    None if estimate.n == 1 && !cell.seedless => Some("one seed".into()),
                    None => None,
                };
                Some(Value {
                    mean: estimate.mean,
                    estimate: estimate.sd.is_some().then_some(estimate),
                    // A deviation over seeds is no value of any of them.
                    seeds: cell
                        .samples
                        .iter()
                        .filter(|_| cell.kind == Kind::Mean)
                        .map(|sample| (sample.seed, sample.value))
                        .collect(),
                    decimals: reported.map_or_else(
                        || digits(estimate.mean),
                        |reported| reported.decimals as usize + 1,
                    ),
                    seeds_lost,
                    diverged: cell.diverged() > 0,
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
        let values = self.values(table, method, columns)?;
        Some(values.iter().map(|value| value.mean).sum::<f64>() / values.len() as f64)
    }

    /// The numbers of several columns; none without a column, or when one of them has none.
    pub(super) fn values(
        &self,
        table: &str,
        method: &str,
        columns: &[String],
    ) -> Option<Vec<Value>> {
        let values: Option<Vec<Value>> = columns
            .iter()
            .map(|column| self.value(table, method, column))
            .collect();
        values.filter(|values| !values.is_empty())
    }

    /// Pearson's correlation, over methods, of a column with the mean of others.
    pub fn over_methods(
        &self,
        table: &str,
        x: &str,
        y: &[String],
        without: &[String],
    ) -> OverMethods {
        let mut found = OverMethods::default();
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        for row in self.table(table).map_or(&[][..], |table| &table.rows) {
            if without.contains(&row.method) {
                continue;
            }
            match (
                self.values(table, &row.method, &[x.to_string()]),
                self.values(table, &row.method, y),
            ) {
                (Some(x), Some(y)) => {
                    xs.push(pair::mean(&x));
                    ys.push(pair::mean(&y));
                    found.losses.add(&row.method, x.iter().chain(&y));
                }
                _ => found.missing.push(row.method.clone()),
            }
        }
        // Two points correlate perfectly whatever they are.
        if xs.len() >= 3 {
            found.correlation = pearson(&xs, &ys);
        }
        found
    }
}

/// A correlation over methods, and what its numbers lack.
#[derive(Clone, Debug, Default)]
pub struct OverMethods {
    /// None for fewer than three methods, or where a side does not vary.
    pub correlation: Option<Correlation>,
    /// Methods without a number.
    pub missing: Vec<String>,
    /// What the numbers of the others lack.
    pub(super) losses: Losses,
}

/// What our numbers lack behind a comparison: a mean over the seeds that did not diverge says nothing of the method, and
/// seeds that are missing are named.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    /// What is lost, with the methods that lost it.
    lost: BTreeMap<String, Vec<String>>,
    /// Methods of which seeds diverged.
    diverged: BTreeSet<String>,
}

impl Losses {
    /// Of these numbers of a method.
    pub fn of<'v>(method: &str, values: impl IntoIterator<Item = &'v Value>) -> Losses {
        let mut losses = Losses::default();
        losses.add(method, values);
        losses
    }

    /// Adds those of numbers of a method.
    pub fn add<'v>(&mut self, method: &str, values: impl IntoIterator<Item = &'v Value>) {
        for value in values {
            if value.diverged {
                self.diverged.insert(method.into());
            }
            if let Some(lost) = &value.seeds_lost {
                let methods = self.lost.entry(lost.clone()).or_default();
                if !methods.iter().any(|known| known == method) {
                    methods.push(method.into());
                }
            }
        }
    }

    /// `; one seed of SAM, ASAM`, nothing where all is there.
    pub fn text(&self) -> String {
        let lost = self.lost.iter();
        lost.map(|(lost, methods)| format!("; {}: {lost}", methods.join(", ")))
            .collect()
    }

    /// Whether seeds of any method diverged.
    pub fn diverged(&self) -> bool {
        !self.diverged.is_empty()
    }

    /// Whether a number is of one seed, or of those that are left.
    pub fn any(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Says it beside a finding, which is none where seeds diverged.
    pub fn beside(&self, finding: Finding) -> Finding {
        self.named(finding, self.diverged())
    }

    /// The same for a finding that `a` is better than `b`: a run that diverges counts against its method, so what the
    /// others of its seeds say stands where it is against that method too.
    pub fn beside_better(&self, a: &str, b: &str, finding: Finding) -> Finding {
        let doubtful = match finding.ruling {
            Ruling::Holds => self.diverged.contains(a),
            Ruling::Refuted => self.diverged.contains(b),
            Ruling::Undecided => false,
        };
        self.named(finding, doubtful)
    }

    fn named(&self, mut finding: Finding, doubtful: bool) -> Finding {
        let text = self.text();
        if let Some(line) = finding.evidence.first_mut() {
            *line += &text;
        }
        if doubtful {
            finding.ruling = Ruling::Undecided;
        }
        finding
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
    let OverMethods {
        correlation: ours,
        missing,
        losses,
    } = side(Side::Ours);
    let recomputed = side(Side::Paper).correlation;
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
        let mut weighed = weigh(ours.as_ref(), &missing, &losses, printed, rule);
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
    losses: &Losses,
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
        Some(ours) if missing.is_empty() => {
            let mut weighed = scaled::over_methods(ours, printed, rule);
            // A correlation of numbers that another seed would change is not shown to be the same.
            if losses.any() && weighed.verdict == Verdict::Reproduced || losses.diverged() {
                weighed.verdict = Verdict::Inconclusive;
            }
            weighed.reason += &losses.text();
            weighed
        }
        Some(ours) => {
            let mut weighed = scaled::over_methods(ours, printed, rule);
            weighed.verdict = Verdict::Inconclusive;
            weighed.reason +=
                &format!("; {lacks}, and a correlation over the others is another one");
            weighed
        }
    }
}
