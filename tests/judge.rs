//! Verdicts and claims on cases that one can check by hand, and on the paper's printed numbers.

mod cells;
mod tables;

use std::collections::BTreeMap;
use std::path::Path;

use harness::event::{Environment, Observation, Outcome, RunRecord};
use harness::judge::{
    Absent, Basis, Cell, Cells, Finding, Kind, Rule, Ruling, Sample, Verdict, derived_value,
    judge_cell, judge_claim, printed_estimate,
};
use harness::plan::{RunId, run_spec};
use harness::stats::Estimate;
use harness::suite::{Claim, PrintedPasses, Reported, Spread, Statement, Suite, parse};

fn cell(values: &[f64]) -> Cell {
    let samples = values.iter().enumerate().map(|(i, &value)| Sample {
        seed: i as u64,
        value,
        runs: Default::default(),
    });
    let samples: Vec<Sample> = samples.collect();
    Cell {
        planned: values.len(),
        estimate: Estimate::of(values),
        samples,
        ..Cell::default()
    }
}

fn lost(seed: u64, outcome: Option<Outcome>) -> Absent {
    Absent {
        seed,
        run: RunId(format!("{seed:016x}")),
        outcome,
    }
}

fn reported(value: f64, spread: Option<f64>, kind: Spread, seeds: Option<u64>) -> Reported {
    Reported {
        value,
        decimals: 1,
        spread,
        kind,
        spread_place: None,
        seeds,
        place: "Table 0".into(),
    }
}

fn verdict(values: &[f64], reported: &Reported) -> Verdict {
    judge_cell(&cell(values), reported, &Rule::default()).verdict
}

/// The frame of a suite; `%` is replaced by the tables.
const FRAME: &str = "
suite: paper
title: The paper's numbers
citation: {title: TRAM, authors: Sherborne et al., venue: ICLR, year: 2024}
models:
  m: {config: {model_type: vit}}
metrics:
  accuracy: {measure: accuracy, better: higher, unit: '%'}
  loss: {measure: loss, better: lower}
training:
  t: {base: {name: sgd, lr: 0.1}, schedule: {name: constant}, length: {steps: 10}, batch: 2}
tasks:
  a: {model: m, data: {folder: d, sha256: '0000000000000000000000000000000000000000000000000000000000000000'}, input: {images: {}}, train: [train], training: t, metric: accuracy}
  p: {model: m, data: {folder: d, sha256: '0000000000000000000000000000000000000000000000000000000000000000'}, input: {images: {}}, train: [train], training: t, metric: loss}
methods:
";

/// A suite of one table from rows `method | numbers`, each method another knob of SAM so that every run is its own.
fn suite(task: &str, columns: &[&str], spread: &str, seeds: u64, rows: &[(&str, &str)]) -> Suite {
    let mut text = FRAME.to_string();
    for (i, (method, _)) in rows.iter().enumerate() {
        text += &format!(
            "  {method}: {{method: sam, rho: {}}}\n",
            0.01 * (i + 1) as f64
        );
    }
    text += &format!(
        "seeds: [1, 2, 3]\ntables:\n- id: t\n  title: T\n  place: Table\n  spread: {spread}\n  reported_seeds: {seeds}\n  columns:\n"
    );
    for column in columns {
        text += &format!("  - {{id: {column}, task: {task}, on: {column}/test}}\n");
    }
    text += "  rows:\n";
    for (method, numbers) in rows {
        text += &format!("  - {{method: {method}, reported: '{numbers}'}}\n");
    }
    parse(Path::new("suites/paper.yaml"), &text).unwrap()
}

fn table3() -> Suite {
    let rows = [
        ("SGD", "87.97±0.12 92.85±0.31 94.53±0.20"),
        ("FSAM", "88.39±0.13 93.42±0.01 95.26±0.03"),
        ("TRAM-theta_prev", "88.47±0.16 93.49±0.04 97.07±0.10"),
        ("TRAM-theta_0", "88.31±0.09 93.16±0.07 95.53±0.10"),
        ("TRAM-x", "88.78±0.01 93.32±0.11 96.34±0.03"),
        ("TRAM-Fisher", "88.02±0.18 93.12±0.13 94.90±0.11"),
    ];
    suite("a", &["cifar100", "cars", "flowers"], "ci95", 5, &rows)
}

