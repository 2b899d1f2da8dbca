//! Estimates and tests. Pure; every function is checked against scipy: on kept cases in `tests/stats.rs`, on random
//! ones in `tests/scipy_test.py`.
//!
//! All p-values are two-sided. A test that its data cannot support (one value, no spread) is `None`, never a number.

mod correlation;
mod ranks;

pub use correlation::{Correlation, Regression, fisher_error, pearson, regression};
pub use ranks::{
    Continuity, kolmogorov_limit, kolmogorov_smirnov, wilcoxon, wilcoxon_exact, wilcoxon_normal,
};

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::beta::beta_reg;
use statrs::function::erf::erfc;

/// A mean, its standard deviation if there is one, and the number of values behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation with n - 1 in the denominator; none for a single value.
    pub sd: Option<f64>,
    /// How many values.
    pub n: usize,
}

impl Estimate {
    /// The estimate of some values; none when there are none, one of them is not a finite number, or they are so far
    /// apart that their deviation is none.
    pub fn of(values: &[f64]) -> Option<Estimate> {
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let sd = standard_deviation(values);
        if sd.is_some_and(|sd| !sd.is_finite()) {
            return None;
        }
        Some(Estimate {
            mean: mean(values),
            sd,
            n: values.len(),
        })
    }

    /// Standard error of the mean, sd / sqrt(n).
    pub fn standard_error(&self) -> Option<f64> {
        Some(self.sd? / (self.n as f64).sqrt())
    }

    /// Half-width of the 95% confidence interval of the mean, by Student's t with n - 1 degrees of freedom.
    pub fn ci95(&self) -> Option<f64> {
        Some(self.standard_error()? * student_t_quantile(0.975, (self.n - 1) as f64))
    }
}

/// Arithmetic mean of finite values; of equal ones their value, without what rounding adds.
fn mean(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if values.iter().all(|value| *value == values[0]) {
        return values[0];
    }
    let sum: f64 = values.iter().sum();
    if sum.is_finite() {
        sum / n
    } else {
        values.iter().map(|value| value / n).sum()
    }
}

/// Values minus their mean, in units of a power of two, and that unit: squares of these neither overflow nor vanish, and
/// the unit changes no digit.
fn centred(values: &[f64]) -> (Vec<f64>, f64) {
    let mean = mean(values);
    let differences: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let unit = power_of_two(differences.iter().map(|x| x.abs()).fold(0.0, f64::max));
    (differences.iter().map(|x| x / unit).collect(), unit)
}

/// The largest power of two up to a number; 1 for zero, for what is not finite, and for the smallest numbers there are.
fn power_of_two(number: f64) -> f64 {
    if number.is_normal() {
        f64::from_bits(number.abs().to_bits() & f64::INFINITY.to_bits())
    } else {
        1.0
    }
}

/// Standard deviation with n - 1 in the denominator; none for fewer than two values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let (centred, unit) = centred(values);
    let squares: f64 = centred.iter().map(|x| x.powi(2)).sum();
    Some((squares / (values.len() as f64 - 1.0)).sqrt() * unit)
}

/// The standard deviation behind the half-width of a 95% confidence interval of the mean of `n` values.
pub fn sd_from_ci95(half_width: f64, n: u64) -> Option<f64> {
    if n < 2 {
        return None;
    }
    Some(half_width * (n as f64).sqrt() / student_t_quantile(0.975, (n - 1) as f64))
}

/// P(T <= t) for Student's t with `df` degrees of freedom; infinitely many make it the normal distribution.
pub fn student_t_cdf(t: f64, df: f64) -> f64 {
    let tail = student_t_two_sided(t, df) / 2.0;
    if t > 0.0 { 1.0 - tail } else { tail }
}

/// P(|T| >= |t|): the tail itself, so that small values keep their digits. Not a number where either is none.
pub fn student_t_two_sided(t: f64, df: f64) -> f64 {
    if t.is_nan() || df.is_nan() {
        return f64::NAN;
    }
    if t.is_infinite() {
        return 0.0;
    }
    if df.is_infinite() {
        return normal_two_sided(t);
    }
    // I_x(df/2, 1/2) with x = df / (df + t^2); Abramowitz and Stegun 26.7.1.
    beta_reg(df / 2.0, 0.5, df / (df + t * t))
}

