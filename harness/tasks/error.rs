//! Why data could not be prepared.

use std::io;
use std::path::{Path, PathBuf};

use harness::layout::NoFile;
use polars::prelude::PolarsError;

/// Why data could not be prepared. Rows and lines are named by their place in the file.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No file of the data set belongs to the portion.
    #[error("{folder}")]
    NoFile {
        /// The data set.
        folder: PathBuf,
        /// What would be a file of the portion.
        source: NoFile,
    },
    /// The file system refused.
    #[error("{path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its own words.
        source: io::Error,
    },
    /// The file is no Parquet file, or lacks a column.
    #[error("{path}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The reader's own words.
        source: PolarsError,
    },
    /// A column holds something else than is asked for.
    #[error("{path}: column `{column}` holds {found}, not {wanted}")]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What it should hold.
        wanted: &'static str,
        /// The type it has.
        found: String,
    },
    /// A column has no value in a row.
    #[error("{path}: row {row} has no value in column `{column}`")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: usize,
        /// The column.
        column: String,
    },
    /// A label is none of the classes.
    #[error(
        "{path}: row {row} has the label {label} in column `{column}`, but the classes are 0 to {last}"
    )]
    Label {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: usize,
        /// The column.
        column: String,
        /// The label.
        label: i64,
        /// The largest class.
        last: i64,
    },
    /// An image cannot be decoded.
    #[error("{path}: the image in row {row} cannot be decoded")]
    Image {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: usize,
        /// The decoder's own words.
        source: image::ImageError,
    },
    /// A line of text is not UTF-8.
    #[error("{path}: line {line} is not UTF-8")]
    Encoding {
        /// The file, with the member of an archive behind it.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An archive lacks the portion's text.
    #[error("{path}: no `{member}` in the archive")]
    Member {
        /// The archive.
        path: PathBuf,
        /// What was looked for.
        member: String,
    },
    /// A file of a tokenizer cannot be used.
    #[error("{path}: {message}")]
    Tokenizer {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A text cannot be turned into tokens.
    #[error("the tokenizer of {path} refused a text: {message}")]
    Text {
        /// The tokenizer's folder.
        path: PathBuf,
        /// Its own words.
        message: String,
    },
    /// The sequences that a pair may be cut to leave no room for what the tokenizer adds.
    #[error("at most {max_length} tokens leave no room for the {added} that the tokenizer adds")]
    TooShort {
        /// What was asked for.
        max_length: usize,
        /// Tokens that the tokenizer adds.
        added: usize,
    },
    /// The task asks for something that is not there.
    #[error("{0} is not available yet for images")]
    NotYet(&'static str),
}

impl DataError {
    /// An error of the file system at `path`.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        move |source| Self::Io {
            path: path.into(),
            source,
        }
    }

    /// An error of the Parquet reader at `path`.
    pub(super) fn parquet(path: &Path) -> impl FnOnce(PolarsError) -> Self + use<'_> {
        move |source| Self::Parquet {
            path: path.into(),
            source,
        }
    }
}
