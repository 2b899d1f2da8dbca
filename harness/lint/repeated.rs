//! What stands in several places, and what should differ but does not.

use std::collections::{BTreeSet, HashMap};

use crate::suite::{Column, Reported, Suite};

use super::rounding::Range;
use super::sheet::{Sheet, place, printed};
use super::{Finding, Rule, Severity};

/// Rows of two methods that agree in fewer digits than this may do so by chance.
const DIGITS: usize = 12;

/// The tables of a suite as the paper prints them. One that repeats an earlier table of the same place, for methods
/// of ours that read the paper in another way, is left out; where it repeats it wrongly is a finding.
pub(super) fn sheets<'a>(suite: &'a Suite, found: &mut Vec<Finding>) -> Vec<Sheet<'a>> {
    let mut kept: Vec<Sheet> = Vec::new();
    for sheet in Sheet::all(suite) {
        let original = kept.iter().find(|other| repeats(&sheet, other));
        match original {
            None => kept.push(sheet),
            Some(original) => {
                found.extend(unlike(&sheet, original));
                found.extend(readings(&sheet, original));
            }
        }
    }
    kept
}

/// Whether `sheet` says that it reads `original`, or has its place and columns, none of its methods, and most of its rows
/// from there.
fn repeats(sheet: &Sheet, original: &Sheet) -> bool {
    let (a, b) = (sheet.table, original.table);
    if a.reading_of.as_ref() == Some(&b.id) {
        return true;
    }
    let same_columns = a
        .columns
        .iter()
        .map(Column::id)
        .eq(b.columns.iter().map(Column::id));
    let other_methods = a
        .rows
        .iter()
        .all(|row| b.rows.iter().all(|other| other.method != row.method));
    let rows = a.rows.iter();
    let copied = rows.filter(|row| {
        b.rows
            .iter()
            .any(|other| same_numbers(&row.reported, &other.reported))
    });
    a.place == b.place && same_columns && other_methods && 2 * copied.count() > a.rows.len()
}

fn unlike(sheet: &Sheet, original: &Sheet) -> Vec<Finding> {
    let rows = sheet.table.rows.iter().enumerate();
    let strange = rows.filter(|(_, row)| {
        let known = &original.table.rows;
        !known
            .iter()
            .any(|other| same_numbers(&row.reported, &other.reported))
    });
    strange
        .map(|(i, row)| Finding {
            severity: Severity::Contradiction,
            rule: Rule::SamePlace,
            place: sheet.row(i),
            also: Vec::new(),
            subject: row.method.clone(),
            stated: format!("is printed as {}", first_numbers(&row.reported)),
            follows: format!(
                "no row of `{}`, which stands in the same place and has the rest of this table, has these numbers",
                original.table.id
            ),
            off: None,
        })
        .collect()
}

/// That one row of the paper stands for methods with other knobs: its numbers come from one of them at most.
fn readings(sheet: &Sheet, original: &Sheet) -> Option<Finding> {
    let mut knobs = BTreeSet::new();
    let mut methods = 0;
    for row in &sheet.table.rows {
        let own = knobs_of(sheet, &row.method);
        let originals = original.table.rows.iter();
        let read = originals
            .filter(|other| same_numbers(&row.reported, &other.reported))
            .map(|other| knobs_of(original, &other.method))
            .find(|other| other.get("method") == own.get("method"));
        let Some(other) = read else { continue };
        let keys: BTreeSet<&String> = own.keys().chain(other.keys()).collect();
        let differ = keys
            .into_iter()
            .filter(|key| own.get(*key) != other.get(*key));
        let differ: Vec<String> = differ.cloned().collect();
        methods += usize::from(!differ.is_empty());
        knobs.extend(differ);
    }
    let listed: Vec<String> = knobs.iter().map(|knob| format!("`{knob}`")).collect();
    (methods > 0).then(|| Finding {
        severity: Severity::Doubt,
        rule: Rule::SamePlace,
        place: place(sheet.suite, &sheet.at, &sheet.table.place),
        also: vec![place(original.suite, &original.at, &original.table.place)],
        subject: format!("`{}`", sheet.table.id),
        stated: format!(
            "gives numbers of `{}` to {methods} {}, with {} other than there",
            original.table.id,
            if methods == 1 { "method" } else { "methods" },
            listed.join(", ")
        ),
        follows: "the paper's numbers come from one of the two readings at most".into(),
        off: None,
    })
}

fn knobs_of(sheet: &Sheet, method: &str) -> serde_json::Map<String, serde_json::Value> {
    let entry = serde_json::to_value(&sheet.suite.methods[method]).expect("a method is plain data");
    entry.as_object().cloned().unwrap_or_default()
}