fn s2orc() -> Suite {
    let rows = [
        ("Adam", "11.4 44.2 33.9 41.9"),
        ("FSAM", "10.4 45.6 33.3 42.7"),
        ("MESA", "11.9 44.1 34.1 41.7"),
        ("TRAM-x", "10.4 44.9 33.0 42.0"),
        ("TRAM-theta_prev", "9.6 46.8 32.5 43.3"),
        ("TRAM-Fisher", "10.5 46.1 32.4 43.0"),
    ];
    suite("p", &["Math", "Art", "Astro", "Phil"], "none", 1, &rows)
}

/// Rows of Table 5 with six of its columns.
fn xnli() -> Suite {
    let rows = [
        ("R3F", "85.5 72.7 78.9 77.5 76.8 79.9"),
        ("FSAM", "84.7 72.2 78.1 76.9 76.0 79.3"),
        ("TRAM-x", "86.2 73.5 79.8 78.3 77.5 80.9"),
        ("TRAM-Fisher", "84.3 73.1 78.7 77.1 76.2 79.5"),
    ];
    suite(
        "a",
        &["En", "Ar", "Bg", "De", "El", "Es"],
        "none",
        20,
        &rows,
    )
}

#[test]
fn not_all_tram_variants_outperform_all_other_methods() {
    // Claim 4: TRAM-Fisher is below R3F in five of six columns, TRAM-x above both in all.
    let claim = r#"{"order": {"table": "t", "columns": ["En", "Ar", "Bg", "De", "El", "Es"], "better": ["TRAM-x", "TRAM-Fisher"],
        "than": ["R3F", "FSAM"], "test": {"name": "wilcoxon", "level": 0.05, "over": "columns"}}}"#;
    let finding = on_paper(&xnli(), claim);
    assert_eq!(finding.ruling, Ruling::Refuted);
    assert!(
        finding.evidence[0].starts_with("mean of 6 columns: TRAM-Fisher 78.15 against R3F 78.55"),
        "{:?}",
        finding.evidence
    );
    // Six gains of six: p = 2/64.
    let finding = on_paper(&xnli(), &claim.replace(r#", "TRAM-Fisher"]"#, "]"));
    assert_eq!(finding.ruling, Ruling::Holds);
    assert!(
        finding.evidence[0].ends_with("Wilcoxon, p = 0.031"),
        "{:?}",
        finding.evidence
    );
}

#[test]
fn derived_columns_are_computed_within_a_seed_and_estimated_over_seeds() {
    let text = FRAME.to_string()
        + "
  SGD: {method: base}
seeds: [1, 2, 3, 4]
tables:
- id: t
  title: T
  place: Table
  columns:
  - {id: x, task: a, on: x/test}
  - {id: y, task: a, on: y/test}
  - {id: z, task: a, on: z/test}
  - {id: corr, correlation: {of: x, with: [y, z]}}
  - {id: mean, mean: [x, y, z], spread: sd_over_columns}
  - {id: sd, sd: [x, z]}
  rows:
  - {method: SGD}
";
    let suite = parse(Path::new("suites/paper.yaml"), &text).unwrap();
    let mut records = BTreeMap::new();
    for (seed, x) in [(1, 1.0), (2, 2.0), (3, 3.0)] {
        let seen = |on: &str, value| Observation {
            step: 1,
            on: on.into(),
            metric: "accuracy".into(),
            value,
        };
        let observations = vec![
            seen("x/test", x),
            seen("y/test", 2.0 * x),
            seen("z/test", 10.0 - x),
        ];
        let record = RunRecord {
            outcome: Outcome::Completed,
            environment: Environment::default(),
            seconds: 1.0,
            observations,
            no_value: Default::default(),
        };
        records.insert(run_spec(&suite, "a", "SGD", seed).id(), record);
    }
    let cells = Cells::collect(&suite, &records);
    let estimate = |c| cells.at("t", 0, c).unwrap().estimate.unwrap();
    // Over seeds y rises with x and z falls: (1 - 1) / 2; the correlation is one number, without a spread of its own.
    assert!(estimate(3).mean.abs() < 1e-12 && estimate(3).sd.is_none() && estimate(3).n == 3);
    // Within the seeds (x + 2x + 10 - x) / 3 = 4, 14/3, 16/3.
    assert!(
        (estimate(4).mean - 14.0 / 3.0).abs() < 1e-12
            && (estimate(4).sd.unwrap() - 2.0 / 3.0).abs() < 1e-12
    );
    // The columns' means over seeds are 2, 4 and 8, their deviation is sqrt(28/3).
    let over_columns = cells.at("t", 0, 4).unwrap().over_columns.unwrap();
    assert!((over_columns - (28f64 / 3.0).sqrt()).abs() < 1e-12);
    // |x - (10 - x)| / sqrt(2): 8, 6 and 4 over sqrt(2).
    assert!((estimate(5).mean - 6.0 / 2f64.sqrt()).abs() < 1e-12);
    assert_eq!(cells.at("t", 0, 4).unwrap().missing().unwrap(), "1 not run");
    assert_eq!(cells.at("t", 0, 4).unwrap().samples[0].runs.len(), 1);
}

fn statement(text: &str) -> Statement {
    serde_json::from_str(text).unwrap()
}

fn judged(suite: &Suite, cells: &Cells, text: &str) -> (Finding, Finding) {
    let claim = Claim {
        id: "c".into(),
        says: "s".into(),
        place: "p".into(),
        holds: statement(text),
    };
    let judged = judge_claim(suite, cells, &claim);
    (judged.paper, judged.ours)
}

fn on_paper(suite: &Suite, text: &str) -> Finding {
    judged(suite, &Cells::collect(suite, &BTreeMap::new()), text).0
}

#[test]
fn the_best_tram_variant_beats_fsam_on_every_image_set() {
    // Claim 1. The closest is Cars: 93.49±0.04 against 93.42±0.01, Welch t = 4.7 on 4.5 degrees of freedom, p = 0.007,
    // and four times that for having picked the best of four.
    let claim = r#"{"order": {"table": "t", "columns": ["cifar100", "cars", "flowers"], "which": "best",
        "better": ["TRAM-theta_prev", "TRAM-theta_0", "TRAM-x", "TRAM-Fisher"], "than": ["FSAM"],
        "test": {"name": "welch", "level": 0.05}}}"#;
    let finding = on_paper(&table3(), claim);
    assert_eq!(finding.ruling, Ruling::Holds, "{:?}", finding.evidence);
    assert!(finding.evidence.iter().any(|line| {
        line.contains("cars: TRAM-theta_prev 93.49 against FSAM 93.42: Welch, p = 0.0")
    }));
    let strict = on_paper(&table3(), &claim.replace("0.05", "0.01"));
    assert_eq!(strict.ruling, Ruling::Undecided);
    assert!(
        strict.evidence[0].starts_with("cars:"),
        "{:?}",
        strict.evidence
    );
}

