//! Sentences of the paper on its own numbers: refuted, not shown, or beyond what so few samples can show.

use crate::judge::{Cells, Ruling, direction, judge_claim, p_text, printed_estimate};
use crate::suite::{
    Claim, Correlates, Direction, Extreme, Order, Reported, Samples, Statement, Suite, Test,
    TestOver, Which,
};

use super::rounding::EPSILON;
use super::sheet::{Sheet, place, printed};
use super::{Finding, Rule, Severity};

/// Evidence beyond this is counted.
const LINES: usize = 3;
/// So many samples reach every level.
const MANY: u64 = 1000;

/// Every claim, statement by statement.
pub(super) fn claims(suite: &Suite, found: &mut Vec<Finding>) {
    for (i, claim) in suite.claims.iter().enumerate() {
        let at = format!("/claims/{i}/holds");
        for (path, leaf) in leaves(&claim.holds, &at) {
            let audit = Audit {
                suite,
                claim,
                path: &path,
            };
            audit.numbers(leaf, found);
            audit.significance(leaf, found);
        }
    }
}

/// The statements that must all hold, with their paths.
fn leaves<'a>(statement: &'a Statement, at: &str) -> Vec<(String, &'a Statement)> {
    let parts = match statement {
        Statement::AllOf(parts) => parts.iter().enumerate(),
        other => return vec![(at.to_string(), other)],
    };
    parts
        .flat_map(|(i, part)| leaves(part, &format!("{at}/all_of/{i}")))
        .collect()
}

struct Audit<'a> {
    suite: &'a Suite,
    claim: &'a Claim,
    path: &'a str,
}

