//! Text as blocks of tokens.
//!
//! The documents of a portion are joined with newlines, turned into ids without special tokens, and cut into blocks.
//! They are tokenized in pieces. A piece ends with a document that is not empty, and the newline behind it begins the
//! next piece. Where the tokenizer [splits at newlines](Tokenizer::splits_at_newlines) the ids are those of the joined
//! whole. Elsewhere every such document, with the newlines before it, is tokenized by itself: that is the rule then.

use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;
use std::thread;

use rayon::prelude::*;
use serde::Serialize;

use super::cache::{Cache, Entry, Key, Progress, Tell, Unit, Writer};
use super::error::DataError;
use super::joined::Joined;
use super::portion::Portion;
use super::tokenizer::Tokenizer;
use super::words::Words;

/// Bytes of a piece, at least, where pieces may hold several documents.
const PIECE: usize = 1 << 16;
/// Bytes of text that one thread gets at a time.
const SHARE: usize = 1 << 20;
/// Readings of text that may wait to be tokenized.
const WAITING: usize = 2;

/// All token ids of a portion, memory-mapped.
#[derive(Debug)]
pub struct Tokens {
    entry: Entry,
    narrow: bool,
}

/// Token ids, in the width that they are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids<'a> {
    /// Of a vocabulary with at most 2^16 tokens.
    Narrow(&'a [u16]),
    /// Of a larger one.
    Wide(&'a [u32]),
}

#[derive(Serialize)]
struct Source<'a> {
    content: Vec<String>,
    column: &'a str,
    tokenizer: &'a str,
    narrow: bool,
}

impl Tokens {
    /// The token ids of `portion`, whose texts are in `column` where it is Parquet.
    pub fn prepare(
        cache: &Cache,
        portion: &Portion,
        column: &str,
        tokenizer: &Tokenizer,
        tell: &mut Tell,
    ) -> Result<Self, DataError> {
        let narrow = is_narrow(tokenizer);
        let source = Source {
            content: portion.content()?,
            column,
            tokenizer: &tokenizer.sha256,
            narrow,
        };
        let total = portion.size()?;
        let fill = |writer: &mut Writer| {
            writer.section("ids")?;
            let mut short = Vec::new();
            tokenized(portion, column, tokenizer, &mut |ids, read| {
                writer.tell(Progress::At {
                    label: &portion.name,
                    done: read,
                    total: Some(total),
                    unit: Unit::Bytes,
                });
                put(writer, "ids", ids, narrow, &mut short)
            })
        };
        let entry = cache.prepared(&Key::new("tokens", &source), tell, fill)?;
        Ok(Self { entry, narrow })
    }

    /// All ids, in order.
    pub fn ids(&self) -> Ids<'_> {
        ids(&self.entry, "ids", self.narrow)
    }
}

