//! Verdicts and claims on cases that one can check by hand, and on the paper's printed numbers.

use std::collections::BTreeMap;
use std::path::Path;

use harness::event::{Environment, Observation, Outcome, RunRecord};
use harness::judge::{
    Absent, Basis, Cell, Cells, Finding, Kind, Rule, Ruling, Sample, Verdict, derived_value,
    judge_cell, judge_claim, printed_estimate,
};
use harness::plan::{RunId, run_spec};
use harness::stats::Estimate;
use harness::suite::{Claim, Reported, Spread, Statement, Suite, parse};

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

#[test]
fn the_same_mean_with_a_small_spread_is_reproduced() {
    // sd 0.5 over 5 seeds: margin 1.0. Both standard errors are about 0.2, so the 90% interval is within 0.6.
    let paper = reported(80.0, Some(0.5), Spread::Sd, Some(5));
    let ours = [79.5, 80.5, 80.0, 79.6, 80.4];
    let weighed = judge_cell(&cell(&ours), &paper, &Rule::default());
    assert_eq!(
        (weighed.verdict, weighed.margin, weighed.seeds_to_decide),
        (Verdict::Reproduced, 1.0, None)
    );
}

#[test]
fn a_difference_far_outside_the_margin_deviates() {
    let paper = reported(80.0, Some(0.5), Spread::Sd, Some(5));
    assert_eq!(verdict(&[75.0, 75.5, 74.5], &paper), Verdict::Deviates);
}

#[test]
fn a_significant_difference_within_the_margin_is_still_the_same() {
    let paper = reported(80.0, Some(0.5), Spread::Sd, Some(1000));
    let weighed = judge_cell(&cell(&[80.5, 80.51, 80.49, 80.5]), &paper, &Rule::default());
    assert_eq!(weighed.verdict, Verdict::Reproduced);
    assert!(
        weighed.p.unwrap() < 0.05 && weighed.reason.contains("within the margin"),
        "{}",
        weighed.reason
    );
}

#[test]
fn a_wide_spread_is_inconclusive_and_says_how_many_seeds_would_decide() {
    let paper = reported(80.0, Some(0.5), Spread::Sd, Some(20));
    let weighed = judge_cell(&cell(&[78.0, 82.0, 80.5]), &paper, &Rule::default());
    assert_eq!(weighed.verdict, Verdict::Inconclusive);
    // The reason's number is the smallest: with sd 2.02 and difference 0.17 the 90% interval first fits in ±1 there.
    let seeds = weighed.seeds_to_decide.unwrap();
    assert!(
        (15..25).contains(&seeds)
            && weighed
                .reason
                .contains(&format!("{seeds} seeds would decide"))
    );
}

#[test]
fn one_seed_is_never_reproduced_but_can_deviate() {
    let paper = reported(80.0, Some(0.5), Spread::Sd, Some(20));
    let near = judge_cell(&cell(&[80.0]), &paper, &Rule::default());
    assert_eq!(near.verdict, Verdict::Inconclusive);
    assert!(
        near.seeds_to_decide.unwrap() >= 2 && near.reason.contains("one seed"),
        "{}",
        near.reason
    );
    assert_eq!(verdict(&[10.0], &paper), Verdict::Deviates);
    let bare = judge_cell(
        &cell(&[80.0]),
        &reported(80.0, None, Spread::None, None),
        &Rule::default(),
    );
    assert_eq!(
        (bare.verdict, bare.seeds_to_decide),
        (Verdict::Inconclusive, Some(2))
    );
}

#[test]
fn without_a_printed_spread_the_reason_says_so() {
    let weighed = judge_cell(
        &cell(&[20.9, 21.0, 20.8]),
        &reported(20.9, None, Spread::None, None),
        &Rule::default(),
    );
    assert!(
        weighed.reason.contains("the paper prints no spread"),
        "{}",
        weighed.reason
    );
    // 1% of 20.9; sd 0.1 over 3 seeds: 90% half-width 2.92 x 0.0577 = 0.169.
    assert_eq!(weighed.verdict, Verdict::Reproduced);
    // One seed of the paper's is as uncertain as one of ours: 2.92 x 0.1 x sqrt(1/3 + 1) = 0.34, more than 0.209.
    let single = reported(20.9, None, Spread::None, Some(1));
    assert_eq!(verdict(&[20.9, 21.0, 20.8], &single), Verdict::Inconclusive);
}

