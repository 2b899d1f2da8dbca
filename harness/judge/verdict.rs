//! The verdict on one cell.

use crate::stats::{Estimate, MeanDifference, sd_from_ci95, student_t_quantile, welch};
use crate::suite::{Reported, Spread};

use super::Cell;

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

/// How verdicts are reached. The margin within which a number counts as the same is the largest of
/// - one unit of the last printed digit: finer than that the paper does not say what its number is;
/// - `spreads` of the paper's standard deviations over seeds, where it prints a spread: about 95% of the paper's
///   own runs lie that close to their mean;
/// - `relative` of the printed value, where it prints none.
///
/// It never depends on our own spread, which would let a noisy implementation pass more easily.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Significance level of both tests.
    pub level: f64,
    /// Margin in standard deviations of the paper.
    pub spreads: f64,
    /// Margin relative to the printed value, for want of a spread.
    pub relative: f64,
}

impl Default for Rule {
    fn default() -> Rule {
        Rule {
            level: 0.05,
            spreads: 2.0,
            relative: 0.01,
        }
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
    /// Two-sided p of no difference.
    pub p: Option<f64>,
    /// The margin of equivalence.
    pub margin: f64,
    /// For an inconclusive cell, the seeds in all that would decide it if mean and spread stay as they are.
    pub seeds_to_decide: Option<usize>,
}

/// More seeds than this nobody runs.
const SEEDS_UP_TO: usize = 1000;

/// What the printed mean and spread say of the paper's runs; none without a spread over at least two seeds.
pub fn printed_estimate(reported: &Reported) -> Option<Estimate> {
    let (spread, n) = (
        reported.spread?,
        reported.seeds.filter(|seeds| *seeds >= 2)?,
    );
    let sd = match reported.kind {
        Spread::Sd => spread,
        Spread::Ci95 => sd_from_ci95(spread, n)?,
        Spread::None | Spread::SdOverColumns => return None,
    };
    Some(Estimate {
        mean: reported.value,
        sd: Some(sd),
        n: n as usize,
    })
}

/// Compares a cell with what the paper prints there.
pub fn judge_cell(cell: &Cell, reported: &Reported, rule: &Rule) -> Weighed {
    let paper = printed_estimate(reported);
    let margin = margin(reported, paper.as_ref(), rule);
    let empty = |verdict, reason| Weighed {
        verdict,
        reason,
        difference: None,
        p: None,
        margin,
        seeds_to_decide: None,
    };
    let Some(ours) = cell.estimate else {
        let missing = cell
            .missing()
            .unwrap_or_else(|| "nothing to estimate it from".into());
        let verdict = if cell.diverged() > 0 {
            Verdict::Diverged
        } else {
            Verdict::NotRun
        };
        return empty(verdict, missing);
    };
    let decimals = reported.decimals as usize + 1;
    let difference = ours.mean - reported.value;
    let size = signed(difference, decimals);
    let within = format!("the margin of ±{margin:.decimals$}");
    if cell.seedless {
        let inside = difference.abs() <= margin;
        let verdict = if inside {
            Verdict::Reproduced
        } else {
            Verdict::Deviates
        };
        let side = if inside { "within" } else { "outside" };
        let reason = format!(
            "differs by {size}, {side} {within}; evaluated without training, so no seed to vary"
        );
        return Weighed {
            difference: Some(difference),
            ..empty(verdict, reason)
        };
    }
    let Some(compared) = compare(&ours, reported, paper.as_ref()) else {
        let (reason, seeds) = match (ours.n, ours.sd) {
            (1, _) => (
                format!(
                    "one seed has no spread, so its difference of {size} says nothing yet; at least 2 are needed"
                ),
                Some(2),
            ),
            _ => (
                format!("differs by {size}; a number over all seeds has no spread to test with"),
                None,
            ),
        };
        return Weighed {
            difference: Some(difference),
            seeds_to_decide: seeds,
            ..empty(Verdict::Inconclusive, reason)
        };
    };
    let weighing = Weighing::of(&compared, reported, margin, rule);
    let mut verdict = weighing.verdict();
    let mut notes = Vec::new();
    if ours.n == 1 {
        notes.push("one seed, with the paper's spread taken for ours".to_string());
    }
    if paper.is_none() {
        notes.push(no_spread(reported));
    }
    if verdict == Verdict::Reproduced && ours.n == 1 {
        verdict = Verdict::Inconclusive;
    }
    if verdict == Verdict::Reproduced && cell.diverged() > 0 {
        verdict = Verdict::Inconclusive;
        notes.push("only seeds that did not diverge are in the mean".into());
    }
    if let Some(missing) = cell.missing() {
        notes.push(format!("{} of {} seeds: {missing}", ours.n, cell.planned));
    }
    let seeds_to_decide = match verdict {
        Verdict::Inconclusive if cell.diverged() == 0 => {
            seeds_to_decide(&ours, reported, paper.as_ref(), margin, rule)
        }
        _ => None,
    };
    if verdict == Verdict::Inconclusive && cell.diverged() == 0 {
        notes.push(match seeds_to_decide {
            Some(seeds) => format!("{seeds} seeds would decide if mean and spread stay"),
            None => "more seeds alone would not decide".into(),
        });
    }
    let half_width = compared.half_width(1.0 - 2.0 * rule.level);
    let percent = 100.0 * (1.0 - 2.0 * rule.level);
    let p = weighing.p;
    let tested = match verdict {
        Verdict::Reproduced if p < rule.level => {
            format!(
                "differs (p = {}), yet by {size} ± {half_width:.decimals$} ({percent:.0}%), within {within}",
                p_text(p)
            )
        }
        Verdict::Reproduced => {
            format!("differs by {size} ± {half_width:.decimals$} ({percent:.0}%), within {within}")
        }
        Verdict::Deviates => format!("differs by {size} (p = {}), outside {within}", p_text(p)),
        _ => format!(
            "differs by {size} ± {half_width:.decimals$} ({percent:.0}%, p = {}) against {within}",
            p_text(p)
        ),
    };
    let reason = std::iter::once(tested)
        .chain(notes)
        .collect::<Vec<_>>()
        .join("; ");
    Weighed {
        verdict,
        reason,
        difference: Some(difference),
        p: Some(p),
        margin,
        seeds_to_decide,
    }
}

/// With its sign, except for what rounds to nothing.
fn signed(difference: f64, decimals: usize) -> String {
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

fn margin(reported: &Reported, paper: Option<&Estimate>, rule: &Rule) -> f64 {
    let unit = unit(reported);
    match paper.and_then(|paper| paper.sd) {
        Some(sd) => unit.max(rule.spreads * sd),
        None => unit.max(rule.relative * reported.value.abs()),
    }
}

fn unit(reported: &Reported) -> f64 {
    10f64.powi(-(reported.decimals as i32))
}

fn no_spread(reported: &Reported) -> String {
    match reported.seeds {
        Some(seeds) => format!(
            "the paper prints no spread over seeds, so ours is taken for its {seeds} as well"
        ),
        None => "the paper prints no spread over seeds, so its value is taken as exact".into(),
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
        (Some(sd), None) => {
            let paper_share = reported.seeds.map_or(0.0, |seeds| 1.0 / seeds as f64);
            let error = sd * (1.0 / ours.n as f64 + paper_share).sqrt();
            Some(MeanDifference {
                difference,
                error,
                df: (ours.n - 1) as f64,
            })
        }
        (None, Some(paper)) if ours.n == 1 => {
            let error = paper.sd? * (1.0 + 1.0 / paper.n as f64).sqrt();
            Some(MeanDifference {
                difference,
                error,
                df: (paper.n - 1) as f64,
            })
        }
        (None, _) => None,
    }
}

/// The answers to both questions.
struct Weighing {
    /// p of no difference, at the nearest value that rounds to the printed one.
    p: f64,
    different: bool,
    equivalent: bool,
    outside: bool,
}

impl Weighing {
    fn of(compared: &MeanDifference, reported: &Reported, margin: f64, rule: &Rule) -> Weighing {
        // Rounding alone must not make a difference.
        let beyond_rounding = (compared.difference.abs() - unit(reported) / 2.0).max(0.0);
        let p = MeanDifference {
            difference: beyond_rounding,
            ..*compared
        }
        .p();
        let bound = compared.difference.abs() + one_sided(compared, rule.level);
        Weighing {
            p,
            different: p < rule.level,
            equivalent: bound <= margin,
            outside: compared.difference.abs() > margin,
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Weighing {
                equivalent: true, ..
            } => Verdict::Reproduced,
            Weighing {
                different: true,
                outside: true,
                ..
            } => Verdict::Deviates,
            _ => Verdict::Inconclusive,
        }
    }
}

fn one_sided(compared: &MeanDifference, level: f64) -> f64 {
    if compared.error == 0.0 {
        0.0
    } else {
        compared.error * student_t_quantile(1.0 - level, compared.df)
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
    let sd = ours.sd.or(paper.and_then(|paper| paper.sd))?;
    (ours.n.max(1) + 1..=SEEDS_UP_TO).find(|&n| {
        let then = Estimate {
            mean: ours.mean,
            sd: Some(sd),
            n,
        };
        compare(&then, reported, paper).is_some_and(|compared| {
            Weighing::of(&compared, reported, margin, rule).verdict() != Verdict::Inconclusive
        })
    })
}
