//! Where the values lie, and how far ours are from them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use harness::suite::ModelConfig;
use serde_json::Value;
use tch::{Device, Kind, Reduction, Tensor};
use training::models::{Gpt2, Head, Network};

/// Absolute tolerances in single precision.
pub const LOGITS: f64 = 5e-5;
pub const LOSS: f64 = 1e-5;
pub const GRADIENTS: f64 = 1e-4;
/// And in double precision.
pub const DOUBLE: f64 = 1e-10;

/// Libtorch's generator, which dropout draws from, belongs to one test at a time.
pub fn generator() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Mean cross entropy of classes, in the logits' own kind.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    logits.cross_entropy_loss(labels, None::<Tensor>, Reduction::Mean, -100, 0.0)
}

pub fn root() -> PathBuf {
    std::env::var_os("HARNESS_GOLDEN_MODELS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"),
        PathBuf::from,
    )
}

/// Every folder in `folder`, sorted; at least one.
pub fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    assert!(!found.is_empty(), "nothing in {}", folder.display());
    found
}

/// Every model's folder that has `golden/<index>`, with what that file says; at least one.
pub fn models_with(index: &str) -> Vec<(PathBuf, Value)> {
    let with = |folder: PathBuf| {
        let index = folder.join("golden").join(index);
        index.exists().then(|| (folder, json(&index)))
    };
    let found: Vec<_> = folders(&root().join("models"))
        .into_iter()
        .filter_map(with)
        .collect();
    assert!(!found.is_empty(), "no model has golden/{index}");
    found
}

pub fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// The named tensors of a file.
pub struct Tensors {
    path: PathBuf,
    found: Vec<(String, Tensor)>,
}

impl Tensors {
    pub fn read(path: PathBuf) -> Self {
        let found = Tensor::read_safetensors(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, found }
    }

    pub fn find(&self, name: &str) -> Option<Tensor> {
        let (_, tensor) = self.found.iter().find(|(known, _)| known == name)?;
        Some(tensor.shallow_clone())
    }

    pub fn get(&self, name: &str) -> Tensor {
        self.find(name)
            .unwrap_or_else(|| panic!("no {name} in {}", self.path.display()))
    }

    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Those whose names begin with `prefix`, without it.
    pub fn under(&self, prefix: &str) -> Tensors {
        let strip = |(name, tensor): &(String, Tensor)| {
            Some((
                name.strip_prefix(prefix)?.to_string(),
                tensor.shallow_clone(),
            ))
        };
        Tensors {
            path: self.path.clone(),
            found: self.found.iter().filter_map(strip).collect(),
        }
    }
}

/// The network of a model's folder with its weights.
pub fn network(folder: &Path) -> Network {
    let network = fresh(folder, None);
    let loaded = network.load(folder, Head::Stored).expect("weights");
    assert_eq!(loaded, Default::default(), "{}", folder.display());
    network
}

/// The network of a model's folder with weights of its own.
pub fn fresh(folder: &Path, classes: Option<i64>) -> Network {
    let config: ModelConfig =
        serde_json::from_value(json(&folder.join("config.json"))).expect("a configuration");
    Network::new(&config, classes, 0, Device::Cpu).expect("a network")
}

/// What a forward pass gives.
pub struct Passed {
    pub logits: Tensor,
    pub loss: Tensor,
    /// The noise on token embeddings, a leaf: its gradient is that of the network's input.
    pub noise: Option<Tensor>,
    pub hidden_states: Vec<Tensor>,
    pub first_token: Tensor,
}

/// Runs `network` on the inputs of a case, in the network's kind.
pub fn pass(network: &Network, inputs: &Tensors, train: bool) -> Passed {
    let kind = network.weights().named()[0].1.kind();
    let leaf = |noise: Tensor| noise.to_kind(kind).set_requires_grad(true);
    let noise = inputs.find("noise").map(leaf);
    let labels = inputs.get("labels");
    let mask = inputs.find("attention_mask");
    let mask = mask.as_ref();
    let noised = |embedded: Tensor| match &noise {
        Some(noise) => embedded + noise,
        None => embedded,
    };
    match network {
        Network::Vit(vit) => {
            let patches = vit.patches(&inputs.get("pixel_values").to_kind(kind));
            let logits = vit.classify(&patches, train);
            Passed {
                loss: cross_entropy(&logits, &labels),
                logits,
                noise: None,
                hidden_states: vit.hidden_states(&patches),
                first_token: vit.first_token(&patches, train),
            }
        }
        Network::Gpt2(gpt) => {
            let embedded = noised(gpt.embed(&inputs.get("input_ids")));
            let logits = gpt.forward(&embedded, mask, train);
            Passed {
                loss: Gpt2::loss(&logits, &Gpt2::next_token_labels(&labels)),
                logits,
                hidden_states: gpt.hidden_states(&embedded, mask),
                first_token: gpt.first_token(&embedded, train),
                noise,
            }
        }
        Network::XlmRoberta(xlmr) => {
            let ids = inputs.get("input_ids");
            let embedded = noised(xlmr.embed(&ids));
            // The reference cannot see padding in embeddings and counts every position.
            let positions = match noise {
                None => xlmr.positions(&ids),
                Some(_) => xlmr.positions(&ids.full_like(xlmr.config.pad_token_id + 1)),
            };
            let logits = xlmr.forward(&embedded, &positions, mask, train);
            Passed {
                loss: cross_entropy(&logits, &labels),
                logits,
                hidden_states: xlmr.hidden_states(&embedded, &positions, mask),
                first_token: xlmr.first_token(&embedded, &positions, mask, train),
                noise,
            }
        }
    }
}

/// Largest difference; NaN counts as infinitely far.
pub fn far(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    let gap = (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs();
    gap.nan_to_num(f64::INFINITY, f64::INFINITY, f64::INFINITY)
        .max()
        .double_value(&[])
}

/// Fails when `a` is `tolerance` or further from `b`.
pub fn near(what: &str, a: &Tensor, b: &Tensor, tolerance: f64) {
    let off = far(a, b);
    assert!(off < tolerance, "{what} is off by {off:e}");
}
