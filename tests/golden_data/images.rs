use std::ops::ControlFlow;

use harness::suite::Images;
use sha2::{Digest, Sha256};
use training::tasks::cache::Cache;
use training::tasks::pixels::{Decoded, Encoded, Pixels, Shape, decode, open};
use training::tasks::portion::Table;

use super::{Known, known};

/// Grey levels that the mean of a channel may differ by between decoders of JPEG.
const JPEG: f64 = 1.0;

fn input(known: &Known) -> Images {
    let columns = match known.facts.contains_key("fine_label") {
        true => serde_json::json!({ "image": "img", "label": "fine_label" }),
        false => serde_json::json!({}),
    };
    serde_json::from_value(columns).unwrap()
}

/// The portions of images with their encoded images.
fn portions() -> Vec<(Known, Vec<Vec<u8>>)> {
    let mut found = Vec::new();
    for known in known()
        .into_iter()
        .filter(|known| known.facts.contains_key("images"))
    {
        let column = input(&known).image;
        let mut encoded = Vec::new();
        let each = |table: Table| {
            let images = table.images(&column)?;
            let of_table = table.encoded(&column, &images)?;
            encoded.extend(of_table.iter().map(|bytes| bytes.to_vec()));
            Ok(ControlFlow::Continue(()))
        };
        known.portion.tables(&[&column], each).unwrap();
        found.push((known, encoded));
    }
    assert!(!found.is_empty(), "no portion of images is known");
    found
}

#[test]
fn decoded_images_have_the_facts_that_are_known() {
    for (known, encoded) in portions() {
        let facts = known.facts["images"].as_array().expect("images");
        assert!(!facts.is_empty());
        for (fact, bytes) in facts.iter().zip(&encoded) {
            let named = format!("{}: {fact}", known.name);
            let Decoded {
                pixels,
                height,
                width,
            } = open(bytes, 3).unwrap();
            assert_eq!(Some(width as u64), fact["width"].as_u64(), "{named}");
            assert_eq!(Some(height as u64), fact["height"].as_u64(), "{named}");
            let hash: String = Sha256::digest(&pixels)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            if let Some(expected) = fact["rgb_sha256"].as_str() {
                assert_eq!(hash, expected, "{named}");
            }
            for (c, mean) in fact["rgb_channel_means"]
                .as_array()
                .unwrap()
                .iter()
                .enumerate()
            {
                let sum: f64 = pixels
                    .iter()
                    .skip(c)
                    .step_by(3)
                    .map(|&p| f64::from(p))
                    .sum();
                let off = (sum / (height * width) as f64 - mean.as_f64().unwrap()).abs();
                assert!(off < JPEG, "{named}: channel {c} is off by {off}");
            }
        }
    }
}

#[test]
fn prepared_pixels_are_the_resized_images_with_their_labels() {
    let shape = Shape {
        channels: 3,
        side: 24,
    };
    for (known, encoded) in portions() {
        let input = input(&known);
        let portions = [known.portion.clone(), known.portion.clone()];
        let pixels = Pixels::prepare(
            &Cache::forgetful(),
            &portions,
            &input,
            shape,
            200,
            &mut |_| {},
        )
        .unwrap();
        assert_eq!(pixels.len(), 2 * encoded.len());
        let labels = known.integers(&input.label).expect("labels");
        for (place, bytes) in encoded.iter().enumerate() {
            let expected = decode(bytes, shape).unwrap();
            let again = encoded.len() + place;
            assert_eq!(pixels.image(place), expected, "{} {place}", known.name);
            assert_eq!(
                pixels.batch(&[again as i64]),
                expected,
                "{} {place}",
                known.name
            );
            assert_eq!(
                (pixels.label(place), pixels.label(again)),
                (labels[place], labels[place])
            );
        }
    }
}

#[test]
fn crops_depend_on_the_seed_and_the_place_alone() {
    let shape = Shape {
        channels: 3,
        side: 16,
    };
    let one = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let many = rayon::ThreadPoolBuilder::new()
        .num_threads(4)
        .build()
        .unwrap();
    for (known, encoded) in portions() {
        let input = input(&known);
        let cache = Cache::forgetful();
        let images =
            Encoded::prepare(&cache, &[known.portion.clone()], &input, 200, &mut |_| {}).unwrap();
        assert_eq!(images.len(), encoded.len());
        for (place, bytes) in encoded.iter().enumerate() {
            assert_eq!(images.image(place), bytes);
            assert_eq!(
                images.label(place),
                known.integers(&input.label).unwrap()[place]
            );
        }
        let places: Vec<i64> = (0..encoded.len() as i64).collect();
        let together = many.install(|| images.crops(&places, shape, 7));
        let alone = one.install(|| {
            places
                .iter()
                .flat_map(|&place| images.crops(&[place], shape, 7))
                .collect::<Vec<u8>>()
        });
        assert!(together == alone, "{}", known.name);
        assert!(
            together != images.crops(&places, shape, 8),
            "another seed, other crops"
        );
    }
}

#[test]
fn a_label_that_is_no_class_and_an_image_that_is_none_are_told_with_their_place() {
    let shape = Shape {
        channels: 3,
        side: 8,
    };
    let (known, _) = portions()
        .into_iter()
        .find(|(known, _)| known.portion.paths().len() > 1)
        .unwrap();
    let labels = known.integers("label").unwrap();
    let largest = *labels.iter().max().unwrap();
    let row = labels.iter().position(|&label| label == largest).unwrap();
    let prepare = |input: &Images, classes| {
        let portions = [known.portion.clone()];
        Pixels::prepare(
            &Cache::forgetful(),
            &portions,
            input,
            shape,
            classes,
            &mut |_| {},
        )
        .unwrap_err()
        .to_string()
    };
    let error = prepare(&input(&known), largest);
    let shard = labels.len() / known.portion.paths().len();
    let expected = format!("row {} has the label {largest}", row % shard);
    assert!(
        error.contains(&expected) && error.contains(".parquet"),
        "{error}"
    );

    let swapped = Images {
        image: "label".into(),
        ..input(&known)
    };
    let error = prepare(&swapped, 200);
    assert!(
        error.contains("column `label` holds") && error.ends_with("not images"),
        "{error}"
    );
    let swapped = Images {
        label: "image".into(),
        ..input(&known)
    };
    let error = prepare(&swapped, 200);
    assert!(error.ends_with("not whole numbers"), "{error}");
}
