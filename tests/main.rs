//! One program for all integration tests: a module per part of the harness.

use std::path::{Path, PathBuf};
use std::process::Command;

mod archive;
mod audience;
mod checkpoints;
mod cluster;
mod cost;
mod damage;
mod explain;
mod families;
mod fuzz;
mod hub;
mod judge;
mod lint;
mod outcomes;
mod plan;
mod queue;
mod report;
mod smoke;

mod scale;
mod schedule;
mod show;
mod slots;
mod stats;
mod store;
mod suite;
mod supervisor;
mod tidy;
mod training_log;

/// Compares `text` with a file of `tests/snapshots`; writes the file instead when `UPDATE_SNAPSHOTS` is set.
fn snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots")
        .join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{name} differs; UPDATE_SNAPSHOTS=1 writes what is now:\n{text}"
    );
}

/// Every suite in `suites/`.
fn shipped_suites() -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("suites")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "yaml") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// Python with the packages that `make python` provides, if it has `package`; CI must have it.
fn python(package: &str) -> Option<Command> {
    let command = || {
        let mut python = Command::new("python3");
        python.env(
            "PYTHONPATH",
            Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python"),
        );
        python
    };
    let has = command()
        .args(["-c", &format!("import {package}")])
        .output();
    if has.is_ok_and(|output| output.status.success()) {
        return Some(command());
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "CI has Python's {package}: `make python` provides it"
    );
    eprintln!("skipped: Python's {package} is not there; `make python` provides it");
    None
}