impl Audit<'_> {
    /// What the printed numbers say about a statement, comparison by comparison.
    fn numbers(&self, leaf: &Statement, found: &mut Vec<Finding>) {
        let (mut refuted, mut unshown, mut equal) = (Vec::new(), Vec::new(), Vec::new());
        for atom in atoms(leaf) {
            let (ruling, evidence) = self.judge(&atom);
            match (ruling, &atom) {
                (Ruling::Refuted, _) => refuted.push(evidence),
                (Ruling::Undecided, Statement::Correlates(_)) if self.is_correlated(&atom) => {
                    unshown.push(evidence);
                }
                (Ruling::Undecided, Statement::Order(order)) if self.all_printed(order) => {
                    match order.test {
                        Some(test) if self.testable(order, test) => unshown.push(evidence),
                        _ => equal.push(evidence),
                    }
                }
                _ => {}
            }
        }
        for (severity, rule, evidence) in [
            (Severity::Contradiction, Rule::Claim, refuted),
            (Severity::Doubt, Rule::Significance, unshown),
            (Severity::Doubt, Rule::Claim, equal),
        ] {
            if !evidence.is_empty() {
                found.push(self.finding(severity, rule, listed(&evidence)));
            }
        }
    }

    /// Passes are held against what the method makes; everything else against what is printed. Where the values that a
    /// test needs are not printed, the order alone is.
    fn judge(&self, atom: &Statement) -> (Ruling, String) {
        let holds = match atom {
            Statement::Order(order)
                if order.test.is_some_and(|test| !self.testable(order, test)) =>
            {
                Statement::Order(Order {
                    test: None,
                    ..order.clone()
                })
            }
            other => other.clone(),
        };
        let claim = Claim {
            holds,
            ..self.claim.clone()
        };
        let judged = judge_claim(self.suite, &Cells::default(), &claim);
        let finding = match atom {
            Statement::Passes(_) => judged.ours,
            _ => judged.paper,
        };
        (finding.ruling, finding.evidence.join("; "))
    }

    /// Whether it is the level alone that a correlation misses.
    fn is_correlated(&self, atom: &Statement) -> bool {
        let Statement::Correlates(correlates) = atom else {
            return false;
        };
        let without_level = Statement::Correlates(Correlates {
            p_below: None,
            ..correlates.clone()
        });
        correlates.p_below.is_some() && self.judge(&without_level).0 == Ruling::Holds
    }

    /// Whether the level can be reached by so many samples at all; one-sided, where it is reached soonest.
    fn significance(&self, leaf: &Statement, found: &mut Vec<Finding>) {
        let (table, columns, methods, test) = match leaf {
            Statement::Order(s) => match s.test {
                Some(test) => (&s.table, &s.columns, &s.than, test),
                None => return,
            },
            Statement::NotDifferent(s) => (
                &s.table,
                &s.columns,
                &vec![s.method.clone(), s.from.clone()],
                s.test,
            ),
            _ => return,
        };
        let seeds = columns.iter().find_map(|column| {
            methods
                .iter()
                .find_map(|method| self.cell(table, method, column)?.seeds)
        });
        let too_few = |n: u64| {
            let least = smallest_p(test.name, n);
            (least >= test.level).then_some(least)
        };
        let counted = |n: u64, what: &str| match n {
            1 => format!("1 {what} supports"),
            n => format!("{n} {what}s support"),
        };
        let name = name(test.name);
        match test.over {
            Samples::Seeds => {
                if let Some((n, least)) = seeds.and_then(|n| Some((n, too_few(n)?))) {
                    let follows = format!(
                        "{} no p below {} by {name}, even one-sided",
                        counted(n, "seed"),
                        p_text(least)
                    );
                    found.push(self.finding(Severity::Contradiction, Rule::Significance, follows));
                }
            }
            Samples::Columns => {
                let n = columns.len() as u64;
                if let Some(least) = too_few(n) {
                    let follows = format!(
                        "{} no p below {} by {name}, even one-sided",
                        counted(n, "column"),
                        p_text(least)
                    );
                    found.push(self.finding(Severity::Contradiction, Rule::Significance, follows));
                }
                if let Some(n) = seeds.filter(|n| too_few(*n).is_some()) {
                    let follows = format!(
                        "each number of `{table}` is over {}, where {name} never reaches p < {}, so that it can only \
                         be over the {} columns",
                        if n == 1 {
                            "1 seed".into()
                        } else {
                            format!("{n} seeds")
                        },
                        test.level,
                        columns.len()
                    );
                    found.push(self.finding(Severity::Note, Rule::Significance, follows));
                }
            }
        }
    }

    fn finding(&self, severity: Severity, rule: Rule, follows: String) -> Finding {
        Finding {
            severity,
            rule,
            place: place(self.suite, self.path, &self.claim.place),
            also: Vec::new(),
            subject: self.claim.id.clone(),
            stated: format!("says “{}”", self.claim.says.trim_end_matches('.')),
            follows,
            off: None,
        }
    }

    fn cell(&self, table: &str, method: &str, column: &str) -> Option<&Reported> {
        self.suite.table(table)?.reported(method, column)
    }

    fn cells<'a>(&'a self, order: &'a Order) -> impl Iterator<Item = Option<&'a Reported>> {
        let methods = order.better.iter().chain(&order.than);
        methods.flat_map(move |method| {
            let columns = order.columns.iter();
            columns.map(move |column| self.cell(&order.table, method, column))
        })
    }

    fn all_printed(&self, order: &Order) -> bool {
        self.cells(order).all(|cell| cell.is_some())
    }

    /// Whether the paper prints what the test needs.
    fn testable(&self, order: &Order, test: TestOver) -> bool {
        match (test.over, test.name) {
            (Samples::Columns, _) => true,
            (Samples::Seeds, Test::Welch) => self
                .cells(order)
                .all(|cell| cell.and_then(printed_estimate).is_some()),
            (Samples::Seeds, Test::Wilcoxon | Test::KolmogorovSmirnov) => false,
        }
    }
}

/// A statement in the single comparisons that it is a conjunction of.
fn atoms(leaf: &Statement) -> Vec<Statement> {
    match leaf {
        Statement::Order(order) => order_atoms(order),
        Statement::Extreme(extreme) if extreme.at_least.is_none() => {
            one_by_one(&extreme.columns, |columns| {
                Statement::Extreme(Extreme {
                    columns,
                    ..extreme.clone()
                })
            })
        }
        Statement::Correlates(correlates) => one_by_one(&correlates.y, |y| {
            Statement::Correlates(Correlates {
                y,
                ..correlates.clone()
            })
        }),
        other => vec![other.clone()],
    }
}