#[test]
fn rounding_alone_is_no_difference() {
    // Ours is 20.94 to the last digit and the paper prints 20.9.
    assert_eq!(
        verdict(&[20.94, 20.94], &reported(20.9, None, Spread::None, None)),
        Verdict::Reproduced
    );
}

#[test]
fn missing_and_diverged_seeds_are_visible() {
    let paper = reported(80.0, Some(0.5), Spread::Sd, Some(5));
    let judge = |cell: &Cell| judge_cell(cell, &paper, &Rule::default());
    let mut partial = cell(&[79.5, 80.5, 80.0, 79.6, 80.4]);
    partial.planned = 6;
    partial.without = vec![lost(5, None)];
    let weighed = judge(&partial);
    assert_eq!(weighed.verdict, Verdict::Reproduced);
    assert!(
        weighed.reason.contains("5 of 6 seeds: 1 not run"),
        "{}",
        weighed.reason
    );
    partial.without = vec![lost(5, Some(Outcome::Diverged { step: 7 }))];
    assert_eq!(judge(&partial).verdict, Verdict::Inconclusive);
    let all = Cell {
        planned: 1,
        without: partial.without.clone(),
        ..Cell::default()
    };
    assert_eq!(
        (judge(&all).verdict, judge(&all).reason.as_str()),
        (Verdict::Diverged, "1 diverged at step 7")
    );
    let none = Cell {
        planned: 1,
        without: vec![lost(0, Some(Outcome::OutOfMemory))],
        ..Cell::default()
    };
    assert_eq!(
        (judge(&none).verdict, judge(&none).reason.as_str()),
        (Verdict::NotRun, "1 out of memory")
    );
}

#[test]
fn both_questions_have_a_p_value_and_the_interval_between_them() {
    let weighed = judge_cell(
        &cell(&[20.9, 21.0, 20.8]),
        &reported(20.9, None, Spread::None, None),
        &Rule::default(),
    );
    // sd 0.1 over 3 seeds: error 0.1 / sqrt(3), and 2 degrees of freedom, where P(T > t) = 1/2 - t / (2 sqrt(2 + t^2)).
    let t: f64 = 0.209 / (0.1 / 3f64.sqrt());
    let tail = 0.5 - t / (2.0 * (2.0 + t * t).sqrt());
    assert!((weighed.p.unwrap() - 1.0).abs() < 1e-9);
    assert!((weighed.p_equivalent.unwrap() - tail).abs() < 1e-9);
    let [low, high] = weighed.interval.unwrap();
    assert!((high - 2.91999 * 0.1 / 3f64.sqrt()).abs() < 1e-5 && (low + high).abs() < 1e-9);
    assert!(weighed.reason.contains("(1% of the printed value)"));
}

#[test]
fn the_margin_is_the_suites() {
    let ours = cell(&[20.9, 21.0, 20.8]);
    let paper = reported(20.9, None, Spread::None, None);
    // 90% half-width 0.169 against 0.5% of 20.9.
    let narrow = Rule {
        relative: 0.005,
        ..Rule::default()
    };
    assert_eq!(
        judge_cell(&ours, &paper, &narrow).verdict,
        Verdict::Inconclusive
    );
    // P(T > 3.62) = 0.034.
    let strict = Rule {
        level: 0.03,
        ..Rule::default()
    };
    assert_eq!(
        judge_cell(&ours, &paper, &strict).verdict,
        Verdict::Inconclusive
    );
    let text = FRAME.replace("methods:\n", "verdicts: {relative: 0.005}\nmethods:\n")
        + "  SGD: {method: base}
seeds: [1]
tables:
- {id: t, title: T, place: Table, columns: [{id: x, task: a, on: x/test}], rows: [{method: SGD}]}
";
    let suite = parse(Path::new("suites/paper.yaml"), &text).unwrap();
    assert_eq!(suite.verdicts, narrow);
}

