//! Claims: a sentence of the paper, judged on the printed numbers and on ours.

use crate::suite::{Claim, Statement, Suite};

use super::statement;
use super::{Cells, Numbers, Side};

/// What the numbers say about a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// They support it.
    Holds,
    /// They contradict it.
    Refuted,
    /// They are missing, equal, or too noisy.
    Undecided,
}

impl std::fmt::Display for Ruling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Ruling::Holds => "holds",
            Ruling::Refuted => "refuted",
            Ruling::Undecided => "undecided",
        })
    }
}

/// A ruling with the numbers behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What the numbers say.
    pub ruling: Ruling,
    /// One line each, the decisive ones first.
    pub evidence: Vec<String>,
}

impl Finding {
    pub(super) fn new(ruling: Ruling, evidence: impl Into<String>) -> Finding {
        Finding {
            ruling,
            evidence: vec![evidence.into()],
        }
    }

    pub(super) fn undecided(evidence: impl Into<String>) -> Finding {
        Finding::new(Ruling::Undecided, evidence)
    }
}

/// A claim with both findings.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The claim's short name.
    pub id: String,
    /// The sentence.
    pub says: String,
    /// Where the paper says it.
    pub place: String,
    /// On the paper's printed numbers.
    pub paper: Finding,
    /// On ours.
    pub ours: Finding,
}

/// Judges a claim on both sides.
pub fn judge_claim(suite: &Suite, cells: &Cells, claim: &Claim) -> Judged {
    let on = |side| judge_statement(&Numbers { suite, cells, side }, &claim.holds);
    Judged {
        id: claim.id.clone(),
        says: claim.says.clone(),
        place: claim.place.clone(),
        paper: on(Side::Paper),
        ours: on(Side::Ours),
    }
}

fn judge_statement(numbers: &Numbers, statement: &Statement) -> Finding {
    match statement {
        Statement::Order(order) => statement::order(numbers, order),
        Statement::Extreme(extreme) => statement::extreme(numbers, extreme),
        Statement::NotDifferent(same) => statement::not_different(numbers, same),
        Statement::Correlates(correlates) => statement::correlates(numbers, correlates),
        Statement::Gap(gap) => statement::gap(numbers, gap),
        Statement::Bound(bound) => statement::bound(numbers, bound),
        Statement::Passes(passes) => statement::passes(numbers, passes),
        Statement::AllOf(all) => {
            let findings: Vec<Finding> = all
                .iter()
                .map(|statement| judge_statement(numbers, statement))
                .collect();
            let ruling = all_of(findings.iter().map(|finding| finding.ruling));
            join(findings, ruling)
        }
        Statement::AnyOf(any) => {
            let findings: Vec<Finding> = any
                .iter()
                .map(|statement| judge_statement(numbers, statement))
                .collect();
            let ruling = any_of(findings.iter().map(|finding| finding.ruling));
            join(findings, ruling)
        }
    }
}

/// One refuted part refutes the whole; nothing holds of nothing.
pub(super) fn all_of(rulings: impl Iterator<Item = Ruling>) -> Ruling {
    let mut whole = None;
    for ruling in rulings {
        whole = match (whole, ruling) {
            (_, Ruling::Refuted) => return Ruling::Refuted,
            (None | Some(Ruling::Holds), Ruling::Holds) => Some(Ruling::Holds),
            _ => Some(Ruling::Undecided),
        };
    }
    whole.unwrap_or(Ruling::Undecided)
}

/// One part that holds is enough; only when all are refuted is the whole.
fn any_of(rulings: impl Iterator<Item = Ruling>) -> Ruling {
    let turned = |ruling| match ruling {
        Ruling::Holds => Ruling::Refuted,
        Ruling::Refuted => Ruling::Holds,
        Ruling::Undecided => Ruling::Undecided,
    };
    turned(all_of(rulings.map(turned)))
}

/// The parts that decided come first.
fn join(findings: Vec<Finding>, ruling: Ruling) -> Finding {
    let (decisive, other): (Vec<_>, Vec<_>) = findings
        .into_iter()
        .partition(|finding| finding.ruling == ruling);
    Finding {
        ruling,
        evidence: decisive
            .into_iter()
            .chain(other)
            .flat_map(|finding| finding.evidence)
            .collect(),
    }
}
