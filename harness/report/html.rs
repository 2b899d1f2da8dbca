//! The report as one page: no network, light and dark, readable on a phone. Its one script sorts tables; without it they
//! stand as printed.

use std::fmt::Write;

use super::markdown::{
    LEGEND, as_printed, difference, list, note, origins, rule, sentences, sign, verdict, why,
    why_derived,
};
use super::number::{duration, fixed, or_nothing};
use super::{
    Comparison, Derived, DerivedLine, Head, Mark, Number, Report, Seed, Shown, Sides, counted,
    steers,
};
use crate::judge::{Absent, Finding, Ruling, Verdict};

/// A table of more columns is set smaller.
const DENSE: usize = 8;
const STYLE: &str = include_str!("style.css");
const SORT: &str = include_str!("sort.js");

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut out = String::new();
    let title = escape(&report.title);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    let _ = writeln!(
        out,
        "<p class=\"note\">Reported numbers: {}.</p>",
        escape(&report.citation)
    );
    if report.sides == Sides::Both {
        let _ = writeln!(out, "<p>{}.</p>", escape(&report.runs.text()));
    }
    if !report.runs.endings.is_empty() {
        out.push_str("<ul>\n");
        for (ending, runs) in &report.runs.endings {
            let _ = writeln!(
                out,
                "<li>{}: {}</li>",
                escape(ending),
                escape(&list(runs, 10))
            );
        }
        out.push_str("</ul>\n");
    }
    badges(&mut out, report);
    report
        .shown_tables()
        .for_each(|table| comparison(&mut out, table, report.sides));
    report
        .derived
        .iter()
        .for_each(|table| derived(&mut out, table, report.sides));
    claims(&mut out, report);
    figures(&mut out, report);
    if !report.verdicts().is_empty() {
        let [how, margin] = rule(report);
        let _ = writeln!(
            out,
            "<h2>How verdicts are reached</h2>\n<p>{}</p>\n<p>{}</p>",
            prose(&how),
            prose(&margin)
        );
    }
    super::card::html(&mut out, report);
    provenance(&mut out, report);
    let _ = write!(
        out,
        "</main>\n<script>\n{SORT}</script>\n</body>\n</html>\n"
    );
    out
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reproduced => "good",
        Verdict::Deviates | Verdict::Diverged => "bad",
        Verdict::Inconclusive => "open",
        Verdict::NotRun => "none",
    }
}

fn badges(out: &mut String, report: &Report) {
    let verdicts = report.verdicts();
    if verdicts.is_empty() {
        return;
    }
    out.push_str("<p class=\"badges\">");
    for (verdict, count) in verdicts {
        let (class, sign) = (class(verdict), sign(verdict));
        let _ = write!(
            out,
            "<span class=\"badge {class}\">{sign} {}</span> ",
            counted(verdict, count)
        );
    }
    out.push_str("</p>\n");
}

fn comparison(out: &mut String, table: &Comparison, sides: Sides) {
    let reported = table.has_reported();
    let _ = writeln!(
        out,
        "<h2>{}: {}</h2>",
        escape(&table.place),
        escape(&table.title)
    );
    // What all columns share stands once under the table, which is narrower for it.
    let common = table.common().filter(|_| table.columns.len() > 1);
    let dense = if table.columns.len() > DENSE {
        " class=\"dense\""
    } else {
        ""
    };
    let _ = write!(
        out,
        "<div class=\"wide\"><table{dense}>\n<thead><tr><th scope=\"col\">method</th>"
    );
    for head in &table.columns {
        let text = match common {
            Some(_) => head.title.clone(),
            None => head.text(),
        };
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(&text));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        if let Some(group) = &row.group {
            let _ = writeln!(
                out,
                "<tr class=\"group\"><th colspan=\"{}\"><span>{}</span></th></tr>",
                table.columns.len() + 1,
                escape(group)
            );
        }
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escape(&row.title));
        row.cells
            .iter()
            .for_each(|cell| shown(out, cell, reported, sides));
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    let unit = common.map(Head::words).unwrap_or_default();
    let marks = table.marks_words("in bold", "in italics");
    if sides == Sides::Paper {
        let _ = writeln!(
            out,
            "<p class=\"note\">{}.</p>",
            escape(&sentences([as_printed(table), unit, marks]))
        );
        return;
    }
    let above = if reported {
        format!(
            "The paper's above, ours in the middle, below it the verdict ({LEGEND}) and ours minus the paper's. "
        )
    } else {
        String::new()
    };
    let _ = writeln!(
        out,
        "<p class=\"note\">{}{}.{}</p>",
        escape(&above),
        escape(&sentences([note(table), unit, marks])),
        escape(&origins(table.origins()))
    );
    every_cell(out, table);
}

