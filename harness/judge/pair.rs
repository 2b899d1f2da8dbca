//! Two methods against each other: by their means, or by a test.

use crate::stats::{Estimate, Tested, kolmogorov_smirnov, welch, wilcoxon};
use crate::suite::{Direction, Samples, Test, TestOver};

use super::numbers::{Losses, Value};
use super::verdict::p_text;
use super::{Finding, Numbers, Ruling, Side};

/// Printed numbers closer than this are equal: what is left of printed decimals after a subtraction.
pub(super) const EQUAL: f64 = 1e-9;

/// The same of measured ones, as a part of the largest: far more than what summing seeds in another order moves, and far
/// less than single precision tells apart.
const EQUAL_PART: f64 = 1e-12;

/// Two methods in one or, for a test over columns, several columns.
pub(super) struct Pair<'a> {
    pub(super) numbers: &'a Numbers<'a>,
    pub(super) table: &'a str,
    pub(super) columns: &'a [String],
    pub(super) a: &'a str,
    pub(super) b: &'a str,
}

impl Pair<'_> {
    pub(super) fn values(&self, method: &str) -> Option<Vec<Value>> {
        self.columns
            .iter()
            .map(|column| self.numbers.value(self.table, method, column))
            .collect()
    }

    /// What the numbers behind a comparison lack.
    pub(super) fn losses(&self, a: &[Value], b: &[Value]) -> Losses {
        let mut losses = Losses::of(self.a, a);
        losses.add(self.b, b);
        losses
    }

    pub(super) fn better(
        &self,
        better: Direction,
        test: Option<TestOver>,
        picked_from: usize,
    ) -> Finding {
        let (Some(a), Some(b)) = (self.values(self.a), self.values(self.b)) else {
            return self.lacking();
        };
        let finding = self.compare(&a, &b, better, test, picked_from);
        self.losses(&a, &b).beside_better(self.a, self.b, finding)
    }

    fn compare(
        &self,
        a: &[Value],
        b: &[Value],
        better: Direction,
        test: Option<TestOver>,
        picked_from: usize,
    ) -> Finding {
        let ahead = gain(mean(a) - mean(b), better);
        let equal = self.unit([mean(a), mean(b)]);
        let numbers = self.text(a, b);
        let Some(test) = test else {
            return match ahead {
                _ if ahead.abs() <= equal => Finding::undecided(format!("{numbers}: equal")),
                _ if ahead > 0.0 => Finding::new(Ruling::Holds, numbers),
                _ => Finding::new(Ruling::Refuted, format!("{numbers}: the other way round")),
            };
        };
        // A printed order the other way round contradicts a printed claim; measured seeds have to show it.
        let reversed = self.numbers.side == Side::Paper && ahead < -equal;
        match self.test(test, a, b) {
            Err(why) if reversed => Finding::new(
                Ruling::Refuted,
                format!("{numbers}: the other way round ({why})"),
            ),
            Err(why) => Finding::undecided(format!("{numbers}: {why}")),
            Ok(tested) => {
                let p = (tested.p * picked_from as f64).min(1.0);
                let corrected = if picked_from > 1 {
                    format!(", {} as picked as best of {picked_from}", p_text(p))
                } else {
                    String::new()
                };
                let text = format!(
                    "{numbers}: {}, p = {}{corrected}",
                    name(test.name),
                    p_text(tested.p)
                );
                match p < test.level {
                    true if ahead > equal => Finding::new(Ruling::Holds, text),
                    true if ahead < -equal => {
                        Finding::new(Ruling::Refuted, format!("{text}, the other way round"))
                    }
                    _ if reversed => {
                        Finding::new(Ruling::Refuted, format!("{text}, the other way round"))
                    }
                    _ => Finding::undecided(format!("{text}, not below {}", test.level)),
                }
            }
        }
    }

    /// The test's outcome, or why these numbers do not support it.
    pub(super) fn test(&self, test: TestOver, a: &[Value], b: &[Value]) -> Result<Tested, String> {
        let (x, y): (Vec<f64>, Vec<f64>) = match test.over {
            Samples::Columns => (
                a.iter().map(|value| value.mean).collect(),
                b.iter().map(|value| value.mean).collect(),
            ),
            Samples::Seeds if test.name == Test::Welch => {
                let (Some(a), Some(b)) = (&a[0].estimate, &b[0].estimate) else {
                    return Err("a spread over at least two seeds is missing".into());
                };
                return welch_outcome(a, b);
            }
            Samples::Seeds => {
                let shared: Vec<u64> = a[0]
                    .seeds
                    .keys()
                    .filter(|seed| b[0].seeds.contains_key(seed))
                    .copied()
                    .collect();
                if self.numbers.side == Side::Paper {
                    return Err("the values of the seeds are not printed".into());
                }
                match test.name {
                    Test::Wilcoxon => shared
                        .iter()
                        .map(|seed| (a[0].seeds[seed], b[0].seeds[seed]))
                        .unzip(),
                    _ => (
                        a[0].seeds.values().copied().collect(),
                        b[0].seeds.values().copied().collect(),
                    ),
                }
            }
        };
        if x.len() < 2 || y.len() < 2 {
            return Err("one value a side supports no test".into());
        }
        // Differences of decimals are decimals again, so that ties are ties.
        let unit = self.unit(x.iter().chain(&y).copied());
        let rounded = |value: f64| match unit > 0.0 {
            true => (value / unit).round() * unit,
            false => value,
        };
        let tested = match test.name {
            Test::Welch => {
                let (Some(a), Some(b)) = (Estimate::of(&x), Estimate::of(&y)) else {
                    return Err("a value is not finite".into());
                };
                return welch_outcome(&a, &b);
            }
            Test::Wilcoxon => wilcoxon(
                &x.iter()
                    .zip(&y)
                    .map(|(x, y)| rounded(x - y))
                    .collect::<Vec<f64>>(),
            ),
            Test::KolmogorovSmirnov => {
                let round = |values: &[f64]| -> Vec<f64> {
                    values.iter().map(|value| rounded(*value)).collect()
                };
                kolmogorov_smirnov(&round(&x), &round(&y))
            }
        };
        // Wilcoxon's test has nothing to rank when no pair differs.
        Ok(tested.unwrap_or(Tested {
            statistic: 0.0,
            p: 1.0,
        }))
    }

    /// Up to which difference numbers like these are equal.
    fn unit(&self, values: impl IntoIterator<Item = f64>) -> f64 {
        let largest = values.into_iter().map(f64::abs).fold(0.0, f64::max);
        match self.numbers.side {
            Side::Paper => EQUAL,
            Side::Ours => EQUAL_PART * largest,
        }
    }

    pub(super) fn lacking(&self) -> Finding {
        let missing: Vec<&str> = [self.a, self.b]
            .into_iter()
            .filter(|method| self.values(method).is_none())
            .collect();
        Finding::undecided(format!(
            "{}: no number for {}",
            self.columns.join(", "),
            missing.join(" and ")
        ))
    }

    /// `cars: TRAM-x 93.32 against FSAM 93.42`, means over columns where there are several.
    pub(super) fn text(&self, a: &[Value], b: &[Value]) -> String {
        let column = match self.columns {
            [one] => one.clone(),
            many => format!("mean of {} columns", many.len()),
        };
        let decimals = a[0].decimals.max(b[0].decimals) + usize::from(a.len() > 1);
        let (a, b) = (mean(a), mean(b));
        format!(
            "{column}: {} {a:.decimals$} against {} {b:.decimals$}",
            self.a, self.b
        )
    }
}

fn welch_outcome(a: &Estimate, b: &Estimate) -> Result<Tested, String> {
    let compared = welch(a, b).ok_or("a spread is missing")?;
    Ok(Tested {
        statistic: compared.t(),
        p: compared.p(),
    })
}

pub(super) fn mean(values: &[Value]) -> f64 {
    values.iter().map(|value| value.mean).sum::<f64>() / values.len() as f64
}

pub(super) fn name(test: Test) -> &'static str {
    match test {
        Test::Welch => "Welch",
        Test::Wilcoxon => "Wilcoxon",
        Test::KolmogorovSmirnov => "Kolmogorov-Smirnov",
    }
}

/// The same number on a scale on which larger is better.
pub(super) fn gain(value: f64, better: Direction) -> f64 {
    match better {
        Direction::Higher => value,
        Direction::Lower => -value,
    }
}
