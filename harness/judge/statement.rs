//! Every kind of statement on the numbers of one side.
//!
//! A statement about several columns or pairs is a conjunction: each part is tested at the stated level without
//! correction, since claiming all of them at once cannot raise the error above it (intersection-union test,
//! Berger 1982). Where the best of several is picked first, or where any one of several tests would decide, the
//! p-values are corrected.

use crate::stats::holm;
use crate::suite::{
    Bound, Correlates, Direction, End, Extreme, Gap, MethodEntry, NotDifferent, Order, PassesClaim,
    Samples, Which,
};

use super::claim::all_of;
use super::numbers::{Losses, Value};
use super::pair::{EQUAL, Pair, gain, mean, name};
use super::verdict::p_text;
use super::{Finding, Numbers, Ruling, Side};

/// Lines of evidence of one ruling before the rest is only counted.
const LINES: usize = 6;

/// Methods are better than others.
pub(super) fn order(numbers: &Numbers, order: &Order) -> Finding {
    let over_columns = order.test.is_some_and(|test| test.over == Samples::Columns);
    let groups: Vec<&[String]> = if over_columns {
        vec![&order.columns[..]]
    } else {
        order.columns.chunks(1).collect()
    };
    let mut parts = Vec::new();
    for columns in groups {
        let Some(better) = numbers.better(&order.table, &columns[0]) else {
            return Finding::undecided(format!("column {} has no better direction", columns[0]));
        };
        let mut heads: Vec<&String> = order.better.iter().collect();
        if order.which == Which::Best {
            let best = best_of(numbers, &order.table, &order.better, columns, better);
            let Some(best) = best else {
                parts.push(Finding::undecided(format!(
                    "{}: a number is missing",
                    columns.join(", ")
                )));
                continue;
            };
            heads = vec![best];
        }
        // Picking the winner first and testing it then would favour it: Bonferroni over the candidates.
        let picked_from = if order.which == Which::Best {
            order.better.len()
        } else {
            1
        };
        for head in heads {
            for other in &order.than {
                let pair = Pair {
                    numbers,
                    table: &order.table,
                    columns,
                    a: head,
                    b: other,
                };
                parts.push(pair.better(better, order.test, picked_from));
            }
        }
    }
    conjunction(parts)
}

/// The best method by its mean over `columns`; none when one of them lacks a number.
fn best_of<'a>(
    numbers: &Numbers,
    table: &str,
    methods: &'a [String],
    columns: &[String],
    better: Direction,
) -> Option<&'a String> {
    let means: Option<Vec<(f64, &String)>> = methods
        .iter()
        .map(|method| Some((gain(numbers.mean(table, method, columns)?, better), method)))
        .collect();
    means?
        .into_iter()
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, method)| method)
}

/// A method, or one of several, is the best or the worst: no other is better, or worse; in every column, or in some.
pub(super) fn extreme(numbers: &Numbers, extreme: &Extreme) -> Finding {
    let rows = numbers
        .table(&extreme.table)
        .map_or(&[][..], |table| &table.rows);
    let others: Vec<&String> = match extreme.among.is_empty() {
        true => rows.iter().map(|row| &row.method).collect(),
        false => extreme.among.iter().collect(),
    };
    let parts = extreme.columns.iter().map(|column| {
        let Some(better) = numbers.better(&extreme.table, column) else {
            return Finding::undecided(format!("column {column} has no better direction"));
        };
        let sign = if extreme.is == End::Best { 1.0 } else { -1.0 };
        let mut losses = Losses::default();
        let mut own: Option<(&String, Value)> = None;
        for method in std::iter::once(&extreme.method).chain(&extreme.or) {
            let Some(value) = numbers.value(&extreme.table, method, column) else {
                return Finding::undecided(format!("{column}: no number for {method}"));
            };
            losses.add(method, [&value]);
            let ahead = |of: &(&String, Value)| sign * gain(value.mean - of.1.mean, better) > 0.0;
            if own.as_ref().is_none_or(ahead) {
                own = Some((method, value));
            }
        }
        let (method, value) = own.expect("there is one method at least");
        let mut beaten: Option<(f64, &String, f64)> = None;
        let mut missing = Vec::new();
        let is_other =
            |other: &&&String| **other != &extreme.method && !extreme.or.contains(**other);
        for other in others.iter().filter(is_other) {
            match numbers.value(&extreme.table, other, column) {
                None => missing.push(other.as_str()),
                Some(found) => {
                    losses.add(other, [&found]);
                    let by = sign * gain(found.mean - value.mean, better);
                    if beaten.is_none_or(|(most, ..)| by > most) {
                        beaten = Some((by, other, found.mean));
                    }
                }
            }
        }
        let decimals = value.decimals;
        let own = format!("{column}: {method} {:.decimals$}", value.mean);
        let finding = match beaten {
            Some((by, other, mean)) if by > EQUAL => {
                let word = if extreme.is == End::Best {
                    "better"
                } else {
                    "worse"
                };
                Finding::new(
                    Ruling::Refuted,
                    format!("{own}, but {other} {mean:.decimals$} is {word}"),
                )
            }
            _ if !missing.is_empty() => {
                Finding::undecided(format!("{own}, but no number for {}", missing.join(", ")))
            }
            Some((_, other, mean)) => Finding::new(
                Ruling::Holds,
                format!("{own}, next {other} {mean:.decimals$}"),
            ),
            None => Finding::undecided(format!("{own}, and nothing to compare it with")),
        };
        losses.beside(finding)
    });
    match extreme.at_least {
        None => conjunction(parts.collect()),
        Some(least) => counted(parts.collect(), least as usize),
    }
}

