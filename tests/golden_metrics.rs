//! Measurements against values of other programs (scikit-learn, numpy, the reference model in double precision), and
//! against what must hold of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use harness::suite::{
    BoxKind, Input, PerplexityWeighting, Precision, Reduction, SharpnessKnobs, SharpnessValue,
};
use methods::VitNoiseAt;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};
use training::measure::{self, Scores};
use training::models::{Head, Network};
use training::tasks::{Batch, Examples, IGNORED, Task, scores};

fn golden(name: &str) -> Value {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let path = root.join("metrics").join(name);
    serde_json::from_str(&std::fs::read_to_string(&path).expect("a golden file")).expect("JSON")
}

fn matrix(rows: &Value) -> Tensor {
    let rows = rows.as_array().expect("rows");
    let flat: Vec<f64> = rows.iter().flat_map(numbers).collect();
    Tensor::from_slice(&flat).view([rows.len() as i64, -1])
}

fn numbers(row: &Value) -> Vec<f64> {
    serde_json::from_value(row.clone()).expect("numbers")
}

fn near(found: f64, expected: f64, tolerance: f64, what: &str) {
    let off = (found - expected).abs() / expected.abs().max(1.0);
    assert!(
        off < tolerance,
        "{what}: found {found}, expected {expected}"
    );
}

#[test]
fn golden_cka_holds_centred_and_not() {
    let cases = golden("cka.json")["cases"]
        .as_array()
        .expect("cases")
        .clone();
    assert!(!cases.is_empty());
    for case in &cases {
        let (x, y) = (matrix(&case["x"]), matrix(&case["y"]));
        for (centred, key) in [(true, "centered"), (false, "uncentered")] {
            let expected = case[key].as_f64().expect("a number");
            let found = measure::linear_cka(&x, &y, centred);
            near(
                found,
                expected,
                1e-10,
                case["name"].as_str().expect("a name"),
            );
        }
    }
}

#[test]
fn golden_accuracy_holds() {
    let cases = golden("accuracy.json")["cases"]
        .as_array()
        .expect("cases")
        .clone();
    assert!(!cases.is_empty());
    for case in &cases {
        let labels: Vec<i64> = numbers(&case["labels"])
            .iter()
            .map(|&label| label as i64)
            .collect();
        let found = scores(
            &matrix(&case["logits"]),
            &Tensor::from_slice(&labels),
            &vec![1; labels.len()],
            true,
        );
        let expected = 100.0 * case["accuracy"].as_f64().expect("a number");
        near(Scores(found).accuracy(), expected, 1e-12, "accuracy");
    }
}

/// Examples in memory: token blocks of any length, or images.
struct Given {
    inputs: Vec<Tensor>,
    labels: Vec<Tensor>,
}

impl Examples for Given {
    fn len(&self) -> usize {
        self.inputs.len()
    }
    fn tokens(&self, place: usize) -> usize {
        match self.inputs[place].size()[..] {
            [tokens] => tokens as usize,
            _ => 0,
        }
    }
    fn batch(&self, places: &[usize], _epoch: Option<u64>) -> Result<Batch> {
        let width = places
            .iter()
            .map(|&place| self.tokens(place) as i64)
            .max()
            .unwrap_or(0);
        let filled = |tensor: &Tensor, with: i64| match tensor.size()[..] {
            [tokens] => tensor.constant_pad_nd([0, width - tokens]).where_self(
                &Tensor::arange(width, (Kind::Int64, Device::Cpu)).lt(tokens),
                &Tensor::from(with),
            ),
            _ => tensor.shallow_clone(),
        };
        let stack = |tensors: &[Tensor], with| {
            let filled: Vec<Tensor> = places
                .iter()
                .map(|&at| filled(&tensors[at], with))
                .collect();
            Tensor::stack(&filled, 0)
        };
        let labels = stack(&self.labels, IGNORED);
        let counted = (0..places.len() as i64)
            .map(|at| labels.get(at).ne(IGNORED).sum(Kind::Int64).int64_value(&[]) as u32)
            .collect();
        Ok(Batch {
            input: stack(&self.inputs, 0),
            mask: None,
            labels,
            counted,
        })
    }
}

// The tensors are only read.
unsafe impl Sync for Given {}

fn task(network: Network, input: &Value, given: Given) -> Task {
    let input: Input = serde_json::from_value(input.clone()).expect("an input");
    let given: Arc<dyn Examples> = Arc::new(given);
    let portions = BTreeMap::from([("portion".to_string(), given.clone())]);
    Task::new(
        network,
        &input,
        given,
        portions,
        Precision::Float32,
        Device::Cpu,
        VitNoiseAt::default(),
    )
}

