//! Methods as data.

use optim::{Base, Method, Schedule};
use serde_json::{Value, json};

fn method(value: Value) -> Result<Method, String> {
    let method: Method = serde_json::from_value(value).map_err(|e| e.to_string())?;
    method.check().map_err(|e| e.to_string())?;
    Ok(method)
}

#[test]
fn every_method_is_written_with_every_knob_and_read_back() {
    for method in Method::all() {
        let written = serde_json::to_value(&method).expect("plain data");
        assert_eq!(written["method"], method.name());
        assert_eq!(
            serde_json::from_value::<Method>(written).expect("its own text"),
            method
        );
    }
    let written = serde_json::to_value(&Method::all()[1]).expect("plain data");
    let sam = json!({ "method": "sam", "rho": 0.05, "perturbation": "paper", "norm_eps": 1e-12, "restore": "all" });
    assert_eq!(written, sam);
}

#[test]
fn a_knob_that_a_method_does_not_have_is_an_error() {
    for method in Method::all() {
        let mut written = serde_json::to_value(&method).expect("plain data");
        written["momentun"] = json!(0.9);
        let error = serde_json::from_value::<Method>(written).expect_err("no such knob");
        assert!(
            error.to_string().contains("momentun"),
            "{}: {error}",
            method.name()
        );
    }
    assert!(method(json!({ "method": "sam", "sigma": 0.1 })).is_err());
    assert!(method(json!({ "method": "fsam", "rho": 0.1 })).is_err());
}

#[test]
fn a_knob_out_of_range_is_named() {
    for (value, expected) in [
        (
            json!({ "method": "tram_x", "sigma": -1.0 }),
            "knob `sigma` is -1, must be at least 0",
        ),
        (
            json!({ "method": "mesa", "ema_decay": 1.0 }),
            "knob `ema_decay` is 1, must be in [0, 1)",
        ),
        (
            json!({ "method": "tram_x", "d_max": 0.0 }),
            "knob `d_max` is 0, must be greater than 0",
        ),
        (
            json!({ "method": "r3f", "noise_draws": 0 }),
            "knob `noise_draws` is 0, must be at least 1",
        ),
        (
            json!({ "method": "trpo", "distance": "l2", "temperature": 5.0 }),
            "knob `temperature` belongs to `distance: kl`",
        ),
    ] {
        assert_eq!(method(value), Err(expected.to_owned()));
    }
}

#[test]
fn every_knob_is_documented_in_the_schema() {
    let schema = schemars::schema_for!(Method).to_value();
    let mut count = 0;
    visit(&schema, &mut |property, value| {
        if !["method", "name"].contains(&property) {
            let text = value["description"].as_str().unwrap_or_default();
            assert!(text.len() > 15, "{property} is not documented: {value}");
            count += 1;
        }
    });
    assert!(count > 80, "only {count} knobs");
}

fn visit(schema: &Value, f: &mut impl FnMut(&str, &Value)) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let ("properties", Value::Object(properties)) = (name.as_str(), value) {
                    properties
                        .iter()
                        .for_each(|(property, value)| f(property, value));
                }
                visit(value, f);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| visit(value, f)),
        _ => {}
    }
}

#[test]
fn base_optimizers_and_schedules_are_tagged_by_name() {
    let base: Base =
        serde_json::from_value(json!({ "name": "adam", "betas": [0.9, 0.999] })).expect("adam");
    assert_eq!(base.lr(), 2e-5);
    assert!(
        serde_json::from_value::<Base>(json!({ "name": "sgd", "betas": [0.9, 0.999] })).is_err()
    );
    let schedule: Schedule = serde_json::from_value(json!({ "name": "cosine" })).expect("cosine");
    assert!(
        schedule
            .check(optim::Length {
                updates: 10,
                epoch: 0
            })
            .is_ok()
    );
    assert!(
        serde_json::from_value::<Schedule>(json!({ "name": "constant", "power": 1.0 })).is_err()
    );
}