/// At least `least` of the parts.
fn counted(parts: Vec<Finding>, least: usize) -> Finding {
    let count = |ruling| parts.iter().filter(|part| part.ruling == ruling).count();
    let (hold, open) = (count(Ruling::Holds), count(Ruling::Undecided));
    let ruling = match hold {
        _ if hold >= least => Ruling::Holds,
        _ if hold + open < least => Ruling::Refuted,
        _ => Ruling::Undecided,
    };
    let undecided = match open {
        0 => String::new(),
        open => format!(", {open} undecided"),
    };
    let mut evidence = vec![format!(
        "in {hold} of {} columns{undecided}; {least} are claimed",
        parts.len()
    )];
    let lines = parts.iter().flat_map(|part| &part.evidence);
    evidence.extend(lines.take(LINES).cloned());
    if parts.len() > LINES {
        evidence.push(format!("{} more", parts.len() - LINES));
    }
    Finding { ruling, evidence }
}

/// No significant difference. Any column could refute it, so p-values are corrected (Holm 1979).
pub(super) fn not_different(numbers: &Numbers, same: &NotDifferent) -> Finding {
    let groups: Vec<&[String]> = match same.test.over {
        Samples::Columns => vec![&same.columns[..]],
        Samples::Seeds => same.columns.chunks(1).collect(),
    };
    let (mut tested, mut parts) = (Vec::new(), Vec::new());
    for columns in groups {
        let pair = Pair {
            numbers,
            table: &same.table,
            columns,
            a: &same.method,
            b: &same.from,
        };
        let (Some(a), Some(b)) = (pair.values(&same.method), pair.values(&same.from)) else {
            parts.push(pair.lacking());
            continue;
        };
        let text = pair.text(&a, &b);
        match pair.test(same.test, &a, &b) {
            Ok(outcome) => tested.push((outcome.p, text, pair.losses(&a, &b))),
            Err(why) => {
                let finding = Finding::undecided(format!("{text}: {why}"));
                parts.push(pair.losses(&a, &b).beside(finding));
            }
        }
    }
    let adjusted = holm(&tested.iter().map(|(p, ..)| *p).collect::<Vec<f64>>());
    for (p, (_, text, losses)) in adjusted.into_iter().zip(tested) {
        let ruling = if p < same.test.level {
            Ruling::Refuted
        } else {
            Ruling::Holds
        };
        let text = format!("{text}: {}, p = {}", name(same.test.name), p_text(p));
        parts.push(losses.beside(Finding::new(ruling, text)));
    }
    conjunction(parts)
}

/// Two columns correlate over methods.
pub(super) fn correlates(numbers: &Numbers, correlates: &Correlates) -> Finding {
    let parts = correlates.y.iter().map(|y| {
        let y_columns = std::slice::from_ref(y);
        let over = numbers.over_methods(
            &correlates.table,
            &correlates.x,
            y_columns,
            &correlates.without,
        );
        let pair = format!("{} with {y}", correlates.x);
        let missing = &over.missing;
        let finding = match over.correlation {
            None => Finding::undecided(format!(
                "{pair}: fewer than three methods have numbers that vary"
            )),
            Some(found) => {
                let text = format!(
                    "{pair}: r = {:.3}, p = {}, {} methods",
                    found.r,
                    p_text(found.p),
                    found.n
                );
                match missing.is_empty() {
                    true => {
                        let ruling = in_range(found.r, correlates.at_least, correlates.at_most);
                        match correlates.p_below {
                            Some(level) if ruling == Ruling::Holds && found.p >= level => {
                                Finding::undecided(format!("{text}, not below {level}"))
                            }
                            _ => Finding::new(ruling, text),
                        }
                    }
                    false => Finding::undecided(format!("{text}, without {}", missing.join(", "))),
                }
            }
        };
        over.losses.beside(finding)
    });
    conjunction(parts.collect())
}

