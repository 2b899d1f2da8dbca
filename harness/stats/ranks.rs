//! Tests on ranks: Wilcoxon's signed-rank test and the two-sample Kolmogorov-Smirnov test.

use super::{Tested, normal_two_sided};

/// Up to this many differences Wilcoxon's distribution is enumerated.
const EXACT_UP_TO: usize = 50;
/// Up to this many lattice points the Kolmogorov-Smirnov distribution is enumerated.
const LATTICE_UP_TO: usize = 10_000_000;

/// Whether half a rank is taken off before the normal approximation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// Half a rank is taken off.
    Corrected,
    /// Nothing is taken off.
    Plain,
}

/// Wilcoxon's signed-rank test on paired differences: exact up to 50 that are not zero, the normal beyond.
/// Zero differences are dropped (Wilcoxon 1945); none when all are zero.
pub fn wilcoxon(differences: &[f64]) -> Option<Tested> {
    let nonzero = differences
        .iter()
        .filter(|difference| **difference != 0.0)
        .count();
    if nonzero <= EXACT_UP_TO {
        wilcoxon_exact(differences)
    } else {
        wilcoxon_normal(differences, Continuity::Plain)
    }
}

/// Exact p over all assignments of signs to the observed ranks. With ties these are mid-ranks, for which the
/// textbook distribution of untied ranks would be wrong; without ties the two are the same.
pub fn wilcoxon_exact(differences: &[f64]) -> Option<Tested> {
    let signed = SignedRanks::of(differences)?;
    // Mid-ranks are halves, so twice a rank is a whole number.
    let doubled: Vec<usize> = signed
        .ranks
        .iter()
        .map(|rank| (2.0 * rank) as usize)
        .collect();
    let total: usize = doubled.iter().sum();
    let mut chance = vec![0.0; total + 1];
    chance[0] = 1.0;
    for &rank in &doubled {
        for sum in (0..=total).rev() {
            let with = if sum >= rank { chance[sum - rank] } else { 0.0 };
            chance[sum] = (chance[sum] + with) / 2.0;
        }
    }
    let statistic = signed.statistic();
    let tail: f64 = chance[..=(2.0 * statistic) as usize].iter().sum();
    Some(Tested {
        statistic,
        p: (2.0 * tail).min(1.0),
    })
}

/// p by the normal approximation, its variance corrected for ties.
pub fn wilcoxon_normal(differences: &[f64], continuity: Continuity) -> Option<Tested> {
    let signed = SignedRanks::of(differences)?;
    let n = signed.ranks.len() as f64;
    let statistic = signed.statistic();
    let variance = (n * (n + 1.0) * (2.0 * n + 1.0) - signed.ties / 2.0) / 24.0;
    let correction = if continuity == Continuity::Corrected {
        0.5
    } else {
        0.0
    };
    let distance = (n * (n + 1.0) / 4.0 - statistic - correction).max(0.0);
    Some(Tested {
        statistic,
        p: normal_two_sided(distance / variance.sqrt()),
    })
}

/// The ranks of the absolute differences that are not zero, with their signs.
struct SignedRanks {
    ranks: Vec<f64>,
    positive: Vec<bool>,
    /// Sum of t^3 - t over groups of t tied ranks.
    ties: f64,
}

impl SignedRanks {
    fn of(differences: &[f64]) -> Option<SignedRanks> {
        let mut sorted: Vec<f64> = differences
            .iter()
            .copied()
            .filter(|difference| *difference != 0.0)
            .collect();
        if sorted.is_empty() || sorted.iter().any(|difference| !difference.is_finite()) {
            return None;
        }
        sorted.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        let mut ranks = Vec::with_capacity(sorted.len());
        let mut ties = 0.0;
        for group in sorted.chunk_by(|a, b| a.abs() == b.abs()) {
            let size = group.len() as f64;
            let middle = ranks.len() as f64 + (size + 1.0) / 2.0;
            ranks.extend(std::iter::repeat_n(middle, group.len()));
            ties += size.powi(3) - size;
        }
        Some(SignedRanks {
            ranks,
            positive: sorted.iter().map(|difference| *difference > 0.0).collect(),
            ties,
        })
    }

    /// The smaller of the two rank sums.
    fn statistic(&self) -> f64 {
        let positive: f64 = self
            .ranks
            .iter()
            .zip(&self.positive)
            .filter(|(_, up)| **up)
            .map(|(rank, _)| rank)
            .sum();
        positive.min(self.ranks.iter().sum::<f64>() - positive)
    }
}

/// Two-sample Kolmogorov-Smirnov test: exact as long as it is cheap, Kolmogorov's limit beyond.
/// None when a sample is empty or not finite.
pub fn kolmogorov_smirnov(x: &[f64], y: &[f64]) -> Option<Tested> {
    if x.is_empty() || y.is_empty() || x.iter().chain(y).any(|value| !value.is_finite()) {
        return None;
    }
    let (n, m) = (x.len(), y.len());
    let distance = lattice_distance(x, y);
    let statistic = distance as f64 / (n * m) as f64;
    let p = if n * m <= LATTICE_UP_TO {
        chance_outside(n, m, distance)
    } else {
        kolmogorov_limit(statistic * ((n * m) as f64 / (n + m) as f64).sqrt())
    };
    Some(Tested { statistic, p })
}

/// n m times the largest distance between the two distribution functions: a whole number, hence exact.
fn lattice_distance(x: &[f64], y: &[f64]) -> usize {
    let sorted = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values
    };
    let (x, y) = (sorted(x), sorted(y));
    let (mut i, mut j, mut largest) = (0, 0, 0);
    while i < x.len() && j < y.len() {
        let value = x[i].min(y[j]);
        i += x[i..].iter().take_while(|other| **other <= value).count();
        j += y[j..].iter().take_while(|other| **other <= value).count();
        largest = largest.max((i * y.len()).abs_diff(j * x.len()));
    }
    largest
}

/// The chance that a random path from (0, 0) to (n, m) leaves the band of half-width `distance` (Hodges 1958).
/// Every entry is a proportion of the paths to its point, so nothing overflows and small tails keep their digits.
fn chance_outside(n: usize, m: usize, distance: usize) -> f64 {
    if distance == 0 {
        return 1.0;
    }
    let outside = |i: usize, j: usize| (i * m).abs_diff(j * n) >= distance;
    let mut left = vec![0.0; m + 1];
    for i in 0..=n {
        for j in 0..=m {
            left[j] = match (i, j) {
                _ if outside(i, j) => 1.0,
                (0, 0) => 0.0,
                (0, _) => left[j - 1],
                (_, 0) => left[0],
                _ => (left[j] * i as f64 + left[j - 1] * j as f64) / (i + j) as f64,
            };
        }
    }
    left[m]
}

/// P(K >= x) for Kolmogorov's distribution.
pub fn kolmogorov_limit(x: f64) -> f64 {
    if x < 0.2 {
        return 1.0;
    }
    let term =
        |k: i32| (if k % 2 == 1 { 2.0 } else { -2.0 }) * (-2.0 * (f64::from(k) * x).powi(2)).exp();
    (1..=100).map(term).sum::<f64>().clamp(0.0, 1.0)
}
