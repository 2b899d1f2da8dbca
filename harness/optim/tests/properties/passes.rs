//! Forward and backward passes, counted from outside.

use std::cell::Cell;

use optim::{Method, Options, Pass};
use tch::Kind;

use crate::net::{Batch, Net};

/// Forward and backward passes by the paper's Tables 1 and 2. They count two and two for
/// TRAM-Fisher, whose algorithm needs the clean, the noised and the perturbed gradient; that
/// reading is `fisher_passes: two_pass`.
const PAPER: [(&str, u32, u32); 14] = [
    ("base", 1, 1),
    ("sam", 2, 2),
    ("asam", 2, 2),
    ("fsam", 2, 2),
    ("trpo", 2, 1),
    ("r3f", 2, 1),
    ("mesa", 2, 1),
    ("asam_trpo", 3, 2),
    ("asam_r3f", 4, 2),
    ("asam_mesa", 3, 2),
    ("tram_theta_prev", 3, 2),
    ("tram_theta_0", 3, 2),
    ("tram_x", 3, 2),
    ("tram_fisher", 3, 3),
];

#[test]
fn every_method_makes_the_passes_of_the_papers_tables() {
    assert_eq!(PAPER.map(|(name, ..)| name), *Method::NAMES);
    for (method, (name, forward, backward)) in Method::all().into_iter().zip(PAPER) {
        assert_eq!(
            (method.passes().forward, method.passes().backward),
            (forward, backward),
            "{name}"
        );
        assert_eq!(counted(method), (forward, backward), "{name}");
    }
}

#[test]
fn knobs_that_cost_passes_say_so() {
    let variants = serde_json::json!([
        { "method": "tram_fisher", "fisher_passes": "two_pass" },
        { "method": "tram_x", "noise_draws": 4 },
        { "method": "r3f", "noise_draws": 2 },
        { "method": "asam_r3f", "noise_draws": 2 },
        { "method": "fsam", "fisher_estimator": "per_example" },
        { "method": "tram_fisher", "fisher_estimator": "per_example" },
    ]);
    for method in serde_json::from_value::<Vec<Method>>(variants).expect("methods") {
        let said = method.passes();
        let examples = if said.per_example { 8 } else { 0 };
        let expected = (said.forward + examples, said.backward + examples);
        assert_eq!(counted(method.clone()), expected, "{method:?}");
    }
}

/// Forward passes as the task sees them, backward passes as the optimizer reports them.
fn counted(method: Method) -> (u32, u32) {
    let net = Net::new(Kind::Float);
    let mut optimizer = net.optimizer(method, Options::default());
    let mut last = (0, 0);
    for t in 1..=2 {
        let (batch, forward) = (Batch::number(t), Cell::new(0));
        let task = |pass: &Pass| {
            forward.set(forward.get() + 1);
            net.forward(&batch, pass)
        };
        let step = optimizer.step(&task).expect("an update");
        assert_eq!(step.passes.forward, forward.get());
        last = (forward.get(), step.passes.backward);
    }
    last
}

#[test]
fn stored_models_run_in_evaluation_mode_and_the_current_one_in_training_mode() {
    let modes = |method: serde_json::Value| {
        let net = Net::new(Kind::Float);
        let method = serde_json::from_value(method).expect("a method");
        let mut optimizer = net.optimizer(method, Options::default());
        let (batch, seen) = (Batch::number(1), std::cell::RefCell::new(Vec::new()));
        let task = |pass: &Pass| {
            seen.borrow_mut().push((pass.train, pass.noise.is_noised()));
            net.forward(&batch, pass)
        };
        optimizer.step(&task).expect("an update");
        seen.into_inner()
    };
    let tram =
        |name: &str, mode: &str| modes(serde_json::json!({ "method": name, "target_mode": mode }));
    let clean = (true, false);
    assert_eq!(
        tram("tram_theta_0", "released"),
        [(false, false), clean, clean]
    );
    assert_eq!(tram("tram_theta_0", "train"), [clean, clean, clean]);
    assert_eq!(tram("tram_x", "released"), [(true, true), clean, clean]);
    assert_eq!(tram("tram_x", "eval"), [(false, true), clean, clean]);
}

#[test]
fn a_task_that_forgets_the_noise_is_told() {
    let net = Net::new(Kind::Float);
    let tram = serde_json::from_value(serde_json::json!({ "method": "tram_x" })).expect("a method");
    let mut optimizer = net.optimizer(tram, Options::default());
    let task = |_: &Pass| {
        let logits = net.weights["fc2.weight"].shallow_clone();
        optim::Output {
            loss: logits.square().sum(None),
            logits,
        }
    };
    let error = optimizer.step(&task).expect_err("noise is needed");
    assert_eq!(
        error.to_string(),
        "the task did not call `pass.noise.apply` on its embeddings"
    );
}
