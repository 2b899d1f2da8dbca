use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use training::tasks::error::DataError;
use training::tasks::tokenizer::{Padding, Special, Strategy, Tokenizer, Truncation, padded};

use super::{Folder, json, models};

/// The folders of models with golden ids, and their examples.
fn cases() -> Vec<(PathBuf, Vec<Value>)> {
    let folders = fs::read_dir(models()).expect("models").flatten();
    let cases: Vec<_> = folders
        .map(|entry| entry.path())
        .filter(|folder| folder.join("golden/tokenization.json").is_file())
        .map(|folder| {
            let mut golden = json(&folder.join("golden/tokenization.json"));
            let Value::Array(examples) = golden["examples"].take() else {
                panic!("no examples in {}", folder.display())
            };
            (folder, examples)
        })
        .collect();
    assert!(!cases.is_empty(), "no golden ids in {}", models().display());
    cases
}

fn string(example: &Value, key: &str) -> String {
    example[key].as_str().expect("a text").into()
}

fn strings(example: &Value, key: &str) -> Option<Vec<String>> {
    let texts = example[key].as_array()?;
    Some(
        texts
            .iter()
            .map(|text| text.as_str().expect("a text").into())
            .collect(),
    )
}

fn numbers<T: TryFrom<i64>>(values: &Value) -> Vec<T> {
    let number = |value: &Value| T::try_from(value.as_i64()?).ok();
    let values = values.as_array().expect("numbers").iter().map(number);
    values.collect::<Option<_>>().expect("numbers that fit")
}

fn size(example: &Value, key: &str) -> Option<usize> {
    example[key].as_u64().map(|size| size as usize)
}

fn truncation(example: &Value) -> Option<Truncation> {
    let strategy = match example["strategy"].as_str() {
        None | Some("longest_first") => Strategy::LongestFirst,
        Some("only_first") => Strategy::OnlyFirst,
        Some("only_second") => Strategy::OnlySecond,
        Some(other) => panic!("no strategy {other}"),
    };
    let max_length = size(example, "max_length")?;
    Some(Truncation {
        max_length,
        strategy,
    })
}

#[test]
fn ids_and_offsets_equal_the_reference() {
    for (folder, examples) in cases() {
        let tokenizer = Tokenizer::open(&folder).unwrap();
        assert!(!examples.is_empty());
        for example in &examples {
            let named = format!("{}: {example}", folder.display());
            match example["op"].as_str().expect("an operation") {
                "encode" => {
                    let special = match example["add_special_tokens"].as_bool() {
                        Some(true) => Special::Add,
                        _ => Special::Omit,
                    };
                    let text = string(example, "text");
                    let ids = tokenizer.ids(&text, special, None).unwrap();
                    assert_eq!(ids, numbers::<u32>(&example["ids"]), "{named}");
                    let offsets = tokenizer.offsets(&text, special).unwrap();
                    let expected = example["offsets_chars"].as_array().expect("offsets");
                    let expected: Vec<Vec<usize>> = expected.iter().map(numbers).collect();
                    let found: Vec<_> = offsets.iter().map(|&(a, b)| vec![a, b]).collect();
                    assert_eq!(found, expected, "{named}");
                }
                "truncate" => {
                    let length = size(example, "max_length");
                    let ids = tokenizer.ids(&string(example, "text"), Special::Add, length);
                    assert_eq!(ids.unwrap(), numbers::<u32>(&example["ids"]), "{named}");
                }
                "pair" | "pair_truncate" => {
                    let (first, second) = (string(example, "text"), string(example, "pair"));
                    let ids = tokenizer
                        .pair(&first, &second, truncation(example))
                        .unwrap();
                    assert_eq!(ids, numbers::<u32>(&example["ids"]), "{named}");
                }
                "batch" => batch(&tokenizer, example, &named),
                other => panic!("no operation {other}"),
            }
        }
    }
}