#[test]
fn golden_perplexity_holds_whatever_the_order_and_with_both_weightings() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("../../tests/golden/models/gpt2-tiny");
    let config = std::fs::read_to_string(folder.join("config.json")).expect("a configuration");
    let config = serde_json::from_str(&config).expect("JSON");
    let network = Network::new(&config, None, 0, Device::Cpu).expect("a network");
    network
        .weights()
        .to_kind(Kind::Double)
        .expect("a conversion");
    network.load(&folder, Head::Stored).expect("weights");

    let golden = golden("perplexity.json");
    let blocks = golden["blocks"].as_array().expect("blocks");
    let ids =
        |block: &Value| -> Vec<i64> { serde_json::from_value(block["ids"].clone()).expect("ids") };
    let inputs = blocks
        .iter()
        .map(|block| Tensor::from_slice(&ids(block)))
        .collect();
    let next = |block: &Value| {
        let mut next = ids(block).split_off(1);
        next.push(IGNORED);
        Tensor::from_slice(&next)
    };
    let labels = blocks.iter().map(next).collect();
    let task = task(
        network,
        &json!({"text_blocks": {"length": 16}}),
        Given { inputs, labels },
    );

    let found = measure::evaluate(&task, "portion").expect("an evaluation");
    assert_eq!(found.0.len(), blocks.len());
    let (mut sum, mut tokens) = (0.0, 0.0);
    for (score, block) in found.0.iter().zip(blocks) {
        near(
            score.nll,
            block["sum_nll"].as_f64().expect("a number"),
            1e-9,
            "a block",
        );
        assert_eq!(
            u64::from(score.labels),
            block["tokens"].as_u64().expect("a number")
        );
        let length = ids(block).len() as f64;
        sum += length * block["mean_nll"].as_f64().expect("a number");
        tokens += length;
    }
    let expected = golden["all_blocks"]["perplexity"]
        .as_f64()
        .expect("a number");
    near(
        found.perplexity(PerplexityWeighting::PredictedTokens),
        expected,
        1e-9,
        "perplexity",
    );
    let by_block = found.perplexity(PerplexityWeighting::BlockTokens);
    near(
        by_block,
        f64::exp(sum / tokens),
        1e-9,
        "perplexity by block",
    );
    assert!(
        (by_block - expected).abs() > 1e-3,
        "the two weightings differ where lengths do"
    );
}

fn images() -> Task {
    let config = json!({
        "model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "image_size": 8, "patch_size": 4, "num_channels": 1, "num_labels": 3,
        "hidden_dropout_prob": 0.5, "initializer_range": 0.3,
    });
    let config = serde_json::from_value(config).expect("a configuration");
    let network = Network::new(&config, None, 1, Device::Cpu).expect("a network");
    tch::manual_seed(3);
    let image = |_| Tensor::randint(256, [1, 8, 8], (Kind::Uint8, Device::Cpu));
    let given = Given {
        inputs: (0..22).map(image).collect(),
        labels: (0..22_i64).map(|i| Tensor::from(i % 3)).collect(),
    };
    task(
        network,
        &json!({"images": {"mean": 0.5, "std": 0.5}}),
        given,
    )
}

const KNOBS: SharpnessKnobs = SharpnessKnobs {
    epsilon: 1e-3,
    lr: 0.05,
    batch: 4,
    accumulation: 2,
    accum_reduction: Reduction::Sum,
    box_: BoxKind::Absolute,
    value: SharpnessValue::Final,
};

#[test]
fn sharpness_leaves_the_weights_alone_and_a_box_without_width_is_flat() {
    let task = images();
    let before = task.weights().snapshot();
    let sharp = measure::sharpness(&task, "portion", &KNOBS).expect("enough examples");
    assert!(sharp > 0.0, "ascent raises the loss: {sharp}");
    for (before, (name, after)) in before.iter().zip(task.weights().named()) {
        assert!(before.equal(&after), "{name} has changed");
    }
    let again = measure::sharpness(&task, "portion", &KNOBS).expect("enough examples");
    assert_eq!(
        sharp, again,
        "neither dropout nor leftover gradients play a part"
    );
    let flat = SharpnessKnobs {
        epsilon: 0.0,
        ..KNOBS
    };
    assert_eq!(
        measure::sharpness(&task, "portion", &flat).expect("enough examples"),
        0.0
    );
}

#[test]
fn sharpness_knobs_do_what_they_say() {
    let task = images();
    let sharp = |knobs: SharpnessKnobs| {
        measure::sharpness(&task, "portion", &knobs).expect("enough examples")
    };
    let best = sharp(SharpnessKnobs {
        value: SharpnessValue::Best,
        ..KNOBS
    });
    assert!(
        best >= sharp(KNOBS),
        "the largest loss is no less than the last"
    );
    let mean = SharpnessKnobs {
        accum_reduction: Reduction::Mean,
        lr: 2.0 * KNOBS.lr,
        ..KNOBS
    };
    let off = (sharp(mean) / sharp(KNOBS) - 1.0).abs();
    assert!(
        off < 1e-3,
        "the mean of two gradients is half their sum: {off}"
    );
    let wide = SharpnessKnobs {
        epsilon: 1e6,
        lr: 0.0,
        ..KNOBS
    };
    assert_eq!(sharp(wide), 0.0, "without a step nothing moves");
    let signed = sharp(SharpnessKnobs {
        box_: BoxKind::Signed,
        lr: 1e3,
        ..KNOBS
    });
    let absolute = sharp(SharpnessKnobs { lr: 1e3, ..KNOBS });
    assert_ne!(
        signed, absolute,
        "|theta + 1| is less than |theta| + 1 where theta is negative"
    );
    let few = SharpnessKnobs {
        batch: 22,
        accumulation: 2,
        ..KNOBS
    };
    let error = measure::sharpness(&task, "portion", &few)
        .unwrap_err()
        .to_string();
    assert!(error.contains("22 examples"), "{error}");
}