/// The t below which Student's distribution with `df` degrees of freedom has probability `p`, 0 < p < 1.
pub fn student_t_quantile(p: f64, df: f64) -> f64 {
    if df.is_infinite() {
        return normal_quantile(p);
    }
    StudentsT::new(0.0, 1.0, df)
        .expect("degrees of freedom are positive")
        .inverse_cdf(p)
}

/// The z below which the standard normal distribution has probability `p`, 0 < p < 1.
pub fn normal_quantile(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p)
}

/// P(|Z| >= |z|) for the standard normal distribution.
pub fn normal_two_sided(z: f64) -> f64 {
    erfc(z.abs() / 2f64.sqrt())
}

/// The outcome of a significance test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tested {
    /// The test's statistic: t, W or D.
    pub statistic: f64,
    /// Two-sided p-value.
    pub p: f64,
}

/// A comparison of two means by Student's distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanDifference {
    /// First mean minus second.
    pub difference: f64,
    /// Standard error of the difference.
    pub error: f64,
    /// Degrees of freedom.
    pub df: f64,
}

impl MeanDifference {
    /// t of the null hypothesis of no difference.
    pub fn t(&self) -> f64 {
        if self.difference == 0.0 {
            0.0
        } else {
            self.difference / self.error
        }
    }

    /// Two-sided p of no difference.
    pub fn p(&self) -> f64 {
        student_t_two_sided(self.t(), self.df)
    }

    /// p of a difference of `margin` or more on either side, by two one-sided tests (Schuirmann 1987): the larger of
    /// their p-values. Small where the means are the same within the margin.
    pub fn p_equivalent(&self, margin: f64) -> f64 {
        let inside = margin - self.difference.abs();
        if self.error == 0.0 {
            return if inside >= 0.0 { 0.0 } else { 1.0 };
        }
        let tail = student_t_two_sided(inside / self.error, self.df) / 2.0;
        if inside > 0.0 { tail } else { 1.0 - tail }
    }

    /// Half-width of the confidence interval of the difference at `confidence`, such as 0.95.
    pub fn half_width(&self, confidence: f64) -> f64 {
        if self.error == 0.0 {
            0.0
        } else {
            self.error * student_t_quantile(0.5 + confidence / 2.0, self.df)
        }
    }
}

/// Student's comparison of a mean with a known value; of paired samples, give their differences and 0. None for a
/// single value.
pub fn student(a: &Estimate, value: f64) -> Option<MeanDifference> {
    Some(MeanDifference {
        difference: a.mean - value,
        error: a.standard_error()?,
        df: (a.n - 1) as f64,
    })
}

/// Welch's comparison of two means with unequal variances (Welch 1947, Satterthwaite's degrees of freedom).
/// From means, deviations and numbers alone, so that printed ones serve as well as samples.
pub fn welch(a: &Estimate, b: &Estimate) -> Option<MeanDifference> {
    let (sa, sb) = (a.sd?, b.sd?);
    // In units of a power of two, so that squares of squares neither overflow nor vanish.
    let unit = power_of_two(sa.max(sb));
    let (na, nb) = (a.n as f64, b.n as f64);
    let (va, vb) = ((sa / unit).powi(2) / na, (sb / unit).powi(2) / nb);
    let spread = va.powi(2) / (na - 1.0) + vb.powi(2) / (nb - 1.0);
    let df = if spread == 0.0 {
        na + nb - 2.0
    } else {
        (va + vb).powi(2) / spread
    };
    Some(MeanDifference {
        difference: a.mean - b.mean,
        error: (va + vb).sqrt() * unit,
        df,
    })
}

/// Holm's step-down adjustment of several p-values, in their order (Holm 1979).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max(p[i] * (p.len() - rank) as f64).min(1.0);
        adjusted[i] = largest;
    }
    adjusted
}
