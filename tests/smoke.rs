//! The whole path with the real programs: train, kill, continue, recompute.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder of its own with a short form of the smoke suite: one epoch, two seeds, two methods.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let folder = std::env::temp_dir().join(format!("harness-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let digits = root.join("data/digits");
        let without = |text: String, row: &str| -> String {
            text.lines()
                .filter(|line| !line.contains(row))
                .map(|line| format!("{line}\n"))
                .collect()
        };
        let mut suite = fs::read_to_string(root.join("suites/smoke.yaml")).unwrap();
        suite = suite.replace("../data/digits", digits.to_str().unwrap());
        suite = suite
            .replace("length: {epochs: 6}", "length: {epochs: 1}")
            .replace("seeds: [0, 1, 2]", "seeds: [0, 1]");
        suite = without(
            without(suite, "- {method: SAM,"),
            "- {method: TRAM-theta_prev,",
        );
        suite = suite.replace(
            "methods: [SGD, SAM, TRAM-x, TRAM-theta_prev], at_least: 90.0",
            "methods: [SGD, TRAM-x], at_least: 30.0",
        );
        fs::write(folder.join("suite.yaml"), suite).unwrap();
        Place(folder)
    }

    fn harness(&self, command: &str, store: &str, more: &[&str]) -> Command {
        let mut harness = Command::new(env!("CARGO_BIN_EXE_harness"));
        // Cargo has built the worker beside this program; `harness` need not ask it to.
        harness.env_remove("CARGO").current_dir(&self.0);
        harness
            .args([command, "suite.yaml", "--store", store])
            .args(more);
        harness
    }

    fn run(&self, store: &str) -> Output {
        self.harness("run", store, &["--slots", "cpu:2"])
            .output()
            .unwrap()
    }

    /// The folders of finished runs.
    fn runs(&self, store: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.join(store)).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut runs: Vec<_> = paths
            .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
            .collect();
        runs.sort();
        runs
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn the_command_that_explain_prints_makes_the_same_bits() {
    let place = Place::new("explained");
    let only = ["--only", "method=SGD", "--only", "seed=1"];
    let run = place.harness(
        "run",
        "first",
        &[&only[..], &["--slots", "cpu:1x2"]].concat(),
    );
    let run = { run }.output().unwrap();
    assert!(run.status.success(), "{}", text(&run));
    let id = place.runs("first")[0].file_name().unwrap().to_owned();
    let program = env!("CARGO_BIN_EXE_harness");
    let explained = Command::new(program)
        .current_dir(&place.0)
        .args(["explain", id.to_str().unwrap(), "suite.yaml"])
        .args(["--store", "first"])
        .output()
        .unwrap();
    let said = text(&explained);
    let again = said
        .lines()
        .find_map(|line| line.strip_prefix("to make it again: harness "))
        .unwrap();
    let made = Command::new("sh")
        .env_remove("CARGO")
        .current_dir(&place.0)
        .args(["-c", &format!("'{program}' {again}")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{again}: {}", text(&made));
    assert_eq!(place.runs("again").len(), 2, "a run, and reports: {again}");
    let same = Command::new(program)
        .current_dir(&place.0)
        .args(["diff", "first", "again"])
        .output()
        .unwrap();
    let said = text(&same);
    assert_eq!(same.status.code(), Some(0), "{said}");
    assert!(!said.contains("environments differ"), "{said}");
}

#[test]
fn a_killed_supervisor_costs_no_result_and_no_bit() {
    let place = Place::new("killed");
    let whole = place.run("whole");
    assert!(whole.status.success(), "{}", text(&whole));
    assert_eq!(place.runs("whole").len(), 4);

    let mut harness = place.harness("run", "killed", &["--slots", "cpu:1"]);
    let mut child = harness
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while place.runs("killed").is_empty() && begun.elapsed() < Duration::from_secs(300) {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = place.runs("killed");
    assert!(
        !kept.is_empty() && kept.len() < 4,
        "killed in the middle: {kept:?}"
    );
    let written: Vec<_> = kept
        .iter()
        .map(|run| fs::metadata(run).unwrap().modified().unwrap())
        .collect();

    let rest = place.run("killed");
    assert!(rest.status.success(), "{}", text(&rest));
    for (run, written) in kept.iter().zip(written) {
        assert_eq!(
            fs::metadata(run).unwrap().modified().unwrap(),
            written,
            "a finished run is kept as it is"
        );
    }
    let (whole, killed) = (place.runs("whole"), place.runs("killed"));
    assert_eq!(killed.len(), 4);
    for (a, b) in whole.iter().zip(&killed) {
        for file in ["observations.parquet", "model.safetensors"] {
            assert!(
                fs::read(a.join(file)).unwrap() == fs::read(b.join(file)).unwrap(),
                "{file} of {}",
                b.display()
            );
        }
    }
    for left in [".running", ".leases"] {
        let left = fs::read_dir(place.0.join("killed").join(left))
            .into_iter()
            .flatten()
            .count();
        assert_eq!(left, 0, "nothing is left over");
    }
}

#[test]
fn a_second_run_has_nothing_to_do_and_the_table_is_what_the_parquet_says() {
    let place = Place::new("again");
    let first = place.run("store");
    assert!(first.status.success(), "{}", text(&first));
    let again = place.run("store");
    assert!(
        again.status.success() && text(&again).contains("nothing to do"),
        "{}",
        text(&again)
    );

    let plan = place
        .harness("plan", "store", &["--json"])
        .output()
        .unwrap();
    fs::write(place.0.join("plan.json"), &plan.stdout).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(mut python) = crate::python("polars") else {
        return;
    };
    let recomputed = python
        .current_dir(&place.0)
        .arg(root.join("tests/recompute.py"))
        .args(["plan.json", "store", "reports/smoke/cells.csv"])
        .output()
        .unwrap();
    assert!(recomputed.status.success(), "{}", text(&recomputed));
}

#[test]
fn bad_input_is_told_before_any_time_is_spent() {
    let place = Place::new("bad");
    let path = place.0.join("suite.yaml");
    let suite = fs::read_to_string(&path).unwrap();
    fs::write(&path, suite.replace("8c9b30b0", "00000000")).unwrap();
    let refused = place.run("store");
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(
        text(&refused).contains("suite.yaml:") && text(&refused).contains("8c9b30b0"),
        "{}",
        text(&refused)
    );
    assert!(!place.0.join("store").exists());
    let unknown = place
        .harness("run", "store", &["--only", "method=SMA"])
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown));
}

#[test]
fn a_table_with_a_diverged_and_a_missing_run_says_so_and_shows_the_rest() {
    let place = Place::new("endings");
    let path = place.0.join("suite.yaml");
    let suite = fs::read_to_string(&path).unwrap();
    // A perturbation of this size leaves the finite numbers at the first update.
    let suite = suite
        .replace(
            "  SAM: {method: sam, rho: 0.05}",
            "  SAM: {method: sam, rho: 1.0e+30}",
        )
        .replace("seeds: [0, 1]", "seeds: [0, 1, 2]")
        .replace(
            "      - {method: TRAM-x,",
            "      - {method: SAM, reported: 94.30±1.55 0.18±0.03}\n      - {method: TRAM-x,",
        );
    fs::write(&path, suite).unwrap();
    let output = place
        .harness("run", "store", &["--slots", "cpu:2", "--only", "seed=0,1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("4 of 9 runs completed, 2 diverged at step 1, 3 not run"),
        "{said}"
    );
    let cells = fs::read_to_string(place.0.join("reports/smoke/cells.csv")).unwrap();
    let row = |method: &str| {
        cells
            .lines()
            .find(|line| line.contains(&format!(",{method},accuracy,")))
            .unwrap()
            .to_string()
    };
    assert!(
        row("SAM").contains(",diverged,") && row("SAM").contains("2 diverged at step 1, 1 not run"),
        "{}",
        row("SAM")
    );
    assert!(row("SGD").contains(",2,3,1 not run,"), "{}", row("SGD"));
    let page = fs::read_to_string(place.0.join("reports/smoke/index.html")).unwrap();
    assert!(page.contains("2 of 3 seeds") && page.contains("2 diverged at step 1, 1 not run"));
    if let Some(keep) = std::env::var_os("KEEP_REPORT") {
        let _ = fs::rename(place.0.join("reports/smoke"), keep);
    }
}