#[test]
fn not_every_tram_variant_beats_fsam() {
    let claim = r#"{"order": {"table": "t", "columns": ["cars"], "better": ["TRAM-theta_prev", "TRAM-x"], "than": ["FSAM"],
        "test": {"name": "welch", "level": 0.01}}}"#;
    let finding = on_paper(&table3(), claim);
    assert_eq!(finding.ruling, Ruling::Refuted);
    assert!(
        finding.evidence[0].starts_with("cars: TRAM-x 93.32 against FSAM 93.42"),
        "{:?}",
        finding.evidence
    );
}

#[test]
fn mesa_is_best_far_away_and_tram_is_best_at_home_and_worst_there() {
    // Claim 3.
    let claim = r#"{"all_of": [
        {"extreme": {"table": "t", "columns": ["Art", "Phil"], "method": "MESA", "is": "best"}},
        {"extreme": {"table": "t", "columns": ["Math"], "method": "TRAM-theta_prev", "is": "best"}},
        {"extreme": {"table": "t", "columns": ["Art", "Phil"], "method": "TRAM-theta_prev", "is": "worst"}}]}"#;
    assert_eq!(on_paper(&s2orc(), claim).ruling, Ruling::Holds);
    let wrong = r#"{"extreme": {"table": "t", "columns": ["Astro"], "method": "TRAM-theta_prev", "is": "best"}}"#;
    let finding = on_paper(&s2orc(), wrong);
    assert_eq!(finding.ruling, Ruling::Refuted);
    assert_eq!(
        finding.evidence,
        ["Astro: TRAM-theta_prev 32.5, but TRAM-Fisher 32.4 is better"]
    );
}

