//! The audit of a paper on tiny papers with one thing wrong, each with a twin in which it is right.

use std::path::Path;
use std::process::{Command, Output};

use harness::lint::{Finding, Rule, Severity, lint, render};
use harness::suite::{Suite, parse};

use crate::{shipped_suites, snapshot};

use Severity::{Contradiction, Doubt, Note};

/// A suite of methods and a task on portions of any name; `rest` has its tables and what follows.
fn text(rest: &str) -> String {
    format!(
        "suite: tiny
title: A paper of a few numbers
citation: {{title: T, authors: A, venue: V, year: 2024}}
models:
  m: {{folder: m, sha256: \"{zeros}\"}}
metrics:
  accuracy: {{measure: accuracy, better: higher}}
training:
  short:
    base: {{name: sgd, lr: 0.1, momentum: 0.0, weight_decay: 0.0}}
    schedule: {{name: cosine, warmup: 0, lr_end: 0.0}}
    length: {{epochs: 1}}
    batch: 1
tasks:
  t:
    model: m
    data: {{folder: d, sha256: \"{zeros}\"}}
    input: {{images: {{}}}}
    train: [train]
    training: short
    metric: accuracy
methods:
  SGD: {{method: base}}
  SAM: {{method: sam, rho: 0.05}}
  ASAM: {{method: asam, rho: 0.5}}
  SAM (code): {{method: sam, rho: 0.05, perturbation: published}}
  Same: {{method: sam, rho: 0.05}}
seeds: [0, 1, 2]
{rest}",
        zeros = "0".repeat(64)
    )
}

fn suite_at(path: &str, rest: &str) -> Suite {
    parse(Path::new(path), &text(rest)).unwrap_or_else(|problems| panic!("{problems}"))
}

fn audit(rest: &str) -> Vec<Finding> {
    lint(&[suite_at("tiny.yaml", rest)])
}

/// A table with the columns `a`, `b`, ... over portions of these names, and whatever `more` adds after them.
fn table(id: &str, columns: &str, more: &str, rows: &[(&str, &str)]) -> String {
    let mut text = format!("  - id: {id}\n    title: T\n    place: Table 1\n    columns:\n");
    for column in columns.chars() {
        text += &format!("      - {{id: {column}, task: t, on: {column}/test}}\n");
    }
    text += more;
    text += "    rows:\n";
    for (method, reported) in rows {
        text += &format!("      - {{method: {method}, reported: {reported}}}\n");
    }
    text
}

fn tables(tables: &[String]) -> String {
    format!("tables:\n{}", tables.concat())
}

/// Severity and rule of every finding.
fn kinds(found: &[Finding]) -> Vec<(Severity, Rule)> {
    found
        .iter()
        .map(|finding| (finding.severity, finding.rule))
        .collect()
}

const MEAN: &str = "      - {id: average, mean: [a, b, c]}\n";

fn with_average(reported: &str) -> Vec<Finding> {
    audit(&tables(&[table("one", "abc", MEAN, &[("SGD", reported)])]))
}

#[test]
fn an_average_that_no_rounding_explains_is_a_contradiction() {
    // Each number is known to 0.05, so the average lies from 80.95 to 81.05.
    assert_eq!(with_average("80.0 81.0 82.0 81.0"), []);
    let found = with_average("80.0 81.0 82.0 81.3");
    assert_eq!(kinds(&found), [(Contradiction, Rule::DerivedColumn)]);
    assert_eq!(
        found[0].sentence(),
        "SGD, average is printed as 81.3, but the average of the 3 printed numbers is 81.00, off by 0.30, and rounding \
         allows only 80.95 to 81.05"
    );
    let line = text(&tables(&[table("one", "abc", MEAN, &[])]))
        .lines()
        .count();
    assert_eq!(found[0].place.line, line + 1);
}

#[test]
fn an_average_that_rounding_explains_is_a_note() {
    // 81.033 would be printed as 81.0; numbers up to 0.05 larger average 81.083.
    assert_eq!(with_average("80.0 81.0 82.1 81.0"), []);
    let found = with_average("80.0 81.0 82.1 81.1");
    assert_eq!(kinds(&found), [(Note, Rule::DerivedColumn)]);
}

#[test]
fn a_deviation_is_computed_from_its_columns() {
    let sd = |reported: &str| {
        let more = "      - {id: deviation, sd: [a, b, c]}\n";
        audit(&tables(&[table("one", "abc", more, &[("SGD", reported)])]))
    };
    assert_eq!(sd("80.0 81.0 82.0 1.0"), []);
    let found = sd("80.0 81.0 82.0 3.0");
    assert_eq!(kinds(&found), [(Contradiction, Rule::DerivedColumn)]);
    // With n in the denominator: 10 sqrt(2 / 3).
    let found = sd("70.0 80.0 90.0 8.2");
    assert_eq!(kinds(&found), [(Note, Rule::DerivedColumn)]);
}

#[test]
fn a_spread_over_columns_is_computed_from_them() {
    let spread = |reported: &str| {
        let more = "      - {id: average, mean: [a, b, c], spread: sd_over_columns}\n";
        audit(&tables(&[table("one", "abc", more, &[("SGD", reported)])]))
    };
    assert_eq!(spread("80.0 81.0 82.0 81.0±1.0"), []);
    let found = spread("80.0 81.0 82.0 81.0±2.5");
    assert_eq!(kinds(&found), [(Contradiction, Rule::DerivedColumn)]);
}

/// Correlation of `b` with `a` over four methods.
fn with_correlation(rows: [&str; 4], row: &str) -> Vec<Finding> {
    let methods = ["SGD", "SAM", "ASAM", "SAM (code)"];
    let rows: Vec<(&str, &str)> = methods.into_iter().zip(rows).collect();
    let derived = format!(
        "derived_tables:\n  - id: two\n    title: T\n    place: Table 2\n    from: one\n    correlation_with: a\n    \
         rows:\n      - {row}\n"
    );
    audit(&format!(
        "{}{derived}",
        tables(&[table("one", "ab", "", &rows)])
    ))
}

#[test]
fn a_correlation_over_methods_is_computed_from_their_rows() {
    let rows = ["10.0 12.0", "20.0 22.0", "30.0 31.0", "40.0 43.0"];
    let entry = |r: &str| format!("{{title: B, columns: [b], reported: \"{r}\"}}");
    assert_eq!(with_correlation(rows, &entry("0.998")), []);
    let found = with_correlation(rows, &entry("0.950"));
    assert_eq!(kinds(&found), [(Contradiction, Rule::DerivedTable)]);
}

#[test]
fn a_correlation_at_the_edge_of_rounding_is_a_doubt() {
    // r is 0.6 as printed, and 0.75 for numbers that nearly all lie at the edge of what rounds to the printed ones.
    let rows = ["10.0 10.4", "10.4 10.0", "10.8 11.2", "11.2 10.8"];
    let entry = |r: &str| format!("{{title: B, columns: [b], reported: \"{r}\"}}");
    assert_eq!(with_correlation(rows, &entry("0.620")), []);
    let found = with_correlation(rows, &entry("0.750"));
    assert_eq!(kinds(&found), [(Doubt, Rule::DerivedTable)]);
}

#[test]
fn a_significance_needs_enough_methods() {
    // Of four pairs, p is 1 - r.
    let rows = ["10.0 10.0", "20.0 30.0", "30.0 20.0", "40.0 45.0"];
    let entry =
        |level: &str| format!("{{title: B, columns: [b], reported: \"0.821\", p_below: {level}}}");
    assert_eq!(with_correlation(rows, &entry("0.2")), []);
    let found = with_correlation(rows, &entry("0.01"));
    assert_eq!(kinds(&found), [(Contradiction, Rule::Significance)]);
}

#[test]
fn what_rounds_to_the_printed_numbers_never_contradicts_them() {
    let mut state = 1u64;
    let mut random = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    for _ in 0..200 {
        let exact: Vec<[f64; 2]> = (0..4)
            .map(|_| {
                let x = 50.0 + random();
                [x, x + 2.0 * random() - 1.0]
            })
            .collect();
        let side = |i: usize| exact.iter().map(|row| row[i]).collect::<Vec<f64>>();
        let r = harness::stats::pearson(&side(0), &side(1)).unwrap().r;
        let rows: Vec<String> = exact
            .iter()
            .map(|[x, y]| format!("{x:.1} {y:.1}"))
            .collect();
        let rows = [&*rows[0], &*rows[1], &*rows[2], &*rows[3]];
        let found = with_correlation(
            rows,
            &format!("{{title: B, columns: [b], reported: \"{r:.3}\"}}"),
        );
        assert!(
            found
                .iter()
                .all(|finding| finding.severity != Contradiction),
            "{rows:?} {r}: {}",
            render(&found)
        );
        let [a, b, c] = [exact[0][0], exact[1][0], exact[2][0]];
        let average = (a + b + c) / 3.0;
        let found = with_average(&format!("{a:.1} {b:.1} {c:.1} {average:.1}"));
        assert!(
            found.iter().all(|finding| finding.severity == Note),
            "{}",
            render(&found)
        );
    }
}

#[test]
fn a_quantity_that_two_tables_print_differently_is_a_contradiction() {
    // `Same` has the knobs of `SAM`, so its numbers are the same quantity.
    let second = |reported: &str| {
        let second = table("two", "ba", "", &[("Same", reported)]);
        audit(&tables(&[
            table("one", "ab", "", &[("SAM", "80.0 70.0")]),
            second,
        ]))
    };
    assert_eq!(second("70.0 80.0"), []);
    assert_eq!(second("70.0 80.04"), []);
    let found = second("70.0 80.4");
    assert_eq!(kinds(&found), [(Contradiction, Rule::SameQuantity)]);
    assert_eq!(
        found[0].sentence(),
        "Same, a is printed as 80.4, but Table 1 prints the same as 80.0, lower by 0.4"
    );
}

#[test]
fn two_suites_that_state_one_quantity_differently_contradict() {
    let suite = |path: &str, reported: &str| {
        suite_at(
            path,
            &tables(&[table("one", "a", "", &[("SAM", reported)])]),
        )
    };
    let first = suite("first.yaml", "80.0");
    assert_eq!(lint(&[first.clone(), suite("second.yaml", "80.0")]), []);
    let found = lint(&[first, suite("second.yaml", "80.1")]);
    assert_eq!(kinds(&found), [(Contradiction, Rule::SameQuantity)]);
    let files = [&found[0].place.file, &found[0].also[0].file];
    assert_eq!(files, [Path::new("second.yaml"), Path::new("first.yaml")]);
}

#[test]
fn what_a_repeated_table_repeats_is_found_once() {
    let row = |id: &str| table(id, "abc", MEAN, &[("SGD", "80.0 81.0 82.0 81.3")]);
    let found = audit(&tables(&[row("one"), row("two")]));
    assert_eq!(kinds(&found), [(Contradiction, Rule::DerivedColumn)]);
    assert_eq!(found[0].also.len(), 1);
}

#[test]
fn two_methods_with_the_same_long_row_are_doubtful() {
    let rows = |last: &str, second: &str| {
        let row = format!("80.0 81.0 82.0 83.0 84.0 {last}");
        audit(&tables(&[table(
            "one",
            "abcdef",
            "",
            &[("SGD", "80.0 81.0 82.0 83.0 84.0 85.0"), (second, &row)],
        )]))
    };
    assert_eq!(rows("85.1", "SAM"), []);
    assert_eq!(kinds(&rows("85.0", "SAM")), [(Doubt, Rule::SameRow)]);
    // The same method under another name has to repeat itself.
    let same = [
        ("SAM", "80.0 81.0 82.0 83.0 84.0 85.0"),
        ("Same", "80.0 81.0 82.0 83.0 84.0 85.0"),
    ];
    assert_eq!(audit(&tables(&[table("one", "abcdef", "", &same)])), []);
}

#[test]
fn numbers_that_stand_for_two_readings_of_a_method_are_doubtful_once() {
    let second = |method: &str| {
        let original = [("SAM", "80.0 81.0"), ("SGD", "70.0 71.0")];
        audit(&tables(&[
            table("one", "ab", "", &original),
            table("two", "ab", "", &[(method, "80.0 81.0")]),
        ]))
    };
    assert_eq!(second("Same"), []);
    let found = second("SAM (code)");
    assert_eq!(kinds(&found), [(Doubt, Rule::SamePlace)]);
    assert_eq!(
        found[0].stated,
        "gives numbers of `one` to 1 method, with `perturbation` other than there"
    );
}

#[test]
fn a_slip_in_a_table_that_repeats_another_is_found() {
    let original = [
        ("SAM", "80.0 81.0"),
        ("SGD", "70.0 71.0"),
        ("SAM (code)", "60.0 61.0"),
    ];
    let copy = |last: &str| {
        let again = [("Same", "80.0 81.0"), ("ASAM", last)];
        let mut second = table("two", "ab", "", &again);
        second += "      - {method: Third, reported: 60.0 61.0}\n";
        let text = text(&tables(&[table("one", "ab", "", &original), second])).replace(
            "  Same:",
            "  Third: {method: sam, rho: 0.05, perturbation: published}\n  Same:",
        );
        lint(&[parse(Path::new("tiny.yaml"), &text).unwrap()])
    };
    assert_eq!(copy("70.0 71.0"), []);
    let found = copy("70.0 71.5");
    assert_eq!(kinds(&found), [(Contradiction, Rule::SamePlace)]);
    assert_eq!(found[0].subject, "ASAM");
}

#[test]
fn bold_print_that_is_not_the_best_is_a_contradiction() {
    let bold = |method: &str| {
        let rows = [("SGD", "80.0"), ("SAM", "81.0"), ("ASAM", "81.0")];
        let table = table("one", "a", "", &rows) + &format!("    bold: {{a: [{method}]}}\n");
        audit(&tables(&[table]))
    };
    assert_eq!(bold("SAM, ASAM"), []);
    assert_eq!(kinds(&bold("SGD")), [(Contradiction, Rule::Bold)]);
}

/// A claim on a table of two columns; `seeds` stand behind each number.
fn with_claim(seeds: u64, spread: &str, holds: &str) -> Vec<Finding> {
    let more = format!("    reported_seeds: {seeds}\n");
    let rows = [
        ("SGD", format!("80.0{spread} 80.0{spread}")),
        ("SAM", format!("81.0{spread} 80.0{spread}")),
    ];
    let rows: Vec<(&str, &str)> = rows.iter().map(|(method, row)| (*method, &**row)).collect();
    let kind = if spread.is_empty() { "none" } else { "sd" };
    let table = table("one", "ab", &format!("    spread: {kind}\n{more}"), &rows);
    audit(&format!(
        "{}claims:\n  - id: claim\n    says: So it is.\n    place: Section 1\n    holds:\n      {holds}\n",
        tables(&[table])
    ))
}

#[test]
fn a_claim_that_the_printed_numbers_refute_is_a_contradiction() {
    let order = |a: &str, b: &str, column: &str| {
        with_claim(
            20,
            "",
            &format!("order: {{table: one, columns: [{column}], better: [{a}], than: [{b}]}}"),
        )
    };
    assert_eq!(order("SAM", "SGD", "a"), []);
    let found = order("SGD", "SAM", "a");
    assert_eq!(kinds(&found), [(Contradiction, Rule::Claim)]);
    assert_eq!(
        found[0].sentence(),
        "claim says “So it is”, but a: SGD 80.0 against SAM 81.0: the other way round"
    );
    // Printed as equal, neither is better.
    assert_eq!(kinds(&order("SAM", "SGD", "b")), [(Doubt, Rule::Claim)]);
}

#[test]
fn a_significance_that_the_printed_spreads_do_not_show_is_a_doubt() {
    let welch = "order: {table: one, columns: [a], better: [SAM], than: [SGD], test: {name: welch, level: 0.01}}";
    assert_eq!(with_claim(20, "±0.5", welch), []);
    assert_eq!(
        kinds(&with_claim(20, "±2.0", welch)),
        [(Doubt, Rule::Significance)]
    );
}

#[test]
fn a_correlation_that_misses_its_level_is_a_doubt() {
    // Of four pairs, p is 1 - r: 0.18.
    let rows = ["10.0 10.0", "20.0 30.0", "30.0 20.0", "40.0 45.0"];
    let methods = ["SGD", "SAM", "ASAM", "SAM (code)"];
    let rows: Vec<(&str, &str)> = methods.into_iter().zip(rows).collect();
    let with = |more: &str| {
        audit(&format!(
            "{}claims:\n  - id: claim\n    says: So it is.\n    place: Section 1\n    holds:\n      \
             correlates: {{table: one, x: a, y: [b], {more}}}\n",
            tables(&[table("one", "ab", "", &rows)])
        ))
    };
    assert_eq!(with("at_least: 0.8, p_below: 0.2"), []);
    assert_eq!(
        kinds(&with("at_least: 0.8, p_below: 0.15")),
        [(Doubt, Rule::Significance)]
    );
    assert_eq!(
        kinds(&with("at_least: 0.9, p_below: 0.2")),
        [(Contradiction, Rule::Claim)]
    );
}

#[test]
fn a_significance_needs_enough_seeds() {
    // Seven pairs have p = 1/128 one-sided at the least, six have 1/64.
    let wilcoxon = "order: {table: one, columns: [a], better: [SAM], than: [SGD], test: {name: wilcoxon, level: 0.01}}";
    assert_eq!(with_claim(7, "", wilcoxon), []);
    assert_eq!(
        kinds(&with_claim(6, "", wilcoxon)),
        [(Contradiction, Rule::Significance)]
    );
    // Five values a side have one of 252 orders, four one of 70.
    let smirnov = wilcoxon.replace("wilcoxon", "kolmogorov_smirnov");
    assert_eq!(with_claim(5, "", &smirnov), []);
    assert_eq!(
        kinds(&with_claim(4, "", &smirnov)),
        [(Contradiction, Rule::Significance)]
    );
}

#[test]
fn a_test_over_columns_for_want_of_seeds_is_noted() {
    let test = "not_different: {table: one, columns: [a, b], method: SAM, from: SGD, \
                test: {name: wilcoxon, level: 0.3, over: columns}}";
    assert_eq!(with_claim(20, "", test), []);
    assert_eq!(
        kinds(&with_claim(1, "", test)),
        [(Note, Rule::Significance)]
    );
}

#[test]
fn passes_are_those_of_the_method() {
    let passes = |n: u64| {
        with_claim(
            20,
            "",
            &format!("passes: {{method: SAM, forward: {n}, backward: {n}}}"),
        )
    };
    assert_eq!(passes(2), []);
    assert_eq!(kinds(&passes(1)), [(Contradiction, Rule::Claim)]);
}

#[test]
fn a_value_outside_of_its_range_is_a_contradiction() {
    let value = |reported: &str| audit(&tables(&[table("one", "a", "", &[("SGD", reported)])]));
    assert_eq!(value("100.0"), []);
    assert_eq!(kinds(&value("100.2")), [(Contradiction, Rule::Value)]);
}

#[test]
fn a_spread_that_no_values_have_is_a_contradiction() {
    let spread = |seeds: u64, reported: &str| {
        let more = format!("    spread: sd\n    reported_seeds: {seeds}\n");
        audit(&tables(&[table("one", "a", &more, &[("SGD", reported)])]))
    };
    assert_eq!(spread(2, "99.0±1.4"), []);
    assert_eq!(
        kinds(&spread(1, "99.0±1.4")),
        [(Contradiction, Rule::Spread)]
    );
    // Two values of 100 at most with mean 99 are 98 and 100: 1.41.
    assert_eq!(
        kinds(&spread(2, "99.0±3.0")),
        [(Contradiction, Rule::Spread)]
    );
    // However many values there are, they lie at 0 and 100 at the most: 9.95.
    assert_eq!(spread(1_000_000_000_000, "99.0±9.9"), []);
    let many = spread(1_000_000_000_000, "99.0±12.0");
    assert_eq!(kinds(&many), [(Contradiction, Rule::Spread)]);
}

#[test]
fn parts_make_their_whole() {
    let total = |whole: &str| {
        let table = table("one", "a", "", &[("SGD", "80.0")]);
        let totals = "totals:\n  - {title: Data, place: Table 7, whole: W, parts: {train: 380M, test: 11.7M}}\n";
        audit(&format!(
            "{}{}",
            tables(&[table]),
            totals.replace('W', whole)
        ))
    };
    assert_eq!(total("392M"), []);
    assert_eq!(kinds(&total("390M")), [(Contradiction, Rule::Total)]);
    assert_eq!(kinds(&total("0.4B")), []);
    assert_eq!(kinds(&total("450M")), [(Doubt, Rule::Total)]);
}

#[test]
fn a_wrong_amount_and_bold_print_of_nothing_are_told_with_their_place() {
    let table = table("one", "a", "", &[("SGD", "80.0")]) + "    bold: {a: [SAM], b: [SGD]}\n";
    let totals = "totals:\n  - {title: Data, place: Table 7, whole: 3G, parts: {train: 1}}\n";
    let wrong = parse(Path::new("tiny.yaml"), &text(&(tables(&[table]) + totals)));
    let messages: Vec<String> = wrong
        .unwrap_err()
        .found
        .into_iter()
        .map(|problem| problem.message)
        .collect();
    assert_eq!(
        messages,
        [
            "there is no row of table `one` called `SAM`",
            "there is no column of table `one` called `b`",
            "`3G` is not a number",
        ]
    );
}

fn program(name: &str, text: &str, arguments: &[&str]) -> Output {
    let folder = std::env::temp_dir().join(format!("harness-lint-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_harness"))
        .arg("lint")
        .arg(&path)
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn the_program_tells_programs_what_it_found_by_its_exit_code() {
    let good = text(&tables(&[table(
        "one",
        "abc",
        MEAN,
        &[("SGD", "80.0 81.0 82.0 81.0")],
    )]));
    let bad = good.replace("82.0 81.0", "82.0 81.3");
    assert_eq!(program("good.yaml", &good, &[]).status.code(), Some(0));
    assert_eq!(program("bad.yaml", &bad, &[]).status.code(), Some(5));
    assert_eq!(
        program("ill.yaml", "suite: ill", &[]).status.code(),
        Some(2)
    );
    let output = program("json.yaml", &bad, &["--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found[0]["severity"], "contradiction");
    assert_eq!(found[0]["rule"], "derived_column");
}

#[test]
fn the_audit_of_the_shipped_suites_is_as_known() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = shipped_suites();
    paths.sort();
    let suites = paths.iter().map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        parse(path.strip_prefix(root).unwrap(), &text).unwrap()
    });
    snapshot("lint.txt", &render(&lint(&suites.collect::<Vec<_>>())));
}

#[test]
fn a_short_row_with_many_digits_is_found_twice_too() {
    let rows = |second: &str| {
        let rows = [("SGD", "87.97±0.12 92.85±0.31"), ("SAM", second)];
        audit(&tables(&[table("one", "ab", "    spread: sd\n", &rows)]))
    };
    assert_eq!(rows("87.97±0.12 92.85±0.30"), []);
    assert_eq!(
        kinds(&rows("87.97±0.12 92.85±0.31")),
        [(Doubt, Rule::SameRow)]
    );
}
