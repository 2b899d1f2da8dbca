//! The paper's numbers beside ours, as files and on the terminal.
//!
//! [`Report::of`] computes everything once; each format only writes it down and escapes what came from outside.
//! Nothing here depends on the time of day: the same records give the same bytes.

pub mod card;
pub mod csv;
mod derived;
pub mod html;
pub mod junit;
pub mod latex;
pub mod markdown;
mod number;
mod plot;
mod provenance;
mod table;
pub mod terminal;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

pub use card::Card;
pub use derived::{Derived, DerivedLine};
pub use number::Number;
pub use provenance::{Origin, Origins, Provenance, Ran, Runs};
pub use table::{Comparison, Head, Line, Lines, Mark, Seed, Shown};

use crate::event::RunRecord;
use crate::judge::{Cells, Judged, Rule, Ruling, Verdict, judge_claim};
use crate::plan::{Plan, RunId};
use crate::suite::Suite;

/// Whose numbers a report shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// The paper's and ours.
    Both,
    /// The paper's alone, whatever has run.
    Paper,
}

/// A suite set beside its records.
#[derive(Clone, Debug)]
pub struct Report {
    /// The suite's short name.
    pub name: String,
    /// The suite's title.
    pub title: String,
    /// The publication on one line.
    pub citation: String,
    /// The suite's file, as a command would name it.
    pub file: String,
    /// Whose numbers it shows.
    pub sides: Sides,
    /// How verdicts were reached.
    pub rule: Rule,
    /// What ran.
    pub runs: Runs,
    /// What a reader needs to do it again.
    pub card: Card,
    /// Where it ran.
    pub provenance: Provenance,
    /// The tables.
    pub tables: Vec<Comparison>,
    /// Tables computed from other tables.
    pub derived: Vec<Derived>,
    /// The figures.
    pub figures: Vec<Drawn>,
    /// The claims.
    pub claims: Vec<Judged>,
}

/// A figure, drawn.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// File name without extension: letters, digits, `-` and `_`.
    pub file: String,
    /// Caption.
    pub title: String,
    /// Where the paper shows it.
    pub place: Option<String>,
    /// The picture, or why there is none.
    pub svg: Result<String, String>,
    /// The same at twice the size as PNG; none where there is no picture.
    pub png: Option<Vec<u8>>,
}

impl Report {
    /// Sets `suite` beside the records of its runs. Pure.
    pub fn of(suite: &Suite, plan: &Plan, records: &BTreeMap<RunId, RunRecord>) -> Report {
        let provenance = Provenance::of(plan, records);
        let origins = Origins::new(plan, records);
        let rule = suite.verdicts;
        let cells = Cells::collect(suite, records);
        let tables: Vec<Comparison> = suite
            .tables
            .iter()
            .map(|table| Comparison::of(suite, table, &cells, &rule, &origins))
            .collect();
        let figures = suite
            .figures
            .iter()
            .map(|figure| plot::draw(suite, figure, &tables, records))
            .chain(plot::differences(&tables))
            .chain(plot::costs(&tables, records))
            .collect();
        Report {
            name: suite.name.clone(),
            title: suite.title.clone(),
            citation: citation(suite),
            file: file(&suite.path),
            sides: Sides::Both,
            rule,
            runs: Runs::of(suite, plan, records),
            card: Card::of(suite, plan, records, &provenance),
            provenance,
            derived: suite
                .derived_tables
                .iter()
                .map(|table| Derived::of(suite, table, &cells, &rule, &origins))
                .collect(),
            figures,
            claims: suite
                .claims
                .iter()
                .map(|claim| judge_claim(suite, &cells, claim))
                .collect(),
            tables,
        }
    }

    /// The paper's numbers alone: its tables, what follows from them, and its claims judged on them. Pure.
    pub fn of_paper(suite: &Suite) -> Report {
        let mut report = Report::of(suite, &Plan::default(), &BTreeMap::new());
        report.sides = Sides::Paper;
        report.tables.retain(|table| !table.is_reading);
        let rows = report.tables.iter_mut().flat_map(|table| &mut table.rows);
        for cell in rows.flat_map(|row| &mut row.cells) {
            (cell.planned, cell.missing, cell.weighed) = (0, None, None);
            cell.absent.clear();
        }
        for row in report.derived.iter_mut().flat_map(|table| &mut table.rows) {
            row.value.weighed = None;
            row.absent.clear();
        }
        report.figures.retain(|figure| figure.svg.is_ok());
        report
    }

