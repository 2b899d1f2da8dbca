//! What computing from rounded numbers can tell: the value, the range that rounding allows, and how likely its errors
//! are. A number printed with d decimals lies within half a unit, 10^-d / 2, of the one behind it; where nothing else
//! is known it lies there uniformly, with standard deviation half / sqrt(3).

use crate::stats::{pearson, standard_deviation};
use crate::suite::Reported;

use super::Severity;

/// What is left of decimals after some arithmetic.
pub(super) const EPSILON: f64 = 1e-9;
/// Rounding errors that add up to more than this many standard deviations are unlikely: 3 in 1,000 by the normal.
const UNLIKELY: f64 = 3.0;
/// Coordinate ascent ends sooner, when a sweep changes nothing.
const SWEEPS: usize = 200;
/// Corners of the box that a search starts from, beside its middle.
const CORNERS: u32 = 15;

/// From `low` to `high`, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub low: f64,
    pub high: f64,
}

impl Range {
    pub fn around(value: f64, half: f64) -> Range {
        Range {
            low: value - half,
            high: value + half,
        }
    }

    /// The range of everything that rounds to what is printed.
    pub fn of(reported: &Reported) -> Range {
        Range::around(reported.value, half_unit(reported.decimals))
    }

    /// Whether both share more than an end.
    pub fn overlaps(&self, other: &Range) -> bool {
        self.low.max(other.low) < self.high.min(other.high) - EPSILON
    }

    /// How far `other` lies outside; 0 when the two share a number.
    pub fn distance(&self, other: &Range) -> f64 {
        (other.low - self.high).max(self.low - other.high).max(0.0)
    }
}

/// Half a unit of the last of `decimals` digits after the point.
pub(super) fn half_unit(decimals: u32) -> f64 {
    0.5 * 10f64.powi(-(decimals as i32))
}

/// Something computed from printed numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Computed {
    /// From the numbers as printed.
    pub value: f64,
    /// What it can be for numbers that round to the printed ones, as far as a search finds.
    pub reached: Range,
    /// It is never outside of this.
    pub certain: Range,
    /// Standard deviation of its error, to first order.
    pub deviation: f64,
}

impl Computed {
    /// A standard deviation of `n` values with n in the denominator in place of n - 1.
    pub fn population(&self, n: usize) -> Computed {
        let factor = ((n as f64 - 1.0) / n as f64).sqrt();
        let scaled = |range: Range| Range {
            low: range.low * factor,
            high: range.high * factor,
        };
        Computed {
            value: self.value * factor,
            reached: scaled(self.reached),
            certain: scaled(self.certain),
            deviation: self.deviation * factor,
        }
    }

    /// What a printed value with its digits says against this one; none when they agree.
    pub fn against(&self, printed: f64, decimals: u32) -> Option<Severity> {
        let half = half_unit(decimals);
        let stated = Range::around(printed, half);
        let beyond = (printed - self.value).abs() - half;
        // Only where the inputs decide the last digit would a reader expect to find the one that is printed.
        let decisive = (self.reached.high - self.reached.low) / 2.0 <= half + EPSILON;
        match beyond {
            _ if self.certain.distance(&stated) > EPSILON => Some(Severity::Contradiction),
            _ if beyond > UNLIKELY * self.deviation + EPSILON => Some(Severity::Doubt),
            _ if beyond > EPSILON && decisive => Some(Severity::Note),
            _ => None,
        }
    }
}

/// A number that is known to lie within `half` of `value`, with the standard deviation of its error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounded {
    pub value: f64,
    pub half: f64,
    pub deviation: f64,
}

/// The arithmetic mean of printed numbers.
pub(super) fn mean(cells: &[&Reported]) -> Rounded {
    let n = cells.len() as f64;
    let halves = || cells.iter().map(|cell| half_unit(cell.decimals));
    Rounded {
        value: cells.iter().map(|cell| cell.value).sum::<f64>() / n,
        half: halves().sum::<f64>() / n,
        deviation: (halves().map(|half| half * half / 3.0).sum::<f64>()).sqrt() / n,
    }
}

impl From<Rounded> for Computed {
    fn from(rounded: Rounded) -> Computed {
        let range = Range::around(rounded.value, rounded.half);
        Computed {
            value: rounded.value,
            reached: range,
            certain: range,
            deviation: rounded.deviation,
        }
    }
}

/// The standard deviation of printed numbers, n - 1 in the denominator; none for fewer than two.
///
/// As the norm of the centred numbers it changes by no more than the norm of the errors, sqrt(n) half units.
pub(super) fn deviation(cells: &[&Reported]) -> Option<Computed> {
    let values: Vec<f64> = cells.iter().map(|cell| cell.value).collect();
    let sd = standard_deviation(&values)?;
    let half = cells
        .iter()
        .map(|cell| half_unit(cell.decimals))
        .fold(0.0, f64::max);
    let n = values.len() as f64;
    let reach = half * (n / (n - 1.0)).sqrt();
    let range = Range {
        low: (sd - reach).max(0.0),
        high: sd + reach,
    };
    Some(Computed {
        value: sd,
        reached: range,
        certain: range,
        deviation: half / 3f64.sqrt() / (n - 1.0).sqrt(),
    })
}

