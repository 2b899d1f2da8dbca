//! What the store keeps, and what it says when a file was damaged.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::event::{Environment, Observation, Outcome, RunRecord};
use harness::plan::{PlannedRun, RunSpec};
use harness::store::{Store, Work};
use serde_json::json;

use crate::schedule::planned;

fn store(name: &str) -> Store {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("store")
        .join(name);
    let _ = fs::remove_dir_all(&dir);
    Store::open(dir).expect("a store")
}

fn record() -> RunRecord {
    let seen = |step, metric: &str, value| Observation {
        step,
        on: "test".into(),
        metric: metric.into(),
        value,
    };
    RunRecord {
        outcome: Outcome::Completed,
        environment: Environment {
            threads: 1,
            ..Environment::default()
        },
        seconds: 0.1 + 0.2,
        observations: vec![
            seen(0, "loss", 2.5),
            seen(10, "loss", 1.0 / 3.0),
            seen(10, "accuracy", 97.5),
        ],
        no_value: [("test".to_string(), "perplexity".to_string())].into(),
    }
}

fn finish(store: &Store, run: &PlannedRun) {
    let lease = store
        .lease(&run.id)
        .expect("a lease")
        .expect("nobody has it");
    store
        .begin(lease, run, Work::Train)
        .expect("an attempt")
        .finish(record())
        .expect("room");
}

#[test]
fn a_run_is_read_as_it_was_written() {
    let (store, run) = (store("read"), planned(1));
    assert_eq!(store.record(&run.id).expect("readable"), None);
    finish(&store, &run);
    assert_eq!(store.record(&run.id).expect("readable"), Some(record()));
    assert_eq!(
        store.spec(&run.id).expect("readable"),
        Some(run.spec.clone())
    );
    let held = store.held(&[run.id.clone(), planned(2).id]);
    assert_eq!((held.records.len(), held.damaged.len()), (1, 0));
    assert!(store.is_done(&run).expect("readable"));
    assert!(!store.is_leased(&run.id));
}

#[test]
fn a_specification_survives_its_file_whatever_is_in_it() {
    let store = store("spec");
    let keys = json!({
        "model_type": "vit", "a": 1e-12, "b": 1.0, "c": "1.0", "d": "yes", "e": null, "f": [0.1, 1e300, -7], "g": {},
        "h": "", "i": "~", "j": "0x10", "k": ": #", "l": "two\nlines\n", "m": 18446744073709551615u64, "n": true,
        "o": 0.30000000000000004, "p": "1e5", "q": " padded ", "r": {"0": "0"}, "s": "2001-01-01", "t": [],
        "u": "1_000", "v": "null", "w": ".inf", "x": "\u{1F600}\t", "y": "0o7", "z": 5e-324
    });
    let spec = RunSpec {
        model: serde_json::from_value(json!({"config": keys})).expect("a model"),
        train: vec!["en/train".into(), "no".into(), "1".into()],
        select: Some("null".into()),
        training: Some(
            serde_json::from_value(json!({
                "base": {"name": "sgd", "lr": 0.1}, "schedule": {"name": "constant"}, "length": {"epochs": 3},
                "batch": 8, "clip_norm": 1.0, "no_decay": ["bias"]
            }))
            .expect("a training"),
        ),
        method: serde_json::from_value(json!({"method": "sam", "rho": 0.05})).expect("a method"),
        seed: u64::MAX,
        ..planned(1).spec
    };
    let run = PlannedRun {
        id: spec.id(),
        spec,
        ..planned(1)
    };
    finish(&store, &run);
    assert_eq!(store.spec(&run.id).expect("readable"), Some(run.spec));
}

#[test]
fn a_damaged_file_is_named() {
    let run = planned(1);
    for file in [
        "spec.yaml",
        "metrics.json",
        "observations.parquet",
        "environment.json",
    ] {
        let store = store(&format!("damaged-{file}"));
        finish(&store, &run);
        let path = store.folder(&run.id).join(file);
        let bytes = fs::read(&path).expect("a file");
        fs::write(&path, &bytes[..bytes.len() / 2]).expect("room");
        let error = store.record(&run.id).expect_err("half a file");
        assert!(
            format!("{error:#}").contains(&format!("{} is damaged", path.display())),
            "{error:#}"
        );
        fs::remove_file(&path).expect("a file");
        let error = store.record(&run.id).expect_err("no file");
        assert!(
            format!("{error:#}").contains(&path.display().to_string()),
            "{error:#}"
        );
    }
}

