//! Files of other forms, and files that do not fit.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tch::{Kind, Tensor};
use training::models::{Head, Network};

use crate::files::{LOGITS, Tensors, far, fresh, models_with, near, network, root};
use crate::transformers::empty;

fn names(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).expect("a list of names")
}

#[test]
fn golden_loading_reports_and_weights_are_the_reference_s() {
    for (folder, expected) in models_with("loading.json") {
        let at = folder.display();
        let classes = expected.get("num_labels").and_then(Value::as_i64);
        let model = fresh(&folder, classes);
        let loaded = model.load(&folder, Head::Fresh).expect("weights");
        assert_eq!(
            loaded.newly_initialised,
            names(&expected["newly_initialised"]),
            "{at}"
        );
        assert_eq!(
            loaded.skipped,
            names(&expected["in_file_but_not_a_parameter"]),
            "{at}"
        );

        let parameters = model.weights().named();
        let shapes = |model: &Network| -> Vec<_> {
            let named = model.weights().named();
            named
                .iter()
                .map(|(name, leaf)| (name.clone(), leaf.size()))
                .collect()
        };
        let same = models_with("index.json")
            .into_iter()
            .map(|(folder, _)| network(&folder));
        let same = same
            .into_iter()
            .find(|other| shapes(other) == shapes(&model));
        let same = same.unwrap_or_else(|| panic!("{at}: no model of the same shape"));
        let stored = parameters
            .iter()
            .filter(|(name, _)| !loaded.newly_initialised.contains(name));
        for (name, weight) in stored {
            assert_eq!(far(weight, &same.weights().get(name)), 0.0, "{at}: {name}");
        }
        if !loaded.newly_initialised.is_empty() {
            let error = model
                .load(&folder, Head::Stored)
                .expect_err("there is no head");
            assert!(error.to_string().contains("lacks `classifier."), "{error}");
        }
    }
}

#[test]
fn golden_hidden_states_of_bare_backbones_are_the_reference_s() {
    let mut checked = 0;
    for (folder, expected) in models_with("loading.json") {
        let model = fresh(&folder, expected.get("num_labels").and_then(Value::as_i64));
        model.load(&folder, Head::Fresh).expect("weights");
        for entry in std::fs::read_dir(folder.join("golden")).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_none_or(|kind| kind != "safetensors") {
                continue;
            }
            let values = Tensors::read(path.clone());
            let first = match &model {
                Network::Vit(vit) => {
                    vit.first_token(&vit.patches(&values.get("pixel_values")), false)
                }
                Network::XlmRoberta(xlmr) => {
                    let ids = values.get("input_ids");
                    let mask = values.get("attention_mask");
                    xlmr.first_token(&xlmr.embed(&ids), &xlmr.positions(&ids), Some(&mask), false)
                }
                Network::Gpt2(gpt) => gpt.first_token(&gpt.embed(&values.get("input_ids")), false),
            };
            let last = values.get("last_hidden_state").select(1, 0);
            near(&path.display().to_string(), &first, &last, LOGITS);
            checked += 1;
        }
    }
    assert!(checked > 0, "no backbone's hidden states");
}

/// The tensors of GPT-2's golden file, by the name that `rename` gives them.
fn gpt2(rename: impl Fn(&str) -> String) -> Vec<(String, Tensor)> {
    let folder = root().join("models/gpt2-tiny");
    let found = Tensor::read_safetensors(folder.join("model.safetensors")).expect("tensors");
    found
        .into_iter()
        .map(|(name, tensor)| (rename(&name), tensor))
        .collect()
}

fn write(folder: &Path, file: &str, tensors: &[(String, Tensor)]) {
    Tensor::write_safetensors(tensors, folder.join(file)).expect("a file");
}

fn load(path: &Path) -> Result<training::models::Loaded, String> {
    let model = fresh(&root().join("models/gpt2-tiny"), None);
    model
        .load(path, Head::Stored)
        .map_err(|error| error.to_string())
}

