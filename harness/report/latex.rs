//! The tables for a paper: booktabs, in the printed order and precision.
//!
//! A table is as wide as its text is estimated to be. One that does not fit the text is turned; one that does not fit
//! the page either is split into parts with the same rows.

mod escape;

use std::fmt::Write;

pub use escape::escape;

use super::markdown::{as_printed, note, origins, sentence, without};
use super::number::{NOTHING, fixed};
use super::{Comparison, Derived, Head, Lines, Mark, Number, Origin, Report, Shown, Sides};
use crate::judge::Verdict;

/// Width of an upright table in points: the 5.5 inches of the conference's text.
const UPRIGHT: f64 = 397.0;
/// Width of a turned one: the 9 inches of its height.
const TURNED: f64 = 650.0;
const UPRIGHT_FLOAT: &str = "table";
/// Between two columns, both sides together.
const BETWEEN: f64 = 8.0;
/// A letter, a digit in bold, a full stop in bold and ` ± ` at the size of the tables.
const LETTER: f64 = 4.6;
const DIGIT: f64 = 4.9;
const POINT: f64 = 2.8;
const PLUS_MINUS: f64 = 10.0;

/// The tables alone, to be read by a document that uses `booktabs` and `rotating`.
pub fn tables(report: &Report) -> String {
    let mut out = String::from("% Needs the packages booktabs and rotating.\n");
    for table in report.shown_tables() {
        comparison(&mut out, report, table);
    }
    for table in &report.derived {
        derived(&mut out, report, table);
    }
    out
}

/// A document around `tables.tex`, which lies beside it: its first page says what is claimed and found, because tables that
/// are turned leave no room beside a title.
pub fn document(report: &Report) -> String {
    // The kernel has room for some fifty floats and stops at the next.
    let floats = 4 * (report.tables.len() + report.derived.len());
    format!(
        "\\documentclass{{article}}\n\
         \\usepackage[textwidth=5.5in,textheight=9in]{{geometry}}\n\
         \\usepackage{{booktabs}}\n\
         \\usepackage{{rotating}}\n\
         \\extrafloats{{{floats}}}\n\
         \\begin{{document}}\n\
         \\section*{{{}}}\n\
         \\noindent\\emph{{Reported numbers}}: {{\\sloppy {}.\\par}}\n\n\
         {}\
         \\suppressfloats[t]\n\
         \\input{{tables}}\n\
         \\end{{document}}\n",
        escape(&report.title),
        escape(&report.citation),
        found(report)
    )
}

/// What ran, the verdicts, and the claims with their rulings.
fn found(report: &Report) -> String {
    let mut out = String::new();
    if report.sides == Sides::Both {
        let _ = writeln!(out, "\\noindent {}.\n", escape(&report.runs.text()));
        if let Some(verdicts) = report.verdicts_text() {
            let text = format!("Cells beside the paper's: {verdicts}.");
            let _ = writeln!(out, "\\noindent {}\n", escape(&text));
        }
    }
    if report.claims.is_empty() {
        return out;
    }
    out.push_str("\\subsection*{Claims}\n\\begin{itemize}\\sloppy\n");
    for claim in &report.claims {
        let ours = match report.sides {
            Sides::Both => format!(", on ours \\textbf{{{}}}", claim.ours.ruling),
            Sides::Paper => String::new(),
        };
        let _ = writeln!(
            out,
            "\\item {} ({}) On the paper's numbers \\textbf{{{}}}{ours}.",
            escape(&claim.says),
            escape(&claim.place),
            claim.paper.ruling
        );
    }
    out.push_str("\\end{itemize}\n\n");
    out
}

fn comparison(out: &mut String, report: &Report, table: &Comparison) {
    let lines = table.lines(report.sides);
    let common = table.common();
    let heads: Vec<String> = table
        .columns
        .iter()
        .map(|head| match common {
            Some(_) => head.title.clone(),
            None => head.text(),
        })
        .collect();
    let names = table.rows.iter().map(|row| letters(&row.title));
    let side = if lines == Lines::Both {
        5.0 * LETTER + BETWEEN
    } else {
        0.0
    };
    let first = names.fold(6.0 * LETTER, f64::max) + BETWEEN + side;
    let widths: Vec<f64> = (0..heads.len())
        .map(|c| width(table, c, &heads[c]))
        .collect();
    let parts = parts(first, &widths);
    for (i, columns) in parts.iter().enumerate() {
        let used = first + widths[columns.clone()].iter().sum::<f64>();
        let float = if used <= UPRIGHT {
            UPRIGHT_FLOAT
        } else {
            "sidewaystable"
        };
        let part = match parts.len() {
            1 => String::new(),
            many => format!(", part {} of {many}", i + 1),
        };
        let caption = format!(
            "{} ({}{part}). {}",
            escape(&table.title),
            escape(&table.place),
            explained(table, lines, common)
        );
        begin(out, float, &caption, &report.name, &table.id, i);
        let spec = if lines == Lines::Both { "ll" } else { "l" };
        let _ = writeln!(
            out,
            "\\begin{{tabular}}{{@{{}}{spec}{}@{{}}}}\n\\toprule",
            "r".repeat(columns.len())
        );
        let shown: Vec<String> = heads[columns.clone()]
            .iter()
            .map(|head| escape(head))
            .collect();
        let empty = if lines == Lines::Both { " &" } else { "" };
        let _ = writeln!(out, "Method{empty} & {} \\\\\n\\midrule", shown.join(" & "));
        rows(out, table, lines, columns.clone());
        let _ = writeln!(out, "\\bottomrule\n\\end{{tabular}}\n\\end{{{float}}}");
    }
}