#[test]
fn one_seed_supports_no_test_over_seeds() {
    let claim = r#"{"order": {"table": "t", "columns": ["Math"], "better": ["TRAM-theta_prev"], "than": ["FSAM"],
        "test": {"name": "welch", "level": 0.01}}}"#;
    let finding = on_paper(&s2orc(), claim);
    assert_eq!(finding.ruling, Ruling::Undecided);
    assert!(finding.evidence[0].contains("a spread over at least two seeds is missing"));
}

#[test]
fn tests_over_columns_take_one_value_a_column() {
    // Four differences of which three are gains: 16 sign patterns, rank sum of the losses 1 (Art 1.2, Phil 0.6, ...).
    let order = r#"{"order": {"table": "t", "columns": ["Math", "Art", "Astro", "Phil"], "better": ["TRAM-x"], "than": ["FSAM"],
        "test": {"name": "NAME", "level": 0.2, "over": "columns"}}}"#;
    // FSAM minus TRAM-x: 0.0, 0.7, 0.3, 0.7. The zero is dropped; three gains of three have p = 2/8.
    let finding = on_paper(&s2orc(), &order.replace("NAME", "wilcoxon"));
    assert_eq!(finding.ruling, Ruling::Undecided);
    assert!(
        finding.evidence[0].contains("Wilcoxon, p = 0.250"),
        "{:?}",
        finding.evidence
    );
    let finding = on_paper(&s2orc(), &order.replace("NAME", "kolmogorov_smirnov"));
    assert!(
        finding.evidence[0].contains("Kolmogorov-Smirnov, p = 1.000"),
        "{:?}",
        finding.evidence
    );
    let same = r#"{"not_different": {"table": "t", "columns": ["Math", "Art", "Astro", "Phil"], "method": "TRAM-x", "from": "FSAM",
        "test": {"name": "wilcoxon", "level": 0.01, "over": "columns"}}}"#;
    assert_eq!(on_paper(&s2orc(), same).ruling, Ruling::Holds);
}

#[test]
fn distant_domains_are_anticorrelated_with_the_training_domain() {
    // Claim 8, on the rows kept here.
    let claim = r#"{"all_of": [
        {"correlates": {"table": "t", "x": "Math", "y": ["Art", "Phil"], "at_most": 0}},
        {"correlates": {"table": "t", "x": "Math", "y": ["Astro"], "at_least": 0.8}}]}"#;
    let finding = on_paper(&s2orc(), claim);
    assert_eq!(finding.ruling, Ruling::Holds, "{:?}", finding.evidence);
    let wrong = r#"{"correlates": {"table": "t", "x": "Math", "y": ["Art"], "at_least": 0.8}}"#;
    assert_eq!(on_paper(&s2orc(), wrong).ruling, Ruling::Refuted);
}

