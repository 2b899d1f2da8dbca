//! Verdicts on correlations and standard deviations, on a scale where their errors are those of a normal distribution
//! and known from the number of values alone.

use crate::stats::{Correlation, MeanDifference, fisher_error};
use crate::suite::{Reported, Rule};

use super::cell::Kind;
use super::margin::{Basis, unit};
use super::verdict::{SEEDS_UP_TO, Verdict, Weighed, Weighing, p_text, signed};

/// A correlation or a deviation, and its scale.
#[derive(Clone, Copy)]
enum Scale {
    /// Fisher's z, artanh r; the error is 1 / sqrt(n - 3) (Fisher 1921).
    Fisher,
    /// The logarithm; the error is 1 / sqrt(2 (n - 1)), the first order for normal values.
    Logarithm,
}

impl Scale {
    fn of(self, value: f64) -> f64 {
        match self {
            Scale::Fisher => value.clamp(-1.0, 1.0).atanh(),
            Scale::Logarithm => value.max(0.0).ln(),
        }
    }

    fn back(self, value: f64) -> f64 {
        match self {
            Scale::Fisher => value.tanh(),
            Scale::Logarithm => value.exp(),
        }
    }

    fn error(self, n: usize) -> Option<f64> {
        match self {
            Scale::Fisher => fisher_error(n),
            Scale::Logarithm => (n > 1).then(|| 1.0 / (2.0 * (n - 1) as f64).sqrt()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Scale::Fisher => "in Fisher's z",
            Scale::Logarithm => "in the logarithm",
        }
    }
}

/// Compares a correlation or a deviation over our `n` seeds with the printed one, over seeds of the paper's own.
pub(super) fn over_seeds(
    kind: Kind,
    ours: f64,
    n: usize,
    reported: &Reported,
    rule: &Rule,
) -> Weighed {
    let scale = match kind {
        Kind::Correlation => Scale::Fisher,
        Kind::Deviation | Kind::Mean => Scale::Logarithm,
    };
    let paper = reported.seeds.and_then(|seeds| scale.error(seeds as usize));
    let difference = |n: usize| {
        let error = scale.error(n)?;
        Some(error.hypot(paper.unwrap_or(0.0)))
    };
    // A repetition has the paper's seeds; where these are not known, ours.
    let repetition = match paper {
        Some(error) => error * 2f64.sqrt(),
        None => scale.error(n).unwrap_or(f64::INFINITY),
    };
    let contest = Contest {
        scale,
        ours,
        reported,
        margin: rule.spreads * repetition,
        rule,
    };
    let Some(error) = difference(n) else {
        let needed = if matches!(scale, Scale::Fisher) { 4 } else { 2 };
        let reason = format!("{n} seeds have no error to test with; at least {needed} are needed");
        return contest.untested(reason, Some(needed));
    };
    let mut weighed = contest.weighed(error);
    let mut notes = vec![weighed.reason.clone()];
    if paper.is_none() {
        notes.push(
            "the paper does not say over how many seeds, so its value is taken as exact".into(),
        );
    }
    if weighed.verdict == Verdict::Inconclusive {
        weighed.seeds_to_decide = (n + 1..=SEEDS_UP_TO).find(|&n| {
            let error = difference(n).unwrap_or(f64::INFINITY);
            contest.weighed(error).verdict != Verdict::Inconclusive
        });
        notes.push(match weighed.seeds_to_decide {
            Some(seeds) => format!("{seeds} seeds would decide if it stays"),
            None => "more seeds alone would not decide".into(),
        });
    }
    weighed.reason = notes.join("; ");
    weighed
}

/// Compares a correlation over methods with the printed one. The methods are the same on both sides, so that which ones
/// there are makes no difference between them: the error is that of one side.
pub(super) fn over_methods(ours: &Correlation, reported: &Reported, rule: &Rule) -> Weighed {
    let error = fisher_error(ours.n);
    let contest = Contest {
        scale: Scale::Fisher,
        ours: ours.r,
        reported,
        margin: rule.spreads * error.unwrap_or(f64::INFINITY),
        rule,
    };
    match error {
        Some(error) => contest.weighed(error),
        None => contest.untested(
            format!(
                "{} methods have no error to test with; at least 4 are needed",
                ours.n
            ),
            None,
        ),
    }
}

struct Contest<'a> {
    scale: Scale,
    ours: f64,
    reported: &'a Reported,
    margin: f64,
    rule: &'a Rule,
}

impl Contest<'_> {
    /// Against the nearest value that rounds to the printed one, so that rounding alone makes no difference.
    fn weighed(&self, error: f64) -> Weighed {
        let half = unit(self.reported) / 2.0;
        let nearest = self
            .ours
            .clamp(self.reported.value - half, self.reported.value + half);
        let (ours, theirs) = (self.scale.of(self.ours), self.scale.of(nearest));
        let difference = if ours == theirs { 0.0 } else { ours - theirs };
        let compared = MeanDifference {
            difference,
            error,
            df: f64::INFINITY,
        };
        let weighing = Weighing::of(&compared, compared.difference, self.margin, self.rule);
        let width = compared.half_width(1.0 - 2.0 * self.rule.level);
        let ends = [ours - width, ours + width].map(|end| self.scale.back(end));
        let verdict = weighing.verdict();
        let decimals = self.reported.decimals as usize + 1;
        let reason = format!(
            "differs by {}; ours lies in {:.decimals$} to {:.decimals$} ({:.0}%), {} the margin of ±{:.2} {} ({}): \
             p = {} of no difference, p = {} of one beyond the margin",
            signed(self.ours - self.reported.value, decimals),
            ends[0],
            ends[1],
            100.0 * (1.0 - 2.0 * self.rule.level),
            verdict.side(),
            self.margin,
            self.scale.name(),
            Basis::Errors(self.rule.spreads),
            p_text(weighing.p),
            p_text(weighing.p_equivalent),
        );
        Weighed {
            verdict,
            reason,
            difference: Some(self.ours - self.reported.value),
            interval: Some(ends.map(|end| end - self.reported.value)),
            p: Some(weighing.p),
            p_equivalent: Some(weighing.p_equivalent),
            margin: self.margin,
            basis: Basis::Errors(self.rule.spreads),
            seeds_to_decide: None,
        }
    }

    fn untested(&self, reason: String, seeds_to_decide: Option<usize>) -> Weighed {
        Weighed {
            difference: Some(self.ours - self.reported.value),
            seeds_to_decide,
            ..Weighed::untested(
                Verdict::Inconclusive,
                reason,
                self.margin,
                Basis::Errors(self.rule.spreads),
            )
        }
    }
}
