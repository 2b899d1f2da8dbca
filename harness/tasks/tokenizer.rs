//! Texts to token ids, as the tokenizer in a model's folder says.

use std::fs;
use std::path::{Path, PathBuf};

use harness::content::sha256_of_file;
use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::utils::truncation::{TruncationParams, TruncationStrategy, truncate_encodings};
use tokenizers::{AddedToken, Encoding, ModelWrapper, PostProcessor, PreTokenizerWrapper};

use super::error::DataError;

/// The token that GPT-2's files without a `tokenizer.json` do not mention.
const END_OF_TEXT: &str = "<|endoftext|>";

/// The tokenizer of a model.
#[derive(Debug)]
pub struct Tokenizer {
    /// Fills sequences up; the end of text where the model has no other.
    pub pad: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Every id is smaller.
    pub vocabulary: usize,
    /// SHA-256 of its files and of the settings beside them that decide ids.
    pub sha256: String,
    inner: tokenizers::Tokenizer,
    folder: PathBuf,
}

/// Whether the tokens that mark a sequence's begin and end are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// As the tokenizer does for its model.
    Add,
    /// The text alone.
    Omit,
}

/// Cutting what is too long, at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Tokens left, added ones included.
    pub max_length: usize,
    /// What is cut.
    pub strategy: Strategy,
}

/// Which text of a pair is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The longer one, until both are equally long; then both.
    LongestFirst,
    /// The first.
    OnlyFirst,
    /// The second.
    OnlySecond,
}

impl Tokenizer {
    /// The tokenizer in `folder`: `tokenizer.json`, or GPT-2's `vocab.json` and `merges.txt`; `tokenizer_config.json`
    /// may name its special tokens.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        let config = config(folder)?;
        let (mut inner, sha256) = match folder.join("tokenizer.json") {
            path if path.is_file() => {
                let read = tokenizers::Tokenizer::from_file(&path);
                let inner = read.map_err(|error| refused(&path, &error))?;
                (inner, sha256_of_file(&path).map_err(DataError::io(&path))?)
            }
            _ => byte_pairs(folder, &config)?,
        };
        // What is cut and filled up is a matter of each use, not of the file.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| refused(folder, &error))?;

        let named = |key: &str| named(folder, &config, key, &inner);
        let known = |names: &[&str]| names.iter().find_map(|name| inner.token_to_id(name));
        let eos = named("eos_token")?.or_else(|| known(&["</s>", END_OF_TEXT, "[SEP]"]));
        let pad = named("pad_token")?
            .or_else(|| known(&["<pad>", "[PAD]"]))
            .or(eos);
        let largest = inner.get_vocab(true).into_values().max();
        Ok(Self {
            pad,
            eos,
            vocabulary: largest.map_or(0, |id| id as usize + 1),
            sha256,
            inner,
            folder: folder.into(),
        })
    }

    /// Ids of a text, at most `max_length` of them if that is given.
    pub fn ids(
        &self,
        text: &str,
        special: Special,
        max_length: Option<usize>,
    ) -> Result<Vec<u32>, DataError> {
        let encoding = self.plain(text)?;
        let truncation = max_length.map(|max_length| Truncation {
            max_length,
            strategy: Strategy::LongestFirst,
        });
        self.finish(encoding, None, special, truncation)
    }

    /// Ids of a pair of texts with the tokens that belong around and between them.
    pub fn pair(
        &self,
        first: &str,
        second: &str,
        truncation: Option<Truncation>,
    ) -> Result<Vec<u32>, DataError> {
        let (first, second) = (self.plain(first)?, self.plain(second)?);
        self.finish(first, Some(second), Special::Add, truncation)
    }

    /// Where the tokens of a text lie in it, in characters: begin and end of each; `[0, 0]` for added ones.
    pub fn offsets(&self, text: &str, special: Special) -> Result<Vec<(usize, usize)>, DataError> {
        let encoding = self
            .inner
            .encode_char_offsets(text, special == Special::Add)
            .map_err(|error| self.refuses(&error))?;
        Ok(encoding.get_offsets().to_vec())
    }

    /// Whether a text may be cut before any newline that follows something else than white space, and the ids of the
    /// parts are those of the whole.
    ///
    /// Shown for GPT-2's byte-level BPE. Its expression splits a text into words from left to right and never looks
    /// back; BPE then sees each word alone. No word holds something else than white space with white space behind it,
    /// so one ends before such a newline. The words to the left are found without the part to the right: the only
    /// look ahead is that of white space for what follows it, and the left part ends with something else. The words to
    /// the right are found afresh. Added tokens are cut out before; none may hold a newline or swallow white space.
    pub fn splits_at_newlines(&self) -> bool {
        let words = matches!(
            self.inner.get_pre_tokenizer(),
            Some(PreTokenizerWrapper::ByteLevel(level)) if level.use_regex && !level.add_prefix_space
        );
        let pairs = matches!(
            self.inner.get_model(),
            ModelWrapper::BPE(model) if model.dropout.is_none()
        );
        let plain = |token: &AddedToken| {
            !(token.lstrip || token.rstrip || token.single_word || token.content.contains('\n'))
        };
        let added = self.inner.get_added_tokens_decoder();
        words && pairs && self.inner.get_normalizer().is_none() && added.values().all(plain)
    }

    /// The texts that stand for a token of their own wherever they appear.
    pub(super) fn added(&self) -> Vec<String> {
        let added = self.inner.get_added_tokens_decoder();
        added.into_values().map(|token| token.content).collect()
    }

    /// A text without anything added.
    fn plain(&self, text: &str) -> Result<Encoding, DataError> {
        self.inner
            .encode_fast(text, false)
            .map_err(|error| self.refuses(&error))
    }

    fn finish(
        &self,
        mut first: Encoding,
        mut second: Option<Encoding>,
        special: Special,
        truncation: Option<Truncation>,
    ) -> Result<Vec<u32>, DataError> {
        if let Some(Truncation {
            max_length,
            strategy,
        }) = truncation
        {
            let added = match (special, self.inner.get_post_processor()) {
                (Special::Add, Some(processor)) => processor.added_tokens(second.is_some()),
                _ => 0,
            };
            let left = max_length
                .checked_sub(added)
                .ok_or(DataError::TooShort { max_length, added })?;
            let strategy = match strategy {
                Strategy::LongestFirst => TruncationStrategy::LongestFirst,
                Strategy::OnlyFirst => TruncationStrategy::OnlyFirst,
                Strategy::OnlySecond => TruncationStrategy::OnlySecond,
            };
            let parameters = TruncationParams {
                max_length: left,
                strategy,
                ..TruncationParams::default()
            };
            (first, second) = truncate_encodings(first, second, &parameters)
                .map_err(|error| self.refuses(&error))?;
        }
        let whole = self
            .inner
            .post_process(first, second, special == Special::Add)
            .map_err(|error| self.refuses(&error))?;
        Ok(whole.get_ids().to_vec())
    }

    fn refuses(&self, error: &tokenizers::Error) -> DataError {
        DataError::Text {
            path: self.folder.clone(),
            message: error.to_string(),
        }
    }
}

