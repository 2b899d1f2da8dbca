//! Damaged input: whatever stands in a suite, in an event or in a file of the store, reading it gives a value or an error,
//! soon and in little memory. The corpus is real files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use harness::event::{Environment, Event, Observation, Outcome, RunRecord};
use harness::plan::RunId;
use harness::store::{Store, Work};
use harness::suite;

use crate::damage::{SOON, fuzz};
use crate::schedule::planned;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_damaged_suite_is_read_or_refused() {
    let corpus = [
        "suites/smoke.yaml",
        "suites/families.yaml",
        "suites/tram/vision.yaml",
        "suites/tram/gpt2-xl.yaml",
    ];
    let read = |name: &&str| fs::read(root().join(name)).expect("a suite");
    fuzz(corpus.iter().map(read).collect(), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match suite::parse(Path::new("damaged.yaml"), &text) {
            Ok(suite) => drop(harness::plan::expand(&[suite])),
            Err(problems) => assert!(!problems.to_string().is_empty()),
        }
    });
}

#[test]
fn a_suite_that_multiplies_itself_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let begun = Instant::now();
    assert!(suite::parse(Path::new("laughs.yaml"), &text).is_err());
    let deep = format!("suite: {}", "[".repeat(200_000));
    assert!(suite::parse(Path::new("deep.yaml"), &deep).is_err());
    let nested: String = (0..5_000)
        .map(|i| format!("{}a:\n", " ".repeat(i)))
        .collect();
    assert!(suite::parse(Path::new("nested.yaml"), &nested).is_err());
    assert!(begun.elapsed() < SOON);
}

#[test]
fn a_damaged_event_is_read_or_refused() {
    let events = [
        Event::Started(Environment::default()),
        Event::Preparing {
            what: "es/train".into(),
            done: 7,
            total: Some(9),
        },
        Event::Progress {
            step: 3,
            steps: 9,
            loss: Some(0.25),
            lr: 1e-5,
            examples_per_second: None,
            tokens_per_second: Some(1e4),
        },
        Event::Observed(Observation {
            step: 9,
            on: "test".into(),
            metric: "accuracy".into(),
            value: 87.97,
        }),
        Event::NoValue {
            on: "test".into(),
            metric: "perplexity".into(),
        },
        Event::Note {
            text: "newly initialised: head".into(),
        },
        Event::Finished(Outcome::Failed {
            message: "no such file".into(),
        }),
    ];
    let corpus = events
        .iter()
        .map(|event| serde_json::to_vec(event).expect("plain data"))
        .collect();
    fuzz(corpus, |bytes| {
        let _ = serde_json::from_str::<Event>(&String::from_utf8_lossy(bytes));
    });
}

/// A store with one finished run, and the run's folder.
fn finished(name: &str) -> (Store, RunId, PathBuf) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("fuzz")
        .join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a folder");
    let store = Store::open(&dir).expect("a store");
    let run = planned(1);
    let lease = store.lease(&run.id).expect("a lease").expect("nobody else");
    let attempt = store.begin(lease, &run, Work::Train).expect("an attempt");
    let seen = |step: u64| Observation {
        step,
        on: "test".into(),
        metric: "accuracy".into(),
        value: step as f64 / 7.0,
    };
    let record = RunRecord {
        outcome: Outcome::Completed,
        environment: Environment::default(),
        seconds: 1.5,
        observations: (0..200).map(seen).collect(),
        no_value: Default::default(),
    };
    attempt.finish(record).expect("a record");
    let folder = store.folder(&run.id);
    (store, run.id, folder)
}

#[test]
fn a_damaged_run_is_read_or_named() {
    for file in [
        "observations.parquet",
        "metrics.json",
        "environment.json",
        "spec.yaml",
    ] {
        let (store, id, folder) = finished(file);
        let path = folder.join(file);
        let whole = fs::read(&path).expect("a file");
        let good = store.record(&id).expect("readable").expect("done");
        fuzz(vec![whole.clone()], |bytes| {
            fs::write(&path, bytes).expect("a file");
            let _ = store.work(&planned(1));
            match store.record(&id) {
                Err(error) => assert!(format!("{error:#}").contains(file), "{error:#}"),
                // Numbers come back as they were, or not at all.
                Ok(record) => {
                    let record = record.expect("its folder is there");
                    if file == "observations.parquet" {
                        assert!(record.observations == good.observations);
                    }
                }
            }
        });
    }
}