/// Pearson's correlation of rounded pairs; none for fewer than three, or when a side does not vary.
pub(super) fn correlation(x: &[Rounded], y: &[Rounded]) -> Option<Computed> {
    let values = |side: &[Rounded]| side.iter().map(|item| item.value).collect::<Vec<f64>>();
    let (xs, ys) = (values(x), values(y));
    let r = pearson(&xs, &ys).filter(|found| found.n >= 3)?.r;
    let error = |gradient: Vec<f64>, side: &[Rounded]| -> f64 {
        let terms = gradient.iter().zip(side);
        terms
            .map(|(slope, item)| (slope * item.deviation).powi(2))
            .sum()
    };
    let variance = error(slopes(&xs, &ys, r), x) + error(slopes(&ys, &xs, r), y);
    // r is the cosine of the angle between the centred sides, and errors of norm e turn a side of norm a by at most
    // asin(e / a).
    let turn = |side: &[Rounded], values: &[f64]| {
        let errors = side
            .iter()
            .map(|item| item.half.powi(2))
            .sum::<f64>()
            .sqrt();
        (errors / norm(&centred(values))).min(1.0).asin()
    };
    let (angle, turn) = (r.acos(), turn(x, &xs) + turn(y, &ys));
    Some(Computed {
        value: r,
        reached: Range {
            low: -furthest(x, y, -1.0),
            high: furthest(x, y, 1.0),
        },
        certain: Range {
            low: (angle + turn).min(std::f64::consts::PI).cos(),
            high: (angle - turn).max(0.0).cos(),
        },
        deviation: variance.sqrt(),
    })
}

/// The largest `sign` times r over numbers within half a unit of the printed ones, by coordinate ascent from the
/// printed numbers and from corners of the box, since there are local summits.
fn furthest(x: &[Rounded], y: &[Rounded], sign: f64) -> f64 {
    let score = |xs: &[f64], ys: &[f64]| pearson(xs, ys).map_or(-1.0, |found| sign * found.r);
    let starts = (0..=CORNERS).map(|corner| {
        let side = |items: &[Rounded], salt: u32| -> Vec<f64> {
            let items = items.iter().zip(salt..);
            items
                .map(|(item, i)| item.value + item.half * way(corner, i))
                .collect()
        };
        let (mut xs, mut ys) = (side(x, 0), side(y, x.len() as u32));
        let mut best = score(&xs, &ys);
        for _ in 0..SWEEPS {
            let before = best;
            for i in 0..xs.len() {
                best = ascend(&mut xs, &ys, i, x[i], best, &score);
                best = ascend(&mut ys, &xs, i, y[i], best, &score);
            }
            if best - before < EPSILON {
                break;
            }
        }
        best
    });
    starts.fold(-1.0, f64::max)
}

/// Which way from its printed value the `i`th number starts for a corner: 0 for the first, then up or down as if by
/// chance (Knuth's multiplicative hash).
fn way(corner: u32, i: u32) -> f64 {
    let hash = (corner * 1009 + i).wrapping_mul(2_654_435_761);
    match (corner, hash >> 31) {
        (0, _) => 0.0,
        (_, 0) => -1.0,
        _ => 1.0,
    }
}

/// Moves one number to where `score` is largest: an end of its range, or the one point at which r is stationary.
fn ascend(
    moved: &mut [f64],
    fixed: &[f64],
    i: usize,
    item: Rounded,
    best: f64,
    score: &impl Fn(&[f64], &[f64]) -> f64,
) -> f64 {
    let start = moved[i];
    let (a, d) = (centred(fixed), centred(moved));
    let product: f64 = a.iter().zip(&d).map(|(a, d)| a * d).sum();
    let square: f64 = d.iter().map(|d| d * d).sum();
    let share = 1.0 - 1.0 / moved.len() as f64;
    let stationary = start + (product * d[i] - a[i] * square) / (a[i] * d[i] - product * share);
    let (low, high) = (item.value - item.half, item.value + item.half);
    let (mut at, mut most) = (start, best);
    for candidate in [low, high, stationary] {
        if !(low..=high).contains(&candidate) {
            continue;
        }
        moved[i] = candidate;
        let found = score(moved, fixed);
        if found > most {
            (at, most) = (candidate, found);
        }
    }
    moved[i] = at;
    most
}

/// dr / dx of every x.
fn slopes(x: &[f64], y: &[f64], r: f64) -> Vec<f64> {
    let (x, y) = (centred(x), centred(y));
    let (a, b) = (norm(&x), norm(&y));
    x.iter()
        .zip(&y)
        .map(|(x, y)| y / (a * b) - r * x / (a * a))
        .collect()
}

fn centred(values: &[f64]) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|value| value - mean).collect()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}
