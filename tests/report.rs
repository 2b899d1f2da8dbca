//! The report as text, from a hand-made suite with a diverged, a missing and a partial cell, and hostile names.

mod as_junit;
mod as_latex;
mod as_printed;
mod card;
mod command;
mod hostile;
mod origins;
mod paper;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use harness::event::{Environment, Observation, Outcome, RunRecord};
use harness::plan::{RunId, expand, run_spec};
use harness::report::terminal::{self, Style};
use harness::report::{Report, csv, html, junit, latex, markdown, render};
use harness::suite::{Suite, parse};

const SUITE: &str = r#"
suite: hand-made
title: "Digits <b>bold</b> | *star*"
citation: {title: "TRAM", authors: "Sherborne et al.", venue: ICLR, year: 2024, arxiv: 2310.03646v2}
models:
  vit: {config: {model_type: vit, hidden_size: 32}}
metrics:
  accuracy: {measure: accuracy, better: higher, unit: '%'}
  loss: {measure: loss, better: lower}
training:
  short: {base: {name: sgd, lr: 0.05}, schedule: {name: constant}, length: {steps: 100}, batch: 32}
tasks:
  digits:
    model: vit
    data: {folder: digits, sha256: '0000000000000000000000000000000000000000000000000000000000000000'}
    input: {images: {}}
    train: [train]
    training: short
    metric: accuracy
methods:
  SGD: {method: base}
  "<script>|`SAM`": {method: sam, rho: 0.05}
  "$(ASAM)": {method: asam, rho: 0.5}
  Fresh: {method: untrained}
seeds: [1, 2, 3]
tables:
- id: digits
  title: Accuracy on digits
  place: Table 1
  spread: ci95
  reported_seeds: 5
  columns:
  - {id: acc, title: Test, task: digits, on: test}
  - {id: loss, title: Loss, task: digits, on: test, metric: loss}
  - {id: far, title: Far, task: digits, on: far}
  - {id: mean, title: Mean, mean: [acc, far]}
  rows:
  - {method: Fresh, group: as it is, reported: '- 2.30 - -'}
  - {method: SGD, group: trained, reported: '90.10±0.50 0.41±0.02 70.0±1.0 80.0±0.5'}
  - {method: "<script>|`SAM`", group: trained, reported: '91.20±0.40 0.39±0.02 72.0±1.0 81.6±0.5'}
  - {method: "$(ASAM)", group: trained, reported: '91.00±0.40 0.40±0.02 71.0±1.0 81.0±0.5'}
derived_tables:
- id: corr
  title: Correlation with Test
  place: Table 2
  from: digits
  correlation_with: acc
  without: [Fresh]
  rows:
  - {title: Far, columns: [far], reported: '0.950', p_below: 0.01}
figures:
- {id: intervals, title: Accuracy by method, draw: {intervals: {table: digits}}}
- {id: scatter, title: Near and far, place: Figure 1, draw: {scatter: {table: digits, x: acc, y: [far], lines: [{title: all, methods: [SGD, "<script>|`SAM`", "$(ASAM)"]}]}}}
- {id: curves, title: Training loss, draw: {curves: {task: digits, metric: loss}}}
claims:
- id: sam-helps
  says: "SAM | improves on SGD"
  place: Section 1
  holds: {order: {table: digits, columns: [acc], better: ["<script>|`SAM`"], than: [SGD], test: {name: welch, level: 0.05}}}
"#;

fn suite() -> Suite {
    parse(Path::new("/somewhere/suites/hand-made.yaml"), SUITE).unwrap()
}

