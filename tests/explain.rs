//! `harness explain`: what a number is made of, and the command that makes it again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::event::{Environment, Observation, Outcome, RunRecord};
use harness::plan::expand;
use harness::store::{Store, Work};
use harness::suite;
use serde_json::Value;

const SUITE: &str = r#"
suite: made
title: Made up
citation: {title: T, authors: A, venue: V, year: 2024}
models:
  vit: {config: {model_type: vit, hidden_size: 16}}
metrics:
  accuracy: {measure: accuracy, better: higher}
  loss: {measure: loss, better: lower}
training:
  short: {base: {name: sgd, lr: 0.1}, schedule: {name: constant}, length: {steps: 10}, batch: 8}
tasks:
  digits: &digits
    model: vit
    data: {folder: x, sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
    input: {images: {}}
    train: [train]
    training: short
    metric: accuracy
  letters:
    model: vit
    data: {folder: x, sha256: "1111111111111111111111111111111111111111111111111111111111111111"}
    input: {images: {}}
    train: [train]
    training: short
    metric: accuracy
methods:
  SGD: {method: base}
  SAM: {method: sam, rho: 0.05}
  "SAM, wide": {method: sam, rho: 0.5}
seeds: [0, 1, 2]
tables:
  - id: t
    title: Numbers
    place: Table 1
    columns:
      - {id: acc, task: digits, on: test}
      - {id: loss, task: digits, on: test, metric: loss}
      - {id: other, task: letters, on: test}
      - {id: both, mean: [acc, other]}
      - {id: r, correlation: {of: acc, with: [loss]}}
    rows:
      - {method: SGD, reported: 90.0 0.3 90.0 90.0 0.5}
      - {method: SAM, reported: 91.0 0.2 91.0 91.0 0.5}
      - {method: "SAM, wide", reported: 92.0 0.1 92.0 92.0 0.5}
derived_tables:
  - id: follows
    title: Correlations
    place: Table 2
    from: t
    correlation_with: acc
    rows:
      - {title: "Loss / nats", columns: [loss], reported: "-1.000"}
"#;

/// A folder with the suite, and a store in which all of it is done with two threads a run.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("explain")
            .join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("tmp")).expect("a folder");
        fs::write(folder.join("made.yaml"), SUITE).expect("room");
        Place(folder)
    }

    fn fill(self, threads: impl Fn(&str, u64) -> usize) -> Place {
        let path = self.0.join("made.yaml");
        let suite = suite::parse(&path, SUITE).expect("a suite");
        let store = Store::open(self.0.join("runs")).expect("a store");
        for run in expand(&[suite]).runs {
            let lease = store.lease(&run.id).expect("a lease").expect("nobody else");
            let attempt = store.begin(lease, &run, Work::Train).expect("an attempt");
            let seed = run.spec.seed;
            let accuracy = 90.0 + run.method.len() as f64 + [0.1, 0.7, 0.2][seed as usize];
            let at = |metric: &str, value: f64| Observation {
                step: 10,
                on: "test".into(),
                metric: metric.into(),
                value,
            };
            let record = RunRecord {
                outcome: Outcome::Completed,
                environment: Environment {
                    build: "another".into(),
                    device: "cpu".into(),
                    threads: threads(&run.method, seed),
                    processes: 1,
                    ..Environment::default()
                },
                seconds: 1.0,
                observations: vec![at("accuracy", accuracy), at("loss", 1.0 - accuracy / 100.0)],
                no_value: Default::default(),
            };
            attempt.finish(record).expect("a record");
        }
        self
    }

    fn harness(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_harness"))
            .current_dir(&self.0)
            .env("TMPDIR", self.0.join("tmp"))
            .args(arguments)
            .output()
            .expect("the program")
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.harness(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{wrong}");
        said
    }

    fn json(&self, what: &str) -> Value {
        let said = self.said(&["explain", what, "made.yaml", "--store", "runs", "--json"]);
        serde_json::from_str(&said).expect("JSON")
    }

    /// The runs that a command would do, of a new store and by way of `harness plan`.
    fn would_do(&self, command: &str) -> Vec<String> {
        let words = command.strip_prefix("harness run ").expect("a run");
        let kept = words.split(" --store ").next().expect("words");
        let output = Command::new("sh")
            .current_dir(&self.0)
            .args([
                "-c",
                &format!("'{}' plan {kept} --json", env!("CARGO_BIN_EXE_harness")),
            ])
            .output()
            .expect("a shell");
        let plan: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        ids(&plan["runs"], "id")
    }
}