fn shown(out: &mut String, cell: &Shown, reported: bool, sides: Sides) {
    if sides == Sides::Paper {
        let number = marked(&cell.paper, cell.paper_mark);
        let value = value(cell.reported.as_ref().map(|reported| reported.value));
        let _ = write!(out, "<td{value}>{number}</td>");
        return;
    }
    let class = cell
        .weighed
        .as_ref()
        .map_or("", |weighed| class(weighed.verdict));
    let mean = cell.estimate.map(|estimate| estimate.mean);
    let _ = write!(
        out,
        "<td class=\"{class}{}\"{} title=\"{}\">",
        if cell.origin.stale { " stale" } else { "" },
        value(mean),
        escape_lines(&hover(cell), "&#10;")
    );
    if reported {
        let _ = write!(
            out,
            "<span class=\"paper\">{}</span>",
            marked(&cell.paper, cell.paper_mark)
        );
    }
    let sign = cell.weighed.as_ref().map(|weighed| sign(weighed.verdict));
    let sign = sign.map(|sign| format!("<b>{sign}</b>"));
    let compared = cell.weighed.as_ref().and_then(|weighed| weighed.difference);
    // A verdict without a difference needs no line of its own.
    let (beside, below) = match (sign, compared) {
        (Some(sign), Some(_)) => (
            String::new(),
            format!("<span class=\"verdict\">{sign} {}</span>", difference(cell)),
        ),
        (Some(sign), None) => (format!(" {sign}"), String::new()),
        (None, _) => Default::default(),
    };
    let _ = write!(
        out,
        "<span class=\"ours\">{}{}{beside}</span>{below}",
        marked(&cell.ours, cell.ours_mark),
        cell.origin.signs()
    );
    match &cell.missing {
        Some(_) if cell.ours.is_some() => {
            let _ = write!(out, "<small>{} of {} seeds</small>", cell.n, cell.planned);
        }
        // The sign says as much.
        Some(missing) if *missing == format!("{} not run", cell.planned) => {}
        Some(missing) => {
            let _ = write!(out, "<small>{}</small>", escape(missing));
        }
        None => {}
    }
    out.push_str("</td>");
}

/// The number that a cell is sorted by; nothing where there is none, so that it comes last.
fn value(value: Option<f64>) -> String {
    let value = value.filter(|value| value.is_finite());
    let text = value.map_or(String::new(), |value| value.to_string());
    format!(" data-value=\"{text}\"")
}

/// What a cell says when pointed at: why its verdict is what it is, then each seed with its runs.
fn hover(cell: &Shown) -> Vec<String> {
    std::iter::once(why(cell))
        .filter(|text| !text.is_empty())
        .chain(seeds(cell))
        .collect()
}

/// Each seed with its value and its runs, and those without one.
fn seeds(cell: &Shown) -> Vec<String> {
    let seeds = cell.seeds.iter().map(|seed| {
        let value = seed.value.map(|value| format!(": {}", fixed(value, 4)));
        format!(
            "seed {}{} ({})",
            seed.seed,
            value.unwrap_or_default(),
            runs(seed)
        )
    });
    seeds.chain(cell.absent.iter().map(lost)).collect()
}