fn rows(out: &mut String, table: &Comparison, lines: Lines, columns: std::ops::Range<usize>) {
    let across = columns.len() + if lines == Lines::Both { 2 } else { 1 };
    for (r, row) in table.rows.iter().enumerate() {
        if let Some(group) = &row.group {
            let rule = if r == 0 { "" } else { "\\midrule\n" };
            let _ = writeln!(
                out,
                "{rule}\\multicolumn{{{across}}}{{@{{}}l}}{{\\textit{{{}}}}} \\\\",
                escape(group)
            );
        } else if r > 0 && lines == Lines::Both {
            out.push_str("\\addlinespace[2pt]\n");
        }
        let cells = &row.cells[columns.clone()];
        let paper: Vec<String> = cells
            .iter()
            .map(|cell| marked(&cell.paper, cell.paper_mark))
            .collect();
        let ours: Vec<String> = cells.iter().map(ours).collect();
        let name = escape(&row.title);
        let _ = match lines {
            Lines::Both => writeln!(
                out,
                "{name} & paper & {} \\\\\n & ours & {} \\\\",
                paper.join(" & "),
                ours.join(" & ")
            ),
            Lines::Paper => writeln!(out, "{name} & {} \\\\", paper.join(" & ")),
            Lines::Ours => writeln!(out, "{name} & {} \\\\", ours.join(" & ")),
        };
    }
}

fn begin(out: &mut String, float: &str, caption: &str, suite: &str, table: &str, part: usize) {
    let plain = |text: &str| -> String {
        text.chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect()
    };
    let part = match part {
        0 => String::new(),
        part => format!("-{}", part + 1),
    };
    // A turned table has a page of its own; any other stands where it is written, if there is room.
    let place = if float == UPRIGHT_FLOAT { "[htbp]" } else { "" };
    let _ = writeln!(
        out,
        "\n\\begin{{{float}}}{place}\n\\centering\n\\footnotesize\n\\setlength{{\\tabcolsep}}{{4pt}}\n\
         \\caption{{{caption}}}\n\\label{{tab:{}-{}{part}}}\n\\vspace{{1ex}}",
        plain(suite),
        plain(table)
    );
}

/// What the numbers are, for the caption.
fn explained(table: &Comparison, lines: Lines, common: Option<&Head>) -> String {
    let numbers = match lines {
        Lines::Both => format!(
            "The paper's numbers above; ours, the {}, below. ",
            note(table)
        ),
        Lines::Paper => format!("{}. ", sentence(&as_printed(table))),
        Lines::Ours => format!("Ours: {}. ", note(table)),
    };
    let mut remarks = String::new();
    for words in [
        common.map(Head::words).unwrap_or_default(),
        table.marks_words("in bold", "underlined"),
    ] {
        if !words.is_empty() {
            remarks += &format!("{}. ", sentence(&words));
        }
    }
    let mut text = escape(format!("{numbers}{remarks}").trim_end());
    if lines != Lines::Paper && table.cells().any(is_partial) {
        text.push_str(" A subscript counts the seeds with a value, where some have none.");
    }
    if lines == Lines::Both {
        let signs: Vec<String> = [
            Verdict::Reproduced,
            Verdict::Deviates,
            Verdict::Inconclusive,
            Verdict::NotRun,
            Verdict::Diverged,
        ]
        .into_iter()
        .map(|verdict| format!("${}$~{verdict}", sign(verdict)))
        .collect();
        let _ = write!(text, " {}.", signs.join(", "));
    }
    text.push_str(&escape(&origins(table.origins())));
    text
}

/// The signs of what a number's runs are, as exponents.
fn origin(origin: &Origin) -> String {
    let signs = origin.signs().replace('†', "\\dagger");
    signs.replace('°', "\\circ")
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reproduced => "\\surd",
        Verdict::Deviates => "\\times",
        Verdict::Inconclusive => "?",
        Verdict::NotRun => "\\cdot",
        Verdict::Diverged => "!",
    }
}