#[test]
fn a_lease_is_one_supervisors() {
    let (store, id) = (store("lease"), planned(1).id);
    let lease = store.lease(&id).expect("a lease");
    assert!(lease.is_some());
    assert!(store.is_leased(&id));
    assert!(store.lease(&id).expect("an answer").is_none());
    drop(lease);
    assert!(!store.is_leased(&id));
    assert!(store.lease(&id).expect("an answer").is_some());
}

/// Writes the lease of a process that says it is `pid` in `realm`.
fn foreign_lease(store: &Store, run: &PlannedRun, pid: u32, realm: &str) {
    let folder = store.dir().join(".leases");
    fs::create_dir_all(&folder).expect("a folder");
    let holder =
        json!({"host": "elsewhere", "pid": pid, "realm": realm, "start": 1, "nonce": "00"});
    fs::write(folder.join(&run.id.0), format!("{holder}\n")).expect("room");
}

fn leases(store: &Store) -> usize {
    fs::read_dir(store.dir().join(".leases"))
        .expect("a folder")
        .count()
}

#[test]
fn the_lease_of_a_process_that_ended_on_this_machine_is_free_at_once() {
    let (store, run) = (store("ended"), planned(1));
    let mut child = Command::new("true").spawn().expect("a process");
    child.wait().expect("its end");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("linux");
    let namespace = fs::read_link("/proc/self/ns/pid").expect("linux");
    let realm = format!("{} {}", boot.trim(), namespace.display());
    foreign_lease(&store, &run, child.id(), &realm);
    assert!(!store.is_leased(&run.id));
    let lease = store.lease(&run.id).expect("an answer");
    assert!(lease.is_some());
    assert!(store.is_leased(&run.id));
    drop(lease);
    assert_eq!(leases(&store), 0);
    // The same number in another container or on another machine says nothing.
    foreign_lease(&store, &run, child.id(), "another boot pid:[1]");
    assert!(store.lease(&run.id).expect("an answer").is_none());
}

