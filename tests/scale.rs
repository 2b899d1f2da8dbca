//! A store with many runs is reported, and its status told, in one go. `HARNESS_SCALE=10000` makes it as large as a group's
//! results of years, and prints what that takes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use harness::event::{Environment, Observation, Outcome, RunRecord};
use harness::plan::{PlannedRun, expand};
use harness::store::{Store, Work};
use harness::suite::parse;

/// Methods in the table; as many runs each as make the number wanted.
const METHODS: usize = 20;
/// Observations of a run.
const OBSERVATIONS: u64 = 10;

fn suite(seeds: usize) -> String {
    let methods: String = (0..METHODS)
        .map(|i| format!("  M{i}: {{method: sam, rho: 0.{:02}}}\n", i + 1))
        .collect();
    let rows: String = (0..METHODS)
        .map(|i| format!("      - {{method: M{i}, reported: 90.0±1.0}}\n"))
        .collect();
    let seeds: Vec<String> = (0..seeds).map(|seed| seed.to_string()).collect();
    format!(
        "suite: scale\ntitle: Many runs\ncitation: {{title: T, authors: A, venue: V, year: 2024}}\n\
         models:\n  vit: {{config: {{model_type: vit, hidden_size: 16}}}}\n\
         metrics:\n  accuracy: {{measure: accuracy, better: higher}}\n\
         training:\n  short: {{base: {{name: sgd, lr: 0.1}}, schedule: {{name: constant}}, length: {{steps: 10}}, batch: 8}}\n\
         tasks:\n  digits:\n    model: vit\n    data: {{folder: x, sha256: '{}'}}\n    input: {{images: {{}}}}\n    \
         train: [train]\n    training: short\n    metric: accuracy\n\
         methods:\n{methods}seeds: [{}]\n\
         tables:\n  - id: t\n    title: T\n    place: nowhere\n    spread: ci95\n    reported_seeds: 5\n    \
         columns: [{{id: acc, task: digits, on: test}}]\n    rows:\n{rows}\
         figures:\n  - {{id: curves, title: Loss, draw: {{curves: {{task: digits, metric: loss}}}}}}\n",
        "0".repeat(64),
        seeds.join(", ")
    )
}

#[test]
fn many_runs_are_reported_in_one_go() {
    let runs = std::env::var("HARNESS_SCALE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(200_usize);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scale");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a folder");
    let path = dir.join("scale.yaml");
    fs::write(&path, suite(runs / METHODS)).expect("room");
    let read = parse(&path, &fs::read_to_string(&path).expect("a file")).expect("a suite");
    let plan = expand(&[read]);
    assert_eq!(plan.runs.len(), runs / METHODS * METHODS);
    let store = Store::open(dir.join("store")).expect("a store");
    let fill = |run: &PlannedRun| {
        let at = |step: u64, on: &str, metric: &str, value: f64| Observation {
            step,
            on: on.into(),
            metric: metric.into(),
            value,
        };
        let noise = f64::from_bits(
            0x3ff0_0000_0000_0000 | u64::from_str_radix(&run.id.0[..13], 16).unwrap(),
        ) - 1.5;
        let mut observations: Vec<Observation> = (1..OBSERVATIONS)
            .map(|step| at(step, "training", "loss", 1.0 / step as f64 + 0.01 * noise))
            .collect();
        observations.push(at(10, "test", "accuracy", 90.0 + noise));
        let record = RunRecord {
            outcome: Outcome::Completed,
            environment: Environment::default(),
            seconds: 1.0,
            observations,
            no_value: Default::default(),
        };
        let lease = store.lease(&run.id).expect("a lease").expect("nobody else");
        store
            .begin(lease, run, Work::Train)
            .expect("an attempt")
            .finish(record)
            .expect("a record");
    };
    std::thread::scope(|scope| {
        for part in plan.runs.chunks(plan.runs.len().div_ceil(4)) {
            scope.spawn(|| part.iter().for_each(fill));
        }
    });
    let command = |arguments: &[&str]| {
        let begun = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_harness"))
            .current_dir(&dir)
            .args(arguments)
            .output()
            .expect("the program");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        println!(
            "{runs} runs, harness {}: {:.2} s",
            arguments[..2].join(" "),
            begun.elapsed().as_secs_f64()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let at = ["scale.yaml", "--store", "store"];
    let status = command(&[&["status"], &at[..]].concat());
    assert!(status.contains(&plan.runs.len().to_string()), "{status}");
    let out = dir.join("reports");
    let report = command(&[&["report"], &at[..], &["--out", "reports"]].concat());
    assert!(
        report.contains(&format!(
            "{} of {} runs completed",
            plan.runs.len(),
            plan.runs.len()
        )),
        "{report}"
    );
    assert!(
        out.join("scale/observations.parquet")
            .metadata()
            .expect("a table")
            .len()
            > 1000
    );
    command(&[&["archive"], &at[..], &["-o", "all.tar.gz"]].concat());
    command(&["report", "all.tar.gz", "--out", "again"]);
    for file in ["cells.csv", "observations.parquet"] {
        let [a, b] =
            ["reports", "again"].map(|out| fs::read(dir.join(out).join("scale").join(file)));
        assert!(a.expect("a file") == b.expect("a file"), "{file}");
    }
    command(&["diff", "all.tar.gz", "store"]);
    for source in [&at[..], &["all.tar.gz"]] {
        let said = command(&[&["explain", "t/M3/acc"], source].concat());
        assert_eq!(said.matches("\nseed ").count(), runs / METHODS, "{said}");
    }
    // A large store stays for a closer look at memory.
    if runs <= 1000 {
        let _ = fs::remove_dir_all(&dir);
    }
}
