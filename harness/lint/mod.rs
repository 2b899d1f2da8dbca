//! The audit of a paper: what its printed numbers say about each other, from suites alone. Pure.
//!
//! A printed number stands for every number that rounds to it. A finding is a [`Severity::Contradiction`] only when no
//! such numbers agree; what rounding or a missing detail could still explain is a [`Severity::Doubt`] or a
//! [`Severity::Note`].
//!
//! | module | what is held against what |
//! |---|---|
//! | `derived` | averages, deviations and correlations, against the numbers they are computed from |
//! | `repeated` | a number, against the same number elsewhere; a row, against another method's |
//! | `claims` | sentences, bold print and significance, against the tables and the number of samples |
//! | `possible` | values, spreads and totals, against what they can be at all |

mod claims;
mod derived;
mod possible;
mod repeated;
mod rounding;
mod sheet;

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::suite::Suite;

/// How sure it is that something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Both cannot be true.
    Contradiction,
    /// Both can be true, but hardly, or only by what the paper does not say.
    Doubt,
    /// Both can well be true; a reader who computes finds something else than is printed.
    Note,
}

/// What was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A column computed from others, or the spread over them.
    DerivedColumn,
    /// A correlation over methods.
    DerivedTable,
    /// One quantity printed twice.
    SameQuantity,
    /// Rows of two methods.
    SameRow,
    /// A table given twice for one place of the paper.
    SamePlace,
    /// A claim against the printed numbers.
    Claim,
    /// A significance against the number of samples.
    Significance,
    /// Bold print.
    Bold,
    /// A value outside of what it can be.
    Value,
    /// A spread that cannot be.
    Spread,
    /// A whole and its parts.
    Total,
}

/// A place in a suite and in the paper.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The suite.
    pub file: PathBuf,
    /// Its line, counted from 1.
    pub line: usize,
    /// As the paper calls it, `Table 4`.
    pub paper: String,
}

/// Something printed from which something else follows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// How sure it is.
    pub severity: Severity,
    /// What was checked.
    pub rule: Rule,
    /// Where it stands.
    pub place: Place,
    /// Where else the same stands.
    pub also: Vec<Place>,
    /// The row and column, or the claim.
    pub subject: String,
    /// What is printed there, after the subject: `is printed as 26.9`.
    pub stated: String,
    /// What follows instead.
    pub follows: String,
    /// By how much it is off, in the unit of the number.
    pub off: Option<f64>,
}

impl Finding {
    /// The finding as one sentence, without its place and without a full stop.
    pub fn sentence(&self) -> String {
        format!("{} {}, but {}", self.subject, self.stated, self.follows)
    }
}

/// Everything in the suites that contradicts, the surest first, then in the order of the suites and their lines.
pub fn lint(suites: &[Suite]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut sheets = Vec::new();
    for suite in suites {
        sheets.extend(repeated::sheets(suite, &mut found));
    }
    for sheet in &sheets {
        derived::columns(sheet, &mut found);
        possible::values(sheet, &mut found);
        claims::bold(sheet, &mut found);
        repeated::rows(sheet, &mut found);
    }
    repeated::quantities(&sheets, &mut found);
    for suite in suites {
        derived::tables(suite, &mut found);
        possible::totals(suite, &mut found);
        claims::claims(suite, &mut found);
    }
    let order = |finding: &Finding| {
        suites
            .iter()
            .position(|suite| suite.path == finding.place.file)
    };
    found.sort_by_key(|finding| (finding.severity, order(finding), finding.place.line));
    merged(found)
}

/// What is found again where the paper repeats a table is one finding with several places. A claim that is tested in
/// several ways fails in the same way once.
fn merged(found: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in found {
        let same = merged.iter_mut().find(|other| {
            let subject = finding.rule == Rule::Claim || other.subject == finding.subject;
            other.place.file == finding.place.file
                && (other.rule, &other.follows) == (finding.rule, &finding.follows)
                && subject
        });
        match same {
            Some(other) if other.place != finding.place => other.also.push(finding.place),
            Some(_) => {}
            None => merged.push(finding),
        }
    }
    merged
}

/// The findings as text, grouped by severity, with their count; empty without findings.
pub fn render(found: &[Finding]) -> String {
    let mut text = String::new();
    let mut counts = Vec::new();
    for (severity, one, many) in [
        (Severity::Contradiction, "contradiction", "contradictions"),
        (Severity::Doubt, "doubt", "doubts"),
        (Severity::Note, "note", "notes"),
    ] {
        let group: Vec<&Finding> = found
            .iter()
            .filter(|finding| finding.severity == severity)
            .collect();
        if group.is_empty() {
            continue;
        }
        counts.push(format!(
            "{} {}",
            group.len(),
            if group.len() == 1 { one } else { many }
        ));
        let _ = writeln!(text, "{many}");
        for finding in group {
            let Place { file, line, paper } = &finding.place;
            let _ = writeln!(text, "  {}:{line}: {paper}", file.display());
            let _ = writeln!(text, "    {}", finding.sentence());
            for Place { file, line, paper } in &finding.also {
                let _ = writeln!(text, "    also {}:{line}: {paper}", file.display());
            }
        }
        text.push('\n');
    }
    if !counts.is_empty() {
        let _ = writeln!(text, "{}", counts.join(", "));
    }
    text
}
