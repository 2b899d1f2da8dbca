//! The vision transformer against values of the reference implementation, stored beside its weights.
//!
//! `HARNESS_GOLDEN_MODELS` names another folder with the same layout.

use std::path::PathBuf;

use harness::suite::ModelConfig;
use serde_json::Value;
use tch::{Device, Kind, Tensor};
use training::models::{Vit, VitConfig};
use training::tasks::images::{Shape, decode};

const LOGITS: f64 = 5e-5;
const LOSS: f64 = 1e-5;
const GRADIENTS: f64 = 1e-4;

fn folder() -> PathBuf {
    let models = std::env::var_os("HARNESS_GOLDEN_MODELS").map(PathBuf::from);
    models
        .unwrap_or_else(|| {
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/models")
        })
        .join("vit-tiny")
}

fn json(path: &str) -> Value {
    let path = folder().join(path);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn tensors(path: String) -> impl Fn(&str) -> Tensor + use<> {
    let path = folder().join(path);
    let found = Tensor::read_safetensors(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    move |name| {
        let (_, tensor) = found
            .iter()
            .find(|(known, _)| known == name)
            .unwrap_or_else(|| panic!("no tensor {name}"));
        tensor.shallow_clone()
    }
}

fn model() -> Vit {
    let config: ModelConfig = serde_json::from_value(json("config.json")).expect("a configuration");
    let config = VitConfig::read(&config).expect("a ViT");
    let model = Vit::new(config, 0, Device::Cpu).expect("libtorch");
    let loaded = model
        .weights
        .load(&folder().join("model.safetensors"), Vit::PREFIX, "")
        .expect("weights");
    assert_eq!(
        loaded,
        Default::default(),
        "every weight has its tensor and every tensor its weight"
    );
    model
}

fn far(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a.to_kind(Kind::Double) - b.to_kind(Kind::Double))
        .abs()
        .max()
        .double_value(&[])
}

#[test]
fn vit_logits_loss_and_gradients_equal_the_reference() {
    let index = json("golden/index.json");
    let cases = index["cases"].as_array().expect("cases");
    assert!(
        !cases.is_empty(),
        "no golden case in {}",
        folder().display()
    );
    for case in cases {
        let name = text(case, "name");
        let inputs = tensors(format!("golden/{name}.inputs.safetensors"));
        let outputs = tensors(format!("golden/{name}.outputs.safetensors"));
        let gradients = tensors(format!("golden/{name}.grads.safetensors"));

        let model = model();
        let logits = model.forward(&inputs("pixel_values"), false);
        let loss = logits.cross_entropy_for_logits(&inputs("labels"));
        loss.backward();

        let off = far(&logits, &outputs("logits"));
        assert!(off < LOGITS, "{name}: logits are off by {off}");
        let off = far(&loss, &outputs("loss"));
        assert!(off < LOSS, "{name}: the loss is off by {off}");
        for (parameter, weight) in model.weights.named() {
            let off = far(&weight.grad(), &gradients(&parameter));
            assert!(
                off < GRADIENTS,
                "{name}: the gradient of {parameter} is off by {off}"
            );
        }
    }
}

#[test]
fn images_are_decoded_and_resized_to_the_last_bit_of_the_reference() {
    let index = json("golden/preprocess.json");
    let expected = tensors("golden/preprocess.safetensors".into());
    let side = json("preprocessor_config.json")["size"]["height"]
        .as_u64()
        .expect("a size") as usize;
    let examples = index["examples"].as_array().expect("examples");
    assert!(
        !examples.is_empty(),
        "no golden image in {}",
        folder().display()
    );
    for example in examples {
        let name = text(example, "name");
        assert_eq!(
            far(
                &resized(example, side),
                &expected(&format!("{name}.resized_u8_hwc"))
            ),
            0.0,
            "{name}"
        );
    }
    for example in index["to_224"].as_array().expect("examples") {
        let image = image::load_from_memory(&bytes(example, "resized"))
            .expect("a PNG")
            .to_rgb8();
        let wanted = Tensor::from_slice(&image.into_raw()).view([224, 224, 3]);
        assert_eq!(
            far(&resized(example, 224), &wanted),
            0.0,
            "{}",
            text(example, "name")
        );
    }
}

/// The example's image as ours, `[height, width, channel]`.
fn resized(example: &Value, side: usize) -> Tensor {
    let ours = decode(&bytes(example, "file"), Shape { channels: 3, side }).expect("a PNG");
    Tensor::from_slice(&ours)
        .view([3, side as i64, side as i64])
        .permute([1, 2, 0])
}

fn bytes(example: &Value, key: &str) -> Vec<u8> {
    let path = folder().join("golden").join(text(example, key));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text<'a>(example: &'a Value, key: &str) -> &'a str {
    example[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {example}"))
}
