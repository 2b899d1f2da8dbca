//! Logits, loss, hidden states and every gradient.

use std::path::Path;

use serde_json::Value;
use tch::{Kind, Tensor};
use training::models::Network;

use crate::files::{
    DOUBLE, GRADIENTS, LOGITS, LOSS, Passed, Tensors, models_with, near, network, pass, text,
};

fn each_case(check: impl Fn(&Path, &str, &Value)) {
    for (folder, index) in models_with("index.json") {
        let expected = match network(&folder) {
            Network::Vit(_) => "vit",
            Network::Gpt2(_) => "gpt2",
            Network::XlmRoberta(_) => "xlmr",
        };
        assert_eq!(text(&index, "kind"), expected, "{}", folder.display());
        let cases = index["cases"].as_array().expect("cases");
        assert!(!cases.is_empty(), "no golden case in {}", folder.display());
        for case in cases {
            check(&folder, text(case, "name"), case);
        }
    }
}

fn tensors(folder: &Path, case: &str, what: &str) -> Tensors {
    Tensors::read(folder.join(format!("golden/{case}.{what}.safetensors")))
}

/// A language model's values are compared where there are tokens.
fn where_tokens_are(network: &Network, inputs: &Tensors, x: &Tensor) -> Tensor {
    match (network, inputs.find("attention_mask")) {
        (Network::Gpt2(_), Some(mask)) => x * mask.unsqueeze(-1).to_kind(x.kind()),
        _ => x.shallow_clone(),
    }
}

#[test]
fn golden_outputs_and_gradients_hold_in_single_precision() {
    each_case(|folder, name, case| {
        let [inputs, outputs, gradients] =
            ["inputs", "outputs", "grads"].map(|what| tensors(folder, name, what));
        let what = |of: &str| format!("{} {name}: {of}", folder.display());
        let model = network(folder);
        let Passed {
            logits,
            loss,
            noise,
            hidden_states,
            first_token,
        } = pass(&model, &inputs, false);
        loss.backward();

        let kept = |x: &Tensor| where_tokens_are(&model, &inputs, x);
        near(
            &what("logits"),
            &kept(&logits),
            &kept(&outputs.get("logits")),
            LOGITS,
        );
        near(&what("loss"), &loss, &outputs.get("loss"), LOSS);
        let states = case["hidden_states"].as_u64().expect("a number");
        assert_eq!(
            hidden_states.len() as u64,
            states,
            "{}",
            what("hidden states")
        );
        for (i, state) in hidden_states.iter().enumerate() {
            let of = format!("hidden_states.{i}");
            near(&what(&of), &kept(state), &kept(&outputs.get(&of)), LOGITS);
        }
        // The stored states of a vision transformer come before its final norm.
        if !matches!(model, Network::Vit(_)) {
            let last = outputs.get(&format!("hidden_states.{}", states - 1));
            near(
                &what("the first token"),
                &first_token,
                &last.select(1, 0),
                LOGITS,
            );
        }
        if let Some(noise) = noise {
            let of = "grad_inputs_embeds";
            near(&what(of), &noise.grad(), &outputs.get(of), GRADIENTS);
        }
        let named = model.weights().named();
        assert_eq!(named.len(), gradients.len(), "{}", what("gradients"));
        for (parameter, weight) in named {
            near(
                &what(&parameter),
                &weight.grad(),
                &gradients.get(&parameter),
                GRADIENTS,
            );
        }
    });
}

#[test]
fn golden_outputs_hold_in_double_precision() {
    each_case(|folder, name, _| {
        let [inputs, outputs] = ["inputs", "outputs"].map(|what| tensors(folder, name, what));
        let model = network(folder);
        model.weights().to_kind(Kind::Double).expect("a conversion");
        let passed = pass(&model, &inputs, false);
        assert_eq!(passed.logits.kind(), Kind::Double);
        let what = |of: &str| format!("{} {name}: {of}", folder.display());
        let kept = |x: &Tensor| where_tokens_are(&model, &inputs, x);
        let (logits, expected) = (kept(&passed.logits), kept(&outputs.get("logits_f64")));
        near(&what("logits"), &logits, &expected, DOUBLE);
        near(
            &what("loss"),
            &passed.loss,
            &outputs.get("loss_f64"),
            DOUBLE,
        );
    });
}
