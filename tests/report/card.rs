//! The reproducibility card: what the comments of a suite's file say about its settings.

use super::*;
use harness::suite::Source;

fn source(suite: &Suite, entry: &str, key: &str) -> Source {
    let found = suite
        .settings
        .iter()
        .find(|setting| setting.entry == entry && setting.key == key);
    found.expect("the suite sets it").source.clone()
}

#[test]
fn the_comment_behind_a_setting_is_its_source() {
    let text = SUITE
        .replace("  short: {base", "  # Section B\n  short: {base")
        .replace(
            "rho: 0.05}",
            "rho: 0.05}  # not stated in the paper; its # code's",
        )
        .replace("rho: 0.5}", "rho: 0.5}  # as above");
    let suite = parse(Path::new("suites/hand-made.yaml"), &text).unwrap();
    let chosen = Source::Chosen("not stated in the paper; its # code's".into());
    assert_eq!(source(&suite, "<script>|`SAM`", "rho"), chosen);
    assert_eq!(source(&suite, "$(ASAM)", "rho"), chosen);
    assert_eq!(
        source(&suite, "short", "base.lr"),
        Source::Stated("Section B".into())
    );
    assert_eq!(source(&suite, "digits", "train"), Source::Unsaid("".into()));
}

#[test]
fn a_comment_says_nothing_of_other_lines() {
    let text = SUITE
        .replace(
            "  digits:\n    model",
            "  # Section A\n  digits:\n    model",
        )
        .replace(
            "    input: {images: {}}",
            "    input:    # Section B\n      images:\n        mean: 0.1",
        );
    let suite = parse(Path::new("suites/hand-made.yaml"), &text).unwrap();
    assert_eq!(
        source(&suite, "digits", "input.images.mean"),
        Source::Unsaid("".into())
    );
    assert_eq!(
        source(&suite, "digits", "data.folder"),
        Source::Unsaid("".into())
    );
}

#[test]
fn what_the_file_writes_is_no_default_and_a_default_has_the_words_of_the_language() {
    let report = report();
    let keys: Vec<&str> = report
        .card
        .defaults
        .iter()
        .map(|[_, _, key, ..]| key.as_str())
        .collect();
    for key in ["model", "training", "metric", "method"] {
        assert!(!keys.contains(&key), "{key}");
    }
    let [.., words] = report
        .card
        .defaults
        .iter()
        .find(|[_, entry, key, ..]| entry == "$(ASAM)" && key == "asam_eta")
        .unwrap();
    assert_eq!(
        words,
        "0 by equation 2 of the paper; ASAM's authors use 0.01"
    );
}

#[test]
fn the_card_tells_what_runs_found_on_their_machines() {
    let suite = suite();
    let mut records = records(&suite);
    for record in records.values_mut() {
        let environment = &mut record.environment;
        (environment.cuda, environment.beside.cores) = (Some("12.8".into()), 16);
        environment.beside.rustc = "rustc 1.95.0".into();
        let hash = "ab".repeat(32);
        environment
            .files
            .insert("owner/name/train.parquet".into(), hash);
    }
    let plan = expand(std::slice::from_ref(&suite));
    let card = harness::report::card::markdown(&Report::of(&suite, &plan, &records));
    for words in [
        "CUDA: 12.8",
        "cores: 16",
        "compiler: rustc 1.95.0",
        "| digits | train | training |",
    ] {
        assert!(card.contains(words), "{words} in {card}");
    }
}

#[test]
fn names_on_the_card_stay_text() {
    let report = Report::of_paper(&parse(Path::new("suites/hand-made.yaml"), SUITE).unwrap());
    assert!(!html::page(&report).contains("<script>|"));
    assert!(!harness::report::card::markdown(&report).contains("<script>"));
}

#[test]
fn every_setting_of_the_paper_says_where_it_comes_from() {
    for name in ["vision", "m2d2", "gpt2-xl", "xnli"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("suites/tram/{name}.yaml"));
        let suite = harness::suite::read(&path).unwrap();
        let silent = suite
            .settings
            .iter()
            .filter(|setting| matches!(setting.source, Source::Unsaid(_)));
        let silent: Vec<_> = silent
            .map(|setting| {
                format!(
                    "{}:{} {} {}",
                    name, setting.line, setting.entry, setting.key
                )
            })
            .collect();
        assert!(silent.is_empty(), "{silent:#?}");
    }
}

#[test]
fn the_card_sets_the_papers_passes_and_sizes_beside_those_of_the_code_and_the_data() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/tram/xnli.yaml");
    let suite = harness::suite::read(&path).unwrap();
    let card = harness::report::card::markdown(&Report::of_paper(&suite));
    let line = |start: &str| {
        card.lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_default()
            .to_string()
    };
    assert!(line("| TRAM-Fisher |").contains(
        "| 3 and 3 | 2 and 2 (Table 2) | TRAM paper, algorithm 2 | harness/optim/src/tram\\_fisher.rs |"
    ));
    assert!(line("| xnli | en/train |").contains("| training | 393K examples (Table 8) |"));

    let suite = suite_with_sizes();
    let mut records = records(&suite);
    let ids: Vec<RunId> = records.keys().cloned().collect();
    for id in ids {
        let count = Observation {
            step: 0,
            on: "test".into(),
            metric: "examples".into(),
            value: 1000.0,
        };
        records.get_mut(&id).unwrap().observations.insert(0, count);
    }
    let plan = expand(std::slice::from_ref(&suite));
    let card = harness::report::card::markdown(&Report::of(&suite, &plan, &records));
    assert!(
        card.contains("| digits | test | measurement | 1.0K examples (Table 9) | 1000 examples |"),
        "{card}"
    );
}

fn suite_with_sizes() -> Suite {
    let text = SUITE.replace("    metric: accuracy\n", "    metric: accuracy\n    sizes: {place: Table 9, unit: examples, portions: {test: 1.0K}}\n");
    parse(Path::new("suites/hand-made.yaml"), &text).unwrap()
}