fn same_numbers(a: &[Option<Reported>], b: &[Option<Reported>]) -> bool {
    let numbers = |cells: &[Option<Reported>]| -> Vec<Option<(f64, Option<f64>)>> {
        let cells = cells.iter().map(Option::as_ref);
        cells
            .map(|cell| cell.map(|cell| (cell.value, cell.spread_beside())))
            .collect()
    };
    numbers(a) == numbers(b)
}

/// `21.8 23.0 23.3 ...`, enough to find a row.
fn first_numbers(cells: &[Option<Reported>]) -> String {
    let numbers: Vec<String> = cells.iter().flatten().map(printed).collect();
    let more = if numbers.len() > 4 { " ..." } else { "" };
    format!("{}{more}", numbers[..numbers.len().min(4)].join(" "))
}

/// The digits that count of a number and of its spread.
fn digits(cell: &Reported) -> usize {
    let decimals = cell.decimals as usize;
    let text = |value: f64| format!("{:.decimals$}", value.abs());
    let count = |text: String| {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        digits.trim_start_matches('0').len()
    };
    let spread = cell.spread_beside();
    count(text(cell.value)) + spread.map_or(0, |spread| count(text(spread)))
}

/// Different methods whose rows are the same to the printed digit.
pub(super) fn rows(sheet: &Sheet, found: &mut Vec<Finding>) {
    let measured: Vec<usize> = (0..sheet.table.columns.len())
        .filter(|c| matches!(sheet.table.columns[*c], Column::Measured(_)))
        .collect();
    let numbers = |row: usize| -> Vec<Option<Reported>> {
        (0..sheet.table.columns.len())
            .map(|c| sheet.cell(row, c).cloned())
            .collect()
    };
    for row in 0..sheet.table.rows.len() {
        let own = numbers(row);
        if own.iter().flatten().map(digits).sum::<usize>() < DIGITS {
            continue;
        }
        let twin = (0..row).find(|other| {
            let differ = measured.iter().any(|c| {
                let column = &sheet.table.columns[*c];
                sheet.quantity(row, column) != sheet.quantity(*other, column)
            });
            differ && same_numbers(&own, &numbers(*other))
        });
        let Some(twin) = twin else { continue };
        found.push(Finding {
            severity: Severity::Doubt,
            rule: Rule::SameRow,
            place: sheet.row(row),
            also: Vec::new(),
            subject: sheet.table.rows[row].method.clone(),
            stated: format!("is printed as {}", first_numbers(&own)),
            follows: format!(
                "{} has the same {} numbers to the printed digit, though it is another method",
                sheet.table.rows[twin].method,
                own.iter().flatten().count()
            ),
            off: None,
        });
    }
}

/// One quantity printed twice, in one table or several, in one suite or several.
pub(super) fn quantities(sheets: &[Sheet], found: &mut Vec<Finding>) {
    let mut known: HashMap<String, (&Sheet, usize, usize)> = HashMap::new();
    for sheet in sheets {
        for row in 0..sheet.table.rows.len() {
            for (c, column) in sheet.table.columns.iter().enumerate() {
                let (Some(cell), Some(quantity)) =
                    (sheet.cell(row, c), sheet.quantity(row, column))
                else {
                    continue;
                };
                let Some(&(first, first_row, first_column)) = known.get(&quantity) else {
                    known.insert(quantity, (sheet, row, c));
                    continue;
                };
                let Some(other) = first.cell(first_row, first_column) else {
                    continue;
                };
                let differ = !Range::of(cell).overlaps(&Range::of(other));
                let spreads = cell.spread_beside().zip(other.spread_beside());
                let spread = spreads.filter(|(a, b)| cell.kind == other.kind && a != b);
                let shown = match (differ, spread) {
                    (true, _) => (printed(cell), printed(other), cell.value - other.value),
                    (false, Some((a, b))) => (format!("±{a}"), format!("±{b}"), a - b),
                    (false, None) => continue,
                };
                let (here, there, off) = shown;
                found.push(Finding {
                    severity: Severity::Contradiction,
                    rule: Rule::SameQuantity,
                    place: sheet.row(row),
                    also: vec![first.row(first_row)],
                    subject: sheet.subject(row, c),
                    stated: format!("is printed as {here}"),
                    follows: format!(
                        "{} prints the same as {there}, {} by {:.*}",
                        first.table.place,
                        if off > 0.0 { "lower" } else { "higher" },
                        cell.decimals.max(other.decimals) as usize,
                        off.abs()
                    ),
                    off: Some(off),
                });
            }
        }
    }
}
