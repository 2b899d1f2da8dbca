//! The index of the golden vectors, and how its flat settings become a method.

use std::{collections::BTreeMap, fs, path::PathBuf};

use optim::{Base, Length, Method, Options, Record, Schedule};
use serde::Deserialize;
use serde_json::{Map, Value};
use tch::Tensor;

#[derive(Deserialize)]
pub struct Manifest {
    #[serde(skip)]
    pub folder: PathBuf,
    pub cases: Vec<Case>,
    pub models: BTreeMap<String, Model>,
    pub functions: BTreeMap<String, Value>,
    pub relations: Vec<Relation>,
    pub defaults: Map<String, Value>,
    pub debug_steps: Vec<usize>,
}

#[derive(Deserialize)]
pub struct Case {
    pub id: String,
    pub method: String,
    pub model: String,
    pub file: String,
    pub config: Map<String, Value>,
    pub passes_per_step: PassesPerStep,
    pub float32_drift: f64,
}

#[derive(Deserialize)]
pub struct PassesPerStep {
    pub forward: f64,
    pub backward: f64,
}

#[derive(Deserialize)]
pub struct Model {
    pub file: String,
    pub frozen: Vec<String>,
    pub steps: usize,
}

#[derive(Deserialize)]
pub struct Relation {
    pub a: String,
    pub b: String,
    pub kind: String,
    pub steps: Vec<usize>,
    pub why: String,
}

impl Manifest {
    pub fn load() -> Self {
        let folder = std::env::var_os("HARNESS_GOLDEN_METHODS").map_or_else(
            || {
                PathBuf::from(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/../../tests/golden/methods"
                ))
            },
            PathBuf::from,
        );
        let path = folder.join("manifest.json");
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut manifest: Self =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(
            !manifest.cases.is_empty(),
            "{} lists no case",
            path.display()
        );
        manifest.folder = folder;
        manifest
    }

    pub fn tensors(&self, file: &str) -> BTreeMap<String, Tensor> {
        let path = self.folder.join(file);
        let tensors = Tensor::read_safetensors(&path);
        tensors
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .into_iter()
            .collect()
    }

    /// The case's method, base optimizer and options. A setting that the method does not have
    /// must be at its default, so that nothing is ignored silently.
    pub fn settings(&self, case: &Case) -> (Method, Base, Options) {
        let named: Method =
            serde_json::from_value(serde_json::json!({ "method": case.method })).expect("a method");
        let mut knobs = match serde_json::to_value(named).expect("plain data") {
            Value::Object(knobs) => knobs,
            other => panic!("{other} is not an object"),
        };
        for (name, value) in &case.config {
            match name.as_str() {
                "base" | "schedule" | "no_decay" | "clip_norm" => {}
                "ascent" | "regulariser" | "target" => {
                    let expected = structure(&case.method, name);
                    assert_eq!(value, &expected, "{}: {name} of {}", case.id, case.method);
                }
                _ if knobs.contains_key(name) => {
                    knobs.insert(name.clone(), value.clone());
                }
                _ => assert!(
                    same(value, &self.defaults[name]),
                    "{}: {name} = {value}, which {} does not have",
                    case.id,
                    case.method
                ),
            }
        }
        let method = serde_json::from_value(Value::Object(knobs)).expect("the method's own knobs");
        let get = |name: &str| case.config[name].clone();
        let base = serde_json::from_value(get("base")).expect("a base optimizer");
        let (schedule, length) = schedule(get("schedule"));
        let options = Options {
            schedule,
            length,
            no_decay: serde_json::from_value(get("no_decay")).expect("a list of names"),
            clip_norm: serde_json::from_value(get("clip_norm")).expect("a number or null"),
            record: Record::Tensors,
            ..Options::default()
        };
        (method, base, options)
    }
}

/// The manifest keeps a run's length inside its schedule.
pub fn schedule(value: Value) -> (Schedule, Length) {
    let Value::Object(mut fields) = value else {
        panic!("a schedule is an object")
    };
    let updates = fields
        .remove("total")
        .map_or(0, |total| total.as_u64().expect("a count"));
    let schedule = serde_json::from_value(Value::Object(fields)).expect("a schedule");
    (schedule, Length { updates, epoch: 0 })
}

/// The settings by which the manifest spells a method.
fn structure(method: &str, setting: &str) -> Value {
    let (ascent, regulariser, target) = match method {
        "base" => ("none", "none", None),
        "sam" | "asam" | "fsam" | "tram_fisher" => (method, "none", None),
        "trpo" | "r3f" | "mesa" => ("none", method, None),
        "tram_theta_prev" => ("tram", "none", Some("theta_prev")),
        "tram_theta_0" => ("tram", "none", Some("theta_0")),
        "tram_x" => ("tram", "none", Some("noise")),
        _ => (
            "asam",
            method.strip_prefix("asam_").expect("a combination"),
            None,
        ),
    };
    match setting {
        "ascent" => ascent.into(),
        "regulariser" => regulariser.into(),
        _ => target.into(),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|a| b.as_f64() == Some(a))
}
