//! The directions of imports, as `harness/README.md` states them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module of the library may import, itself aside.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // Plain data.
    ("event", &["plan"]),
    ("stats", &[]),
    ("time", &[]),
    // Reads suites, and checks the folders they name.
    ("suite", &["content"]),
    // Pure.
    ("plan", &["suite"]),
    ("seed", &["plan"]),
    ("judge", &["event", "plan", "stats", "suite"]),
    ("lint", &["judge", "plan", "stats", "suite"]),
    ("diff", &["event", "plan", "suite"]),
    ("cost", &["event", "plan", "suite"]),
    // Effects. A schedule makes attempts in a store and shows nothing; who shows it only listens.
    ("content", &[]),
    ("count", &[]),
    ("layout", &[]),
    ("hub", &["layout", "plan", "suite"]),
    ("store", &["event", "plan"]),
    ("schedule", &["cost", "event", "plan", "store", "time"]),
    ("cluster", &["event", "plan", "schedule", "store", "suite"]),
    ("show", &["event", "hub", "plan", "schedule", "time"]),
    ("report", &["event", "judge", "plan", "stats", "suite"]),
    ("archive", &["plan", "store", "suite"]),
    (
        "commands",
        &[
            "archive", "cluster", "content", "cost", "count", "diff", "event", "hub", "judge",
            "lint", "plan", "report", "schedule", "show", "stats", "store", "suite", "time",
        ],
    ),
];

/// Crates that only some modules may use.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("ab_glyph", &["report"]),
    ("plotters", &["report"]),
    ("plotters_backend", &["report"]),
    ("png", &["report"]),
    ("polars", &["store", "tasks"]),
    (
        "tch",
        &[
            "bench",
            "machine",
            "measure",
            "models",
            "ready",
            "share",
            "tasks",
            "train",
            "optim",
            "torch-ext",
            "worker",
        ],
    ),
    ("hf_hub", &["hub"]),
    ("nvml_wrapper", &["schedule"]),
    ("indicatif", &["show"]),
    ("clap", &["bench", "commands", "main", "worker"]),
    ("ureq", &["hub"]),
];

/// The text of every source under `harness/`, by the module or package it belongs to.
fn modules() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness");
    let mut found: BTreeMap<String, Vec<(PathBuf, String)>> = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let module = path
                    .strip_prefix(&root)
                    .unwrap()
                    .components()
                    .next()
                    .unwrap();
                let module = module
                    .as_os_str()
                    .to_string_lossy()
                    .trim_end_matches(".rs")
                    .to_string();
                let text = fs::read_to_string(&path).unwrap();
                found.entry(module).or_default().push((path, text));
            }
        }
    }
    found
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The lines of code, comments left out.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
}

#[test]
fn modules_import_only_what_the_map_allows() {
    let modules = modules();
    let library: Vec<&str> = MAY_IMPORT.iter().map(|(module, _)| *module).collect();
    let mut wrong = Vec::new();
    for (module, allowed) in MAY_IMPORT {
        let files = modules
            .get(*module)
            .unwrap_or_else(|| panic!("there is no module {module}"));
        for (path, text) in files {
            for other in &library {
                let imports = code(text).any(|line| line.contains(&format!("crate::{other}")));
                if imports && other != module && !allowed.contains(other) {
                    wrong.push(format!("{} imports {other}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_library_has_its_place_in_the_map() {
    let text = include_str!("../harness/lib.rs");
    for line in text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod "))
    {
        let module = line.trim_end_matches(';');
        assert!(
            MAY_IMPORT.iter().any(|(known, _)| *known == module),
            "{module} is not in the map"
        );
    }
}

#[test]
fn crates_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for (module, files) in modules() {
        for (path, text) in files {
            for (name, places) in ONLY_IN {
                // `fetch::` is no use of `tch`.
                let before = |line: &str, at: usize| line[..at].chars().next_back();
                let uses = |line: &str| {
                    line.match_indices(&format!("{name}::"))
                        .any(|(at, _)| !before(line, at).is_some_and(is_of_a_name))
                };
                if code(&text).any(uses) && !places.contains(&module.as_str()) {
                    wrong.push(format!("{} uses {name}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_supervisor_does_not_link_libtorch() {
    let program = fs::read(env!("CARGO_BIN_EXE_harness")).unwrap();
    let asks_for = |library: &[u8]| {
        program
            .windows(library.len())
            .any(|window| window == library)
    };
    assert!(
        asks_for(b"libc.so.6\0"),
        "the test can see what a program links"
    );
    assert!(!asks_for(b"libtorch_cpu.so\0") && !asks_for(b"libc10.so\0"));
}