/// A folder with GPT-2's weights in two shards.
fn sharded(name: &str) -> (PathBuf, Value) {
    let folder = empty(name);
    let tensors = gpt2(str::to_string);
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let files = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    let mut map = serde_json::Map::new();
    for (file, tensors) in files.into_iter().zip([first, second]) {
        write(&folder, file, tensors);
        map.extend(tensors.iter().map(|(name, _)| (name.clone(), json!(file))));
    }
    (
        folder,
        json!({ "metadata": { "total_size": 1 }, "weight_map": map }),
    )
}

fn put_index(folder: &Path, index: &Value) {
    let path = folder.join("model.safetensors.index.json");
    std::fs::write(path, index.to_string()).expect("an index");
}

#[test]
fn shards_are_read_and_a_missing_or_wrong_one_is_named() {
    let (folder, mut index) = sharded("shards");
    put_index(&folder, &index);
    assert_eq!(load(&folder), Ok(Default::default()));

    let name = "transformer.wte.weight";
    let (_, shard) = index["weight_map"]
        .as_object()
        .expect("a map")
        .iter()
        .find(|(n, _)| *n == name)
        .expect("wte");
    let other = match shard.as_str() {
        Some("model-00001-of-00002.safetensors") => "model-00002-of-00002.safetensors",
        _ => "model-00001-of-00002.safetensors",
    };
    index["weight_map"][name] = json!(other);
    put_index(&folder, &index);
    let error = load(&folder).expect_err("in the other shard");
    assert!(
        error.contains("model-0000") && error.contains(name),
        "{error}"
    );

    index["weight_map"][name] = json!("model-00003-of-00002.safetensors");
    put_index(&folder, &index);
    let error = load(&folder).expect_err("no such shard");
    let file = error.contains("model-00003-of-00002.safetensors") || error.contains("model-0000");
    assert!(file && error.contains(name), "{error}");

    index["weight_map"][name] = json!("../model.safetensors");
    put_index(&folder, &index);
    load(&folder).expect_err("outside the folder");
}

#[test]
fn a_pickle_is_never_read() {
    let folder = empty("pickle");
    std::fs::write(folder.join("pytorch_model.bin"), b"no matter").expect("a file");
    let error = load(&folder).expect_err("a pickle");
    assert!(error.contains("pytorch_model.bin, a pickle"), "{error}");
    let error = load(&empty("nothing")).expect_err("nothing");
    assert!(error.contains("neither model.safetensors nor"), "{error}");
}

#[test]
fn a_name_too_many_or_too_few_and_another_shape_are_errors_that_change_nothing() {
    let folder = empty("names");
    let file = folder.join("model.safetensors");
    let mut tensors = gpt2(str::to_string);
    tensors.push((
        "transformer.h.0.attn.c_attn.scale".into(),
        Tensor::from(1.0_f32),
    ));
    write(&folder, "model.safetensors", &tensors);
    let error = load(&file).expect_err("unexpected");
    assert!(
        error.ends_with("`transformer.h.0.attn.c_attn.scale` is no weight of this network"),
        "{error}"
    );

    tensors.pop();
    tensors.retain(|(name, _)| name != "transformer.ln_f.bias");
    write(&folder, "model.safetensors", &tensors);
    let error = load(&file).expect_err("missing");
    assert!(
        error.ends_with("model.safetensors: lacks `transformer.ln_f.bias`"),
        "{error}"
    );

    tensors.push((
        "transformer.ln_f.bias".into(),
        Tensor::zeros([3], (Kind::Float, tch::Device::Cpu)),
    ));
    write(&folder, "model.safetensors", &tensors);
    let model = fresh(&root().join("models/gpt2-tiny"), None);
    let before = model.weights().snapshot();
    let error = model
        .load(&file, Head::Fresh)
        .expect_err("a shape")
        .to_string();
    assert!(
        error.contains("`transformer.ln_f.bias` has shape [3], the network's is [48]"),
        "{error}"
    );
    let after = model.weights().snapshot();
    assert!(before.iter().zip(&after).all(|(a, b)| a == b));

    let whole = std::fs::read(&file).expect("a file");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("a file");
    let error = load(&file).expect_err("half a file");
    assert!(error.contains("may be cut off"), "{error}");
}