#[test]
fn of_many_that_find_a_holder_gone_one_at_a_time_takes_over() {
    let (store, run) = (store("gone"), planned(1));
    foreign_lease(&store, &run, 1, "another boot pid:[1]");
    let dir = store.dir();
    let (inside, took) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // Each looks by itself, as another process would.
                let store = Store::open(dir).expect("a store");
                let store = store.with_patience(Duration::from_secs(3));
                for _ in 0..5 {
                    let lease = loop {
                        match store.lease(&run.id).expect("an answer") {
                            Some(lease) => break lease,
                            None => std::thread::sleep(Duration::from_millis(1)),
                        }
                    };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two have it");
                    assert!(!lease.is_lost());
                    took.fetch_add(1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(took.into_inner(), 40);
    assert_eq!(leases(&store), 0);
}

#[test]
fn a_lease_that_was_torn_while_it_was_written_does_not_hold_a_run_for_ever() {
    let run = planned(1);
    let store = store("torn").with_patience(Duration::from_millis(200));
    foreign_lease(&store, &run, 1, "another boot pid:[1]");
    let path = store.dir().join(".leases").join(&run.id.0);
    // Who takes over may be torn as well, and who takes over from him.
    for depth in 0..3 {
        fs::write(&path, "{\"ho").expect("room");
        for torn in 1..=depth {
            fs::write(path.with_extension("torn".repeat(torn)), "").expect("room");
        }
        assert!(store.lease(&run.id).expect("an answer").is_none());
        while store.is_leased(&run.id) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let lease = store.lease(&run.id).expect("an answer").expect("free");
        assert!(!lease.is_lost());
        drop(lease);
        assert_eq!(leases(&store), 0);
    }
}

#[test]
fn who_lost_his_lease_publishes_nothing() {
    let (store, run) = (store("lost"), planned(1));
    let lease = store.lease(&run.id).expect("a lease").expect("free");
    let attempt = store.begin(lease, &run, Work::Train).expect("an attempt");
    assert!(!attempt.is_lost());
    foreign_lease(&store, &run, 1, "another boot pid:[1]");
    assert!(attempt.is_lost());
    let error = attempt.finish(record()).expect_err("it is another's");
    assert!(
        format!("{error:#}").contains("another supervisor"),
        "{error:#}"
    );
    assert_eq!(store.record(&run.id).expect("readable"), None);
    drop(attempt);
    // What is another's stays another's.
    assert_eq!(leases(&store), 1);
}

#[test]
fn an_attempt_that_is_dropped_leaves_nothing() {
    let (store, run) = (store("dropped"), planned(1));
    let lease = store
        .lease(&run.id)
        .expect("a lease")
        .expect("nobody has it");
    let attempt = store.begin(lease, &run, Work::Train).expect("an attempt");
    let folder = attempt.folder().to_path_buf();
    assert!(folder.join("spec.yaml").exists());
    drop(attempt);
    assert!(!folder.exists());
    assert_eq!(store.work(&run).expect("readable"), Work::Train);
}

#[test]
fn an_attempts_folder_is_no_other_supervisors_even_with_the_same_process_number() {
    let (store, run) = (store("folders"), planned(1));
    let lease = store.lease(&run.id).expect("a lease").expect("free");
    let text = fs::read_to_string(store.dir().join(".leases").join(&run.id.0)).expect("a lease");
    let holder: serde_json::Value =
        serde_json::from_str(text.lines().next().expect("a line")).expect("a holder");
    let attempt = store.begin(lease, &run, Work::Train).expect("an attempt");
    let name = attempt.folder().file_name().expect("a name");
    let name = name.to_str().expect("text");
    assert!(
        name.ends_with(holder["nonce"].as_str().expect("a nonce")),
        "{name}"
    );
    assert!(name.starts_with(&format!("{}.", run.id)), "{name}");
}

#[test]
fn a_result_that_is_published_stays_one_whatever_cannot_be_removed() {
    let (store, run) = (store("published"), planned(1));
    let checkpoints = store.checkpoints(&run.id);
    fs::create_dir_all(checkpoints.parent().expect("a folder")).expect("a folder");
    fs::write(&checkpoints, "no folder").expect("room");
    finish(&store, &run);
    assert!(checkpoints.exists());
    assert_eq!(store.record(&run.id).expect("readable"), Some(record()));
}

#[test]
fn other_tools_can_check_a_run() {
    let (store, run) = (store("sums"), planned(1));
    finish(&store, &run);
    let check = |folder: &Path| {
        let tool = std::process::Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(folder)
            .output();
        tool.expect("sha256sum").status.success()
    };
    let folder = store.folder(&run.id);
    assert!(check(&folder));
    let path = folder.join("metrics.json");
    let text = fs::read_to_string(&path).expect("a file");
    fs::write(&path, text.replace("seconds", "Seconds")).expect("room");
    assert!(!check(&folder));
    // A run that an earlier version kept has no sums and is read as it is.
    fs::write(&path, text).expect("room");
    fs::remove_file(folder.join("SHA256SUMS")).expect("a file");
    assert!(store.record(&run.id).expect("readable").is_some());
}

#[test]
fn what_a_supervisor_of_another_machine_said_a_day_ago_is_forgotten() {
    let store = store("live");
    let folder = store.dir().join(".live");
    let live = store.live().expect("a place");
    let foreign = |name: &str, hours: u64| {
        let holder =
            json!({"host": name, "pid": 1, "realm": "elsewhere", "start": 1, "nonce": "n"});
        let path = folder.join(name);
        fs::write(&path, format!("{holder}\nsaid\n")).expect("a file");
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(3600 * hours);
        let file = fs::File::options()
            .append(true)
            .open(&path)
            .expect("a file");
        file.set_modified(then).expect("a time");
    };
    foreign("yesterday", 25);
    foreign("today", 23);
    live.say("here").expect("room");
    let said = store.supervisors();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said.iter()
            .any(|(name, text)| name.starts_with("today") && text.trim() == "said")
    );
    assert!(said.iter().any(|(_, text)| text.trim() == "here"));
    drop(live);
    assert_eq!(store.supervisors().len(), 1);
}

#[test]
fn what_a_file_system_leaves_in_a_store_is_nobodys_run() {
    let (store, run) = (store("stray"), planned(0));
    let folders = [".leases", ".running", ".checkpoints"].map(|name| store.dir().join(name));
    for folder in &folders {
        fs::create_dir_all(folder).expect("a folder");
        fs::write(folder.join(".nfs00000001"), "").expect("room");
        fs::write(folder.join(".DS_Store"), "").expect("room");
    }
    store.clear_leftovers().expect("nothing is in the way");
    finish(&store, &run);
    store.clear_leftovers().expect("nothing is in the way");
    assert!(
        folders
            .iter()
            .all(|folder| folder.join(".nfs00000001").exists())
    );
    assert_eq!(store.done().expect("readable"), [run.id]);
}
