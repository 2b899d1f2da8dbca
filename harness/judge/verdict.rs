//! The verdict on one cell.

use crate::stats::{Estimate, MeanDifference, student, welch};
use crate::suite::{Reported, Rule};

use super::cell::{Cell, Kind};
use super::margin::{Basis, instead, margin, printed_sd, unit};
use super::scaled;

/// What comparing one cell with the paper comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The same within the margin.
    Reproduced,
    /// Different, and by more than the margin.
    Deviates,
    /// The seeds cannot tell.
    Inconclusive,
    /// No seed has a value.
    NotRun,
    /// No seed has a value because the runs diverged.
    Diverged,
}

impl Verdict {
    /// Where a difference lies of the margin.
    pub(super) fn side(self) -> &'static str {
        match self {
            Verdict::Reproduced => "within",
            Verdict::Deviates => "outside",
            _ => "against",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Verdict::Reproduced => "reproduced",
            Verdict::Deviates => "deviates",
            Verdict::Inconclusive => "inconclusive",
            Verdict::NotRun => "not run",
            Verdict::Diverged => "diverged",
        })
    }
}

/// A verdict with its reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighed {
    /// What it comes to.
    pub verdict: Verdict,
    /// Why, as one sentence without a full stop.
    pub reason: String,
    /// Ours minus the paper's.
    pub difference: Option<f64>,
    /// The interval of that difference whose lying within the margin is equivalence: at 1 - 2 `level`, hence 90%.
    pub interval: Option<[f64; 2]>,
    /// Two-sided p of no difference, at the nearest value that rounds to the printed one.
    pub p: Option<f64>,
    /// p of a difference of the margin or more, by two one-sided tests: small where both are the same.
    pub p_equivalent: Option<f64>,
    /// The margin of equivalence; of a correlation in Fisher's z, of a deviation over seeds in the logarithm.
    pub margin: f64,
    /// What the margin rests on.
    pub basis: Basis,
    /// For an inconclusive cell, the seeds in all that would decide it if mean and spread stay as they are.
    pub seeds_to_decide: Option<usize>,
}

impl Weighed {
    pub(super) fn untested(verdict: Verdict, reason: String, margin: f64, basis: Basis) -> Weighed {
        Weighed {
            verdict,
            reason,
            difference: None,
            interval: None,
            p: None,
            p_equivalent: None,
            margin,
            basis,
            seeds_to_decide: None,
        }
    }
}

/// More seeds than this nobody runs.
pub(super) const SEEDS_UP_TO: usize = 1000;

/// What the printed mean and spread say of the paper's runs; none without a spread over at least two seeds.
pub fn printed_estimate(reported: &Reported) -> Option<Estimate> {
    let n = reported.seeds.filter(|seeds| *seeds >= 2)?;
    let sd = printed_sd(reported)?;
    Some(Estimate {
        mean: reported.value,
        sd: Some(sd),
        n: n as usize,
    })
}

/// Compares a cell with what the paper prints there.
pub fn judge_cell(cell: &Cell, reported: &Reported, rule: &Rule) -> Weighed {
    let paper = printed_estimate(reported);
    let (margin, basis) = margin(reported, rule);
    let untested = |verdict, reason| Weighed::untested(verdict, reason, margin, basis);
    let Some(ours) = cell.estimate else {
        let few = match cell.kind {
            Kind::Mean => None,
            Kind::Deviation => Some("a standard deviation needs 2 seeds"),
            Kind::Correlation => Some("a correlation needs 3 seeds whose values vary"),
        };
        let verdict = match (cell.with_value(), cell.diverged()) {
            (0, 0) => Verdict::NotRun,
            (0, _) => Verdict::Diverged,
            _ => Verdict::Inconclusive,
        };
        let few = few.filter(|_| verdict == Verdict::Inconclusive);
        let reasons: Vec<String> = few
            .map(str::to_string)
            .into_iter()
            .chain(cell.missing())
            .collect();
        return untested(
            verdict,
            match reasons.is_empty() {
                true => "nothing to estimate it from".into(),
                false => reasons.join("; "),
            },
        );
    };
    if cell.kind != Kind::Mean {
        return with_losses(
            scaled::over_seeds(cell.kind, ours.mean, ours.n, reported, rule),
            cell,
            ours.n,
        );
    }
    let decimals = reported.decimals as usize + 1;
    let difference = ours.mean - reported.value;
    let size = signed(difference, decimals);
    let bounds = format!("the margin of ±{margin:.decimals$} ({basis})");
    if cell.seedless {
        let verdict = if difference.abs() <= margin {
            Verdict::Reproduced
        } else {
            Verdict::Deviates
        };
        let reason = format!(
            "differs by {size}, {} {bounds}; evaluated without training, so no seed to vary",
            verdict.side()
        );
        return Weighed {
            difference: Some(difference),
            ..untested(verdict, reason)
        };
    }
    let Some(compared) = compare(&ours, reported, paper.as_ref()) else {
        let reason = format!(
            "one seed has no spread, so its difference of {size} says nothing yet; at least 2 are needed"
        );
        let weighed = Weighed {
            difference: Some(difference),
            seeds_to_decide: Some(2),
            ..untested(Verdict::Inconclusive, reason)
        };
        return with_losses(weighed, cell, ours.n);
    };
    let weighing = Weighing::of_mean(&compared, reported, margin, rule);
    let width = compared.half_width(1.0 - 2.0 * rule.level);
    let mut verdict = weighing.verdict();
    let mut notes = Vec::new();
    if ours.n == 1 {
        notes.push("one seed, with the paper's spread taken for ours".to_string());
    }
    if paper.is_none() {
        notes.push(instead(reported));
    }
    let (side, mut seeds) = (verdict.side(), None);
    if verdict == Verdict::Reproduced && ours.n == 1 {
        verdict = Verdict::Inconclusive;
    }
    if verdict == Verdict::Inconclusive && cell.diverged() == 0 {
        seeds = seeds_to_decide(&ours, reported, paper.as_ref(), margin, rule);
        notes.push(match seeds {
            Some(seeds) => format!("{seeds} seeds would decide if mean and spread stay"),
            None => "more seeds alone would not decide".into(),
        });
    }
    let tested = format!(
        "differs by {size} ± {width:.decimals$} ({:.0}%), {side} {bounds}: p = {} of no difference, p = {} of one \
         beyond the margin",
        100.0 * (1.0 - 2.0 * rule.level),
        p_text(weighing.p),
        p_text(weighing.p_equivalent),
    );
    let reason: Vec<String> = std::iter::once(tested).chain(notes).collect();
    let weighed = Weighed {
        verdict,
        reason: reason.join("; "),
        difference: Some(difference),
        interval: Some([difference - width, difference + width]),
        p: Some(weighing.p),
        p_equivalent: Some(weighing.p_equivalent),
        margin,
        basis,
        seeds_to_decide: seeds,
    };
    with_losses(weighed, cell, ours.n)
}

