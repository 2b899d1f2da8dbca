//! What a table shows of the paper's: columns, rows, marks, and which verdicts count.

use std::collections::BTreeMap;
use std::path::Path;

use harness::plan::expand;
use harness::report::{Comparison, Mark, Report, csv, markdown};
use harness::suite::parse;

const SUITE: &str = "
suite: printed
title: As printed
citation: {title: T, authors: A, venue: V, year: 2024}
models:
  m: {config: {model_type: vit}}
metrics:
  accuracy: {measure: accuracy, better: higher, unit: '%'}
training:
  t: {base: {name: sgd, lr: 0.1}, schedule: {name: constant}, length: {steps: 10}, batch: 2}
tasks:
  a: {model: m, data: {folder: d, sha256: '0000000000000000000000000000000000000000000000000000000000000000'}, input: {images: {}}, train: [train], training: t, metric: accuracy}
methods:
  Fresh: {method: untrained}
  SGD: {method: base}
  SAM: {method: sam, rho: 0.05}
  ASAM: {method: asam, rho: 0.5}
seeds: [1, 2, 3]
tables:
- id: one
  title: One
  place: Table 1
  spread_from: deviations
  reported_seeds: 3
  columns:
  - {id: x, task: a, on: x/test, hidden: true}
  - {id: y, task: a, on: y/test, hidden: true}
  - {id: mean, title: Mean, mean: [x, y]}
  - {id: z, task: a, on: z/test}
  rows:
  - {method: Fresh, reported: 99.0 1.0}
  - {method: SGD, reported: 70.0 71.0}
  - {method: SAM, title: SAM (ours), reported: 72.0 73.0}
  - {method: ASAM, reported: 71.0 72.0}
- id: two
  title: Two
  place: Table 2
  repeats: one
  columns: [{id: z, task: a, on: z/test}]
  rows:
  - {method: SAM, reported: '73.0'}
  - {method: SGD}
- id: deviations
  title: Deviations
  place: Table 3
  statistic: sd
  reported_seeds: 3
  columns: [{id: z, task: a, on: z/test}]
  rows: [{method: SAM, reported: '0.5'}]
";

fn report() -> Report {
    report_of(SUITE)
}

fn report_of(text: &str) -> Report {
    let suite = parse(Path::new("suites/printed.yaml"), text).unwrap();
    Report::of(
        &suite,
        &expand(std::slice::from_ref(&suite)),
        &BTreeMap::new(),
    )
}

fn marks(table: &Comparison, column: usize) -> Vec<Mark> {
    let rows = table.rows.iter();
    rows.map(|row| row.cells[column].paper_mark).collect()
}

#[test]
fn a_hidden_column_is_not_shown() {
    let report = report();
    let heads: Vec<&str> = report.tables[0]
        .columns
        .iter()
        .map(|head| &*head.id)
        .collect();
    assert_eq!(heads, ["mean", "z"]);
    let cells = report.tables[0].rows.iter().map(|row| row.cells.len());
    assert!(cells.eq([2, 2, 2, 2]));
    assert_eq!(
        report.tables[0].rows[2].cells[0]
            .reported
            .as_ref()
            .unwrap()
            .value,
        72.0
    );
}

#[test]
fn a_model_evaluated_as_it_is_is_neither_best_nor_worst() {
    // Fresh has the highest mean and the lowest z.
    for column in 0..2 {
        assert_eq!(
            marks(&report().tables[0], column),
            [Mark::None, Mark::Worst, Mark::Best, Mark::None]
        );
    }
}

#[test]
fn a_row_has_its_own_title_and_the_spread_of_another_table_is_not_printed() {
    let report = report();
    assert!(markdown::page(&report).contains("| SAM (ours) | **72.0**<br>"));
    let sam = &report.tables[0].rows[2].cells[1];
    assert_eq!(sam.paper.unwrap().to_string(), "73.0");
    // It makes the margin.
    assert_eq!(sam.weighed.as_ref().unwrap().margin, 1.0);
    // The method's name is what a program asks for.
    assert!(csv::cells(&report).contains("printed,one,,SAM,z,73,0.5,sd,3,"));
    assert!(markdown::page(&report).contains("Standard deviation over 3 seeds"));
}

#[test]
fn a_cell_that_two_tables_print_counts_once() {
    // Eight cells of the first table, none of the second, one deviation.
    assert_eq!(report().verdicts_text().unwrap(), "9 not run");
}

#[test]
fn another_reading_counts_nowhere_and_is_no_table_of_the_paper() {
    let reading = |of: &str| {
        format!(
            "{SUITE}
- id: one-code
  title: One again
  place: Table 1
  reading_of: {of}
  columns: [{{id: z, task: a, on: z/test}}]
  rows: [{{method: ASAM, reported: '73.0'}}]
"
        )
    };
    let report = report_of(&reading("one"));
    assert_eq!(report.verdicts_text().unwrap(), "9 not run");
    assert!(markdown::page(&report).contains("One again"));
    let suite = parse(Path::new("suites/printed.yaml"), &reading("one")).unwrap();
    let paper = Report::of_paper(&suite);
    assert!(!markdown::page(&paper).contains("One again"));
    assert!(!csv::cells(&paper).contains("one-code"));
    for (of, problem) in [("won", "one"), ("one-code", "is a reading itself")] {
        let problems = parse(Path::new("suites/printed.yaml"), &reading(of)).unwrap_err();
        let text = problems.to_string();
        assert!(
            text.contains("reading_of") && text.contains(problem),
            "{text}"
        );
    }
}
