//! Which runs a suite needs, and what makes two runs the same.

use std::collections::BTreeSet;
use std::path::Path;

use harness::plan::{Plan, RunId, RunSpec, expand};
use harness::suite;
use serde_json::json;

const SMOKE: &str = include_str!("../suites/smoke.yaml");

fn plan(text: &str) -> Plan {
    let parsed = suite::parse(Path::new("suites/smoke.yaml"), text);
    expand(&[parsed.unwrap_or_else(|problems| panic!("{problems}"))])
}

fn ids(plan: &Plan) -> BTreeSet<RunId> {
    plan.runs.iter().map(|run| run.id.clone()).collect()
}

/// The methods and seeds of the runs that `changed` has and the smoke suite has not.
fn new_runs(changed: &str) -> Vec<(String, u64)> {
    let old = ids(&plan(SMOKE));
    let new = plan(changed)
        .runs
        .into_iter()
        .filter(|run| !old.contains(&run.id));
    new.map(|run| (run.method, run.spec.seed)).collect()
}

#[test]
fn the_smoke_suite_needs_a_run_for_every_method_and_seed() {
    let plan = plan(SMOKE);
    assert_eq!(plan.runs.len(), 12);
    assert!(
        plan.runs.iter().all(|run| run.cells.len() == 2),
        "accuracy and loss come from one run"
    );
}

#[test]
fn one_knob_changes_exactly_the_runs_it_touches() {
    let changed = SMOKE.replace("{method: sam, rho: 0.05}", "{method: sam, rho: 0.06}");
    assert_eq!(
        new_runs(&changed),
        [("SAM".into(), 0), ("SAM".into(), 1), ("SAM".into(), 2)]
    );
}

#[test]
fn one_seed_changes_exactly_the_runs_it_touches() {
    let added: Vec<u64> = new_runs(&SMOKE.replace("seeds: [0, 1, 2]", "seeds: [0, 1, 7]"))
        .iter()
        .map(|run| run.1)
        .collect();
    assert_eq!(added, [7, 7, 7, 7]);
}

#[test]
fn names_places_defaults_and_looks_change_no_run() {
    let same = [
        SMOKE.replace("TRAM-x", "ours"),
        SMOKE.replace("../data/digits", "/elsewhere/digits"),
        SMOKE.replace("{method: sam, rho: 0.05}", "{method: sam}"),
        SMOKE.replace("title: Accuracy", "title: Right"),
        SMOKE.replace("94.00±0.43", "11.0±0.4"),
    ];
    for text in same {
        assert_ne!(text, SMOKE);
        assert_eq!(new_runs(&text), []);
    }
}

#[test]
fn a_run_that_feeds_several_tables_is_counted_once() {
    let (head, table) = SMOKE.split_at(SMOKE.find("  - id: digits").unwrap());
    let (table, tail) = table.split_at(table.find("\nfigures:").unwrap());
    let twice = format!(
        "{head}{table}{}{tail}",
        table.replace("- id: digits", "- id: again")
    );
    let plan = plan(&twice);
    assert_eq!(plan.runs.len(), 12);
    assert!(
        plan.runs
            .iter()
            .all(|run| run.cells.len() == 4 && run.measurements.len() == 2)
    );
}

#[test]
fn a_stage_is_planned_once_before_the_runs_that_start_from_it() {
    let staged = SMOKE
        .replace(
            "metrics:\n",
            "  warm:\n    stage: {task: digits, method: SGD, seed: 9}\n\nmetrics:\n",
        )
        .replace("\nmethods:", "\n  again:\n    model: warm\n    data: {folder: x, sha256: \"8c9b30b0effdcd97678f7236a0888a3aac8d651cad353847638d222d7d4276e9\"}\n    input: {images: {}}\n    train: [train]\n    training: short\n    metric: accuracy\n\nmethods:")
        .replace("task: digits, on: test}", "task: again, on: test}");
    let plan = plan(&staged);
    let stages: Vec<_> = plan.runs.iter().filter(|run| run.spec.seed == 9).collect();
    assert_eq!(stages.len(), 1);
    let first = plan
        .runs
        .iter()
        .position(|run| run.id == stages[0].id)
        .unwrap();
    for (i, run) in plan.runs.iter().enumerate() {
        if let Some(needs) = &run.needs {
            assert_eq!(*needs, stages[0].id);
            assert!(i > first);
        }
    }
}

#[test]
fn a_text_is_made_into_tokens_by_the_task_or_else_by_the_model_through_any_number_of_stages() {
    let hub = |name: &str| json!({"hub": {"hub": name, "revision": "0".repeat(40)}});
    let spec = |model, tokenizer| -> RunSpec {
        let mut spec = json!({
            "model": model, "data": {"folder": {"sha256": "00"}}, "input": {"text_blocks": {"length": 8}},
            "train": [], "select": null, "training": null, "method": {"method": "untrained"}, "seed": 0,
        });
        if let Some(tokenizer) = tokenizer {
            spec["tokenizer"] = tokenizer;
        }
        serde_json::from_value(spec).unwrap()
    };
    let key = |spec: &RunSpec| spec.tokenizer_source().map(|source| source.key());
    let at = |name: &str| Some(format!("{name}@{}", "0".repeat(40)));
    let config = json!({"config": {"model_type": "gpt2"}});
    assert_eq!(key(&spec(hub("a/model"), None)), at("a/model"));
    assert_eq!(
        key(&spec(hub("a/model"), Some(hub("a/words")))),
        at("a/words")
    );
    assert_eq!(key(&spec(config.clone(), None)), None);
    let first = spec(config, Some(hub("a/words")));
    let second = spec(json!({"stage": first}), None);
    let third = spec(json!({"stage": second}), None);
    assert_eq!(key(&third), at("a/words"));
}
