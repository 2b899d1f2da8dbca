//! How large portions of data are: what a worker is asked to count, and what it says.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Portions to count, each by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CountRequest {
    /// The portions.
    pub portions: Vec<ToCount>,
    /// Where the tokens of texts are kept for the runs that read them.
    pub cache: PathBuf,
}

/// A portion to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToCount {
    /// The data set's folder.
    pub folder: PathBuf,
    /// The portion.
    pub portion: String,
    /// How its text becomes tokens; none for a portion that is counted by examples alone.
    pub text: Option<TextToCount>,
}

/// How a text becomes tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextToCount {
    /// Its column, where it is Parquet.
    pub column: String,
    /// The tokenizer's folder.
    pub tokenizer: PathBuf,
}

/// What a portion holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Examples: rows, or documents of a text, empty ones included.
    pub examples: u64,
    /// Tokens of a text, its documents joined with newlines.
    pub tokens: Option<u64>,
}
