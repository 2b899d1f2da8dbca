//! The suite language: what a file means, and what a wrong one is told.

use std::path::Path;

use harness::suite::{self, Suite};

use crate::snapshot;

const SMOKE: &str = include_str!("../suites/smoke.yaml");

fn parse(text: &str) -> Result<Suite, String> {
    suite::parse(Path::new("suites/smoke.yaml"), text).map_err(|problems| problems.render(false))
}

/// The smoke suite with one passage replaced.
fn with(from: &str, to: &str) -> String {
    assert_eq!(
        SMOKE.matches(from).count(),
        1,
        "`{from}` stands once in the smoke suite"
    );
    SMOKE.replace(from, to)
}

#[test]
fn a_wrong_suite_is_told_everything_that_is_wrong_and_where() {
    let cases = [
        ("a misspelt key", with("    batch: 32", "    bacth: 32")),
        ("a missing key", with("    batch: 32\n", "")),
        (
            "an unknown key",
            with("seeds: [0, 1, 2]", "seeds: [0, 1, 2]\npriority: high"),
        ),
        (
            "a duplicate key",
            with("    batch: 32", "    batch: 32\n    batch: 64"),
        ),
        (
            "a mistyped value",
            with("    batch: 32", "    batch: sixty-four"),
        ),
        (
            "a number out of range",
            with("    batch: 32", "    batch: 0"),
        ),
        (
            "a row without a method",
            with(
                "{method: SAM, group: Sharpness-aware",
                "{group: Sharpness-aware",
            ),
        ),
        (
            "a row with a method that is not there",
            with("{method: SAM, group", "{method: SMA, group"),
        ),
        (
            "a ragged table",
            with(
                "reported: 94.00±0.43 0.23±0.01",
                "reported: 94.00±0.43 0.23±0.01 0.1",
            ),
        ),
        (
            "a number that is none",
            with(
                "reported: 94.00±0.43 0.23±0.01",
                "reported: 94.00±0.43 o.23±0.01",
            ),
        ),
        (
            "a claim on a missing column",
            with(
                "bound: {table: digits, columns: [accuracy]",
                "bound: {table: digits, columns: [acuracy]",
            ),
        ),
        (
            "a knob of another method",
            with("{method: sam, rho: 0.05}", "{method: sam, sigma: 0.05}"),
        ),
        (
            "a knob out of range",
            with(
                "{method: tram_x, sigma: 0.1}",
                "{method: tram_x, sigma: -0.1}",
            ),
        ),
        (
            "an unknown method",
            with(
                "{method: tram_x, sigma: 0.1}",
                "{method: tramx, sigma: 0.1}",
            ),
        ),
        (
            "a word that is not allowed",
            with(
                "{measure: accuracy, better: higher, unit: \"%\"}",
                "{measure: acuracy, better: up}",
            ),
        ),
        (
            "a model that is neither",
            with(
                "    config:\n      model_type: vit",
                "    conifg:\n      model_type: vit",
            ),
        ),
        (
            "text that is not YAML",
            with("seeds: [0, 1, 2]", "seeds: [0, 1, 2"),
        ),
        (
            "several at once",
            with("    batch: 32", "    bacth: 32")
                .replace("better: lower", "better: smaller")
                .replace("seeds: [0, 1, 2]", "seeds: [0, 1, two]"),
        ),
        (
            "a level that is none",
            with(
                "seeds: [0, 1, 2]",
                "seeds: [0, 1, 2]\nverdicts: {level: 0.5}",
            ),
        ),
        (
            "a table that repeats itself, and takes spreads from one that is not there",
            with(
                "    spread: ci95",
                "    spread: ci95\n    repeats: digits\n    spread_from: digts",
            ),
        ),
        (
            "spreads of a table that shares no cell",
            with(
                "figures:",
                "  - {id: other, title: T, place: P, spread_from: digits, columns: [{id: a, task: digits, on: test}], \
                 rows: [{method: SAM, reported: '1'}]}\n\nfigures:",
            ),
        ),
        (
            "an entry for a hidden column",
            with("metric: loss}\n", "metric: loss, hidden: true}\n"),
        ),
        (
            "a method better than itself, and a test over columns of two directions",
            with(
                "bound: {table: digits, columns: [accuracy], methods: [SGD, SAM, TRAM-x, TRAM-theta_prev], at_least: 90.0}",
                "order: {table: digits, columns: [accuracy, loss], better: [SAM, SGD], than: [SAM], test: {name: wilcoxon, \
                 level: 0.05, over: columns}}",
            ),
        ),
        (
            "best in more columns than there are",
            with(
                "bound: {table: digits, columns: [accuracy], methods: [SGD, SAM, TRAM-x, TRAM-theta_prev], at_least: 90.0}",
                "extreme: {table: digits, columns: [accuracy], method: SAM, is: best, at_least: 2}",
            ),
        ),
        (
            "several that make no sense",
            with("    model: vit-tiny", "    model: vit-tny")
                .replace("seeds: [0, 1, 2]", "seeds: [0, 1, 1]")
                .replace("metric: loss}", "metric: los}"),
        ),
    ];
    let told = cases.iter().map(|(name, text)| {
        let problems = parse(text)
            .err()
            .unwrap_or_else(|| panic!("{name} is accepted"));
        format!("# {name}\n{problems}\n")
    });
    snapshot("malformed.txt", &told.collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_shipped_suite_is_valid() {
    for suite in crate::shipped_suites() {
        suite::read(&suite).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn printed_digits_are_kept_as_printed() {
    let text = with(
        "reported: 94.00±0.43 0.23±0.01",
        "reported: 93.0±0.40 -0.250",
    );
    let suite = parse(&text).unwrap();
    let reported = suite.tables[0].rows[0].reported.clone();
    let [Some(accuracy), Some(loss)] = &reported[..] else {
        panic!("{reported:?}")
    };
    assert_eq!(
        (accuracy.value, accuracy.decimals, accuracy.spread),
        (93.0, 1, Some(0.4))
    );
    assert_eq!((loss.value, loss.decimals, loss.spread), (-0.25, 3, None));
}

#[test]
fn anchors_and_merge_keys_save_typing() {
    let text = with(
        "  short:\n    base:",
        "  long: &long\n    base: {name: adam, lr: 0.001}\n    schedule: {name: constant}\n    length: {steps: 7}\n    batch: 2\n  longer: {<<: *long, length: {steps: 9}}\n  short:\n    base:",
    );
    let suite = parse(&text).unwrap();
    assert_eq!(suite.training["longer"].base, suite.training["long"].base);
    assert_eq!(suite.training["longer"].length, suite::Length::Steps(9));
}

#[test]
fn aliases_cannot_blow_a_file_up() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..9 {
        let alias = format!("*a{}", i - 1);
        text += &format!("a{i}: &a{i} [{}]\n", [alias.as_str(); 10].join(", "));
    }
    assert!(
        parse(&text)
            .unwrap_err()
            .contains("aliases make this file larger")
    );
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    assert!(parse(&"[".repeat(100_000)).is_err());
    assert!(parse(&"a: {".repeat(100_000)).is_err());
}

/// What an editor does: a general YAML reader, then the published schema, by a validator that is not ours.
#[test]
fn every_shipped_suite_satisfies_the_schema_by_pythons_validator() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if crate::python("jsonschema").is_none() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("harness-schema-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let schema = folder.join("schema.json");
    std::fs::write(&schema, suite::schema().to_string()).unwrap();
    let options = serde_yaml::options! { strict_booleans: true };
    for path in crate::shipped_suites() {
        let text = std::fs::read_to_string(&path).unwrap();
        let value: serde_json::Value =
            serde_yaml::from_str_with_options(&text, options.clone()).unwrap();
        let instance = folder.join("suite.json");
        std::fs::write(&instance, value.to_string()).unwrap();
        let script = "import json, sys, jsonschema\n\
                      schema, suite = (json.load(open(path)) for path in sys.argv[1:])\n\
                      jsonschema.Draft202012Validator.check_schema(schema)\n\
                      jsonschema.Draft202012Validator(schema).validate(suite)\n\
                      next(m for m in suite['methods'].values() if m['method'] != 'untrained')['zeta'] = 1\n\
                      assert not jsonschema.Draft202012Validator(schema).is_valid(suite), 'a knob too many is accepted'";
        let output = crate::python("jsonschema")
            .expect("it was there")
            .current_dir(root)
            .args(["-c", script])
            .args([&schema, &instance])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
