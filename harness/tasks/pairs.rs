//! Pairs of sentences with a class label, as token ids.

use std::ops::ControlFlow;

use harness::suite::SentencePairs;
use rayon::prelude::*;
use serde::Serialize;

use super::blocks::{Ids, ids, is_narrow, put};
use super::cache::{Cache, Entry, Key, Progress, Tell, Unit, Writer};
use super::error::DataError;
use super::joined::Joined;
use super::portion::{Portion, Table};
use super::tokenizer::{Strategy, Tokenizer, Truncation};

/// The pairs of a portion, memory-mapped.
#[derive(Debug)]
struct Part {
    entry: Entry,
    narrow: bool,
}

/// The pairs of one or more portions, one behind another.
#[derive(Debug)]
pub struct Pairs {
    parts: Vec<Part>,
    places: Joined,
}

#[derive(Serialize)]
struct Source<'a> {
    content: Vec<String>,
    columns: [&'a str; 3],
    tokenizer: &'a str,
    max_length: u64,
    classes: i64,
    narrow: bool,
}

impl Pairs {
    /// The pairs of `portions`, cut to `input.max_length` tokens, the longer sentence first; labels are below `classes`.
    pub fn prepare(
        cache: &Cache,
        portions: &[Portion],
        input: &SentencePairs,
        tokenizer: &Tokenizer,
        classes: i64,
        tell: &mut Tell,
    ) -> Result<Self, DataError> {
        let narrow = is_narrow(tokenizer);
        let part = |portion: &Portion| {
            let source = Source {
                content: portion.content()?,
                columns: [&input.first, &input.second, &input.label],
                tokenizer: &tokenizer.sha256,
                max_length: input.max_length,
                classes,
                narrow,
            };
            let fill = |writer: &mut Writer| write(writer, portion, input, tokenizer, classes);
            let entry = cache.prepared(&Key::new("pairs", &source), tell, fill)?;
            Ok(Part { entry, narrow })
        };
        let parts: Vec<Part> = portions
            .iter()
            .map(part)
            .collect::<Result<_, DataError>>()?;
        let sizes = parts.iter().map(|part| part.labels().len());
        Ok(Self {
            places: Joined::new(sizes),
            parts,
        })
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The token ids of the pair at `place`, special ones included.
    pub fn ids(&self, place: usize) -> Ids<'_> {
        let (part, place) = self.find(place);
        let ends = part.ends();
        let all = ids(&part.entry, "ids", part.narrow);
        all.part(start(ends, place), ends[place] as usize)
    }

    /// Number of tokens of the pair at `place`.
    pub fn length(&self, place: usize) -> usize {
        let (part, place) = self.find(place);
        part.ends()[place] as usize - start(part.ends(), place)
    }

    /// The class of the pair at `place`.
    pub fn label(&self, place: usize) -> i64 {
        let (part, place) = self.find(place);
        part.labels()[place]
    }

    /// The pairs at `places`, filled up with `pad` to the longest of them.
    pub fn batch(&self, places: &[i64], pad: u32) -> PairBatch {
        let lengths = places.iter().map(|&place| self.length(place as usize));
        let width = lengths.max().unwrap_or(0);
        let mut batch = PairBatch {
            ids: Vec::with_capacity(places.len() * width),
            mask: vec![0; places.len() * width],
            labels: Vec::with_capacity(places.len()),
            width,
        };
        for (row, &place) in places.iter().enumerate() {
            let ids = self.ids(place as usize);
            ids.append_to(&mut batch.ids);
            batch.ids.resize((row + 1) * width, i64::from(pad));
            batch.mask[row * width..][..ids.len()].fill(1);
            batch.labels.push(self.label(place as usize));
        }
        batch
    }

    fn find(&self, place: usize) -> (&Part, usize) {
        let (part, place) = self.places.find(place);
        (&self.parts[part], place)
    }
}

/// Pairs of equal length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairBatch {
    /// `[batch, width]`.
    pub ids: Vec<i64>,
    /// `[batch, width]`: 1 for a token, 0 for what fills up.
    pub mask: Vec<i64>,
    /// `[batch]`.
    pub labels: Vec<i64>,
    /// Tokens in a row.
    pub width: usize,
}

impl Part {
    fn labels(&self) -> &[i64] {
        self.entry.section("labels")
    }

    /// Where the ids of each pair end among all.
    fn ends(&self) -> &[u64] {
        self.entry.section("ends")
    }
}

fn start(ends: &[u64], place: usize) -> usize {
    if place == 0 {
        0
    } else {
        ends[place - 1] as usize
    }
}

fn write(
    writer: &mut Writer,
    portion: &Portion,
    input: &SentencePairs,
    tokenizer: &Tokenizer,
    classes: i64,
) -> Result<(), DataError> {
    let narrow = is_narrow(tokenizer);
    let truncation = Some(Truncation {
        max_length: input.max_length as usize,
        strategy: Strategy::LongestFirst,
    });
    let total = portion.rows()?;
    let (mut ends, mut labels) = (Vec::new(), Vec::new());
    let (mut end, mut short) = (0, Vec::new());
    writer.section("ids")?;
    let each = |table: Table| {
        labels.extend(table.labels(&input.label, classes)?);
        let first = table.texts(&input.first)?.collect::<Result<Vec<_>, _>>()?;
        let second = table.texts(&input.second)?.collect::<Result<Vec<_>, _>>()?;
        let encoded: Vec<Vec<u32>> = first
            .par_iter()
            .zip(&second)
            .map(|(first, second)| tokenizer.pair(first, second, truncation))
            .collect::<Result<_, _>>()?;
        for pair in &encoded {
            put(writer, "ids", pair, narrow, &mut short)?;
            end += pair.len() as u64;
            ends.push(end);
        }
        writer.tell(Progress::At {
            label: &portion.name,
            done: ends.len() as u64,
            total,
            unit: Unit::Rows,
        });
        Ok(ControlFlow::Continue(()))
    };
    portion.tables(&[&input.first, &input.second, &input.label], each)?;
    writer.whole("ends", &ends)?;
    writer.whole("labels", &labels)
}
