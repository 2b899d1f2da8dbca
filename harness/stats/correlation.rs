//! Pearson's correlation and the straight line of least squares.

use super::{centred, mean, normal_quantile, student_t_two_sided};

/// Pearson's correlation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    /// -1 to 1.
    pub r: f64,
    /// Two-sided p of no correlation, by t = r sqrt((n-2)/(1-r^2)); 1 for two points.
    pub p: f64,
    /// Number of pairs.
    pub n: usize,
}

impl Correlation {
    /// The confidence interval at `confidence`, such as 0.95, by Fisher's z = artanh r (Fisher 1921). Of three pairs or
    /// fewer it is the whole of -1 to 1.
    pub fn interval(&self, confidence: f64) -> [f64; 2] {
        match fisher_error(self.n) {
            Some(error) => {
                let width = normal_quantile(0.5 + confidence / 2.0) * error;
                [
                    (self.r.atanh() - width).tanh(),
                    (self.r.atanh() + width).tanh(),
                ]
            }
            None => [-1.0, 1.0],
        }
    }
}

/// Standard error of Fisher's z of a correlation of `n` pairs, 1 / sqrt(n - 3); none for three or fewer.
pub fn fisher_error(n: usize) -> Option<f64> {
    (n > 3).then(|| 1.0 / ((n - 3) as f64).sqrt())
}

/// Pearson's correlation of pairs; none for fewer than two, or when a side does not vary.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<Correlation> {
    let moments = Moments::of(x, y)?;
    if moments.xx <= 0.0 || moments.yy <= 0.0 {
        return None;
    }
    let r = (moments.xy / (moments.xx.sqrt() * moments.yy.sqrt())).clamp(-1.0, 1.0);
    let n = x.len();
    let p = match n {
        2 => 1.0,
        _ => {
            let df = (n - 2) as f64;
            student_t_two_sided(r * (df / ((1.0 - r) * (1.0 + r))).sqrt(), df)
        }
    };
    Some(Correlation { r, p, n })
}

/// y = intercept + slope x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regression {
    /// y at x = 0.
    pub intercept: f64,
    /// Change of y per unit of x.
    pub slope: f64,
}

/// The line of least squares; none for fewer than two points, or when x does not vary.
pub fn regression(x: &[f64], y: &[f64]) -> Option<Regression> {
    let moments = Moments::of(x, y)?;
    let slope = (moments.xx > 0.0)
        .then(|| moments.xy / moments.xx * (moments.units.1 / moments.units.0))?;
    Some(Regression {
        intercept: mean(y) - slope * mean(x),
        slope,
    })
}

/// Centred sums of products, each side in units of its own.
struct Moments {
    xx: f64,
    yy: f64,
    xy: f64,
    units: (f64, f64),
}

impl Moments {
    fn of(x: &[f64], y: &[f64]) -> Option<Moments> {
        if x.len() != y.len() || x.len() < 2 || x.iter().chain(y).any(|value| !value.is_finite()) {
            return None;
        }
        let ((x, of_x), (y, of_y)) = (centred(x), centred(y));
        let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum();
        Some(Moments {
            xx: sum(&x, &x),
            yy: sum(&y, &y),
            xy: sum(&x, &y),
            units: (of_x, of_y),
        })
    }
}
