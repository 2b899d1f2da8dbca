//! Reading the keys of a `config.json`, strictly.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::layers::Activation;

/// What is wrong with a model's configuration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A key that this network does not have.
    #[error("unknown key `{key}` in the configuration of `{model}`{}", suggestion.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// The family of networks.
        model: &'static str,
        /// The key as written.
        key: String,
        /// The nearest key there is.
        suggestion: Option<String>,
    },
    /// A value of the wrong type.
    #[error("`{key}` should be {expected}, found {found}")]
    Type {
        /// The key.
        key: String,
        /// What it should be, in words.
        expected: &'static str,
        /// What it is, as JSON.
        found: String,
    },
    /// A value that the network cannot have.
    #[error("`{key}` {problem}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong, as the rest of a sentence.
        problem: String,
    },
}

/// Keys that change nothing that is computed here, in any family: they say where a file came from, how a model is to
/// be run, or belong to text generation.
const HARMLESS: [&str; 19] = [
    "_name_or_path",
    "_attn_implementation",
    "architectures",
    "chunk_size_feed_forward",
    "dtype",
    "finetuning_task",
    "gradient_checkpointing",
    "is_encoder_decoder",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "problem_type",
    "return_dict",
    "task_specific_params",
    "torch_dtype",
    "transformers_version",
    "use_bfloat16",
    "use_cache",
];

pub(super) fn wrong(key: &str, problem: String) -> ConfigError {
    ConfigError::Value {
        key: key.into(),
        problem,
    }
}

/// An error unless `heads` divides `hidden`.
pub(super) fn divides(
    (heads_key, heads): (&str, i64),
    (hidden_key, hidden): (&str, i64),
) -> Result<(), ConfigError> {
    match hidden % heads {
        0 => Ok(()),
        _ => Err(wrong(
            heads_key,
            format!("should divide {hidden_key}, {hidden}"),
        )),
    }
}

/// `id2label` and `label2id` of `count` classes, which are called LABEL_0 and so on where they have no `names`.
pub(super) fn label_maps(count: i64, names: &[String]) -> [(&'static str, Value); 2] {
    let name = |id: usize| match names.get(id) {
        Some(name) => name.clone(),
        None => format!("LABEL_{id}"),
    };
    let ids = 0..count as usize;
    let names: serde_json::Map<String, Value> = ids
        .clone()
        .map(|id| (id.to_string(), json!(name(id))))
        .collect();
    let numbers: serde_json::Map<String, Value> = ids.map(|id| (name(id), json!(id))).collect();
    [("id2label", names.into()), ("label2id", numbers.into())]
}

/// The keys of one configuration, each of which must be asked for or be harmless.
pub(super) struct Keys<'a> {
    model: &'static str,
    keys: &'a IndexMap<String, Value>,
    asked: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(model: &'static str, keys: &'a IndexMap<String, Value>) -> Self {
        Self {
            model,
            keys,
            asked: Vec::new(),
        }
    }

    /// The value of `key` unless it is absent or null.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.push(key);
        self.keys.get(key).filter(|value| !value.is_null())
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        expected: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        read(value).ok_or_else(|| ConfigError::Type {
            key: key.into(),
            expected,
            found: value.to_string(),
        })
    }

    /// A size; at least 1.
    pub(super) fn size(&mut self, key: &'static str, default: i64) -> Result<i64, ConfigError> {
        self.read(key, default, "a whole number, at least 1", |value| {
            value.as_i64().filter(|&size| size >= 1)
        })
    }

    /// A finite number, at least 0.
    pub(super) fn number(&mut self, key: &'static str, default: f64) -> Result<f64, ConfigError> {
        self.read(key, default, "a number, at least 0", |value| {
            value.as_f64().filter(|number| *number >= 0.0)
        })
    }

    /// A probability in [0, 1).
    pub(super) fn probability(
        &mut self,
        key: &'static str,
        default: f64,
    ) -> Result<f64, ConfigError> {
        let probability = |value: &Value| value.as_f64().filter(|p| (0.0..1.0).contains(p));
        self.read(key, default, "a probability below 1", probability)
    }

    /// A number of a token, if there is one.
    pub(super) fn token(&mut self, key: &'static str) -> Result<Option<i64>, ConfigError> {
        self.read(key, None, "the number of a token", |value| {
            value.as_i64().filter(|&token| token >= 0).map(Some)
        })
    }

    /// The activation of a feed-forward layer.
    pub(super) fn activation(
        &mut self,
        key: &'static str,
        default: &'a str,
    ) -> Result<Activation, ConfigError> {
        match self.word(key, default)? {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            other => Err(wrong(
                key,
                format!("should be gelu, gelu_new, gelu_pytorch_tanh or relu, found {other}"),
            )),
        }
    }

    /// Number and names of the classes, by `num_labels` and `id2label`; 2 without either. Names may be absent.
    pub(super) fn labels(&mut self) -> Result<(i64, Vec<String>), ConfigError> {
        let key = "id2label";
        let Some(value) = self.get(key) else {
            return Ok((self.size("num_labels", 2)?, Vec::new()));
        };
        let name = |id: usize| value.get(id.to_string())?.as_str().map(str::to_string);
        let count = value.as_object().map_or(0, serde_json::Map::len);
        let names: Option<Vec<String>> = (0..count).map(name).collect();
        let names = names
            .filter(|names| !names.is_empty())
            .ok_or_else(|| ConfigError::Type {
                key: key.into(),
                expected: "names under the numbers of their classes, from 0",
                found: value.to_string(),
            })?;
        let named = names.len() as i64;
        match self.size("num_labels", named)? {
            count if count == named => Ok((count, names)),
            count => Err(wrong(
                "num_labels",
                format!("is {count}, but id2label names {named}"),
            )),
        }
    }

    /// An error unless `key` is absent or `value`, the only one that this program computes.
    pub(super) fn only(&mut self, key: &'static str, value: Value) -> Result<(), ConfigError> {
        match self.get(key) {
            Some(found) if *found != value => Err(wrong(
                key,
                format!("should be {value}, found {found}; nothing else is supported"),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn truth(&mut self, key: &'static str, default: bool) -> Result<bool, ConfigError> {
        self.read(key, default, "true or false", Value::as_bool)
    }

    pub(super) fn word(
        &mut self,
        key: &'static str,
        default: &'a str,
    ) -> Result<&'a str, ConfigError> {
        self.read(key, default, "a word", Value::as_str)
    }

    /// An error for the first key that was neither asked for nor is in `harmless` or [`HARMLESS`].
    pub(super) fn finish(self, harmless: &[&'static str]) -> Result<(), ConfigError> {
        let known = || self.asked.iter().chain(&HARMLESS).chain(harmless);
        let Some(key) = self
            .keys
            .keys()
            .find(|key| !known().any(|known| known == key))
        else {
            return Ok(());
        };
        let near = self
            .asked
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
        let suggestion = near
            .filter(|near| strsim::jaro_winkler(near, key) > 0.8)
            .map(|near| near.to_string());
        Err(ConfigError::Unknown {
            model: self.model,
            key: key.clone(),
            suggestion,
        })
    }
}
