//! Decoding and resizing of images.

use std::path::Path;

use serde_json::Value;
use tch::Tensor;
use training::tasks::pixels::{Shape, decode};

use crate::files::{Tensors, far, json, models_with, text};

#[test]
fn golden_images_are_decoded_and_resized_to_the_last_bit() {
    for (folder, index) in models_with("preprocess.json") {
        check(&folder, &index);
    }
}

fn check(folder: &Path, index: &Value) {
    let expected = Tensors::read(folder.join("golden/preprocess.safetensors"));
    let side = json(&folder.join("preprocessor_config.json"))["size"]["height"]
        .as_u64()
        .expect("a size") as usize;
    let examples = index["examples"].as_array().expect("examples");
    assert!(
        !examples.is_empty(),
        "no golden image in {}",
        folder.display()
    );
    for example in examples {
        let name = text(example, "name");
        assert_eq!(
            far(
                &resized(folder, example, side),
                &expected.get(&format!("{name}.resized_u8_hwc"))
            ),
            0.0,
            "{name}"
        );
    }
    for example in index["to_224"].as_array().expect("examples") {
        let image = image::load_from_memory(&bytes(folder, example, "resized"))
            .expect("a PNG")
            .to_rgb8();
        let wanted = Tensor::from_slice(&image.into_raw()).view([224, 224, 3]);
        assert_eq!(
            far(&resized(folder, example, 224), &wanted),
            0.0,
            "{}",
            text(example, "name")
        );
    }
}

/// The example's image as ours, `[height, width, channel]`.
fn resized(folder: &Path, example: &Value, side: usize) -> Tensor {
    let ours = decode(&bytes(folder, example, "file"), Shape { channels: 3, side }).expect("a PNG");
    Tensor::from_slice(&ours)
        .view([3, side as i64, side as i64])
        .permute([1, 2, 0])
}

fn bytes(folder: &Path, example: &Value, key: &str) -> Vec<u8> {
    let path = folder.join("golden").join(text(example, key));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
