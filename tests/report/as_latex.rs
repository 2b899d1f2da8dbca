//! LaTeX: the tables as text, and through pdflatex where it is there.

use std::path::Path;
use std::process::Command;

use harness::plan::expand;
use harness::report::{Report, latex};

use super::{folder, has, hostile, report, snapshot};

#[test]
fn the_latex_tables_are_what_they_were() {
    snapshot("tables.tex", &latex::tables(&report()));
}

#[test]
fn escaped_text_is_read_back_as_it_was() {
    for name in hostile::names(5000, false) {
        assert_eq!(typeset(&latex::escape(&name)), name);
    }
    for name in hostile::names(5000, true) {
        typeset(&latex::escape(&name));
    }
}

/// What TeX would print of escaped text, which may hold nothing but what is known here.
fn typeset(text: &str) -> String {
    const KNOWN: &[(&str, &str)] = &[
        ("\\textbackslash{}", "\\"),
        ("\\textasciitilde{}", "~"),
        ("\\textasciicircum{}", "^"),
        ("\\textendash{}", "–"),
        ("\\textemdash{}", "—"),
        ("\\textquotedblleft{}", "“"),
        ("\\ldots{}", "…"),
        ("\\char34{}", "\""),
        ("\\`{}", "`"),
        ("\\&", "&"),
        ("\\%", "%"),
        ("\\$", "$"),
        ("\\#", "#"),
        ("\\_", "_"),
        ("\\{", "{"),
        ("\\}", "}"),
        ("$<$", "<"),
        ("$>$", ">"),
        ("$|$", "|"),
        ("$-$", "−"),
        ("$\\pm$", "±"),
        ("$\\uparrow$", "↑"),
        ("$\\theta$", "θ"),
        ("$_{t-1}$", "ₜ₋₁"),
        ("$_{t-1t-1}$", "ₜ₋₁ₜ₋₁"),
        ("-{}", "-"),
        ("'{}", "'"),
        (",{}", ","),
        ("{[}", "["),
        ("{]}", "]"),
        ("{*}", "*"),
    ];
    for ligature in ["--", "''", ",,"] {
        assert!(!text.contains(ligature), "{ligature} in {text:?}");
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some((tex, means)) = KNOWN.iter().find(|(tex, _)| rest.starts_with(tex)) {
            out.push_str(means);
            rest = &rest[tex.len()..];
        } else {
            let plain = c.is_ascii_alphanumeric() || " .:;/()=!?@+-',éß".contains(c);
            assert!(plain, "{c:?} is not plain text in {text:?}");
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

#[test]
fn a_report_of_hostile_names_is_sound_and_compiles() {
    let report = hostile::report(report());
    sound(&latex::tables(&report));
    compile(&report, Fit::Any);
}

#[test]
fn the_shipped_suites_tables_are_sound_compile_and_fit_the_page() {
    for path in crate::shipped_suites() {
        let suite = harness::suite::read(&path).unwrap();
        let plan = expand(std::slice::from_ref(&suite));
        let report = Report::of(&suite, &plan, &Default::default());
        sound(&latex::tables(&report));
        compile(&report, Fit::Page);
    }
}

#[test]
fn a_wide_table_is_turned_and_a_wider_one_is_split_with_every_column_once() {
    let mut report = report();
    let columns = report.tables[0].columns.clone();
    let floats = |report: &Report| -> Vec<String> {
        let tables = latex::tables(report);
        let begins = tables
            .lines()
            .filter_map(|line| line.strip_prefix("\\begin{"));
        begins
            .filter_map(|rest| rest.split('}').next())
            .filter(|name| name.contains("table"))
            .map(str::to_string)
            .collect()
    };
    // The last is the correlations.
    assert_eq!(floats(&report), ["table", "table"]);
    widen(&mut report, 2);
    assert_eq!(floats(&report), ["sidewaystable", "table"]);
    widen(&mut report, 2);
    assert_eq!(floats(&report), ["sidewaystable", "sidewaystable", "table"]);
    let text = latex::tables(&report);
    let heads = text.lines().filter(|line| line.starts_with("Method"));
    let shown: usize = heads.map(|line| line.matches(" & ").count()).sum();
    assert_eq!(shown, 4 * columns.len());
    compile(&report, Fit::Page);
}

/// Repeats the columns of the first table.
fn widen(report: &mut Report, times: usize) {
    let table = &mut report.tables[0];
    table.columns = vec![table.columns.clone(); times].concat();
    for row in &mut table.rows {
        row.cells = vec![row.cells.clone(); times].concat();
    }
}

/// Braces and environments close in order, and every row of a table has as many cells as its first.
fn sound(text: &str) {
    let mut open = Vec::new();
    let mut depth = 0i32;
    let mut cells = None;
    for line in text.lines().filter(|line| !line.starts_with('%')) {
        let mut chars = line.chars().peekable();
        let (mut ampersands, mut ends) = (0, false);
        while let Some(c) = chars.next() {
            match c {
                '\\' => ends |= chars.next() == Some('\\'),
                '{' => depth += 1,
                '}' => depth -= 1,
                '&' => ampersands += 1,
                '%' | '#' | '~' if !line.contains("\\surd") => panic!("{c} in {line}"),
                c => assert!(!c.is_control(), "{line:?}"),
            }
            assert!(depth >= 0, "{line}");
        }
        assert_eq!(depth, 0, "{line}");
        let name = |begin: &str| {
            let rest = line.strip_prefix(begin)?;
            rest.split('}').next().map(str::to_string)
        };
        if let Some(begun) = name("\\begin{") {
            cells = None;
            open.push(begun);
        } else if let Some(ended) = name("\\end{") {
            assert_eq!(open.pop(), Some(ended));
        } else if ends && !line.starts_with("\\multicolumn") {
            assert_eq!(*cells.get_or_insert(ampersands), ampersands, "{line}");
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// How a table must lie on its page.
#[derive(PartialEq)]
enum Fit {
    Any,
    Page,
}

/// Compiles `report.tex` where pdflatex is there.
fn compile(report: &Report, fit: Fit) {
    if !has("pdflatex") {
        return;
    }
    let folder = folder(&format!("latex-{:?}", std::thread::current().id()));
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    write("tables.tex", latex::tables(report));
    write("report.tex", latex::document(report));
    let log = pdflatex(&folder);
    if fit == Fit::Page {
        for complaint in ["Overfull", "too large"] {
            assert!(!log.contains(complaint), "{}: {log}", report.name);
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

fn pdflatex(folder: &Path) -> String {
    let output = Command::new("pdflatex")
        .args(["-interaction=nonstopmode", "-halt-on-error", "report.tex"])
        .current_dir(folder)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{log}");
    log
}
