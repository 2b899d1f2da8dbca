//! What a schedule tells to who looks from elsewhere: events, the notification, `status --watch`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::schedule::BUILD;
use serde_json::Value;

pub fn harness(folder: &Path) -> Command {
    let mut harness = Command::new(env!("CARGO_BIN_EXE_harness"));
    harness.env_remove("CARGO").current_dir(folder);
    let worker = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-worker.sh");
    harness.env("HARNESS_WORKER", worker);
    harness
}

/// A folder with the smoke suite, of which the stand-in for the worker can do every run.
pub fn place(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("audience")
        .join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let suite = fs::read_to_string(root.join("suites/smoke.yaml")).unwrap();
    let suite = suite
        .replace("../data/digits", root.join("data/digits").to_str().unwrap())
        .replace("metric: loss}", "metric: accuracy}");
    fs::write(folder.join("suite.yaml"), suite).unwrap();
    fs::write(folder.join("build"), BUILD).unwrap();
    folder
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn events_a_notification_and_a_view_from_another_terminal_tell_how_a_schedule_goes() {
    let folder = place("all");
    fs::write(
        folder.join("mode.0"),
        "started; finished failed ',\"message\":\"no\"'",
    )
    .unwrap();
    fs::write(
        folder.join("mode.1"),
        "started; echo '{\"event\":\"progress\",\"step\":3,\"steps\":9,\"loss\":0.5,\"lr\":0.1}'; \
         until [ -f \"$dir/go\" ]; do sleep 0.05; done; completed",
    )
    .unwrap();
    let mut supervisor = harness(&folder)
        .args([
            "run",
            "suite.yaml",
            "--store",
            "store",
            "--no-report",
            "--slots",
            "cpu:4",
        ])
        .args([
            "--only",
            "method=SGD,SAM",
            "--only",
            "seed=0,1",
            "--events",
            "events",
        ])
        .args([
            "--notify",
            "cat >summary; echo $HARNESS_EXIT $HARNESS_DONE $HARNESS_FAILED >>summary",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let events = || -> Vec<Value> {
        let text = fs::read_to_string(folder.join("events")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let busy = |look: &Value| {
        let slots = look["slots"].as_array().unwrap();
        slots
            .iter()
            .filter(|slot| slot["run"]["step"] == serde_json::json!([3, 9]))
            .count()
    };
    wait_until("look", || {
        events()
            .iter()
            .any(|event| event["what"] == "look" && busy(event) == 2)
    });
    let status = harness(&folder)
        .args(["status", "suite.yaml", "--store", "store"])
        .output()
        .unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("SGD seed 1  3/9  loss 0.5000"), "{status}");
    assert!(status.contains("2/4 runs, 2 failed"), "{status}");
    let mut watch = harness(&folder)
        .args([
            "status",
            "suite.yaml",
            "--store",
            "store",
            "--watch",
            "--json",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(watch.stdout.take().unwrap()).lines();
    let first = said.next().unwrap().unwrap();
    fs::write(folder.join("go"), "").unwrap();
    assert_eq!(supervisor.wait().unwrap().code(), Some(3));
    let rest: Vec<String> = said.map(|line| line.unwrap()).collect();
    let status = watch.wait().unwrap();
    assert!(status.success(), "it ends when nobody works any more");
    let looks: Vec<Value> = [first]
        .iter()
        .chain(&rest)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(looks[0]["supervisors"][0]["view"]["failed"], 2);
    assert_eq!(looks.last().unwrap()["supervisors"], serde_json::json!([]));

    let events = events();
    let count = |what: &str| events.iter().filter(|event| event["what"] == what).count();
    assert_eq!((count("started"), count("ended")), (4, 4));
    assert!(events.iter().all(|event| event["time"].as_f64().is_some()));
    let ended = events
        .iter()
        .find(|event| event["what"] == "ended" && event["seed"] == 0)
        .unwrap();
    assert_eq!(ended["ending"]["outcome"], "failed");
    assert!(
        ended["failure"]["again"]
            .as_str()
            .unwrap()
            .contains(" --only run=")
    );
    let summary = fs::read_to_string(folder.join("summary")).unwrap();
    let (json, variables) = summary.split_once('\n').unwrap();
    let json: Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["done"].as_array().map(Vec::len), Some(2));
    assert_eq!(variables.trim(), "3 2 2");
    assert_eq!(fs::read_dir(folder.join("store/.live")).unwrap().count(), 0);
}

#[test]
fn what_a_killed_supervisor_said_last_is_said_no_more() {
    let folder = place("killed");
    fs::write(folder.join("mode"), "started; sleep 600").unwrap();
    let mut supervisor = harness(&folder)
        .args(["run", "suite.yaml", "--store", "store", "--slots", "cpu:1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let live = folder.join("store/.live");
    wait_until("word", || {
        fs::read_dir(&live).is_ok_and(|files| files.count() > 0)
    });
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    let watch = harness(&folder)
        .args(["status", "suite.yaml", "--store", "store", "--watch"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&watch.stdout).into_owned();
    assert!(said.contains("nobody works on"), "{said}");
    assert_eq!(fs::read_dir(&live).unwrap().count(), 0);
}