fn is_partial(cell: &Shown) -> bool {
    cell.ours.is_some() && cell.n < cell.planned
}

fn marked(number: &Option<Number>, mark: Mark) -> String {
    let Some(number) = number else {
        return escape(NOTHING);
    };
    let text = escape(&number.to_string());
    match mark {
        Mark::Best => format!("\\textbf{{{text}}}"),
        Mark::Worst => format!("\\underline{{{text}}}"),
        Mark::None => text,
    }
}

/// Ours with its verdict and where it comes from; signs take no room, so that the digits stay in line.
fn ours(cell: &Shown) -> String {
    let sign = cell
        .weighed
        .as_ref()
        .map(|weighed| sign(weighed.verdict))
        .unwrap_or_default();
    let above = format!("{}{sign}", origin(&cell.origin));
    let sign = match above.is_empty() {
        true => above,
        false => format!("^{{{above}}}"),
    };
    let count = if is_partial(cell) {
        format!("_{{{}/{}}}", cell.n, cell.planned)
    } else {
        String::new()
    };
    let number = marked(&cell.ours, cell.ours_mark);
    match format!("{sign}{count}") {
        none if none.is_empty() => number,
        both => format!("{number}\\rlap{{${both}$}}"),
    }
}

fn derived(out: &mut String, report: &Report, table: &Derived) {
    let caption = format!(
        "{} ({}). {}.{}",
        escape(&table.title),
        escape(&table.place),
        escape(&table.from),
        escape(&origins(table.origins()))
    );
    begin(out, UPRIGHT_FLOAT, &caption, &report.name, &table.id, 0);
    let (spec, head) = match report.sides {
        Sides::Both => (
            "lrrrp{1.5in}",
            " & Paper & Recomputed from the paper & Ours &",
        ),
        Sides::Paper => ("lrr", " & Paper & Recomputed from the paper"),
    };
    let _ = writeln!(
        out,
        "\\begin{{tabular}}{{@{{}}{spec}@{{}}}}\n\\toprule\n{head} \\\\\n\\midrule"
    );
    for row in &table.rows {
        let value = &row.value;
        let number = |number: Option<f64>| {
            let text = number.map_or(NOTHING.into(), |number| fixed(number, value.decimals));
            escape(&text)
        };
        let (printed, recomputed) = (
            number(value.printed.as_ref().map(|printed| printed.value)),
            number(value.recomputed.map(|found| found.r)),
        );
        let _ = write!(out, "{} & {printed} & {recomputed}", escape(&row.title));
        if report.sides == Sides::Both {
            let missing = match value.missing.is_empty() {
                true => value
                    .weighed
                    .as_ref()
                    .map_or(String::new(), |weighed| weighed.verdict.to_string()),
                false => format!("\\raggedright {}", escape(&without(&value.missing))),
            };
            let mut ours = number(value.ours.map(|found| found.r));
            let signs = origin(&row.origin);
            if !signs.is_empty() {
                ours += &format!("\\rlap{{$^{{{signs}}}$}}");
            }
            let _ = write!(out, " & {ours} & {missing}");
        }
        // In a column of paragraphs `\\` may mean the end of a line.
        out.push_str(" \\tabularnewline\n");
    }
    out.push_str("\\bottomrule\n\\end{tabular}\n\\end{table}\n");
}

/// The columns of each part: as few parts as fit a turned page, filled evenly.
fn parts(first: f64, widths: &[f64]) -> Vec<std::ops::Range<usize>> {
    let room = (TURNED - first).max(0.0);
    let total: f64 = widths.iter().sum();
    let count = if room > 0.0 {
        (total / room).ceil()
    } else {
        f64::INFINITY
    };
    let even = if count.is_finite() {
        total / count
    } else {
        0.0
    };
    let mut parts = Vec::new();
    let (mut start, mut used) = (0, 0.0);
    for (c, width) in widths.iter().enumerate() {
        // Past the even share a part is closed, and before it would not fit.
        if c > start && (used >= even || used + width > room) {
            parts.push(start..c);
            (start, used) = (c, 0.0);
        }
        used += width;
    }
    parts.push(start..widths.len());
    parts
}

/// About how wide a column is, in points.
fn width(table: &Comparison, c: usize, head: &str) -> f64 {
    let cells = table.rows.iter().map(|row| &row.cells[c]);
    let numbers = cells.flat_map(|cell| [cell.paper, cell.ours]).flatten();
    numbers
        .map(|number| {
            let digit = |c: char| match c {
                '.' => POINT,
                '±' => PLUS_MINUS,
                ' ' => 0.0,
                _ => DIGIT,
            };
            number.to_string().chars().map(digit).sum()
        })
        .fold(letters(head), f64::max)
        + BETWEEN
}

fn letters(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER
}