/// Seeds without a value are named; where some diverged, the survivors alone reproduce nothing.
fn with_losses(mut weighed: Weighed, cell: &Cell, n: usize) -> Weighed {
    if cell.diverged() > 0 {
        weighed.seeds_to_decide = None;
        if weighed.verdict == Verdict::Reproduced {
            weighed.verdict = Verdict::Inconclusive;
            weighed.reason += "; only seeds that did not diverge are in it";
        }
    }
    if let Some(missing) = cell.missing() {
        weighed.reason += &format!("; {n} of {} seeds: {missing}", cell.planned);
    }
    weighed
}

/// With its sign, except for what rounds to nothing.
pub(super) fn signed(difference: f64, decimals: usize) -> String {
    let text = format!("{difference:+.decimals$}");
    if text[1..].chars().all(|c| c == '0' || c == '.') {
        text[1..].into()
    } else {
        text.replace('-', "−")
    }
}

/// A p-value as prose prints it: `0.034`, `2e-7`, `< 1e-12`.
pub fn p_text(p: f64) -> String {
    match p {
        _ if p < 1e-12 => "< 1e-12".into(),
        _ if p < 0.001 => format!("{p:.0e}"),
        _ => format!("{p:.3}"),
    }
}

/// Ours minus the paper's, with its error: Welch where both have a spread. A side without one is taken to have the
/// other's: then the variances are equal by assumption, and the degrees of freedom are those of the known one.
/// A paper without spread or seeds is a constant. None when neither side has a spread.
fn compare(
    ours: &Estimate,
    reported: &Reported,
    paper: Option<&Estimate>,
) -> Option<MeanDifference> {
    let difference = ours.mean - reported.value;
    match (ours.sd, paper) {
        (Some(_), Some(paper)) => welch(ours, paper),
        (Some(sd), None) => match reported.seeds {
            None => student(ours, reported.value),
            Some(seeds) => Some(MeanDifference {
                difference,
                error: sd * (1.0 / ours.n as f64 + 1.0 / seeds as f64).sqrt(),
                df: (ours.n - 1) as f64,
            }),
        },
        (None, Some(paper)) => {
            let error = paper.sd? * (1.0 + 1.0 / paper.n as f64).sqrt();
            Some(MeanDifference {
                difference,
                error,
                df: (paper.n - 1) as f64,
            })
        }
        (None, None) => None,
    }
}

/// The answers to both questions.
pub(super) struct Weighing {
    /// p of no difference, at the nearest value that rounds to the printed one.
    pub p: f64,
    /// p of a difference of the margin or more.
    pub p_equivalent: f64,
    level: f64,
    outside: bool,
}

impl Weighing {
    /// `beyond_rounding`: the difference from the nearest value that rounds to the printed one.
    pub fn of(
        compared: &MeanDifference,
        beyond_rounding: f64,
        margin: f64,
        rule: &Rule,
    ) -> Weighing {
        let nearest = MeanDifference {
            difference: beyond_rounding,
            ..*compared
        };
        Weighing {
            p: nearest.p(),
            p_equivalent: compared.p_equivalent(margin),
            level: rule.level,
            outside: compared.difference.abs() > margin,
        }
    }

    fn of_mean(
        compared: &MeanDifference,
        reported: &Reported,
        margin: f64,
        rule: &Rule,
    ) -> Weighing {
        let beyond_rounding = (compared.difference.abs() - unit(reported) / 2.0).max(0.0);
        Weighing::of(compared, beyond_rounding, margin, rule)
    }

    /// Equivalence first: a difference that is significant and within the margin does not matter.
    pub fn verdict(&self) -> Verdict {
        if self.p_equivalent <= self.level {
            Verdict::Reproduced
        } else if self.p < self.level && self.outside {
            Verdict::Deviates
        } else {
            Verdict::Inconclusive
        }
    }
}

/// The smallest number of our seeds with a verdict, if mean and spread stay as they are.
fn seeds_to_decide(
    ours: &Estimate,
    reported: &Reported,
    paper: Option<&Estimate>,
    margin: f64,
    rule: &Rule,
) -> Option<usize> {
    let sd = ours.sd.or_else(|| paper?.sd)?;
    (ours.n.max(1) + 1..=SEEDS_UP_TO).find(|&n| {
        let then = Estimate {
            mean: ours.mean,
            sd: Some(sd),
            n,
        };
        compare(&then, reported, paper).is_some_and(|compared| {
            Weighing::of_mean(&compared, reported, margin, rule).verdict() != Verdict::Inconclusive
        })
    })
}
