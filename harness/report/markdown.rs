//! The report as Markdown, as GitHub shows it.

use std::fmt::Write;

use super::number::{duration, fixed, or_nothing, signed};
use super::{Comparison, Derived, DerivedLine, Mark, Number, Origin, Report, Shown, Sides, steers};
use crate::judge::{Finding, Verdict};
use crate::suite::Statistic;

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut out = String::new();
    let title = escape(&report.title);
    let _ = writeln!(
        out,
        "# {title}\n\nReported numbers: {}.\n",
        escape(&report.citation)
    );
    if report.sides == Sides::Both {
        let _ = writeln!(out, "{}.", escape(&report.runs.text()));
    }
    for (ending, runs) in &report.runs.endings {
        let _ = writeln!(out, "- {}: {}", escape(ending), escape(&list(runs, 10)));
    }
    if let Some(verdicts) = report.verdicts_text() {
        let _ = writeln!(out, "\nCells beside the paper's: {verdicts}.");
    }
    report
        .shown_tables()
        .for_each(|table| comparison(&mut out, table, report.sides));
    report
        .derived
        .iter()
        .for_each(|table| derived(&mut out, table, report.sides));
    claims(&mut out, report);
    figures(&mut out, report);
    method(&mut out, report);
    provenance(&mut out, report);
    out
}

/// The sign of a verdict, the same in every format.
pub(super) fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reproduced => "✓",
        Verdict::Deviates => "✗",
        Verdict::Inconclusive => "?",
        Verdict::NotRun => "·",
        Verdict::Diverged => "!",
    }
}

/// The meaning of the signs.
pub(super) const LEGEND: &str = "✓ reproduced, ✗ deviates, ? inconclusive, · not run, ! diverged";

/// What stands under a table, in words.
pub(super) fn note(table: &Comparison) -> String {
    let seeds = if table.seeds == 1 {
        "1 seed".to_string()
    } else {
        format!("{} seeds", table.seeds)
    };
    let statistic = match table.statistic {
        Statistic::Mean => "mean of",
        Statistic::Sd => "standard deviation over",
    };
    match &table.spread {
        Some(spread) => format!("{statistic} {seeds} ± {spread}"),
        None => format!("{statistic} {seeds}"),
    }
}

/// The meaning of the signs behind our numbers, of those that a table has.
pub(super) fn origins<'a>(of: impl Iterator<Item = &'a Origin>) -> String {
    let (mut mixed, mut stale) = (false, false);
    for origin in of {
        mixed |= !origin.mixed.is_empty();
        stale |= origin.stale;
    }
    let mut words = String::new();
    if mixed {
        words.push_str(" † from runs of different builds, libtorch versions, devices or threads.");
    }
    if stale {
        words.push_str(" ° made by another build of the harness than this one.");
    }
    words
}

/// The same of the paper's numbers alone.
pub(super) fn as_printed(table: &Comparison) -> String {
    match &table.spread {
        Some(spread) => format!("as printed, ± {spread}"),
        None => "as printed".into(),
    }
}

/// The first few, and how many more.
pub(super) fn list(items: &[String], most: usize) -> String {
    let shown = items
        .iter()
        .take(most)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if items.len() > most {
        format!("{shown} and {} more", items.len() - most)
    } else {
        shown
    }
}

fn comparison(out: &mut String, table: &Comparison, sides: Sides) {
    let _ = writeln!(
        out,
        "\n## {}: {}\n",
        escape(&table.place),
        escape(&table.title)
    );
    let reported = table.has_reported();
    let heads: Vec<String> = table
        .columns
        .iter()
        .map(|head| escape(&head.text()))
        .collect();
    let _ = writeln!(out, "| method | {} |", heads.join(" | "));
    let _ = writeln!(out, "|---|{}", "--:|".repeat(heads.len()));
    for row in &table.rows {
        if let Some(group) = &row.group {
            let _ = writeln!(out, "| *{}* |{}", escape(group), " |".repeat(heads.len()));
        }
        let cells: Vec<String> = row
            .cells
            .iter()
            .map(|cell| overview(cell, reported, sides))
            .collect();
        let _ = writeln!(out, "| {} | {} |", escape(&row.title), cells.join(" | "));
    }
    let marks = match table.marks_words("**", "*").is_empty() {
        true => "",
        false => "; **best**, *worst*",
    };
    if sides == Sides::Paper {
        let _ = writeln!(out, "\n{}{marks}.", sentence(&as_printed(table)));
        return;
    }
    let above = if reported {
        format!("The paper's above, ours below: {LEGEND}. ")
    } else {
        String::new()
    };
    let _ = writeln!(
        out,
        "\n{above}{}{marks}.{}",
        sentence(&note(table)),
        origins(table.origins())
    );
    let _ = writeln!(out, "\n<details><summary>Every cell</summary>\n");
    let _ = writeln!(
        out,
        "| method | column | paper | ours | seeds | difference | verdict | why |"
    );
    let _ = writeln!(out, "|---|---|--:|--:|--:|--:|---|---|");
    for row in &table.rows {
        for (head, cell) in table.columns.iter().zip(&row.cells) {
            let (method, column) = (escape(&row.title), escape(&head.title));
            let (paper, ours) = (or_nothing(&cell.paper), or_nothing(&cell.ours));
            let _ = write!(
                out,
                "| {method} | {column} | {paper} | {ours} | {} of {} | ",
                cell.n, cell.planned
            );
            let _ = writeln!(
                out,
                "{} | {} | {} |",
                difference(cell),
                verdict(cell),
                escape(&why(cell))
            );
        }
    }
    let _ = writeln!(out, "\n</details>");
}