/// GPT-2's tokenizer from the files its repository had first.
fn byte_pairs(folder: &Path, config: &Value) -> Result<(tokenizers::Tokenizer, String), DataError> {
    let files = [folder.join("vocab.json"), folder.join("merges.txt")];
    if !files.iter().all(|path| path.is_file()) {
        return Err(DataError::Tokenizer {
            path: folder.into(),
            message: "no `tokenizer.json`, nor `vocab.json` with `merges.txt`".into(),
        });
    }
    let [vocabulary, merges] = files.each_ref().map(|path| path.to_string_lossy());
    let model = BPE::from_file(&vocabulary, &merges)
        .build()
        .map_err(|error| refused(folder, &error))?;
    let prefix = config["add_prefix_space"].as_bool().unwrap_or(false);
    let mut inner = tokenizers::Tokenizer::new(model);
    let level = ByteLevel::default().add_prefix_space(prefix);
    inner
        .with_pre_tokenizer(Some(level))
        .with_post_processor(Some(level.trim_offsets(false)))
        .with_decoder(Some(level));
    inner
        .add_special_tokens([AddedToken::from(END_OF_TEXT, true)])
        .map_err(|error| refused(folder, &error))?;
    let mut hashes = Vec::new();
    for path in &files {
        hashes.push(sha256_of_file(path).map_err(DataError::io(path))?);
    }
    Ok((inner, format!("{} {prefix}", hashes.join(" "))))
}

/// What `tokenizer_config.json` says; nothing when it is not there.
fn config(folder: &Path) -> Result<Value, DataError> {
    let path = folder.join("tokenizer_config.json");
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| DataError::Tokenizer {
            message: error.to_string(),
            path,
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(source) => Err(DataError::Io { path, source }),
    }
}

/// The id of the token that the configuration names under `key`, as text or as an object with `content`.
fn named(
    folder: &Path,
    config: &Value,
    key: &str,
    inner: &tokenizers::Tokenizer,
) -> Result<Option<u32>, DataError> {
    let token = &config[key];
    let Some(token) = token.as_str().or_else(|| token["content"].as_str()) else {
        return Ok(None);
    };
    let missing = || DataError::Tokenizer {
        path: folder.join("tokenizer_config.json"),
        message: format!("`{key}` is `{token}`, which the vocabulary lacks"),
    };
    inner.token_to_id(token).ok_or_else(missing).map(Some)
}

fn refused(path: &Path, error: &impl ToString) -> DataError {
    DataError::Tokenizer {
        path: path.into(),
        message: error.to_string(),
    }
}

/// How wide a batch of sequences becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// As wide as the longest.
    Longest,
    /// This wide, or as the longest if that is more.
    To(usize),
    /// As wide as the longest, up to a multiple of this.
    Multiple(usize),
}

/// Sequences of equal length, filled up at the right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Padded {
    /// `[batch, width]`.
    pub ids: Vec<i64>,
    /// `[batch, width]`: 1 for a token, 0 for what fills up.
    pub mask: Vec<i64>,
    /// Tokens in a row.
    pub width: usize,
}

/// Fills `rows` up with `pad`.
pub fn padded(rows: &[Vec<u32>], pad: u32, padding: Padding) -> Padded {
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = match padding {
        Padding::Longest => longest,
        Padding::To(width) => longest.max(width),
        Padding::Multiple(of) => longest.next_multiple_of(of),
    };
    let mut ids = Vec::with_capacity(rows.len() * width);
    let mut mask = Vec::with_capacity(rows.len() * width);
    for (place, row) in rows.iter().enumerate() {
        let end = (place + 1) * width;
        ids.extend(row.iter().map(|&id| i64::from(id)));
        ids.resize(end, i64::from(pad));
        mask.resize(place * width + row.len(), 1);
        mask.resize(end, 0);
    }
    Padded { ids, mask, width }
}
