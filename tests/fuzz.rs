//! Damaged input: whatever stands in a suite, in an event or in a file of the store, reading it gives a value or an error,
//! soon and in little memory. The corpus is real files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use harness::cluster::Profile;
use harness::event::{Environment, Event, Observation, Outcome, RunRecord};
use harness::plan::RunId;
use harness::store::{Store, Work};
use harness::suite;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::damage::{Change, SOON, apply, change, check, fuzz};
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
        "SHA256SUMS",
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
                    assert!(record.expect("its folder is there") == good);
                }
            }
        });
    }
}

#[test]
fn a_damaged_run_that_no_sums_protect_is_read_or_named() {
    for file in [
        "observations.parquet",
        "metrics.json",
        "environment.json",
        "spec.yaml",
    ] {
        let (store, id, folder) = finished(&format!("without-sums-{file}"));
        fs::remove_file(folder.join("SHA256SUMS")).expect("sums");
        let path = folder.join(file);
        let whole = fs::read(&path).expect("a file");
        fuzz(vec![whole], |bytes| {
            fs::write(&path, bytes).expect("a file");
            let _ = store.work(&planned(1));
            if let Err(error) = store.record(&id) {
                assert!(format!("{error:#}").contains(file), "{error:#}");
            }
        });
    }
}

/// A file in the chain of a lease: its name behind the run's, what it says, and what damages that.
#[derive(Clone, Debug)]
struct Link {
    name: &'static str,
    nonce: &'static str,
    has_ended: bool,
    changes: Vec<Change>,
}

fn link() -> impl Strategy<Value = Link> {
    let names = [
        "",
        ".torn",
        ".torntorn",
        ".0123456789abcdef",
        ".fedcba9876543210",
    ];
    let nonces = [
        "0123456789abcdef",
        "fedcba9876543210",
        "",
        "torn",
        "../../x",
        "a/b",
        "\0",
    ];
    (
        proptest::sample::select(names.to_vec()),
        proptest::sample::select(nonces.to_vec()),
        any::<bool>(),
        proptest::collection::vec(change(), 0..3),
    )
        .prop_map(|(name, nonce, has_ended, changes)| Link {
            name,
            nonce,
            has_ended,
            changes,
        })
}

#[test]
fn a_damaged_lease_is_somebody_s_or_taken_over() {
    let (store, id, _) = finished("leases");
    let folder = store.dir().join(".leases");
    let path = folder.join(&id.0);
    let lease = store.lease(&id).expect("a lease").expect("nobody else");
    let held = fs::read_to_string(&path).expect("a file");
    drop(lease);
    let (holder, beats) = held.split_once('\n').expect("a line");
    let holder: Value = serde_json::from_str(holder).expect("a holder");
    check(proptest::collection::vec(link(), 1..5), |links| {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        for link in &links {
            let mut holder = holder.clone();
            holder["nonce"] = json!(link.nonce);
            if link.has_ended {
                holder["start"] = json!(1);
            }
            let mut text = format!("{holder}\n{beats}").into_bytes();
            link.changes
                .iter()
                .for_each(|change| apply(&mut text, change));
            fs::write(folder.join(format!("{id}{}", link.name)), text).expect("a file");
        }
        let is_leased = store.is_leased(&id);
        let lease = store.lease(&id).expect("an answer");
        if let Some(lease) = lease {
            assert!(!is_leased, "it was another's");
            assert!(!lease.is_lost(), "whoever takes a lease has it");
            assert!(
                store.lease(&id).expect("an answer").is_none(),
                "it is given once"
            );
        }
    });
}

#[test]
fn a_damaged_profile_is_read_or_refused() {
    let text = r#"# A cluster.
time: 1-00:00:00
partition: gpu
account: a.b
gres: gpu:a100:2
cpus: 8
memory: 32G
constraint: a100&nvlink
modules: [cuda/12.4, gcc]
container: [apptainer, exec, --nv, harness.sif]
environment: {HF_HOME: /scratch/hub, LANG: C}
array: {size: 100, at_once: 7}
lead: 300
attempts: 2
restarts: 5
poll: 20
options: [--exclude=n13, --comment=a b]
"#;
    let short = "time: 90\n";
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-profile.yaml");
    for whole in [text, short] {
        fs::write(&path, whole).expect("a file");
        Profile::read(&path).expect("a profile");
    }
    fuzz(vec![text.into(), short.into()], |bytes| {
        fs::write(&path, bytes).expect("a file");
        if let Err(problems) = Profile::read(&path) {
            let problems = problems.to_string();
            assert!(problems.contains("fuzz-profile.yaml"), "{problems}");
        }
    });
}