impl<'a> Ids<'a> {
    /// How many there are.
    pub fn len(self) -> usize {
        match self {
            Self::Narrow(ids) => ids.len(),
            Self::Wide(ids) => ids.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The ids `start..end`.
    pub fn part(self, start: usize, end: usize) -> Self {
        match self {
            Self::Narrow(ids) => Self::Narrow(&ids[start..end]),
            Self::Wide(ids) => Self::Wide(&ids[start..end]),
        }
    }

    /// Adds the ids to `out`.
    pub fn append_to(self, out: &mut Vec<i64>) {
        match self {
            Self::Narrow(ids) => out.extend(ids.iter().map(|&id| i64::from(id))),
            Self::Wide(ids) => out.extend(ids.iter().map(|&id| i64::from(id))),
        }
    }
}

/// What becomes of the last block when it is not full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// It is left out: for training.
    Drop,
    /// It stays if it has two tokens or more, so that there is one to predict: for evaluation.
    Keep,
}

/// The blocks of one or more portions, each cut by itself, one behind another.
#[derive(Debug)]
pub struct Blocks {
    portions: Vec<Tokens>,
    places: Joined,
    length: usize,
}

impl Blocks {
    /// Blocks of `length` tokens, at least 1.
    pub fn new(portions: Vec<Tokens>, length: usize, tail: Tail) -> Self {
        let blocks = |tokens: &Tokens| {
            let (full, rest) = (tokens.ids().len() / length, tokens.ids().len() % length);
            full + usize::from(tail == Tail::Keep && rest >= 2)
        };
        Self {
            places: Joined::new(portions.iter().map(blocks)),
            portions,
            length,
        }
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of tokens in all blocks.
    pub fn tokens(&self) -> usize {
        (0..self.len()).map(|place| self.block(place).len()).sum()
    }

    /// The block at `place`; only the last one of a portion may be shorter than the others.
    pub fn block(&self, place: usize) -> Ids<'_> {
        let (portion, block) = self.places.find(place);
        let ids = self.portions[portion].ids();
        let start = block * self.length;
        ids.part(start, ids.len().min(start + self.length))
    }
}

/// Whether ids are stored in two bytes.
pub(super) fn is_narrow(tokenizer: &Tokenizer) -> bool {
    tokenizer.vocabulary <= 1 << 16
}

/// Adds ids to a section, in two bytes or four; `short` is room for a copy.
pub(super) fn put(
    writer: &mut Writer,
    section: &'static str,
    ids: &[u32],
    narrow: bool,
    short: &mut Vec<u16>,
) -> Result<(), DataError> {
    if !narrow {
        return writer.extend(section, ids);
    }
    short.clear();
    short.extend(ids.iter().map(|&id| id as u16));
    writer.extend(section, short)
}

/// The ids of a section that [`put`] wrote.
pub(super) fn ids<'a>(entry: &'a Entry, section: &str, narrow: bool) -> Ids<'a> {
    match narrow {
        true => Ids::Narrow(entry.section(section)),
        false => Ids::Wide(entry.section(section)),
    }
}

/// Text that is tokenized at once.
struct Reading {
    pieces: Vec<String>,
    /// Bytes of the portion's files read when it was complete.
    read: u64,
}

/// Tokenizes a portion, giving `each` the ids piece by piece with the bytes of its files read so far.
///
/// One thread reads, rayon's threads tokenize; a bounded part of the text is in memory.
fn tokenized(
    portion: &Portion,
    column: &str,
    tokenizer: &Tokenizer,
    each: &mut dyn FnMut(&[u32], u64) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let words = Words::new(tokenizer);
    let least = if tokenizer.splits_at_newlines() {
        PIECE
    } else {
        1
    };
    let share = SHARE * rayon::current_num_threads();
    let (send, receive) = sync_channel::<Reading>(WAITING);
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut pieces = Pieces::new(least);
            let mut reading = Reading {
                pieces: Vec::new(),
                read: 0,
            };
            let mut size = 0;
            portion.documents(column, |document, read| {
                if let Some(piece) = pieces.push(document) {
                    size += piece.len();
                    reading.pieces.push(piece);
                    reading.read = read;
                }
                if size < share {
                    return ControlFlow::Continue(());
                }
                size = 0;
                let full = Reading {
                    pieces: std::mem::take(&mut reading.pieces),
                    read,
                };
                match send.send(full) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            })?;
            reading.pieces.extend(pieces.last());
            // Whoever no longer listens has an error of its own to tell.
            let _ = send.send(reading);
            Ok(())
        });
        for Reading { pieces, read } in receive {
            let found: Vec<Vec<u32>> = pieces
                .par_iter()
                .map(|piece| words.ids(piece))
                .collect::<Result<_, _>>()?;
            for ids in &found {
                each(ids, read)?;
            }
        }
        match reader.join() {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Joins documents with newlines and cuts the result where it may be cut.
struct Pieces {
    piece: String,
    least: usize,
    first: bool,
}

impl Pieces {
    /// Pieces of at least so many bytes.
    fn new(least: usize) -> Self {
        Self {
            piece: String::new(),
            least,
            first: true,
        }
    }

    /// Adds a document, without white space at its end. Gives the piece that it completes.
    fn push(&mut self, document: &str) -> Option<String> {
        if !self.first {
            self.piece.push('\n');
        }
        self.first = false;
        self.piece.push_str(document);
        let complete = !document.is_empty() && self.piece.len() >= self.least;
        complete.then(|| {
            let next = String::with_capacity(self.piece.len());
            std::mem::replace(&mut self.piece, next)
        })
    }

    /// What is left at the end.
    fn last(self) -> Option<String> {
        (!self.piece.is_empty()).then_some(self.piece)
    }
}
