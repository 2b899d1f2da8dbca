//! The report as JUnit XML, which every continuous integration shows: a test case a run, a cell and a claim. It has
//! the elements of Jenkins' schema (`junit-10.xsd` of its xUnit plugin), without time stamps and host names.

use std::fmt::Write;

use super::markdown::why;
use super::provenance::Ran;
use super::{Comparison, Report, Sides, html};
use crate::event::Outcome;
use crate::judge::{Finding, Judged, Ruling, Verdict};

/// The whole file. Of the paper alone there are only its claims.
pub fn file(report: &Report) -> String {
    let mut suites = Vec::new();
    if report.sides == Sides::Both {
        suites.push(("runs".to_string(), runs(report)));
        let tables = report.tables.iter();
        suites.extend(tables.map(|table| (table.id.clone(), cells(table))));
    }
    suites.push(("claims".to_string(), claims(report)));
    suites.retain(|(_, cases)| !cases.is_empty());
    let all = || suites.iter().flat_map(|(_, cases)| cases);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites name=\"{}\" {}>",
        escape(&report.name),
        Totals::of(all()).attributes()
    );
    for (name, cases) in &suites {
        let class = escape(&format!("{}.{name}", report.name));
        let totals = Totals::of(cases.iter());
        let _ = writeln!(
            out,
            "  <testsuite name=\"{class}\" {} skipped=\"{}\">",
            totals.attributes(),
            totals.skipped
        );
        for case in cases {
            case.write(&mut out, &class);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

struct Case {
    name: String,
    seconds: Option<f64>,
    end: End,
}

/// How a case ended: with the element's name, a word for its type, and what to say.
enum End {
    Passed,
    Not(&'static str, &'static str, String),
}

const SKIPPED: &str = "skipped";
/// What was tested does not hold.
const FAILURE: &str = "failure";
/// What was tested could not be.
const ERROR: &str = "error";

impl Case {
    fn write(&self, out: &mut String, class: &str) {
        let time = self
            .seconds
            .map(|seconds| format!(" time=\"{seconds:.3}\""))
            .unwrap_or_default();
        let name = escape(&self.name);
        let _ = write!(
            out,
            "    <testcase classname=\"{class}\" name=\"{name}\"{time}"
        );
        let _ = match &self.end {
            End::Passed => writeln!(out, "/>"),
            End::Not(element, kind, message) => writeln!(
                out,
                "><{element} type=\"{kind}\" message=\"{}\"/></testcase>",
                escape(message)
            ),
        };
    }
}

#[derive(Default)]
struct Totals {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
    seconds: f64,
}

impl Totals {
    fn of<'a>(cases: impl Iterator<Item = &'a Case>) -> Totals {
        let mut totals = Totals::default();
        for case in cases {
            totals.tests += 1;
            totals.seconds += case.seconds.unwrap_or(0.0);
            match case.end {
                End::Not(FAILURE, ..) => totals.failures += 1,
                End::Not(ERROR, ..) => totals.errors += 1,
                End::Not(..) => totals.skipped += 1,
                End::Passed => {}
            }
        }
        totals
    }

    fn attributes(&self) -> String {
        format!(
            "tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{:.3}\"",
            self.tests, self.failures, self.errors, self.seconds
        )
    }
}

fn runs(report: &Report) -> Vec<Case> {
    let case = |run: &Ran| Case {
        name: run.text(),
        seconds: run.outcome.as_ref().map(|_| run.seconds),
        end: match &run.outcome {
            None => End::Not(SKIPPED, "not run", "not run".into()),
            Some(Outcome::Completed) => End::Passed,
            // A result, and one that a table would not want.
            Some(diverged @ Outcome::Diverged { .. }) => {
                End::Not(FAILURE, "diverged", diverged.to_string())
            }
            Some(other) => End::Not(ERROR, "failed", other.to_string()),
        },
    };
    report.runs.each.iter().map(case).collect()
}

/// The cells in which the paper reports a number.
fn cells(table: &Comparison) -> Vec<Case> {
    let mut cases = Vec::new();
    for row in &table.rows {
        for (head, cell) in table.columns.iter().zip(&row.cells) {
            let Some(weighed) = &cell.weighed else {
                continue;
            };
            let said = |element, kind| End::Not(element, kind, why(cell));
            cases.push(Case {
                name: format!("{}, {}", row.method, head.title),
                seconds: None,
                end: match weighed.verdict {
                    Verdict::Reproduced => End::Passed,
                    Verdict::Deviates => said(FAILURE, "deviates"),
                    Verdict::Diverged => said(FAILURE, "diverged"),
                    Verdict::Inconclusive => said(SKIPPED, "inconclusive"),
                    Verdict::NotRun => said(SKIPPED, "not run"),
                },
            });
        }
    }
    cases
}

fn claims(report: &Report) -> Vec<Case> {
    let finding = |claim: &Judged| -> Finding {
        match report.sides {
            Sides::Both => claim.ours.clone(),
            Sides::Paper => claim.paper.clone(),
        }
    };
    let case = |claim: &Judged| {
        let finding = finding(claim);
        let said = || finding.evidence.join("; ");
        Case {
            name: format!("{}: {}", claim.id, claim.says),
            seconds: None,
            end: match finding.ruling {
                Ruling::Holds => End::Passed,
                Ruling::Refuted => End::Not(FAILURE, "refuted", said()),
                Ruling::Undecided => End::Not(SKIPPED, "undecided", said()),
            },
        }
    };
    report.claims.iter().map(case).collect()
}

/// Text in a quoted attribute. XML has two letters fewer than Unicode, control characters aside.
fn escape(text: &str) -> String {
    html::escape(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}