#[test]
fn the_reason_says_what_stands_for_a_spread_that_is_not_printed() {
    let reason = |spread, kind, seeds| {
        let paper = reported(20.9, spread, kind, seeds);
        judge_cell(&cell(&[20.9, 21.0, 20.8]), &paper, &Rule::default()).reason
    };
    for (spread, kind, seeds, words) in [
        (
            None,
            Spread::None,
            None,
            "prints no spread over seeds, so its value is taken as exact",
        ),
        (
            None,
            Spread::None,
            Some(5),
            "prints no spread over seeds, so ours is taken for its 5",
        ),
        (
            None,
            Spread::None,
            Some(1),
            "has one seed, hence no spread, so ours is taken for it",
        ),
        (
            Some(0.2),
            Spread::Sd,
            None,
            "does not say over how many seeds its spread is",
        ),
        (
            Some(0.2),
            Spread::SdOverColumns,
            Some(5),
            "is over columns and not over seeds, so ours",
        ),
    ] {
        let reason = reason(spread, kind, seeds);
        assert!(reason.contains(words), "{words}: {reason}");
    }
    // A deviation makes the margin even where its seeds are unknown.
    let paper = reported(20.9, Some(0.2), Spread::Sd, None);
    let weighed = judge_cell(&cell(&[20.9, 21.0, 20.8]), &paper, &Rule::default());
    assert_eq!((weighed.margin, weighed.basis), (0.4, Basis::Spreads(2.0)));
}

#[test]
fn a_deviation_is_compared_by_its_logarithm() {
    let deviation = |sd: f64, n: usize| Cell {
        planned: n,
        kind: Kind::Deviation,
        estimate: Some(Estimate {
            mean: sd,
            sd: None,
            n,
        }),
        ..Cell::default()
    };
    let paper = Reported {
        decimals: 2,
        ..reported(0.40, None, Spread::None, Some(20))
    };
    let judge = |sd, n| judge_cell(&deviation(sd, n), &paper, &Rule::default());
    // Errors 1 / sqrt(38) each: of the difference 0.229, twice that is the margin of 0.459; 1.645 x 0.229 = 0.377.
    let same = judge(0.40, 20);
    assert_eq!(same.verdict, Verdict::Reproduced);
    assert!((same.margin - 2.0 * (2f64 / 38.0).sqrt()).abs() < 1e-12);
    // ln(0.80 / 0.405) = 0.68, three errors; ln(0.50 / 0.405) = 0.21, less than one.
    assert_eq!(judge(0.80, 20).verdict, Verdict::Deviates);
    let open = judge(0.50, 20);
    assert_eq!(open.verdict, Verdict::Inconclusive);
    // 0.2107 + 1.645 sqrt(1/38 + 1/(2 (n - 1))) <= 0.4588 from n = 21 + ... on never: sqrt(1/38) alone is 0.267.
    assert_eq!(open.seeds_to_decide, None, "{}", open.reason);
    assert_eq!(judge(0.40, 1).verdict, Verdict::Inconclusive);
}

#[test]
fn a_correlation_over_seeds_is_compared_by_fishers_z() {
    let correlation = |r: f64, n: usize| Cell {
        planned: n,
        kind: Kind::Correlation,
        estimate: Some(Estimate {
            mean: r,
            sd: None,
            n,
        }),
        ..Cell::default()
    };
    let paper = Reported {
        decimals: 2,
        ..reported(0.29, Some(0.20), Spread::SdOverColumns, Some(20))
    };
    let judge = |r, n| judge_cell(&correlation(r, n), &paper, &Rule::default());
    assert_eq!(judge(0.29, 20).verdict, Verdict::Reproduced);
    // artanh 0.29 = 0.30, artanh -0.5 = -0.55; the error of the difference is sqrt(2/17) = 0.34.
    assert_eq!(judge(-0.5, 20).verdict, Verdict::Deviates);
    assert_eq!(judge(0.5, 20).verdict, Verdict::Inconclusive);
    let few = judge(0.29, 3);
    assert_eq!(
        (few.verdict, few.seeds_to_decide, few.p),
        (Verdict::Inconclusive, Some(4), None)
    );
}

#[test]
fn a_model_evaluated_as_it_is_needs_no_seeds() {
    let ours = Cell {
        seedless: true,
        ..cell(&[27.25])
    };
    let judge = |value| {
        judge_cell(
            &ours,
            &reported(value, None, Spread::None, Some(1)),
            &Rule::default(),
        )
        .verdict
    };
    assert_eq!(
        (judge(27.2), judge(30.0)),
        (Verdict::Reproduced, Verdict::Deviates)
    );
}