fn in_range(value: f64, at_least: Option<f64>, at_most: Option<f64>) -> Ruling {
    let low = at_least.is_none_or(|least| value >= least - EQUAL);
    let high = at_most.is_none_or(|most| value <= most + EQUAL);
    if low && high {
        Ruling::Holds
    } else {
        Ruling::Refuted
    }
}

/// The distance between two methods lies in a range.
pub(super) fn gap(numbers: &Numbers, gap: &Gap) -> Finding {
    let parts = gap.columns.chunks(1).map(|columns| {
        let pair = Pair {
            numbers,
            table: &gap.table,
            columns,
            a: &gap.method,
            b: &gap.from,
        };
        let (Some(a), Some(b)) = (pair.values(&gap.method), pair.values(&gap.from)) else {
            return pair.lacking();
        };
        let difference = mean(&a) - mean(&b);
        let text = format!(
            "{}: {difference:+.*}",
            pair.text(&a, &b),
            a[0].decimals.max(b[0].decimals)
        );
        let finding = Finding::new(in_range(difference, gap.at_least, gap.at_most), text);
        pair.losses(&a, &b).beside(finding)
    });
    conjunction(parts.collect())
}

/// Values lie in a range.
pub(super) fn bound(numbers: &Numbers, bound: &Bound) -> Finding {
    let mut parts = Vec::new();
    for column in &bound.columns {
        for method in &bound.methods {
            parts.push(match numbers.value(&bound.table, method, column) {
                None => Finding::undecided(format!("{column}: no number for {method}")),
                Some(value) => {
                    let text = format!("{column}: {method} {:.*}", value.decimals, value.mean);
                    let ruling = in_range(value.mean, bound.at_least, bound.at_most);
                    Losses::of(method, [&value]).beside(Finding::new(ruling, text))
                }
            });
        }
    }
    conjunction(parts)
}

/// A method makes so many passes per update: on the paper's side those that its citation prints, on ours those that the
/// optimizer makes with the knobs the suite gives it.
pub(super) fn passes(numbers: &Numbers, claim: &PassesClaim) -> Finding {
    let stated = format!(
        "{}: {} forward and {} backward",
        claim.method, claim.forward, claim.backward
    );
    if numbers.side == Side::Paper {
        let printing = numbers.suite.citation.passes.as_ref();
        let printed =
            printing.and_then(|printing| Some((printing, printing.of.get(&claim.method)?)));
        let Some((printing, &[forward, backward])) = printed else {
            return Finding::undecided(format!(
                "{stated} are stated, with no printed number to check them against"
            ));
        };
        let same = (forward.into(), backward.into()) == (claim.forward, claim.backward);
        return Finding::new(
            if same { Ruling::Holds } else { Ruling::Refuted },
            format!(
                "{stated} stated, {forward} and {backward} printed ({})",
                printing.place
            ),
        );
    }
    let (forward, backward, per_example) = match numbers.suite.methods.get(&claim.method) {
        Some(MethodEntry::Trained(method)) => {
            let passes = method.passes();
            (
                u64::from(passes.forward),
                u64::from(passes.backward),
                passes.per_example,
            )
        }
        Some(MethodEntry::Untrained(_)) => (0, 0, false),
        None => return Finding::undecided(format!("{stated}: no such method")),
    };
    let more = if per_example {
        ", and one pass each per example"
    } else {
        ""
    };
    let same = (forward, backward) == (claim.forward, claim.backward) && !per_example;
    let ruling = if same { Ruling::Holds } else { Ruling::Refuted };
    Finding::new(
        ruling,
        format!("{stated} stated, {forward} and {backward}{more} made"),
    )
}

/// All parts at once; the deciding lines first, the rest counted.
fn conjunction(parts: Vec<Finding>) -> Finding {
    let ruling = all_of(parts.iter().map(|part| part.ruling));
    let count = parts.len();
    let mut evidence = Vec::new();
    for kind in [Ruling::Refuted, Ruling::Undecided, Ruling::Holds] {
        let lines: Vec<&String> = parts
            .iter()
            .filter(|part| part.ruling == kind)
            .flat_map(|part| &part.evidence)
            .collect();
        let shown = if kind == Ruling::Holds && kind != ruling {
            0
        } else {
            LINES
        };
        evidence.extend(lines.iter().take(shown).map(|line| line.to_string()));
        if lines.len() > shown {
            let rest = if shown == 0 {
                lines.len()
            } else {
                lines.len() - shown
            };
            let more = if shown == 0 { "" } else { " more" };
            evidence.push(format!("{rest}{more} of {count} {kind}"));
        }
    }
    Finding { ruling, evidence }
}
