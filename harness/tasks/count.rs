//! How large a portion is: the figures that papers print in their tables of data sets.

use harness::count::{Count, CountRequest, ToCount};

use super::blocks::Tokens;
use super::cache::Cache;
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
