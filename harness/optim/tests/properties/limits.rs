//! Where a method must be the base optimizer, bit for bit, or another method.

use optim::{Method, NoKnobs, Options};
use tch::Kind;

use crate::net::{Net, same_bits};

fn trained(method: Method, updates: u64) -> std::collections::BTreeMap<String, tch::Tensor> {
    let net = Net::new(Kind::Float);
    let mut optimizer = net.optimizer(method, Options::default());
    net.train(&mut optimizer, 1, updates);
    net.values()
}

/// The method with some of its knobs set.
fn with(name: &str, knobs: serde_json::Value) -> Method {
    let mut value = knobs;
    value["method"] = name.into();
    serde_json::from_value(value).expect("a method")
}

#[test]
fn a_radius_of_zero_is_the_base_optimizer_bit_for_bit() {
    let base = trained(Method::Base(NoKnobs {}), 5);
    for (name, knobs) in [
        ("sam", serde_json::json!({ "rho": 0.0 })),
        ("asam", serde_json::json!({ "rho": 0.0 })),
        (
            "asam",
            serde_json::json!({ "rho": 0.0, "perturbation": "published" }),
        ),
        ("fsam", serde_json::json!({ "gamma": 0.0 })),
        ("tram_fisher", serde_json::json!({ "gamma": 0.0 })),
        ("tram_x", serde_json::json!({ "sigma": 0.0 })),
        ("tram_x", serde_json::json!({ "distance_scale": 0.0 })),
        ("tram_theta_0", serde_json::json!({ "distance_scale": 0.0 })),
        (
            "tram_theta_prev",
            serde_json::json!({ "prev_snapshot": "after_update" }),
        ),
    ] {
        assert!(
            same_bits(&trained(with(name, knobs.clone()), 5), &base),
            "{name} {knobs}"
        );
    }
}

#[test]
fn a_penalty_of_zero_is_the_base_optimizer_bit_for_bit() {
    let base = trained(Method::Base(NoKnobs {}), 5);
    for name in ["trpo", "r3f", "mesa"] {
        let method = with(name, serde_json::json!({ "lambda": 0.0 }));
        assert!(same_bits(&trained(method, 5), &base), "{name}");
    }
}

#[test]
fn a_combination_without_penalty_is_asam_bit_for_bit() {
    let asam = trained(with("asam", serde_json::json!({})), 5);
    for name in ["asam_trpo", "asam_r3f", "asam_mesa"] {
        let method = with(name, serde_json::json!({ "lambda": 0.0 }));
        assert!(same_bits(&trained(method, 5), &asam), "{name}");
    }
}

#[test]
fn the_first_update_without_history_is_the_base_optimizer_bit_for_bit() {
    let base = trained(Method::Base(NoKnobs {}), 1);
    for name in ["tram_theta_prev", "tram_theta_0"] {
        assert!(
            same_bits(&trained(with(name, serde_json::json!({})), 1), &base),
            "{name}"
        );
    }
}

#[test]
fn a_noise_draw_depends_on_seed_and_update_only() {
    let run = |seed| {
        let net = Net::new(Kind::Float);
        let mut optimizer = net.optimizer(
            with("tram_x", serde_json::json!({})),
            Options {
                seed,
                ..Default::default()
            },
        );
        net.train(&mut optimizer, 1, 3);
        net.values()
    };
    assert!(same_bits(&run(1), &run(1)));
    assert!(!same_bits(&run(1), &run(2)));
}