/// SGD has all seeds, SAM two of three with one diverged, ASAM only diverged or missing ones.
fn records(suite: &Suite) -> BTreeMap<RunId, RunRecord> {
    let mut records = BTreeMap::new();
    let mut add = |method: &str, seed: u64, outcome: Outcome, numbers: [f64; 3]| {
        let at = |on: &str, metric: &str, step, value| Observation {
            step,
            on: on.into(),
            metric: metric.into(),
            value,
        };
        let mut observations: Vec<Observation> = (1..=20)
            .map(|i| {
                at(
                    "training",
                    "loss",
                    5 * i,
                    2.3 * (-0.1 * i as f64).exp() + 0.01 * seed as f64,
                )
            })
            .collect();
        if outcome == Outcome::Completed {
            observations.push(at("test", "accuracy", 100, numbers[0]));
            observations.push(at("test", "loss", 100, numbers[1]));
            observations.push(at("far", "accuracy", 100, numbers[2]));
        }
        let environment = Environment {
            harness: "0.1.0".into(),
            build: if seed == 3 { "~other" } else { harness::BUILD }.into(),
            revision: "0123abc".into(),
            libtorch: "2.9.0".into(),
            device: "cpu".into(),
            device_name: "A <fine> processor".into(),
            threads: if seed == 3 { 4 } else { 2 },
            processes: 1,
            cpu_capability: "AVX2".into(),
            mkl_cbwr: None,
            parameters: 1000,
            ..Environment::default()
        };
        let record = RunRecord {
            outcome,
            environment,
            seconds: 10.0,
            observations,
            no_value: Default::default(),
        };
        records.insert(run_spec(suite, "digits", method, seed).id(), record);
    };
    for (seed, numbers) in [
        (1, [90.0, 0.41, 69.5]),
        (2, [90.2, 0.42, 70.5]),
        (3, [90.1, 0.40, 70.2]),
    ] {
        add("SGD", seed, Outcome::Completed, numbers);
    }
    add("<script>|`SAM`", 1, Outcome::Completed, [85.0, 0.50, 72.5]);
    add("<script>|`SAM`", 2, Outcome::Completed, [85.2, 0.51, 71.5]);
    add(
        "<script>|`SAM`",
        3,
        Outcome::Diverged { step: 40 },
        [0.0; 3],
    );
    add("$(ASAM)", 1, Outcome::Diverged { step: 12 }, [0.0; 3]);
    records
}

fn report() -> Report {
    let suite = suite();
    Report::of(
        &suite,
        &expand(std::slice::from_ref(&suite)),
        &records(&suite),
    )
}

/// A fresh folder for a test, which removes it.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("harness-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Whether a program is installed; says so where it is not.
fn has(program: &str) -> bool {
    let found = std::process::Command::new(program)
        .arg("--version")
        .output();
    if found.is_err() {
        eprintln!("skipped in part: {program} is not there");
    }
    found.is_ok()
}

/// Compares with `tests/snapshots/NAME`; `UPDATE_SNAPSHOTS=1` writes it.
#[track_caller]
fn snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots")
        .join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{name} has changed; it is now:\n{text}");
}

#[test]
fn the_terminal_shows_both_numbers_and_what_is_missing_within_100_columns() {
    let text = terminal::page(
        &report(),
        Style {
            colours: false,
            width: 100,
        },
    );
    assert!(text.lines().all(|line| line.chars().count() <= 100));
    assert!(!text.contains('\x1b'));
    snapshot("report.txt", &text);
}

#[test]
fn the_terminal_fits_a_narrow_window_and_colours_only_when_asked() {
    let text = terminal::page(
        &report(),
        Style {
            colours: false,
            width: 60,
        },
    );
    assert!(
        text.lines().all(|line| line.chars().count() <= 60),
        "{text}"
    );
    assert!(
        terminal::page(
            &report(),
            Style {
                colours: true,
                width: 100
            }
        )
        .contains("\x1b[31m")
    );
}

#[test]
fn the_markdown_page_is_what_it_was() {
    // The build changes with every source.
    let text = markdown::page(&report()).replace(harness::BUILD, "this build");
    snapshot("report.md", &text);
}

