//! Damaged input: whatever stands in a suite, in an event or in a file of the store, reading it gives a value or an error,
//! soon and in little memory. The corpus is real files; `HARNESS_FUZZ=20000` makes more cases of each kind than the few that
//! every test run makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use harness::event::{Environment, Event, Observation, Outcome, RunRecord};
use harness::plan::RunId;
use harness::store::{Store, Work};
use harness::suite;

use crate::schedule::planned;

/// Longer than any input takes; input that makes a reader hang takes for ever.
const SOON: Duration = Duration::from_secs(20);

fn runner() -> TestRunner {
    let cases = std::env::var("HARNESS_FUZZ")
        .ok()
        .and_then(|text| text.parse().ok());
    TestRunner::new_with_rng(
        Config {
            cases: cases.unwrap_or(60),
            failure_persistence: None,
            ..Config::default()
        },
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    )
}

/// One change to a text or file; places are shares of its length.
#[derive(Clone, Debug)]
enum Change {
    Flip {
        at: f64,
        bit: u8,
    },
    Set {
        at: f64,
        byte: u8,
    },
    Cut {
        at: f64,
        length: usize,
    },
    End {
        at: f64,
    },
    Repeat {
        at: f64,
        length: usize,
        to: f64,
        times: usize,
    },
    Insert {
        at: f64,
        word: &'static str,
    },
}

/// What YAML, JSON and Parquet readers trip over.
const WORDS: &[&str] = &[
    "\n",
    " ",
    "\t",
    ":",
    "- ",
    "? ",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "|\n",
    ">\n",
    "---\n",
    "%YAML 9\n",
    "\u{feff}",
    "\0",
    "\u{202e}",
    "é",
    "1e999",
    "-0",
    ".nan",
    ".inf",
    "0x",
    "18446744073709551616",
    "~",
    "null",
    "true",
    "yes",
    "2024-01-01",
    "PAR1",
    "\u{ff}",
    "{\"a\":",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

fn change() -> impl Strategy<Value = Change> {
    let at = || 0.0..1.0f64;
    prop_oneof![
        (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip { at, bit }),
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set { at, byte }),
        (at(), 1..200usize).prop_map(|(at, length)| Change::Cut { at, length }),
        at().prop_map(|at| Change::End { at }),
        (at(), 1..200usize, at(), 1..50usize).prop_map(|(at, length, to, times)| Change::Repeat {
            at,
            length,
            to,
            times
        }),
        (at(), proptest::sample::select(WORDS)).prop_map(|(at, word)| Change::Insert { at, word }),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let place = |at: f64, bytes: &Vec<u8>| (at * bytes.len() as f64) as usize;
    match *change {
        Change::Flip { at, bit } => {
            let at = place(at, bytes);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Change::Set { at, byte } => {
            let at = place(at, bytes);
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
        }
        Change::Cut { at, length } => {
            let at = place(at, bytes);
            bytes.drain(at..(at + length).min(bytes.len()));
        }
        Change::End { at } => bytes.truncate(place(at, bytes)),
        Change::Repeat {
            at,
            length,
            to,
            times,
        } => {
            let (at, to) = (place(at, bytes), place(to, bytes));
            let piece = bytes[at..(at + length).min(bytes.len())].repeat(times);
            bytes.splice(to..to, piece);
        }
        Change::Insert { at, word } => {
            let at = place(at, bytes);
            bytes.splice(at..at, word.bytes());
        }
    }
}

/// Checks `body` on damaged forms of `corpus`.
fn fuzz(corpus: Vec<Vec<u8>>, body: impl Fn(&[u8])) {
    let memory = peak_memory();
    let cases = (0..corpus.len(), proptest::collection::vec(change(), 1..8));
    let result = runner().run(&cases, |(which, changes)| {
        let mut bytes = corpus[which].clone();
        for change in &changes {
            apply(&mut bytes, change);
        }
        let begun = Instant::now();
        body(&bytes);
        prop_assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let grown = peak_memory().saturating_sub(memory);
    assert!(grown < 1 << 30, "reading took {grown} bytes");
}

/// The largest resident memory so far, in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or("0 kB");
    line.trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<u64>()
        .unwrap_or(0)
        * 1024
}

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
