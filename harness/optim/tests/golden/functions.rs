//! Stand-alone functions: distances and schedules.

use optim::{Divergence, distance};
use serde_json::{Map, Value};
use tch::Tensor;

use crate::manifest::{Manifest, schedule};

#[test]
fn golden_distances_are_reproduced() {
    let manifest = Manifest::load();
    let listed = &manifest.functions["distances"];
    let tensors = manifest.tensors(listed["file"].as_str().expect("a path"));
    let rows = listed["rows"].as_array().expect("a list");
    assert!(!rows.is_empty(), "the manifest lists no distance");
    for row in rows {
        let mut knobs = Map::new();
        knobs.insert("mmd_bandwidths".to_owned(), listed["bandwidths"].clone());
        for (field, value) in row.as_object().expect("a row") {
            let knob = match field.as_str() {
                "direction" => "kl_direction",
                "input" => "distance_input",
                "kernel" => "mmd_kernel",
                "pair" | "value" => continue,
                other => other,
            };
            knobs.insert(knob.to_owned(), value.clone());
        }
        let knobs: Divergence = serde_json::from_value(Value::Object(knobs)).expect("knobs");
        let pair = row["pair"].as_str().expect("a name");
        let of = |name: &str| &tensors[&format!("{pair}.{name}")];
        let d = |p: &Tensor, q: &Tensor| {
            distance(&knobs, p, q)
                .expect("a distance")
                .double_value(&[])
        };
        let (value, expected) = (
            d(of("target"), of("current")),
            row["value"].as_f64().expect("a number"),
        );
        let gap = (value - expected).abs();
        assert!(
            gap <= 1e-10_f64.max(1e-9 * expected.abs()),
            "{row}: {value}"
        );
        if let Some(same) = tensors.get(&format!("{pair}.same")) {
            let same = d(same, of("target"));
            assert!(same.abs() <= 1e-10, "{row}: {same} to itself");
        }
    }
}

#[test]
fn golden_schedules_are_reproduced() {
    let manifest = Manifest::load();
    let rows = manifest.functions["schedules"]["rows"]
        .as_array()
        .expect("a list");
    assert!(!rows.is_empty(), "the manifest lists no schedule");
    for row in rows {
        let base = row["base_lr"].as_f64().expect("a number");
        let (schedule, length) = schedule(row["schedule"].clone());
        for (i, expected) in row["lr"].as_array().expect("a list").iter().enumerate() {
            let expected = expected.as_f64().expect("a number");
            let rate = schedule.rate(base, i as u64 + 1, length);
            let gap = (rate - expected).abs();
            assert!(
                gap <= 1e-15_f64.max(1e-9 * expected),
                "{schedule:?}, update {}: {rate}",
                i + 1
            );
        }
    }
}
