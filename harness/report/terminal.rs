//! The comparison table for a terminal, 100 columns wide unless told otherwise.

use std::fmt::Write;
use std::io::IsTerminal;

use super::markdown::{LEGEND, as_printed, list, note, origins, sign, without};
use super::number::{fixed, or_nothing};
use super::{Comparison, Derived, Lines, Mark, Report, Shown, Sides, steers};
use crate::judge::{Ruling, Verdict};

/// How to write for a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether colours may be used.
    pub colours: bool,
    /// Columns.
    pub width: usize,
}

impl Style {
    /// Colours only where standard output is a terminal and `NO_COLOR` is not set.
    pub fn of_stdout() -> Style {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Style {
            colours: std::io::stdout().is_terminal() && !refused,
            width: 100,
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours && !colour.is_empty() {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.into()
        }
    }
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";

/// The tables, what the paper claims, and what ran.
pub fn page(report: &Report, style: Style) -> String {
    let mut out = String::new();
    for table in report.shown_tables() {
        comparison(&mut out, table, report.sides, style);
    }
    for table in &report.derived {
        derived(&mut out, table, report.sides, style);
    }
    for claim in &report.claims {
        let _ = writeln!(
            out,
            "{}",
            wrapped(
                &format!("Claim ({}): {}", plain(&claim.place), plain(&claim.says)),
                style.width
            )
        );
        let ours = ("on ours", &claim.ours);
        let ours = (report.sides == Sides::Both).then_some(ours);
        let paper = ("on the paper's numbers", &claim.paper);
        for (whose, finding) in std::iter::once(paper).chain(ours) {
            let ruling = style.paint(ruling_colour(finding.ruling), &finding.ruling.to_string());
            let _ = writeln!(out, "  {whose}: {ruling}");
            // The first line decides; the rest is in the files.
            let first = finding
                .evidence
                .first()
                .map(|line| plain(line))
                .unwrap_or_default();
            let evidence = wrapped(&first, style.width.saturating_sub(4));
            evidence
                .lines()
                .for_each(|line| out.push_str(&format!("    {}\n", style.paint(DIM, line))));
        }
        out.push('\n');
    }
    if report.sides == Sides::Paper {
        return out;
    }
    let _ = writeln!(
        out,
        "{}",
        wrapped(&format!("{}.", plain(&report.runs.text())), style.width)
    );
    if let Some(verdicts) = report.verdicts_text() {
        let _ = writeln!(
            out,
            "{}",
            wrapped(
                &format!("Cells beside the paper's: {verdicts}."),
                style.width
            )
        );
    }
    let mixed = report.provenance.mixed();
    if !mixed.is_empty() {
        let text = format!("Mixed provenance: the runs differ in {}.", mixed.join(", "));
        let _ = writeln!(out, "{}", style.paint(YELLOW, &wrapped(&text, style.width)));
    }
    out
}

fn ruling_colour(ruling: Ruling) -> &'static str {
    match ruling {
        Ruling::Holds => GREEN,
        Ruling::Refuted => RED,
        Ruling::Undecided => YELLOW,
    }
}

fn verdict_colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reproduced => GREEN,
        Verdict::Deviates | Verdict::Diverged => RED,
        Verdict::Inconclusive => YELLOW,
        Verdict::NotRun => DIM,
    }
}