#[test]
fn a_tied_weight_may_lie_under_its_other_name_or_twice_but_not_with_two_values() {
    let folder = empty("tied");
    let wte = "transformer.wte.weight";
    write(
        &folder,
        "model.safetensors",
        &gpt2(|name| name.replace(wte, "lm_head.weight")),
    );
    assert_eq!(load(&folder), Ok(Default::default()));

    let mut twice = gpt2(str::to_string);
    let (_, value) = twice.iter().find(|(name, _)| name == wte).expect("wte");
    let value = value.copy();
    twice.push(("lm_head.weight".into(), value.copy()));
    write(&folder, "model.safetensors", &twice);
    assert_eq!(
        load(&folder).expect("equal values").skipped,
        ["lm_head.weight"]
    );

    twice.last_mut().expect("a tensor").1 = value + 1.0;
    write(&folder, "model.safetensors", &twice);
    let error = load(&folder).expect_err("two values");
    assert!(
        error.contains("`lm_head.weight` differs from `transformer.wte.weight`"),
        "{error}"
    );
}

#[test]
fn files_of_every_floating_kind_become_the_network_s() {
    let folder = empty("kinds");
    for kind in [Kind::BFloat16, Kind::Half, Kind::Double] {
        let converted: Vec<_> = gpt2(str::to_string)
            .into_iter()
            .map(|(name, tensor)| (name, tensor.to_kind(kind)))
            .collect();
        write(&folder, "model.safetensors", &converted);
        let model = fresh(&root().join("models/gpt2-tiny"), None);
        model.load(&folder, Head::Stored).expect("weights");
        for (name, value) in converted {
            let weight = model.weights().get(&name);
            assert_eq!(weight.kind(), Kind::Float);
            assert_eq!(far(&weight, &value), 0.0, "{kind:?} {name}");
        }
    }
}

#[test]
fn a_head_of_another_shape_is_fresh_only_where_it_may_be() {
    let folder = root().join("models/vit-tiny");
    let model = fresh(&folder, Some(7));
    let loaded = model.load(&folder, Head::Fresh).expect("weights");
    assert_eq!(
        loaded.newly_initialised,
        ["classifier.bias", "classifier.weight"]
    );
    let error = model
        .load(&folder, Head::Stored)
        .expect_err("ten classes")
        .to_string();
    assert!(
        error.contains("`classifier.weight` has shape [10, 48], the network's is [7, 48]"),
        "{error}"
    );
    let config = serde_json::from_value(json!({"model_type": "gpt2"})).expect("a configuration");
    Network::new(&config, Some(2), 0, tch::Device::Cpu).expect_err("a language model");
}

#[test]
fn fresh_weights_have_the_reference_s_scale_and_depend_on_the_seed_alone() {
    for (folder, _) in models_with("index.json") {
        let config = serde_json::from_value(crate::files::json(&folder.join("config.json")));
        let config = config.expect("a configuration");
        let make = |seed| Network::new(&config, None, seed, tch::Device::Cpu).expect("a network");
        let (one, same, other) = (make(1), make(1), make(2));
        let mut differ = false;
        for (name, weight) in one.weights().named() {
            assert_eq!(weight, same.weights().get(&name), "{name}");
            differ |= weight != other.weights().get(&name);
            if weight.numel() < 2000 {
                continue;
            }
            // Residual projections of GPT-2: 3 layers, two projections each.
            let residual = name.ends_with("c_proj.weight");
            let sd = if residual {
                0.02 / 6.0_f64.sqrt()
            } else {
                0.02
            };
            let found = weight.std(false).double_value(&[]);
            assert!((found / sd - 1.0).abs() < 0.08, "{name}: {found}");
        }
        assert!(differ);
        if let Network::XlmRoberta(xlmr) = &one {
            for table in ["word", "position"] {
                let table = xlmr
                    .weights
                    .get(&format!("roberta.embeddings.{table}_embeddings.weight"));
                assert_eq!(table.select(0, 1).abs().max().double_value(&[]), 0.0);
            }
        }
    }
}