#[test]
fn gaps_and_bounds_are_ranges_with_their_ends() {
    let gap = |range: &str| {
        on_paper(
            &s2orc(),
            &format!(
                r#"{{"gap": {{"table": "t", "columns": ["Math"], "method": "FSAM", "from": "TRAM-theta_prev", {range}}}}}"#
            ),
        )
    };
    // 10.4 - 9.6, whose binary difference is a little less than 0.8.
    assert_eq!(gap(r#""at_least": 0.8"#).ruling, Ruling::Holds);
    assert_eq!(gap(r#""at_most": 0.7"#).ruling, Ruling::Refuted);
    let bound = r#"{"bound": {"table": "t", "columns": ["Math"], "methods": ["FSAM", "TRAM-x"], "at_least": 10.4, "at_most": 10.4}}"#;
    assert_eq!(on_paper(&s2orc(), bound).ruling, Ruling::Holds);
    let any = format!(
        r#"{{"any_of": [{bound}, {}]}}"#,
        bound.replace("FSAM", "Adam")
    );
    assert_eq!(on_paper(&s2orc(), &any).ruling, Ruling::Holds);
    assert_eq!(
        on_paper(&s2orc(), &any.replace("any_of", "all_of")).ruling,
        Ruling::Refuted
    );
}

#[test]
fn passes_are_those_that_the_optimizer_makes() {
    let suite = s2orc();
    let cells = Cells::collect(&suite, &BTreeMap::new());
    let claim = |backward: u64| {
        format!(r#"{{"passes": {{"method": "FSAM", "forward": 2, "backward": {backward}}}}}"#)
    };
    assert_eq!(judged(&suite, &cells, &claim(2)).1.ruling, Ruling::Holds);
    assert_eq!(judged(&suite, &cells, &claim(1)).1.ruling, Ruling::Refuted);
    assert_eq!(on_paper(&suite, &claim(1)).ruling, Ruling::Undecided);

    let mut printed = suite;
    printed.citation.passes = Some(PrintedPasses {
        place: "Table 2".into(),
        of: [("FSAM".to_string(), [2, 1])].into_iter().collect(),
    });
    assert_eq!(on_paper(&printed, &claim(2)).ruling, Ruling::Refuted);
    assert_eq!(on_paper(&printed, &claim(1)).ruling, Ruling::Holds);
}

/// A run that measured this loss on mathematics.
fn with_loss(value: f64) -> RunRecord {
    let seen = Observation {
        step: 10,
        on: "Math/test".into(),
        metric: "loss".into(),
        value,
    };
    RunRecord {
        outcome: Outcome::Completed,
        environment: Environment::default(),
        seconds: 1.0,
        observations: vec![seen],
        no_value: Default::default(),
    }
}

#[test]
fn a_claim_is_undecided_until_ours_has_its_numbers_and_then_follows_them() {
    let suite = s2orc();
    let claim = r#"{"order": {"table": "t", "columns": ["Math"], "better": ["TRAM-theta_prev"], "than": ["FSAM"],
        "test": {"name": "welch", "level": 0.01}}}"#;
    let mut records = BTreeMap::new();
    let (_, ours) = judged(&suite, &Cells::collect(&suite, &records), claim);
    assert_eq!(
        ours.evidence,
        [
            "Math: no number for TRAM-theta_prev and FSAM",
            "1 of 1 undecided"
        ][..1]
    );
    for seed in 1..=3 {
        for (method, value) in [("FSAM", 10.0), ("TRAM-theta_prev", 9.0)] {
            let record = with_loss(value + 0.01 * seed as f64);
            records.insert(run_spec(&suite, "p", method, seed).id(), record);
        }
    }
    let (_, ours) = judged(&suite, &Cells::collect(&suite, &records), claim);
    assert_eq!(ours.ruling, Ruling::Holds, "{:?}", ours.evidence);
    let (_, reverse) = judged(
        &suite,
        &Cells::collect(&suite, &records),
        &claim
            .replace("TRAM-theta_prev", "FSAM")
            .replace(r#""than": ["FSAM"]"#, r#""than": ["TRAM-theta_prev"]"#),
    );
    assert_eq!(reverse.ruling, Ruling::Refuted);
}

#[test]
fn what_only_the_order_of_a_sum_moves_is_equal() {
    let suite = s2orc();
    let records = [
        ("FSAM", [0.1, 0.2, 0.3]),
        ("TRAM-theta_prev", [0.3, 0.2, 0.1]),
    ]
    .into_iter()
    .flat_map(|(method, values)| {
        (1..)
            .zip(values)
            .map(move |(seed, value)| (method, seed, value))
    })
    .map(|(method, seed, value)| {
        let id = run_spec(&suite, "p", method, seed).id();
        (id, with_loss(value))
    })
    .collect();
    assert_ne!((0.1 + 0.2) + 0.3, (0.3 + 0.2) + 0.1);
    let cells = Cells::collect(&suite, &records);
    for (better, than) in [("FSAM", "TRAM-theta_prev"), ("TRAM-theta_prev", "FSAM")] {
        let claim = format!(
            r#"{{"order": {{"table": "t", "columns": ["Math"], "better": ["{better}"], "than": ["{than}"]}}}}"#
        );
        let (_, ours) = judged(&suite, &cells, &claim);
        assert_eq!(ours.ruling, Ruling::Undecided, "{:?}", ours.evidence);
    }
}