/// The different ids of a list, in order.
fn ids(runs: &Value, key: &str) -> Vec<String> {
    let runs = runs.as_array().expect("runs").iter();
    let mut ids: Vec<String> = runs
        .map(|run| run[key].as_str().expect("an id").to_string())
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

#[test]
fn a_correlation_names_the_seeds_and_runs_that_it_is_over() {
    let place = Place::new("correlation").fill(|_, _| 2);
    let said = place.said(&["explain", "t/SAM/r", "made.yaml", "--store", "runs"]);
    for part in [
        "number   Pearson's correlation over seeds of acc with loss\n",
        "paper    0.5, over",
        "ours     -1 from 3 of 3 seeds",
        "beware   made by another build than this program's\n",
        "accuracy on test: 93.7 at update 10",
        "to make it again: harness run made.yaml --only table=t --only method=SAM --only task=digits --store again \
         --out again/reports --slots cpu:1x2\n",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let value = place.json("t/SAM/r");
    assert_eq!(value["runs"].as_array().unwrap().len(), 6);
    assert_eq!(value["stale"], true);
}

#[test]
fn the_command_does_just_the_runs_behind_a_number() {
    let place = Place::new("just").fill(|_, _| 1);
    for (what, count) in [
        ("t/SAM/acc", 3),
        ("t/SAM, wide/both", 6),
        ("t/SGD/r", 3),
        ("follows/Loss / nats", 9),
    ] {
        let value = place.json(what);
        let again = value["again"].as_array().expect("commands");
        let [command] = &again[..] else {
            panic!("{what}: {again:?}");
        };
        let command = command.as_str().expect("a command");
        let runs = place.would_do(command);
        assert_eq!(runs.len(), count, "{what}: {command}");
        assert_eq!(runs, ids(&value["runs"], "run"), "{what}: {command}");
    }
    let run = place.json("t/SGD/acc")["runs"][1]["run"].clone();
    let run = run.as_str().expect("an id");
    let value = place.json(&run[..9]);
    assert_eq!(
        value["again"][0],
        format!(
            "harness run made.yaml --only run={run} --store again --out again/reports --slots cpu:1"
        )
    );
    // What is there already is none to begin in.
    fs::create_dir(place.0.join("again")).expect("a folder");
    let value = place.json(run);
    let command = value["again"][0].as_str().expect("a command");
    assert!(
        command.contains("--store again-2 --out again-2/reports"),
        "{command}"
    );
}

#[test]
fn a_number_of_unlike_runs_says_so_and_takes_a_command_for_each_kind() {
    let place = Place::new("mixed").fill(|_, seed| 1 + seed as usize % 2);
    let said = place.said(&["explain", "t/SAM/acc", "made.yaml", "--store", "runs"]);
    let part = "beware   its runs differ in threads; made by another build than this program's\n";
    assert!(said.contains(part), "{said}");
    let value = place.json("t/SAM/acc");
    assert_eq!(value["mixed"], serde_json::json!(["threads"]));
    let again = value["again"].as_array().expect("commands");
    let all: Vec<String> = again
        .iter()
        .flat_map(|command| place.would_do(command.as_str().expect("a command")))
        .collect();
    assert_eq!((again.len(), all.len()), (2, 3), "{again:?}");
    assert!(
        again[0].as_str().unwrap().ends_with("--slots cpu:1"),
        "{again:?}"
    );
    assert!(
        again[1].as_str().unwrap().ends_with("--slots cpu:1x2"),
        "{again:?}"
    );
}

#[test]
fn a_row_of_a_derived_table_shows_what_it_correlates() {
    let place = Place::new("derived").fill(|_, _| 1);
    let at = ["made.yaml", "--store", "runs"];
    let said = place.said(&[&["explain", "follows/Loss / nats"], &at[..]].concat());
    for part in [
        "Table 2: Correlations (Made up)",
        "number   Pearson's correlation over methods of acc with loss, of table t\n",
        "paper    -1.000 (made.yaml:",
        "SAM, wide: paper 92 with 0.1; ours 99.33",
        "--only table=t --only 'method=SGD,SAM,SAM, wide' --only task=digits --store again",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let same = place.said(&[&["explain", "follows/Loss / nats/correlation"], &at[..]].concat());
    assert_eq!(said, same);
    let value = place.json("follows/Loss / nats");
    assert_eq!(value["ours"]["n"], 3);
    assert_eq!(value["verdict"].is_string(), true);
    assert_eq!(value["methods"].as_array().unwrap().len(), 3);

    let wrong = place.harness(&[&["explain", "follows/Los"], &at[..]].concat());
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(2), "{said}");
    assert!(said.contains("there is no row `Los`"), "{said}");
    let table = place.harness(&[&["explain", "t"], &at[..]].concat());
    let said = String::from_utf8_lossy(&table.stderr).into_owned();
    assert!(
        said.contains("`t` is no cell: write TABLE/ROW/COLUMN"),
        "{said}"
    );
}

#[test]
fn what_has_not_run_goes_into_the_store_that_was_named() {
    let place = Place::new("empty");
    let value = place.json("t/SAM/acc");
    assert_eq!(
        value["again"][0],
        "harness run made.yaml --only table=t --only method=SAM --only task=digits --store runs"
    );
}

#[test]
fn an_archive_is_explained_without_a_trace_of_where_it_was_read() {
    let place = Place::new("archive").fill(|_, _| 1);
    // An absolute path, which is nobody's business.
    let absolute = place.0.join("made.yaml");
    let absolute = absolute.to_str().expect("plain");
    place.said(&["archive", absolute, "--store", "runs", "-o", "a.tar.gz"]);
    let run = ids(&place.json("t/SAM/acc")["runs"], "run").remove(0);
    let here = place.0.to_str().expect("plain");
    for what in ["t/SAM/r", "t/SGD/both", "follows/Loss / nats", &run] {
        let said = place.said(&["explain", what, "a.tar.gz"]);
        assert!(!said.contains(here), "{said}");
        assert!(said.contains(": harness run made.yaml --only "), "{said}");
        assert!(
            said.contains(" --store again --out again/reports"),
            "{said}"
        );
    }
    let left = fs::read_dir(place.0.join("tmp")).expect("a folder").count();
    assert_eq!(left, 0, "nothing stays behind");
}

#[test]
fn a_report_does_not_tell_where_its_suite_lies() {
    let place = Place::new("paths").fill(|_, _| 1);
    let absolute = place.0.join("made.yaml");
    let absolute = absolute.to_str().expect("plain");
    place.said(&["report", absolute, "--store", "runs", "--out", "absolute"]);
    place.said(&[
        "report",
        "made.yaml",
        "--store",
        "runs",
        "--out",
        "relative",
    ]);
    let folder = place.0.join("absolute/made");
    for entry in fs::read_dir(folder).expect("a report").flatten() {
        let bytes = fs::read(entry.path()).expect("a file");
        let same = place.0.join("relative/made").join(entry.file_name());
        assert!(bytes == fs::read(same).expect("a file"), "{entry:?}");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(place.0.to_str().unwrap()), "{entry:?}");
    }
    fs::create_dir(place.0.join("suites")).expect("a folder");
    fs::rename(place.0.join("made.yaml"), place.0.join("suites/made.yaml")).expect("moved");
    let absolute = place.0.join("suites/made.yaml");
    let absolute = absolute.to_str().expect("plain");
    place.said(&["report", absolute, "--store", "runs", "--out", "within"]);
    let page = fs::read_to_string(place.0.join("within/made/report.md")).expect("a report");
    assert!(
        page.contains("    harness report suites/made.yaml\n"),
        "{page}"
    );
}

#[test]
fn a_cell_of_several_suites_is_told_by_its_suite() {
    let place = Place::new("suites");
    let other = SUITE
        .replace("suite: made", "suite: other")
        .replace("{id: other, task", "{id: else, task")
        .replace("[acc, other]", "[acc, else]");
    fs::write(place.0.join("other.yaml"), other).expect("room");
    let explain = |cell: &str| {
        place.harness(&[
            "explain",
            cell,
            "made.yaml",
            "other.yaml",
            "--store",
            "runs",
        ])
    };
    let both = explain("t/SAM/acc");
    assert_eq!(both.status.code(), Some(2));
    let wrong = String::from_utf8_lossy(&both.stderr);
    assert!(
        wrong.contains("a cell of made and other: write SUITE/TABLE/ROW/COLUMN"),
        "{wrong}"
    );
    for cell in ["t/SAM/else", "other/t/SAM/acc", "made/t/SAM/acc"] {
        assert!(explain(cell).status.success(), "{cell}");
    }
    let said = String::from_utf8_lossy(&explain("t/SAM/else").stdout).into_owned();
    assert!(said.contains("other.yaml"), "{said}");
}
