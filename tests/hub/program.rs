//! The hub through the program: fetch, and run when the hub has gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::loopback::{Loopback, Trick};

const MODEL: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const DATA: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const SECRET: &str = "hf_nobodyMaySeeThis";

const SUITE: &str = r#"
suite: loopback
title: A model and data from a hub
citation: {title: None, authors: Nobody, venue: None, year: 2024}
models:
  vit-tiny: {hub: acme/vit-tiny, revision: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}
metrics:
  accuracy: {measure: accuracy, better: higher, unit: "%"}
training:
  short:
    base: {name: sgd, lr: 0.01, momentum: 0.9, weight_decay: 0.0}
    schedule: {name: constant}
    length: {steps: 2}
    batch: 8
tasks:
  digits:
    model: vit-tiny
    data: {hub: acme/digits, revision: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb}
    input:
      images: {image: image, label: label, mean: 0.5, std: 0.5, augmentation: none}
    train: [train]
    training: short
    metric: accuracy
methods:
  SGD: {method: base}
seeds: [0]
tables:
  - id: digits
    title: Digits
    place: nowhere
    spread: none
    columns:
      - {id: accuracy, title: Accuracy, task: digits, on: test}
    rows:
      - {method: SGD}
"#;

struct Place {
    folder: PathBuf,
    hub: Option<Loopback>,
    endpoint: String,
}

