//! Ten steps of the base optimizers.

use optim::{
    Adam, Base, Length, Method, Optimizer, Options, Output, Pass, Polynomial, Schedule, Sgd,
};
use serde_json::Value;
use tch::Tensor;

use crate::files::{LOSS, Tensors, far, folders, json, network, pass, root, text};

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

fn base(optimizer: &Value) -> Base {
    let of = |key: &str| number(&optimizer[key]);
    let adam = || Adam {
        lr: of("lr"),
        betas: (
            number(&optimizer["betas"][0]),
            number(&optimizer["betas"][1]),
        ),
        eps: of("eps"),
        weight_decay: of("weight_decay"),
    };
    match text(optimizer, "class") {
        "Adam" => Base::Adam(adam()),
        "AdamW" => Base::Adamw(adam()),
        "SGD" => {
            assert_eq!(
                (of("dampening"), &optimizer["nesterov"]),
                (0.0, &false.into())
            );
            Base::Sgd(Sgd {
                lr: of("lr"),
                momentum: of("momentum"),
                weight_decay: of("weight_decay"),
            })
        }
        other => panic!("no optimizer {other}"),
    }
}

fn options(schedule: &Value) -> Options {
    assert_eq!(text(schedule, "kind"), "polynomial");
    let whole = |key: &str| schedule[key].as_u64().expect("a whole number");
    Options {
        schedule: Schedule::Polynomial(Polynomial {
            warmup: whole("warmup_steps"),
            power: number(&schedule["power"]),
            lr_end: number(&schedule["lr_end"]),
            offset: 0,
        }),
        length: Length {
            updates: whole("total_steps"),
            epoch: 0,
        },
        ..Options::default()
    }
}

/// `tensor` with 0 where its gradient is rounding noise alone: everywhere for null, else in the range of elements.
fn exact(tensor: &Tensor, inexact: Option<&Value>) -> Tensor {
    let tensor = tensor.detach().copy();
    let mut noise = match inexact {
        None => return tensor,
        Some(Value::Null) => tensor.shallow_clone(),
        Some(range) => {
            let end = |i: usize| range[i].as_i64().expect("an element");
            tensor.narrow(0, end(0), end(1) - end(0))
        }
    };
    let _ = noise.zero_();
    tensor
}

#[test]
fn golden_training_runs_end_at_the_reference_weights() {
    for folder in folders(&root().join("training")) {
        let name = folder.file_name().expect("a name");
        let batches = Tensors::read(folder.join("batches.safetensors"));
        for run in folders(&folder) {
            let log = json(&run.join("log.json"));
            let at = run.display();
            let model = network(&root().join("models").join(name));
            let method = Method::all().remove(0);
            assert_eq!(method.name(), "base");
            let mut optimizer = Optimizer::new(
                method,
                base(&log["optimizer"]),
                options(&log["schedule"]),
                model.weights().named(),
            )
            .expect("an optimizer");
            let steps = log["steps"].as_array().expect("steps");
            assert!(!steps.is_empty(), "no step in {at}");
            for (i, step) in steps.iter().enumerate() {
                let batch = batches.under(&format!("step{i}."));
                let task = |_: &Pass| {
                    let passed = pass(&model, &batch, false);
                    Output {
                        loss: passed.loss,
                        logits: passed.logits,
                    }
                };
                let done = optimizer.step(&task).expect("a step");
                let off = (done.read().loss - number(&step["loss"])).abs();
                assert!(off < LOSS, "{at}: the loss of step {i} is off by {off:e}");
                let off = (done.lr - number(&step["lr"])).abs();
                assert!(off < 1e-15, "{at}: the rate of step {i} is off by {off:e}");
            }
            let last = Tensors::read(run.join("final.safetensors"));
            let noise = log["final_param_max_abs_f32_minus_f64"].as_object();
            let noise = noise.expect("a noise per parameter");
            let named = model.weights().named();
            assert_eq!(
                (named.len(), named.len()),
                (noise.len(), last.len()),
                "{at}"
            );
            for (parameter, weight) in named {
                let inexact = log["no_exact_gradient"]["elements"].get(&parameter);
                let tolerance = (20.0 * noise[&parameter].as_f64().unwrap_or(0.0)).max(2e-5);
                let (ours, theirs) = (
                    exact(&weight, inexact),
                    exact(&last.get(&parameter), inexact),
                );
                let off = far(&ours, &theirs);
                assert!(off < tolerance, "{at}: {parameter} is off by {off:e}");
            }
        }
    }
}