fn batch(tokenizer: &Tokenizer, example: &Value, named: &str) {
    let texts = strings(example, "texts").expect("texts");
    let cut = truncation(example);
    let rows: Vec<Vec<u32>> = match strings(example, "pairs") {
        Some(pairs) => {
            let both = texts.iter().zip(&pairs);
            both.map(|(a, b)| tokenizer.pair(a, b, cut).unwrap())
                .collect()
        }
        None => {
            let length = size(example, "max_length");
            let ids = |text: &String| tokenizer.ids(text, Special::Add, length).unwrap();
            texts.iter().map(ids).collect()
        }
    };
    let padding = match (
        example["padding"].as_str(),
        size(example, "pad_to_multiple_of"),
    ) {
        (Some("max_length"), None) => Padding::To(size(example, "max_length").expect("a width")),
        (Some("longest"), None) => Padding::Longest,
        (Some("longest"), Some(of)) => Padding::Multiple(of),
        other => panic!("no padding {other:?}"),
    };
    let pad = tokenizer.pad.expect("a token that fills up");
    assert_eq!(Some(u64::from(pad)), example["pad_id"].as_u64(), "{named}");
    let found = padded(&rows, pad, padding);
    let rows_of = |key: &str| example[key].as_array().expect("rows").clone();
    let flat = |key: &str| {
        rows_of(key)
            .iter()
            .flat_map(numbers::<i64>)
            .collect::<Vec<_>>()
    };
    assert_eq!(found.ids, flat("ids"), "{named}");
    assert_eq!(found.mask, flat("attention_mask"), "{named}");
    assert_eq!(
        found.width,
        rows_of("ids")[0].as_array().unwrap().len(),
        "{named}"
    );
}

#[test]
fn special_tokens_are_known_with_and_without_a_configuration() {
    for (folder, _) in cases() {
        let expected = json(&folder.join("golden/tokenization.json"));
        let id = |key: &str| expected["special_ids"][key].as_u64().map(|id| id as u32);
        let bare = Folder::new("tokenizer-bare");
        fs::copy(folder.join("tokenizer.json"), bare.0.join("tokenizer.json")).unwrap();
        for place in [&folder, &bare.0] {
            let tokenizer = Tokenizer::open(place).unwrap();
            assert_eq!(tokenizer.pad, id("pad"), "{}", place.display());
            assert_eq!(tokenizer.eos, id("eos"), "{}", place.display());
            assert_eq!(
                Some(tokenizer.vocabulary as u64),
                expected["vocab_size"].as_u64()
            );
        }
    }
}

#[test]
fn vocabulary_and_merges_give_the_ids_of_the_one_file() {
    let mut checked = 0;
    for entry in fs::read_dir(models()).expect("models").flatten() {
        let files = ["vocab.json", "merges.txt"].map(|name| entry.path().join(name));
        if !files.iter().all(|file| file.is_file()) {
            continue;
        }
        let two = Folder::new("tokenizer-two-files");
        for file in &files {
            fs::copy(file, two.0.join(file.file_name().unwrap())).unwrap();
        }
        let (one, two) = (
            Tokenizer::open(&entry.path()).unwrap(),
            Tokenizer::open(&two.0).unwrap(),
        );
        assert_eq!(
            (one.pad, one.eos, one.vocabulary),
            (two.pad, two.eos, two.vocabulary)
        );
        assert!(one.splits_at_newlines() && two.splits_at_newlines());
        for (_, examples) in cases() {
            for example in examples
                .iter()
                .filter(|example| example["text"].is_string())
            {
                let text = string(example, "text");
                let ids = [&one, &two].map(|t| t.ids(&text, Special::Add, None).unwrap());
                assert_eq!(ids[0], ids[1], "{text:?}");
                checked += 1;
            }
        }
    }
    assert!(checked > 0, "no model has both forms");
}

#[test]
fn a_folder_without_a_tokenizer_and_a_token_that_is_not_there_are_errors() {
    let folder = Folder::new("tokenizer-errors");
    let error = Tokenizer::open(&folder.0).unwrap_err().to_string();
    assert!(
        error.contains("tokenizer.json") && error.contains("merges.txt"),
        "{error}"
    );

    let (source, _) = &cases()[0];
    fs::copy(
        source.join("tokenizer.json"),
        folder.0.join("tokenizer.json"),
    )
    .unwrap();
    let config = folder.0.join("tokenizer_config.json");
    fs::write(&config, r#"{"pad_token": "<nothing>"}"#).unwrap();
    let error = Tokenizer::open(&folder.0).unwrap_err().to_string();
    assert!(
        error.contains("tokenizer_config.json") && error.contains("`pad_token`"),
        "{error}"
    );
    fs::write(&config, "{").unwrap();
    let error = Tokenizer::open(&folder.0).unwrap_err().to_string();
    assert!(error.contains("tokenizer_config.json"), "{error}");
    fs::write(folder.0.join("tokenizer.json"), "{}").unwrap();
    assert!(matches!(
        Tokenizer::open(&folder.0),
        Err(DataError::Tokenizer { .. })
    ));
}