impl Place {
    fn new(name: &str) -> Place {
        let folder =
            std::env::temp_dir().join(format!("harness-hub-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("suite.yaml"), SUITE).unwrap();
        let hub = Loopback::start();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let put = |repository: &str, revision: &str, from: &str, path: &str| {
            let bytes = fs::read(root.join(from).join(path)).unwrap();
            hub.put(repository, revision, path, &bytes);
        };
        for path in [
            "config.json",
            "model.safetensors",
            "preprocessor_config.json",
        ] {
            put(
                "models/acme/vit-tiny",
                MODEL,
                "tests/golden/models/vit-tiny",
                path,
            );
        }
        for path in [
            "data/train-00000-of-00001.parquet",
            "data/test-00000-of-00001.parquet",
            "README.md",
        ] {
            put("datasets/acme/digits", DATA, "data/digits", path);
        }
        Place {
            folder,
            endpoint: hub.endpoint(),
            hub: Some(hub),
        }
    }

    fn harness(&self, arguments: &[&str]) -> Command {
        let mut harness = Command::new(env!("CARGO_BIN_EXE_harness"));
        harness
            .env_remove("CARGO")
            .env_remove("HF_HUB_OFFLINE")
            .current_dir(&self.folder);
        harness
            .env_remove("HF_HUB_CACHE")
            .env_remove("HF_TOKEN_PATH");
        harness
            .env("HF_HOME", self.folder.join("hf"))
            .env("HF_ENDPOINT", &self.endpoint)
            .env("HF_TOKEN", SECRET);
        harness.args(arguments);
        harness
    }

    fn done(&self, arguments: &[&str]) -> (Option<i32>, String) {
        said(self.harness(arguments).output().unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn said(output: Output) -> (Option<i32>, String) {
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).to_string();
    assert!(!text.contains(SECRET), "{text}");
    (output.status.code(), text)
}

#[test]
fn a_suite_is_fetched_and_then_runs_when_the_hub_has_gone() {
    let mut place = Place::new("whole");
    let (code, text) = place.done(&["run", "suite.yaml", "--offline"]);
    assert_eq!(code, Some(2), "{text}");
    for part in [
        "acme/vit-tiny at aaaaaaaaaaaa",
        "acme/digits",
        "`harness fetch suite.yaml`",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(
        place.hub.as_ref().unwrap().heard().concat().is_empty(),
        "no network"
    );

    let (code, text) = place.done(&["fetch", "suite.yaml", "--dry-run"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("5 files of 2 repositories, 5 to fetch"),
        "{text}"
    );
    let (code, text) = place.done(&["run", "suite.yaml", "--offline"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("`model.safetensors` of acme/vit-tiny"),
        "{text}"
    );
    assert_eq!(
        place.done(&["fetch", "suite.yaml", "--offline-check"]).0,
        Some(2)
    );

    let (code, text) = place.done(&["fetch", "suite.yaml"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("[5/5]"), "{text}");
    let (code, text) = place.done(&["fetch", "suite.yaml", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &told["repositories"][1]["to_come"]),
        (Some(0), &0.into()),
        "{text}"
    );
    let (_, text) = place.done(&["plan", "suite.yaml"]);
    assert!(
        text.contains("from the hub: 2 repositories, 2 in the cache\n"),
        "{text}"
    );

    place.hub = None;
    assert_eq!(
        place.done(&["fetch", "suite.yaml", "--offline-check"]).0,
        Some(0)
    );
    let mut run = place.harness(&["run", "suite.yaml", "--slots", "cpu:1"]);
    let (code, text) = said(run.env("HF_HUB_OFFLINE", "1").output().unwrap());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("runs: 1 done"), "{text}");
    let (code, text) = place.done(&["run", "suite.yaml", "--offline"]);
    assert!(code == Some(0) && text.contains("nothing to do"), "{text}");
}

#[test]
fn a_run_fetches_first_and_a_gated_repository_says_what_to_do() {
    let place = Place::new("gated");
    let gated = std::iter::repeat_n(Trick::Status(403, "X-Error-Message: gated\r\n"), 1);
    place.hub.as_ref().unwrap().play("config.json", gated);
    let (code, text) = place.done(&["run", "suite.yaml", "--slots", "cpu:1"]);
    assert_eq!(code, Some(1), "{text}");
    for part in [
        "accept the licence on http://127.0.0.1",
        "/acme/vit-tiny",
        "HF_TOKEN",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let (code, text) = place.done(&["run", "suite.yaml", "--slots", "cpu:1"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("1 to fetch") && text.contains("runs: 1 done"),
        "{text}"
    );
}

#[test]
fn an_unusable_address_is_bad_input_and_doctor_shows_the_hub_without_the_token() {
    let place = Place::new("address");
    let mut fetch = place.harness(&["fetch", "suite.yaml"]);
    let (code, text) = said(fetch.env("HF_ENDPOINT", "hub.example").output().unwrap());
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("HF_ENDPOINT") && text.contains("hub.example"),
        "{text}"
    );
    let (_, text) = place.done(&["doctor"]);
    let line = text.lines().find(|line| line.starts_with("hub ")).unwrap();
    assert!(line.contains(&place.endpoint) && line.contains("token set") && line.contains("free"));
}

#[test]
fn a_fetch_that_is_interrupted_or_killed_goes_on_later() {
    for (signal, code) in [(libc::SIGINT, Some(4)), (libc::SIGKILL, None)] {
        let place = Place::new(&format!("signal-{signal}"));
        let hub = place.hub.as_ref().unwrap();
        let silent = Trick::Silent(Duration::from_secs(20));
        hub.play("model.safetensors", [silent]);
        let mut fetch = place.harness(&["fetch", "suite.yaml"]);
        let mut fetch = fetch
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let blobs = place.folder.join("hf/hub/models--acme--vit-tiny/blobs");
        let half = || {
            let files = fs::read_dir(&blobs).into_iter().flatten().flatten();
            let lengths = files.map(|file| file.metadata().map_or(0, |file| file.len()));
            lengths.max().is_some_and(|length| length == 276_368 / 2)
        };
        let begun = Instant::now();
        while !half() && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(20));
        }
        // SAFETY: the child is ours and not waited for yet.
        unsafe { libc::kill(fetch.id() as libc::pid_t, signal) };
        assert_eq!(fetch.wait().unwrap().code(), code);
        hub.heard();
        let (code, text) = place.done(&["fetch", "suite.yaml"]);
        assert_eq!(code, Some(0), "{text}");
        let [_, large] = hub.heard();
        let resumed = |heard: &super::loopback::Heard| {
            heard.headers.get("range").map(String::as_str) == Some("bytes=138184-")
        };
        assert!(large.iter().any(resumed), "{large:?}");
    }
}
