//! The margin within which two numbers count as the same, and what it rests on.

use crate::stats::sd_from_ci95;
use crate::suite::{Reported, Rule, Spread};

/// What a margin rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Basis {
    /// One unit of the last printed digit.
    Digit,
    /// So many of the paper's standard deviations over seeds.
    Spreads(f64),
    /// This share of the printed value, for want of a spread over seeds.
    Relative(f64),
    /// So many errors of the difference from a repetition of the paper.
    Errors(f64),
}

impl std::fmt::Display for Basis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Basis::Digit => f.write_str("one unit of the last printed digit"),
            Basis::Spreads(spreads) => write!(f, "{spreads} of the paper's standard deviations"),
            Basis::Relative(share) => write!(f, "{}% of the printed value", 100.0 * share),
            Basis::Errors(errors) => write!(f, "{errors} errors of a repetition"),
        }
    }
}

/// The margin around a printed mean.
pub(super) fn margin(reported: &Reported, rule: &Rule) -> (f64, Basis) {
    let unit = unit(reported);
    let (margin, basis) = match printed_sd(reported) {
        Some(sd) => (rule.spreads * sd, Basis::Spreads(rule.spreads)),
        None => (
            rule.relative * reported.value.abs(),
            Basis::Relative(rule.relative),
        ),
    };
    if unit > margin {
        (unit, Basis::Digit)
    } else {
        (margin, basis)
    }
}

/// The paper's standard deviation over seeds, as far as what is printed tells it.
pub(super) fn printed_sd(reported: &Reported) -> Option<f64> {
    match reported.kind {
        Spread::Sd => reported.spread.filter(|_| reported.seeds != Some(1)),
        Spread::Ci95 => sd_from_ci95(reported.spread?, reported.seeds?),
        Spread::None | Spread::SdOverColumns => None,
    }
}

/// One unit of the last printed digit.
pub(super) fn unit(reported: &Reported) -> f64 {
    10f64.powi(-(reported.decimals as i32))
}

/// What stands in for a spread over a known number of seeds that the paper does not print.
pub(super) fn instead(reported: &Reported) -> String {
    let lacks = match (reported.spread.map(|_| reported.kind), reported.seeds) {
        (Some(Spread::SdOverColumns), _) => "the paper's ± is over columns and not over seeds",
        (Some(Spread::Sd | Spread::Ci95), None) => {
            "the paper does not say over how many seeds its spread is"
        }
        (_, Some(1)) => "the paper has one seed, hence no spread",
        _ => "the paper prints no spread over seeds",
    };
    match reported.seeds {
        Some(1) => format!("{lacks}, so ours is taken for it as well"),
        Some(seeds) => format!("{lacks}, so ours is taken for its {seeds} as well"),
        None => format!("{lacks}, so its value is taken as exact"),
    }
}