/// Ours minus the paper's in the printed precision and one digit more.
pub(super) fn difference(cell: &Shown) -> String {
    match (
        cell.weighed.as_ref().and_then(|weighed| weighed.difference),
        &cell.paper,
    ) {
        (Some(difference), Some(paper)) => signed(difference, paper.decimals + 1),
        _ => "–".into(),
    }
}

/// The verdict in a word.
pub(super) fn verdict(cell: &Shown) -> String {
    match &cell.weighed {
        Some(weighed) => weighed.verdict.to_string(),
        None => "not reported".into(),
    }
}

/// The reason of the verdict or, without one, of missing seeds.
pub(super) fn why(cell: &Shown) -> String {
    let reason = match &cell.weighed {
        Some(weighed) => weighed.reason.clone(),
        None => cell.missing.clone().unwrap_or_default(),
    };
    let words = [
        Some(reason).filter(|words| !words.is_empty()),
        cell.origin.words(),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn overview(cell: &Shown, reported: bool, sides: Sides) -> String {
    let marked = |number: &Option<Number>, mark| match (number, mark) {
        (None, _) => "–".to_string(),
        (Some(number), Mark::Best) => format!("**{number}**"),
        (Some(number), Mark::Worst) => format!("*{number}*"),
        (Some(number), Mark::None) => number.to_string(),
    };
    let partial = match (&cell.ours, &cell.missing) {
        (Some(_), _) if cell.n < cell.planned => format!(" ({} of {})", cell.n, cell.planned),
        (None, Some(missing)) => format!(" ({})", escape(missing)),
        _ => String::new(),
    };
    let origin = cell.origin.signs();
    let ours = format!("{}{origin}{partial}", marked(&cell.ours, cell.ours_mark));
    let sign = cell
        .weighed
        .as_ref()
        .map(|weighed| format!(" {}", sign(weighed.verdict)))
        .unwrap_or_default();
    if sides == Sides::Paper {
        marked(&cell.paper, cell.paper_mark)
    } else if reported {
        format!("{}<br>{ours}{sign}", marked(&cell.paper, cell.paper_mark))
    } else {
        ours
    }
}

fn derived(out: &mut String, table: &Derived, sides: Sides) {
    let _ = writeln!(
        out,
        "\n## {}: {}\n\n{}.\n",
        escape(&table.place),
        escape(&table.title),
        escape(&table.from)
    );
    let _ = match sides {
        Sides::Both => writeln!(
            out,
            "| | paper | recomputed from the paper | ours | verdict | why |\n|---|--:|--:|--:|---|---|"
        ),
        Sides::Paper => writeln!(
            out,
            "| | paper | recomputed from the paper |\n|---|--:|--:|"
        ),
    };
    for row in &table.rows {
        let value = &row.value;
        let number = |number: Option<f64>| {
            number.map_or("–".into(), |number| fixed(number, value.decimals))
        };
        let (printed, recomputed) = (
            number(value.printed.as_ref().map(|printed| printed.value)),
            number(value.recomputed.map(|found| found.r)),
        );
        let ours = number(value.ours.map(|found| found.r)) + row.origin.signs();
        let verdict = match &value.weighed {
            Some(weighed) => weighed.verdict.to_string(),
            None => "not reported".into(),
        };
        let _ = write!(out, "| {} | {printed} | {recomputed} |", escape(&row.title));
        let _ = match sides {
            Sides::Both => writeln!(out, " {ours} | {verdict} | {} |", escape(&why_derived(row))),
            Sides::Paper => writeln!(out),
        };
    }
    let signs = origins(table.origins());
    if !signs.is_empty() {
        let _ = writeln!(out, "\n{}", signs.trim());
    }
}

/// The reason of a correlation's verdict, and what is to be said of its runs.
pub(super) fn why_derived(row: &DerivedLine) -> String {
    let reason = row.value.weighed.as_ref();
    let reason = reason.map(|weighed| weighed.reason.clone());
    let words = [reason, row.origin.words()];
    words.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Which methods a correlation lacks.
pub(super) fn without(missing: &[String]) -> String {
    format!("no number for {}", list(missing, 4))
}

fn claims(out: &mut String, report: &Report) {
    if report.claims.is_empty() {
        return;
    }
    let both = report.sides == Sides::Both;
    let (head, line) = if both {
        (" on ours |", "---|")
    } else {
        ("", "")
    };
    let _ = writeln!(
        out,
        "\n## Claims\n\n| claim | place | on the paper's numbers |{head}\n|---|---|---|{line}"
    );
    for claim in &report.claims {
        let (says, place) = (escape(&claim.says), escape(&claim.place));
        let ours = if both {
            format!(" **{}** |", claim.ours.ruling)
        } else {
            String::new()
        };
        let _ = writeln!(
            out,
            "| {says} | {place} | **{}** |{ours}",
            claim.paper.ruling
        );
    }
    for claim in &report.claims {
        let _ = writeln!(
            out,
            "\n### {}\n\n{}",
            escape(&claim.id),
            escape(&claim.says)
        );
        evidence(out, "On the paper's numbers", &claim.paper);
        if both {
            evidence(out, "On ours", &claim.ours);
        }
    }
}

fn evidence(out: &mut String, whose: &str, finding: &Finding) {
    let _ = writeln!(out, "\n{whose}: **{}**\n", finding.ruling);
    for line in &finding.evidence {
        let _ = writeln!(out, "- {}", escape(line));
    }
}

fn figures(out: &mut String, report: &Report) {
    for figure in &report.figures {
        let place = figure
            .place
            .as_ref()
            .map(|place| format!("{}: ", escape(place)))
            .unwrap_or_default();
        let _ = writeln!(out, "\n## {place}{}\n", escape(&figure.title));
        match &figure.svg {
            Ok(_) => {
                let _ = writeln!(out, "![{}]({}.svg)", escape(&figure.title), figure.file);
            }
            Err(why) => {
                let _ = writeln!(out, "– ({})", escape(why));
            }
        }
    }
}

/// How verdicts are reached, in the words of the rule that was used.
pub(super) fn rule(report: &Report) -> [String; 2] {
    let rule = &report.rule;
    let confidence = 100.0 * (1.0 - 2.0 * rule.level);
    [
        format!(
            "A cell is reproduced when the {confidence:.0}% interval of ours minus the paper's lies within a margin (two \
             one-sided tests), and deviates when the difference is significant at {} and larger than the margin. \
             Anything else is inconclusive; so is a single seed that would otherwise be reproduced.",
            rule.level
        ),
        format!(
            "The margin, which the suite may set under `verdicts`, is {} of the paper's standard deviations over seeds or, where it prints none, {}% of its \
             value, and never less than one unit of its last digit. Correlations and standard deviations are compared by \
             Fisher's z and by the logarithm, within as many errors of a repetition.",
            rule.spreads,
            100.0 * rule.relative
        ),
    ]
}

fn method(out: &mut String, report: &Report) {
    if report.verdicts().is_empty() {
        return;
    }
    let [how, margin] = rule(report);
    let _ = writeln!(out, "\n## How verdicts are reached\n\n{how} {margin}");
}

fn provenance(out: &mut String, report: &Report) {
    if report.sides == Sides::Paper {
        let _ = writeln!(out, "\nThis report again:\n");
        for command in report.commands() {
            let _ = writeln!(out, "    {command}");
        }
        return;
    }
    let _ = writeln!(out, "\n## Where it ran\n");
    if report.provenance.properties.is_empty() {
        let _ = writeln!(out, "No run has completed.");
    } else {
        let _ = writeln!(out, "| | value | runs |\n|---|---|--:|");
    }
    for (name, values) in &report.provenance.properties {
        for (value, count) in values {
            let _ = writeln!(out, "| {name} | {} | {count} |", escape(value));
        }
    }
    let mixed = report.provenance.mixed();
    if !mixed.is_empty() {
        let _ = writeln!(
            out,
            "\n**Mixed provenance**: the runs differ in {}.",
            mixed.join(", ")
        );
    }
    if report.runs.seconds > 0.0 {
        let _ = writeln!(
            out,
            "\nThe runs took {} together.",
            duration(report.runs.seconds)
        );
    }
    let _ = writeln!(out, "\nThe runs again, then this report again:\n");
    for command in report.commands() {
        let _ = writeln!(out, "    {command}");
    }
}

/// Several remarks as sentences without the last full stop; an empty one is none.
pub(super) fn sentences<const N: usize>(remarks: [String; N]) -> String {
    let said = remarks.iter().filter(|remark| !remark.is_empty());
    let said: Vec<String> = said.map(|remark| sentence(remark)).collect();
    said.join(". ")
}

/// With a capital letter first.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

/// Text that Markdown shows as it is, on one line, also in a table.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '$' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c if steers(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