#[test]
fn the_csv_has_every_cell_in_full_precision() {
    let text = csv::cells(&report());
    assert_eq!(text.lines().count(), 1 + 4 * 4 + 1);
    snapshot("cells.csv", &text);
}

/// Everything that stands between `<` and a blank or `>` on the page, its figures and its script.
const TAGS: &[&str] = &[
    "DOCTYPE", "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "ul",
    "li", "span", "div", "br", "code", "table", "thead", "tbody", "tr", "th", "td", "strong", "em",
    "b", "small", "details", "summary", "section", "figure", "pre", "script", "svg", "rect",
    "circle", "line", "polygon", "polyline", "text",
];

#[test]
fn a_spread_that_is_printed_finer_than_its_mean_stays_so() {
    let text = SUITE
        .replace("70.0±1.0", "70.0±1.04")
        .replace("72.0±1.0", "72.0±1.20");
    let suite = parse(Path::new("finer.yaml"), &text).unwrap();
    let page = markdown::page(&Report::of_paper(&suite));
    for number in ["70.0 ± 1.04", "72.0 ± 1.20", "71.0 ± 1.00", "90.10 ± 0.50"] {
        assert!(page.contains(number), "{number} in {page}");
    }
}

#[test]
fn a_cell_says_its_seeds_and_runs_when_pointed_at() {
    let page = html::page(&report());
    let hover = "differs by 0.000 ± 0.385 (90%), within the margin of ±0.805 (2 of the paper&#39;s standard \
                 deviations): p = 1.000 of no difference, p = 0.004 of one beyond the margin; its runs differ in build, \
                 threads; made by another build than this program&#39;s&#10;seed 1: 90.0000 (76bee849e2bf1e39)\
                 &#10;seed 2: 90.2000 (8e49f0e3d24d452d)&#10;seed 3: 90.1000 (c826fe100409ac4c)";
    assert!(page.contains(&format!("title=\"{hover}\"")), "{page}");
}

#[test]
fn hostile_names_come_out_harmless() {
    let report = report();
    let page = html::page(&report);
    assert!(!page.contains("<b>bold") && !page.contains("http-equiv"));
    // The page's own, at its end.
    assert_eq!(page.matches("<script").count(), 1);
    for tag in html::page(&hostile::report(report.clone()))
        .split('<')
        .skip(1)
    {
        let name: String = tag
            .trim_start_matches(['/', '!'])
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        assert!(TAGS.contains(&name.as_str()), "<{tag}");
    }
    assert!(page.contains("&lt;script&gt;|`SAM`"));
    let figures: Vec<&String> = report
        .figures
        .iter()
        .filter_map(|figure| figure.svg.as_ref().ok())
        .collect();
    assert!(figures.len() == 5 && figures.iter().all(|svg| !svg.contains("<script")));
    let markdown = markdown::page(&report);
    assert!(markdown.contains(r"&lt;script&gt;\|\`SAM\`") && !markdown.contains("<script"));
    assert_eq!(terminal::plain("a\x1b[2Jb\nc"), "a [2Jb c");
}

#[test]
fn nothing_of_the_machine_and_nothing_from_outside_is_in_the_page() {
    let page = html::page(&report());
    assert!(!page.contains("/somewhere") && page.contains("harness run hand-made.yaml"));
    let outside = page.replace("http://www.w3.org/2000/svg", "");
    assert!(
        !outside.contains("http://") && !outside.contains("https://") && !outside.contains("url(")
    );
}

#[test]
fn a_figure_is_text_and_the_same_bytes_again() {
    let (one, two) = (report(), report());
    for (one, two) in one.figures.iter().zip(&two.figures) {
        assert_eq!((&one.svg, &one.png), (&two.svg, &two.png));
        assert!(one.svg.as_ref().unwrap().contains("<text"));
    }
}

