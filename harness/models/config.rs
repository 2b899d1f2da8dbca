//! Reading the keys of a `config.json`, strictly.

use indexmap::IndexMap;
use serde_json::Value;

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

    /// An error for the first key that was neither asked for nor is in `harmless`.
    pub(super) fn finish(self, harmless: &[&'static str]) -> Result<(), ConfigError> {
        let known = || self.asked.iter().chain(harmless);
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