    /// The commands that make this report again, safe to paste into a shell.
    pub fn commands(&self) -> Vec<String> {
        let file: String = self.file.chars().filter(|c| !steers(*c)).collect();
        let file = quoted(&file);
        match self.sides {
            Sides::Both => vec![
                format!("harness run {file}"),
                format!("harness report {file}"),
            ],
            Sides::Paper => vec![format!("harness report --paper-only {file}")],
        }
    }

    /// The claims that our numbers contradict.
    pub fn refuted(&self) -> impl Iterator<Item = &Judged> {
        self.claims
            .iter()
            .filter(|claim| claim.ours.ruling == Ruling::Refuted)
    }

    /// The tables that have something to show: all, or of the paper alone those with a printed number.
    pub fn shown_tables(&self) -> impl Iterator<Item = &Comparison> {
        self.tables
            .iter()
            .filter(|table| self.sides == Sides::Both || table.has_reported())
    }

    /// How many cells came to each verdict, in the order of [`Verdict`]; one that several tables print counts once.
    pub fn verdicts(&self) -> BTreeMap<Verdict, usize> {
        let mut counts = BTreeMap::new();
        let cells = self
            .tables
            .iter()
            .flat_map(Comparison::cells)
            .filter(|cell| !cell.repeated)
            .filter_map(|cell| cell.weighed.as_ref());
        let rows = self.derived.iter().flat_map(|table| &table.rows);
        let derived = rows.filter_map(|row| row.value.weighed.as_ref());
        for weighed in cells.chain(derived) {
            *counts.entry(weighed.verdict).or_default() += 1;
        }
        counts
    }

    /// Those counts in words: `3 reproduced, 1 deviates`; none when the paper reports nothing here.
    pub fn verdicts_text(&self) -> Option<String> {
        let words: Vec<String> = self
            .verdicts()
            .into_iter()
            .map(|(verdict, count)| counted(verdict, count))
            .collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// `1 deviates`, `3 deviate`, `3 reproduced`.
fn counted(verdict: Verdict, count: usize) -> String {
    match verdict {
        Verdict::Deviates if count != 1 => format!("{count} deviate"),
        verdict => format!("{count} {verdict}"),
    }
}

fn citation(suite: &Suite) -> String {
    let citation = &suite.citation;
    let arxiv = citation
        .arxiv
        .as_ref()
        .map(|number| format!(", arXiv {number}"))
        .unwrap_or_default();
    let (title, authors) = (&citation.title, &citation.authors);
    format!(
        "{authors}: {title}. {} {}{arxiv}",
        citation.venue, citation.year
    )
}

/// The path where it is relative; a report does not tell where on a machine a file lies.
fn file(path: &Path) -> String {
    let shown = if path.is_absolute() {
        path.file_name().map(Path::new).unwrap_or(path)
    } else {
        path
    };
    shown.display().to_string()
}

/// Whether a letter steers what is shown instead of being shown: control characters, line separators, and those that turn
/// the direction of text, so that a name could look like another.
pub(crate) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A word as a POSIX shell must read it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// What [`render`] wrote.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// What is in the files, for the terminal and for exit codes.
    pub report: Report,
    /// The folder.
    pub folder: PathBuf,
    /// The files, the one to open first.
    pub files: Vec<PathBuf>,
}

/// Writes a report into the folder `out`: `index.html`, `report.md`, `card.md`, `cells.csv`,
/// `tables.tex` with `report.tex` around it, `junit.xml`, and each figure as SVG and PNG.
pub fn render(report: Report, out: &Path) -> anyhow::Result<Rendered> {
    std::fs::create_dir_all(out)
        .with_context(|| format!("cannot create the folder {}", out.display()))?;
    let mut files = Vec::new();
    let mut write = |name: String, bytes: &[u8]| -> anyhow::Result<()> {
        let path = out.join(name);
        replace(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        files.push(path);
        Ok(())
    };
    write("index.html".into(), html::page(&report).as_bytes())?;
    write("report.md".into(), markdown::page(&report).as_bytes())?;
    write("card.md".into(), card::markdown(&report).as_bytes())?;
    write("cells.csv".into(), csv::cells(&report).as_bytes())?;
    write("tables.tex".into(), latex::tables(&report).as_bytes())?;
    write("report.tex".into(), latex::document(&report).as_bytes())?;
    write("junit.xml".into(), junit::file(&report).as_bytes())?;
    for figure in &report.figures {
        if let Ok(svg) = &figure.svg {
            write(format!("{}.svg", figure.file), svg.as_bytes())?;
        }
        if let Some(png) = &figure.png {
            write(format!("{}.png", figure.file), png)?;
        }
    }
    Ok(Rendered {
        report,
        folder: out.to_path_buf(),
        files,
    })
}

/// Writes beside and renames, so that a reader sees the old file or the new one.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}