#[test]
fn a_figure_is_a_png_of_twice_its_size_that_another_program_reads() {
    const SIZE: &str = "import sys, zlib, struct
data = sys.stdin.buffer.read()
assert data[:8] == b'\\x89PNG\\r\\n\\x1a\\n'
at, pixels = 8, b''
while at < len(data):
    length, kind = struct.unpack('>I4s', data[at:at + 8])
    body = data[at + 8:at + 8 + length]
    assert zlib.crc32(kind + body) == struct.unpack('>I', data[at + 8 + length:at + 12 + length])[0]
    if kind == b'IHDR': width, height = struct.unpack('>II', body[:8])
    if kind == b'IDAT': pixels += body
    at += 12 + length
assert len(zlib.decompress(pixels)) == height * (3 * width + 1)
print(width, height)";
    for figure in report().figures {
        let svg = figure.svg.unwrap();
        let side = |name: &str| -> u32 {
            let (_, after) = svg.split_once(&format!(" {name}=\"")).unwrap();
            after.split_once('"').unwrap().0.parse().unwrap()
        };
        let mut python = std::process::Command::new("python3")
            .args(["-c", SIZE])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = python.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, &figure.png.unwrap()).unwrap();
        drop(input);
        let output = python.wait_with_output().unwrap();
        let sides = format!("{} {}", 2 * side("width"), 2 * side("height"));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), sides);
    }
}

#[test]
fn without_a_single_run_the_paper_alone_is_shown() {
    let suite = suite();
    let report = Report::of(
        &suite,
        &expand(std::slice::from_ref(&suite)),
        &BTreeMap::new(),
    );
    assert_eq!(report.verdicts_text().unwrap(), "14 not run");
    let text = markdown::page(&report);
    assert!(
        text.contains("0 of 12 runs completed, 12 not run")
            && text.contains("**91.20 ± 0.40**<br>– (3 not run) ·"),
        "{text}"
    );
    assert!(report.figures[2].svg.is_err() && report.figures[0].svg.is_ok());
}

#[test]
fn files_are_replaced_and_nothing_is_left_beside_them() {
    let folder = std::env::temp_dir().join(format!("harness-report-{}", std::process::id()));
    for _ in 0..2 {
        let rendered = render(report(), &folder).unwrap();
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "card.md",
                "cells.csv",
                "curves.png",
                "curves.svg",
                "digits-cost.png",
                "digits-cost.svg",
                "digits-differences.png",
                "digits-differences.svg",
                "index.html",
                "intervals.png",
                "intervals.svg",
                "junit.xml",
                "report.md",
                "report.tex",
                "scatter.png",
                "scatter.svg",
                "tables.tex"
            ]
        );
        assert_eq!(rendered.files.len(), 17);
    }
    if let Some(keep) = std::env::var_os("KEEP_REPORT") {
        let _ = std::fs::rename(&folder, keep);
    }
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn the_paper_alone_shows_its_tables_correlations_figures_and_claims_and_nothing_of_ours() {
    let report = Report::of_paper(&suite());
    let text = markdown::page(&report);
    snapshot("paper.md", &text);
    let tables = latex::tables(&report);
    let plain = Style {
        colours: false,
        width: 100,
    };
    for page in [
        &text,
        &html::page(&report),
        &tables,
        &terminal::page(&report, plain),
    ] {
        for word in ["ours", "not run", "seed 1"] {
            assert!(!page.contains(word), "{word} in {page}");
        }
        assert!(page.contains("91.20") && page.contains("0.939"), "{page}");
    }
    assert_eq!(report.verdicts_text(), None);
    assert_eq!(report.figures.len(), 2);
    let cases = junit::file(&report);
    assert!(cases.contains("tests=\"1\" failures=\"0\""), "{cases}");
}

#[test]
fn the_commands_of_a_report_are_safe_to_paste() {
    let mut report = report();
    report.file = "a b'; rm -rf $(pwd)\n`ls`.yaml".into();
    assert_eq!(
        report.commands()[0],
        r"harness run 'a b'\''; rm -rf $(pwd)`ls`.yaml'"
    );
}
