//! How large a portion is: the figures that papers print in their tables of data sets.

use harness::count::{Count, CountRequest, ToCount};
use serde::Serialize;

use super::blocks::{Tokens, tokenized};
use super::cache::{Cache, Progress, Tell, Unit};
use super::error::DataError;
use super::portion::Portion;
use super::tokenizer::Tokenizer;

/// Counts every portion of `request`. Texts are read once to count documents and once for their tokens, which stay in
/// the cache.
pub fn count(request: &CountRequest) -> Result<Vec<Count>, DataError> {
    let cache = Cache::at(&request.cache);
    let one = |wanted: &ToCount| {
        let portion = Portion::find(&wanted.folder, &wanted.portion)?;
        let tokens = match &wanted.text {
            Some(text) => {
                let tokenizer = Tokenizer::open(&text.tokenizer)?;
                let tokens =
                    Tokens::prepare(&cache, &portion, &text.column, &tokenizer, &mut |_| {})?;
                Some(tokens.ids().len() as u64)
            }
            None => None,
        };
        Ok(Count {
            examples: rows(&portion)?,
            tokens,
        })
    };
    request.portions.iter().map(one).collect()
}

/// How many examples a portion has; told without reading them where it is Parquet.
///
/// Of text every line is an example, the empty ones included.
pub fn rows(portion: &Portion) -> Result<u64, DataError> {
    if let Some(rows) = portion.rows()? {
        return Ok(rows);
    }
    let mut rows = 0;
    portion.documents("", |_, _| {
        rows += 1;
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(rows)
}

/// What a portion of text holds; white space around documents does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TextCount {
    /// Documents.
    pub documents: u64,
    /// Documents that are not empty.
    pub non_empty: u64,
    /// Characters, without the newlines that join documents.
    pub characters: u64,
    /// Bytes of UTF-8, without those newlines.
    pub bytes: u64,
    /// Tokens of the documents joined with newlines, as [blocks](super::blocks) have them; none without a tokenizer.
    pub tokens: Option<u64>,
}

/// Counts the text of `portion`, in `column` where it is Parquet.
pub fn text(
    portion: &Portion,
    column: &str,
    tokenizer: Option<&Tokenizer>,
    tell: &mut Tell,
) -> Result<TextCount, DataError> {
    let mut count = TextCount::default();
    portion.documents(column, |document, _| {
        count.documents += 1;
        count.non_empty += u64::from(!document.is_empty());
        count.characters += document.chars().count() as u64;
        count.bytes += document.len() as u64;
        std::ops::ControlFlow::Continue(())
    })?;
    if let Some(tokenizer) = tokenizer {
        let total = Some(portion.size()?);
        let mut tokens = 0;
        tokenized(portion, column, tokenizer, &mut |ids, done| {
            tokens += ids.len() as u64;
            tell(Progress::At {
                label: &portion.name,
                done,
                total,
                unit: Unit::Bytes,
            });
            Ok(())
        })?;
        count.tokens = Some(tokens);
    }
    Ok(count)
}
