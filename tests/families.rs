//! The three families of networks on real data, with the real programs: trained, measured, measured again by others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::python;

/// A folder of its own with a short form of the suite of the families: one seed, two methods.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let folder = std::env::temp_dir().join(format!("harness-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let suite = fs::read_to_string(root.join("suites/families.yaml")).unwrap();
        let suite = suite
            .replace("../data", root.join("data").to_str().unwrap())
            .replace("seeds: [0, 1]", "seeds: [0]")
            // Wide enough for differences of losses to rise above rounding.
            .replace("epsilon: 1.0e-5, batch: 16", "epsilon: 1.0e-3, lr: 0.05, batch: 16");
        let short: String = suite
            .lines()
            .filter(|line| {
                !["SAM", "Base"]
                    .iter()
                    .any(|name| line.contains(&format!("- {{method: {name}")))
            })
            // What the whole suite gave is not what a part of it gives.
            .map(|line| match line.split_once(", reported: ") {
                Some((row, _)) => format!("{row}}}\n"),
                None => format!("{line}\n"),
            })
            .collect();
        fs::write(folder.join("suite.yaml"), short).unwrap();
        Place(folder)
    }

    fn harness(&self, words: &[&str]) -> Output {
        let mut harness = Command::new(env!("CARGO_BIN_EXE_harness"));
        harness.env_remove("CARGO").current_dir(&self.0).args(words);
        harness.output().unwrap()
    }

    fn run(&self) {
        let output = self.harness(&["run", "suite.yaml", "--store", "store", "--cache", "cache"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// The finished runs as (folder, task, method), by the plan.
    fn runs(&self) -> Vec<(PathBuf, String, String)> {
        let output = self.harness(&["plan", "suite.yaml", "--store", "store", "--json"]);
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |run: &serde_json::Value, key: &str| run[key].as_str().unwrap().to_string();
        let runs = plan["runs"].as_array().unwrap().iter();
        runs.map(|run| {
            (
                self.0.join("store").join(text(run, "id")),
                text(run, "task"),
                text(run, "method"),
            )
        })
        .collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn three_families_are_measured_as_transformers_measures_them() {
    let place = Place::new("families");
    place.run();
    let runs = place.runs();
    let folder = |task: &str, method: &str| {
        let found = runs.iter().find(|(_, t, m)| t == task && m == method);
        found
            .unwrap_or_else(|| panic!("no run of {method} on {task}"))
            .0
            .clone()
    };
    let Some(_) = python("transformers") else {
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (task, data, tokenizer) in [("romance", "text", "bpe"), ("pairs", "pairs", "unigram")] {
        for method in ["untrained", "TRAM-x"] {
            let start = folder(&format!("{task}-pretraining"), "Base");
            // What is measured as it is has no weights of its own.
            let run = folder(task, method);
            if method == "untrained" {
                for file in ["config.json", "model.safetensors"] {
                    fs::copy(start.join(file), run.join(file)).unwrap();
                }
            }
            let output = python("transformers")
                .unwrap()
                .arg(root.join("tests/measured_again.py"))
                .args([&run, &start, &root.join("data/udhr").join(data)])
                .arg(root.join("data/udhr/tokenizers").join(tokenizer))
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{task} {method}\n{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn a_new_measurement_of_a_finished_run_trains_nothing() {
    let place = Place::new("measured-later");
    let path = place.0.join("suite.yaml");
    let whole = fs::read_to_string(&path).unwrap();
    // Only the digits, so that the test is short.
    let digits = &whole[..whole.find("  - id: romance\n    title").unwrap()];
    fs::write(&path, digits).unwrap();
    place.run();
    let (folder, _, _) = place
        .runs()
        .into_iter()
        .find(|(_, task, _)| task == "digits")
        .unwrap();
    let kept = |name: &str| fs::read(folder.join(name)).unwrap();
    let before = ["model.safetensors", "config.json", "training.parquet"].map(kept);

    let column = "      - {id: accuracy, title: Accuracy, task: digits, on: test}\n";
    let more = "      - {id: cka, task: digits, on: test, metric: cka}\n";
    assert!(digits.contains(column));
    fs::write(&path, digits.replace(column, &format!("{column}{more}"))).unwrap();
    place.run();
    let after = ["model.safetensors", "config.json", "training.parquet"].map(kept);
    assert!(
        before == after,
        "nothing was trained, and the network can still be read"
    );
    let metrics: serde_json::Value = serde_json::from_slice(&kept("metrics.json")).unwrap();
    let cka = metrics["values"]["test"]["cka{\"centred\":true}"]
        .as_f64()
        .unwrap();
    assert!(cka > 0.0 && cka < 1.0, "{cka}");
}

#[test]
fn portions_are_counted() {
    let place = Place::new("counted");
    let output = place.harness(&["data", "suite.yaml", "--cache", "cache", "--json"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let of = |portion: &str| rows.iter().find(|row| row["portion"] == portion).unwrap();
    assert_eq!(of("train")["examples"], 4000);
    assert_eq!(of("all/train")["examples"], 4001);
    let text = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("data/udhr/text/es/train.txt"),
    );
    assert_eq!(of("es/train")["examples"], text.unwrap().lines().count());
    let tokens = of("es/train")["tokens"].as_u64().unwrap();
    assert!(
        (1000..5577).contains(&tokens),
        "a token is a few bytes: {tokens}"
    );
}