/// A cell's text and its colour.
type Piece = (String, &'static str);

/// As many columns side by side as fit; the rest below.
fn comparison(out: &mut String, table: &Comparison, sides: Sides, style: Style) {
    let title = format!("{} · {}", plain(&table.place), plain(&table.title));
    let _ = writeln!(
        out,
        "{}\n",
        style.paint(BOLD, &wrapped(&title, style.width))
    );
    let lines = table.lines(sides);
    let names: Vec<String> = table
        .rows
        .iter()
        .map(|row| clip(&plain(&row.title), 24))
        .collect();
    let whose = if lines == Lines::Both { 7 } else { 0 };
    let first = names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0)
        .max(6)
        + whose;
    let columns: Vec<Vec<Piece>> = (0..table.columns.len())
        .map(|c| column(table, c, lines))
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .map(|pieces| {
            pieces
                .iter()
                .map(|(text, _)| text.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut start = 0;
    while start < columns.len() {
        let mut end = start + 1;
        let mut used = first + 2 + widths[start];
        while end < columns.len() && used + 2 + widths[end] <= style.width {
            used += 2 + widths[end];
            end += 1;
        }
        let line = |out: &mut String, label: &str, index: usize| {
            let _ = write!(out, "{}", pad(label, first));
            let mut text = String::new();
            for c in start..end {
                let (piece, colour) = &columns[c][index];
                let blank = " ".repeat(widths[c] - piece.chars().count() + 2);
                let _ = write!(text, "{blank}{}", style.paint(colour, piece));
            }
            let _ = writeln!(out, "{}", text.trim_end());
        };
        line(out, "", 0);
        for (r, row) in table.rows.iter().enumerate() {
            if let Some(group) = &row.group {
                let _ = writeln!(
                    out,
                    "{}",
                    style.paint(DIM, &clip(&plain(group), style.width))
                );
            }
            if lines == Lines::Both {
                line(
                    out,
                    &format!("{} paper", pad(&names[r], first - 6)),
                    1 + 2 * r,
                );
                line(out, &format!("{} ours", " ".repeat(first - 6)), 2 + 2 * r);
            } else {
                line(out, &names[r], 1 + r);
            }
        }
        out.push('\n');
        start = end;
    }
    let best = match table.marks_words("", "").is_empty() {
        true => "",
        false => "; * best",
    };
    let signs = origins(table.origins());
    let text = match lines {
        Lines::Both => format!("{LEGEND}; {}{best}.{signs}", note(table)),
        Lines::Paper => format!("{}{best}.", as_printed(table)),
        Lines::Ours => format!("{}{best}.{signs}", note(table)),
    };
    let _ = writeln!(out, "{}\n", style.paint(DIM, &wrapped(&text, style.width)));
}

/// The header and the cells of one column, top to bottom.
fn column(table: &Comparison, c: usize, lines: Lines) -> Vec<Piece> {
    let mut pieces = vec![(clip(&plain(&table.columns[c].text()), 24), BOLD)];
    for row in &table.rows {
        let cell = &row.cells[c];
        let mark = if cell.paper_mark == Mark::Best {
            "*"
        } else {
            " "
        };
        let paper = format!("{}{mark}", or_nothing(&cell.paper));
        match lines {
            Lines::Both => {
                pieces.push((format!("{paper}  "), DIM));
                pieces.push(ours(cell, true));
            }
            Lines::Paper => pieces.push((paper, "")),
            Lines::Ours => pieces.push(ours(cell, false)),
        }
    }
    pieces
}

fn ours(cell: &Shown, reported: bool) -> Piece {
    let mark = if cell.ours_mark == Mark::Best {
        "*"
    } else {
        " "
    };
    let number = match &cell.ours {
        Some(number) if cell.n < cell.planned => {
            format!("({} of {}) {number}", cell.n, cell.planned)
        }
        Some(number) => number.to_string(),
        None if cell.diverged > 0 => "diverged –".into(),
        None => "–".into(),
    };
    let number = format!("{number}{}", cell.origin.signs());
    match &cell.weighed {
        Some(weighed) => (
            format!("{number}{mark} {}", sign(weighed.verdict)),
            verdict_colour(weighed.verdict),
        ),
        None if reported => (format!("{number}{mark}  "), ""),
        None => (format!("{number}{mark}"), ""),
    }
}

fn derived(out: &mut String, table: &Derived, sides: Sides, style: Style) {
    let title = format!("{} · {}", plain(&table.place), plain(&table.title));
    let _ = writeln!(
        out,
        "{}\n",
        style.paint(BOLD, &wrapped(&title, style.width))
    );
    let ours = match sides {
        Sides::Both => format!("{:>10}", "ours"),
        Sides::Paper => String::new(),
    };
    let _ = writeln!(
        out,
        "{}{:>10}{:>12}{ours}",
        pad("", 24),
        "paper",
        "recomputed"
    );
    for row in &table.rows {
        let number = |number: Option<f64>| {
            number.map_or("–".into(), |number| fixed(number, row.value.decimals))
        };
        let recomputed = row.value.recomputed.map(|found| found.r);
        let ours = row.value.ours.map(|found| found.r);
        let name = pad(&clip(&plain(&row.title), 24), 24);
        if sides == Sides::Paper {
            let _ = writeln!(
                out,
                "{name}{:>10}{:>12}",
                number(row.value.printed.as_ref().map(|printed| printed.value)),
                number(recomputed)
            );
            continue;
        }
        let verdict = row.value.weighed.as_ref().map(|weighed| weighed.verdict);
        let line = format!(
            "{name}{:>10}{:>12}{:>10}",
            number(row.value.printed.as_ref().map(|printed| printed.value)),
            number(recomputed),
            number(ours) + row.origin.signs(),
        );
        let judged = verdict.map_or(String::new(), |verdict| {
            style.paint(verdict_colour(verdict), &format!(" {}", sign(verdict)))
        });
        let missing = match row.value.missing.is_empty() {
            true => String::new(),
            false => format!(" {}", without(&row.value.missing)),
        };
        let room = style.width.saturating_sub(line.chars().count() + 2);
        let _ = writeln!(
            out,
            "{line}{judged}{}",
            clip(&plain(&missing), room).trim_end()
        );
    }
    let note = match sides {
        Sides::Both => format!(
            "{}; {LEGEND}.{}",
            plain(&table.from),
            origins(table.origins())
        ),
        Sides::Paper => format!("{}.", plain(&table.from)),
    };
    let _ = writeln!(
        out,
        "\n{}\n",
        style.paint(DIM, &wrapped(&note, style.width))
    );
}

/// Text that cannot move the cursor, change colours or turn the direction of what follows.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if steers(c) { ' ' } else { c })
        .collect()
}

fn pad(text: &str, width: usize) -> String {
    format!(
        "{text}{}",
        " ".repeat(width.saturating_sub(text.chars().count()))
    )
}

fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.into();
    }
    text.chars()
        .take(width.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// Breaks at blanks; a word longer than a line is cut.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace().map(|word| clip(word, width)) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines.join("\n")
}

/// One line a run that did not complete, for the end of `harness run`.
pub fn endings(report: &Report, style: Style) -> String {
    let mut out = String::new();
    for (ending, runs) in &report.runs.endings {
        let text = format!("{}: {}", plain(ending), plain(&list(runs, 5)));
        let _ = writeln!(out, "{}", wrapped(&text, style.width));
    }
    out
}