/// The same of a correlation over methods: a line a method.
fn hover_derived(row: &DerivedLine) -> Vec<String> {
    let methods = row.methods.iter().map(|(method, seeds)| {
        let seeds: Vec<String> = seeds
            .iter()
            .map(|seed| format!("seed {} ({})", seed.seed, runs(seed)))
            .collect();
        format!("{method}: {}", list(&seeds, 5))
    });
    let absent = row.absent.iter();
    let absent = absent.map(|(method, absent)| format!("{method}: {}", lost(absent)));
    std::iter::once(why_derived(row))
        .filter(|text| !text.is_empty())
        .chain(methods)
        .chain(absent)
        .collect()
}

fn runs(seed: &Seed) -> String {
    let runs: Vec<String> = seed.runs.iter().map(ToString::to_string).collect();
    list(&runs, 3)
}

fn lost(absent: &Absent) -> String {
    format!("seed {}: {} ({})", absent.seed, absent.ending(), absent.run)
}

fn marked(number: &Option<Number>, mark: Mark) -> String {
    match (number, mark) {
        (Some(number), Mark::Best) => format!("<strong>{number}</strong>"),
        (Some(number), Mark::Worst) => format!("<em>{number}</em>"),
        (number, _) => or_nothing(number),
    }
}

fn every_cell(out: &mut String, table: &Comparison) {
    out.push_str("<details><summary>Every cell</summary>\n<div class=\"wide\"><table class=\"long\">\n<thead><tr>");
    for head in [
        "method",
        "column",
        "paper",
        "ours",
        "seeds",
        "difference",
        "verdict",
        "why",
        "runs",
    ] {
        let _ = write!(out, "<th scope=\"col\">{head}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        for (head, cell) in table.columns.iter().zip(&row.cells) {
            let class = cell
                .weighed
                .as_ref()
                .map_or("", |weighed| class(weighed.verdict));
            let _ = write!(
                out,
                "<tr><td>{}</td><td>{}</td>",
                escape(&row.title),
                escape(&head.title)
            );
            let _ = write!(
                out,
                "<td>{}</td><td>{}</td>",
                or_nothing(&cell.paper),
                or_nothing(&cell.ours)
            );
            let _ = write!(
                out,
                "<td>{} of {}</td><td>{}</td>",
                cell.n,
                cell.planned,
                difference(cell)
            );
            let _ = writeln!(
                out,
                "<td class=\"{class}\">{}</td><td class=\"words\">{}</td><td class=\"words\">{}</td></tr>",
                verdict(cell),
                prose(&why(cell)),
                escape_lines(&seeds(cell), "<br>")
            );
        }
    }
    out.push_str("</tbody></table></div></details>\n");
}