#[test]
fn a_printed_interval_becomes_the_deviation_behind_it() {
    let paper = reported(87.97, Some(0.12), Spread::Ci95, Some(5));
    // 0.12 x sqrt(5) / 2.776.
    assert!((printed_estimate(&paper).unwrap().sd.unwrap() - 0.09664).abs() < 1e-4);
    assert_eq!(
        printed_estimate(&reported(1.0, Some(0.1), Spread::SdOverColumns, Some(5))),
        None
    );
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
            let seen = Observation {
                step: 10,
                on: "Math/test".into(),
                metric: "loss".into(),
                value: value + 0.01 * seed as f64,
            };
            let record = RunRecord {
                outcome: Outcome::Completed,
                environment: Environment::default(),
                seconds: 1.0,
                observations: vec![seen],
                no_value: Default::default(),
            };
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

/// The text of a suite whose table `t` has the columns x and y and five methods, `more` after its rows.
fn five(options: &str, columns: &str, more: &str) -> String {
    let mut text = FRAME.to_string();
    for i in 1..=5 {
        text += &format!("  M{i}: {{method: sam, rho: 0.0{i}}}\n");
    }
    text + &format!(
        "seeds: [1, 2]
tables:
- id: t
  title: T
  place: Table
{options}  columns:
  - {{id: x, task: a, on: x/test}}
{columns}  - {{id: y, task: a, on: y/test}}
  rows:
  - {{method: M1, reported: 1.0 1.1}}
  - {{method: M2, reported: 2.0 1.9}}
  - {{method: M3, reported: 3.0 3.2}}
  - {{method: M4, reported: 4.0 3.9}}
  - {{method: M5, reported: 5.0 5.0}}
{more}"
    )
}

fn read(text: &str) -> Suite {
    parse(Path::new("suites/paper.yaml"), text).unwrap()
}

/// Records of both columns for every method and seed: the value is a function of method, column and seed.
fn records(
    suite: &Suite,
    methods: &[&str],
    value: impl Fn(usize, &str, u64) -> f64,
) -> BTreeMap<RunId, RunRecord> {
    let mut records = BTreeMap::new();
    for (i, method) in methods.iter().enumerate() {
        for seed in [1, 2] {
            let seen = |on: &str| Observation {
                step: 1,
                on: format!("{on}/test"),
                metric: "accuracy".into(),
                value: value(i + 1, on, seed),
            };
            let record = RunRecord {
                outcome: Outcome::Completed,
                environment: Environment::default(),
                seconds: 1.0,
                observations: vec![seen("x"), seen("y")],
                no_value: Default::default(),
            };
            records.insert(run_spec(suite, "a", method, seed).id(), record);
        }
    }
    records
}

const METHODS: [&str; 5] = ["M1", "M2", "M3", "M4", "M5"];

#[test]
fn a_correlation_over_methods_is_judged_by_fishers_z() {
    let derived = "derived_tables:
- id: d
  title: D
  place: Table 9
  from: t
  correlation_with: x
  rows:
  - {title: Y, columns: [y], reported: '0.996', p_below: 0.01}
  - {title: other, columns: [y], reported: '-0.994'}
  - {title: off, columns: [y], reported: '0.9'}
  - {title: unprinted, columns: [y]}
";
    let suite = read(&five("", "", derived));
    let table = &suite.derived_tables[0];
    let rule = Rule::default();
    let of = |records: &BTreeMap<RunId, RunRecord>, row: usize| {
        let cells = Cells::collect(&suite, records);
        derived_value(&suite, &cells, table, &table.rows[row], &rule)
    };
    // Ours as printed: r = 9.8 / sqrt(10 x 9.668) = 0.9967 over five methods, as recomputed from the paper.
    let printed = [1.1, 1.9, 3.2, 3.9, 5.0];
    let all = records(&suite, &METHODS, |i, on, _| match on {
        "x" => i as f64,
        _ => printed[i - 1],
    });
    let same = of(&all, 0);
    assert_eq!(same.recomputed.unwrap().r, same.ours.unwrap().r);
    assert!((same.ours.unwrap().r - 0.9967).abs() < 1e-4);
    // The error is 1 / sqrt(2), the margin twice that.
    let weighed = same.weighed.unwrap();
    assert!((weighed.margin - 2f64.sqrt()).abs() < 1e-12);
    assert_eq!(weighed.verdict, Verdict::Reproduced, "{}", weighed.reason);
    let says = |words: &str| assert!(weighed.reason.contains(words), "{}", weighed.reason);
    says("the paper's own numbers give 0.997");
    says("below the paper's 0.01");
    assert_eq!(of(&all, 1).weighed.unwrap().verdict, Verdict::Deviates);
    assert_eq!(of(&all, 2).weighed.unwrap().verdict, Verdict::Inconclusive);
    assert_eq!(of(&all, 3).weighed, None);
    // A method is missing: another correlation. All are: none.
    let four = records(&suite, &METHODS[..4], |i, _, _| i as f64);
    let partial = of(&four, 0).weighed.unwrap();
    assert_eq!(partial.verdict, Verdict::Inconclusive);
    assert!(
        partial.reason.contains("no number for M5"),
        "{}",
        partial.reason
    );
    assert_eq!(
        of(&BTreeMap::new(), 0).weighed.unwrap().verdict,
        Verdict::NotRun
    );
}

#[test]
fn spreads_of_another_table_make_the_margin() {
    let other = "- id: sds
  title: S
  place: Table 13
  statistic: sd
  reported_seeds: 20
  columns:
  - {id: y, task: a, on: y/test}
  rows:
  - {method: M2, reported: '0.30'}
";
    let suite = read(&five(
        "  spread_from: sds\n  reported_seeds: 20\n",
        "",
        other,
    ));
    let cell = suite.table("t").unwrap().reported("M2", "y").unwrap();
    assert_eq!(
        (cell.spread, cell.kind, cell.spread_place.as_deref()),
        (Some(0.3), Spread::Sd, Some("Table 13"))
    );
    assert_eq!(cell.spread_beside(), None);
    assert_eq!(
        suite
            .table("t")
            .unwrap()
            .reported("M2", "x")
            .unwrap()
            .spread,
        None
    );
    // The values of seeds 1 and 2 are 1 and 2: their deviation is sqrt(1/2).
    let all = records(&suite, &METHODS, |_, _, seed| seed as f64);
    let cells = Cells::collect(&suite, &all);
    let deviation = cells.at("sds", 0, 0).unwrap();
    assert_eq!(
        (deviation.kind, deviation.samples.len()),
        (Kind::Deviation, 2)
    );
    assert!((deviation.estimate.unwrap().mean - 0.5f64.sqrt()).abs() < 1e-12);
}

#[test]
fn a_hidden_column_has_cells_and_no_printed_entry() {
    let suite = read(&five(
        "",
        "  - {id: z, task: a, on: z/test, hidden: true}\n",
        "",
    ));
    let table = suite.table("t").unwrap();
    let printed: Vec<Option<f64>> = table.rows[1]
        .reported
        .iter()
        .map(|cell| cell.as_ref().map(|cell| cell.value))
        .collect();
    assert_eq!(printed, [Some(2.0), None, Some(1.9)]);
}

#[test]
fn best_in_some_columns_counts_them() {
    let suite = read(&five("", "", ""));
    let claim = |least: u64| {
        format!(
            r#"{{"extreme": {{"table": "t", "columns": ["x", "y"], "method": "M3", "is": "best",
            "among": ["M2", "M3", "M1"], "at_least": {least}}}}}"#
        )
    };
    assert_eq!(on_paper(&suite, &claim(2)).ruling, Ruling::Holds);
    let beaten = claim(1).replace("M1", "M4");
    let finding = on_paper(&suite, &beaten);
    assert_eq!(finding.ruling, Ruling::Refuted);
    assert!(finding.evidence[0].starts_with("in 0 of 2 columns"));
    // M5 has no number of ours: it could still be worse.
    let some = records(&suite, &METHODS[..4], |i, _, _| i as f64);
    let cells = Cells::collect(&suite, &some);
    let open = claim(1).replace("M1", "M5");
    assert_eq!(judged(&suite, &cells, &open).1.ruling, Ruling::Undecided);
}

#[test]
fn a_correlation_that_is_not_significant_decides_no_claim_of_significance() {
    let suite = read(&five("", "", ""));
    let claim = |level: f64| {
        format!(
            r#"{{"correlates": {{"table": "t", "x": "x", "y": ["y"], "at_least": 0.0, "p_below": {level}}}}}"#
        )
    };
    // r = 0.9967 over five: t = 0.9967 sqrt(3 / (1 - 0.9967^2)) = 21.2 on 3 degrees of freedom, p = 0.0002.
    assert_eq!(on_paper(&suite, &claim(0.001)).ruling, Ruling::Holds);
    assert_eq!(on_paper(&suite, &claim(0.0001)).ruling, Ruling::Undecided);
}