fn one_by_one(names: &[String], make: impl Fn(Vec<String>) -> Statement) -> Vec<Statement> {
    names.iter().map(|name| make(vec![name.clone()])).collect()
}

fn order_atoms(order: &Order) -> Vec<Statement> {
    let over_columns = order.test.is_some_and(|test| test.over == Samples::Columns);
    let groups: Vec<&[String]> = match over_columns {
        true => vec![&order.columns[..]],
        false => order.columns.chunks(1).collect(),
    };
    // The best of several is known only beside the others.
    let heads: Vec<&[String]> = match order.which {
        Which::Best => vec![&order.better[..]],
        Which::Each => order.better.chunks(1).collect(),
    };
    let mut atoms = Vec::new();
    for columns in groups {
        for better in &heads {
            for other in &order.than {
                atoms.push(Statement::Order(Order {
                    columns: columns.to_vec(),
                    better: better.to_vec(),
                    than: vec![other.clone()],
                    ..order.clone()
                }));
            }
        }
    }
    atoms
}

/// The smallest one-sided p that `n` samples a side, or pairs, can have; 1 where there is no test. A paper seldom says
/// how many sides its tests have, so the smaller of both possibilities is given.
fn smallest_p(test: Test, n: u64) -> f64 {
    match test {
        // All pairs on one side: one of 2^n assignments of signs.
        Test::Wilcoxon => 0.5f64.powf(n as f64),
        // The samples apart: one of (2n choose n) orders.
        Test::KolmogorovSmirnov => (1..=n.min(MANY))
            .map(|k| k as f64 / (n + k) as f64)
            .product(),
        Test::Welch if n < 2 => 1.0,
        Test::Welch => 0.0,
    }
}

fn name(test: Test) -> &'static str {
    match test {
        Test::Welch => "Welch's test",
        Test::Wilcoxon => "Wilcoxon's test",
        Test::KolmogorovSmirnov => "the Kolmogorov-Smirnov test",
    }
}

fn listed(lines: &[String]) -> String {
    let mut text = lines[..lines.len().min(LINES)].join("; ");
    if lines.len() > LINES {
        text += &format!("; and {} more", lines.len() - LINES);
    }
    text
}

/// Bold print against the best of its column.
pub(super) fn bold(sheet: &Sheet, found: &mut Vec<Finding>) {
    for (id, methods) in &sheet.table.bold {
        let columns = &sheet.table.columns;
        let Some(c) = columns.iter().position(|column| column.id() == id) else {
            continue;
        };
        let Some(better) = direction(sheet.suite, sheet.table, &columns[c]) else {
            continue;
        };
        let gain = |value: f64| match better {
            Direction::Higher => value,
            Direction::Lower => -value,
        };
        let rows = 0..sheet.table.rows.len();
        let printed_rows = rows.filter_map(|row| Some((row, sheet.cell(row, c)?)));
        let best = printed_rows.max_by(|a, b| gain(a.1.value).total_cmp(&gain(b.1.value)));
        let Some((best_row, best)) = best else {
            continue;
        };
        for method in methods {
            let row = sheet
                .table
                .rows
                .iter()
                .position(|row| row.method == *method);
            let Some((row, cell)) = row.and_then(|row| Some((row, sheet.cell(row, c)?))) else {
                continue;
            };
            let off = gain(best.value) - gain(cell.value);
            if off > EPSILON {
                found.push(Finding {
                    severity: Severity::Contradiction,
                    rule: Rule::Bold,
                    place: sheet.row(row),
                    also: vec![sheet.row(best_row)],
                    subject: sheet.subject(row, c),
                    stated: format!("is printed in bold with {}", printed(cell)),
                    follows: format!(
                        "{} has {}, better by {off:.*}",
                        sheet.table.rows[best_row].method,
                        printed(best),
                        cell.decimals.max(best.decimals) as usize
                    ),
                    off: Some(off),
                });
            }
        }
    }
}