fn derived(out: &mut String, table: &Derived, sides: Sides) {
    let _ = writeln!(
        out,
        "<h2>{}: {}</h2>\n<p class=\"note\">{}.</p>",
        escape(&table.place),
        escape(&table.title),
        escape(&table.from)
    );
    out.push_str("<div class=\"wide\"><table>\n<thead><tr><th></th><th>paper</th><th>recomputed from the paper</th>");
    if sides == Sides::Both {
        out.push_str("<th>ours</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        let value = &row.value;
        let number = |number: Option<f64>| {
            number.map_or("–".into(), |number| fixed(number, value.decimals))
        };
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td>",
            escape(&row.title),
            number(value.printed.as_ref().map(|printed| printed.value))
        );
        let _ = write!(
            out,
            "<td>{}</td>",
            number(value.recomputed.map(|found| found.r))
        );
        if sides == Sides::Both {
            let verdict = value.weighed.as_ref().map(|weighed| weighed.verdict);
            let sign = verdict.map(|verdict| format!(" <b>{}</b>", sign(verdict)));
            let _ = write!(
                out,
                "<td class=\"{}{}\" title=\"{}\"><span class=\"ours\">{}{}{}</span></td>",
                verdict.map_or("", class),
                if row.origin.stale { " stale" } else { "" },
                escape_lines(&hover_derived(row), "&#10;"),
                number(value.ours.map(|found| found.r)),
                row.origin.signs(),
                sign.unwrap_or_default()
            );
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    let signs = origins(table.origins());
    if !signs.is_empty() {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", escape(signs.trim()));
    }
}

fn claims(out: &mut String, report: &Report) {
    if report.claims.is_empty() {
        return;
    }
    out.push_str("<h2>Claims</h2>\n");
    for claim in &report.claims {
        let _ = writeln!(
            out,
            "<section class=\"claim\">\n<p>{} <span class=\"note\">({})</span></p>",
            prose(&claim.says),
            escape(&claim.place)
        );
        evidence(out, "the paper's numbers", &claim.paper);
        if report.sides == Sides::Both {
            evidence(out, "ours", &claim.ours);
        }
        out.push_str("</section>\n");
    }
}

fn evidence(out: &mut String, whose: &str, finding: &Finding) {
    let class = match finding.ruling {
        Ruling::Holds => "good",
        Ruling::Refuted => "bad",
        Ruling::Undecided => "open",
    };
    let _ = writeln!(
        out,
        "<details open><summary><span class=\"badge {class}\">{}</span> on {whose}</summary>\n<ul>",
        finding.ruling
    );
    for line in &finding.evidence {
        let _ = writeln!(out, "<li>{}</li>", prose(line));
    }
    out.push_str("</ul></details>\n");
}

fn figures(out: &mut String, report: &Report) {
    for figure in &report.figures {
        let place = figure
            .place
            .as_ref()
            .map(|place| format!("{}: ", escape(place)))
            .unwrap_or_default();
        let _ = writeln!(out, "<h2>{place}{}</h2>", escape(&figure.title));
        let _ = match &figure.svg {
            Ok(svg) => writeln!(out, "<figure>{svg}</figure>"),
            Err(why) => writeln!(out, "<p>– ({})</p>", escape(why)),
        };
    }
}

fn provenance(out: &mut String, report: &Report) {
    if report.sides == Sides::Both {
        environments(out, report);
    }
    let what = match report.sides {
        Sides::Both => "The runs again, then this page again",
        Sides::Paper => "This page again",
    };
    let commands = escape_lines(&report.commands(), "\n");
    let _ = writeln!(out, "<p>{what}:</p>\n<pre>{commands}</pre>");
}

fn escape_lines(lines: &[String], between: &str) -> String {
    let escaped: Vec<String> = lines.iter().map(|line| escape(line)).collect();
    escaped.join(between)
}

fn environments(out: &mut String, report: &Report) {
    out.push_str("<h2>Where it ran</h2>\n");
    let mixed = report.provenance.mixed();
    if !mixed.is_empty() {
        let _ = writeln!(
            out,
            "<p><span class=\"badge open\">mixed provenance</span> the runs differ in {}.</p>",
            mixed.join(", ")
        );
    }
    if report.provenance.properties.is_empty() {
        out.push_str("<p>No run has completed.</p>\n");
    } else {
        out.push_str("<div class=\"wide\"><table class=\"long\">\n<thead><tr><th></th><th>value</th><th>runs</th></tr></thead>\n<tbody>\n");
        for (name, values) in &report.provenance.properties {
            for (value, count) in values {
                let _ = writeln!(
                    out,
                    "<tr><td>{name}</td><td>{}</td><td>{count}</td></tr>",
                    escape(value)
                );
            }
        }
        out.push_str("</tbody></table></div>\n");
    }
    if report.runs.seconds > 0.0 {
        let _ = writeln!(
            out,
            "<p>The runs took {} together.</p>",
            duration(report.runs.seconds)
        );
    }
}

/// The same where what stands between backticks is code.
pub(super) fn prose(text: &str) -> String {
    let escaped = escape(text);
    let parts: Vec<&str> = escaped.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return escaped;
    }
    let mut out = String::new();
    for (i, part) in parts.into_iter().enumerate() {
        let _ = match i % 2 {
            0 => write!(out, "{part}"),
            _ => write!(out, "<code>{part}</code>"),
        };
    }
    out
}

/// Text that HTML shows as it is, in content and in quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if steers(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
