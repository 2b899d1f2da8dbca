//! `harness report` on a store of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::plan::{Plan, RunId, expand};
use harness::store::{Store, Work};
use polars::prelude::*;

use super::{SUITE, folder, records, suite};

/// A folder with the hand-made suite and a store of its runs.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let folder = folder(name);
        std::fs::write(folder.join("hand-made.yaml"), SUITE).unwrap();
        let store = Store::open(folder.join("runs")).unwrap();
        let suite = suite();
        let records = records(&suite);
        for run in expand(std::slice::from_ref(&suite)).runs {
            if let Some(record) = records.get(&run.id) {
                let lease = store.lease(&run.id).unwrap().unwrap();
                let attempt = store.begin(lease, &run, Work::Train).unwrap();
                attempt.finish(record.clone()).unwrap();
            }
        }
        Place(folder)
    }

    fn report(&self, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_harness"))
            .args([
                "report",
                "hand-made.yaml",
                "--store",
                "runs",
                "--out",
                "out",
            ])
            .args(more)
            .current_dir(&self.0)
            .output()
            .unwrap()
    }

    fn out(&self) -> PathBuf {
        self.0.join("out/hand-made")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn plan() -> Plan {
    expand(std::slice::from_ref(&suite()))
}

#[test]
fn every_observation_of_every_run_is_in_one_table_with_the_cells_it_gives() {
    let place = Place::new("observations");
    let output = place.report(&[]);
    assert!(output.status.success(), "{output:?}");
    let path = place.out().join("observations.parquet");
    let table = read(&path);
    let expected: usize = records(&suite())
        .values()
        .map(|record| record.observations.len())
        .sum();
    assert_eq!(table.height(), expected);
    let text = |name: &str, row: usize| {
        table
            .column(name)
            .unwrap()
            .str()
            .unwrap()
            .get(row)
            .unwrap()
            .to_string()
    };
    let mut fed = 0;
    for row in 0..table.height() {
        let (task, method) = (text("task", row), text("method", row));
        let seed = table
            .column("seed")
            .unwrap()
            .u64()
            .unwrap()
            .get(row)
            .unwrap();
        let plan = plan();
        let run = plan
            .runs
            .iter()
            .find(|run| run.id == RunId(text("run", row)))
            .unwrap();
        assert_eq!(
            (task, method, seed, "hand-made".to_string()),
            (
                run.task.clone(),
                run.method.clone(),
                run.spec.seed,
                text("suite", row)
            )
        );
        let cells = table
            .column("cells")
            .unwrap()
            .list()
            .unwrap()
            .get_as_series(row)
            .unwrap();
        let cells: Vec<&str> = cells.str().unwrap().iter().flatten().collect();
        let expected = match (text("on", row).as_str(), text("metric", row).as_str()) {
            ("test", "accuracy") => vec!["digits/acc"],
            ("test", "loss") => vec!["digits/loss"],
            ("far", "accuracy") => vec!["digits/far"],
            _ => vec![],
        };
        assert_eq!(cells, expected);
        fed += cells.len();
    }
    // Five completed runs, three measured columns.
    assert_eq!(fed, 5 * 3);
    let before = std::fs::read(&path).unwrap();
    place.report(&[]);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

fn read(path: &Path) -> DataFrame {
    ParquetReader::new(File::open(path).unwrap())
        .finish()
        .unwrap()
}

#[test]
fn a_refuted_claim_ends_a_strict_report_with_its_own_exit_code() {
    let place = Place::new("strict");
    assert_eq!(place.report(&[]).status.code(), Some(0));
    let output = place.report(&["--strict"]);
    assert_eq!(output.status.code(), Some(6));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("refuted on our numbers: sam-helps of hand-made"),
        "{said}"
    );
    // What is not run is not refuted.
    let output = place.report(&["--strict", "--store", "empty"]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "the store is named twice: {output:?}"
    );
    std::fs::remove_dir_all(place.0.join("runs")).unwrap();
    assert_eq!(place.report(&["--strict"]).status.code(), Some(0));
}

#[test]
fn the_paper_alone_is_the_same_bytes_whatever_has_run() {
    let place = Place::new("paper");
    let files = || -> Vec<(String, Vec<u8>)> {
        let entries = std::fs::read_dir(place.out().join("paper")).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, std::fs::read(path).unwrap())
            })
            .collect();
        files.sort();
        files
    };
    let (first, with) = (place.report(&["--paper-only"]), files());
    assert!(first.status.success(), "{first:?}");
    std::fs::remove_dir_all(place.0.join("runs")).unwrap();
    let (again, without) = (place.report(&["--paper-only"]), files());
    assert!(first.stdout == again.stdout && with == without);
    let names: Vec<&str> = with.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.contains(&"tables.tex") && names.contains(&"scatter.svg"),
        "{names:?}"
    );
    assert!(
        !names.contains(&"curves.svg") && !names.contains(&"observations.parquet"),
        "{names:?}"
    );
}
