//! Token ids of long texts, with the ids of words remembered.
//!
//! Byte-level BPE turns every word into ids by itself, and few words make up most of a text: looking a word up costs a
//! small part of tokenizing it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;

use regex::Regex;

use super::error::DataError;
use super::tokenizer::{Special, Tokenizer};

/// GPT-2's expression for words, but for its look ahead: white space that something else follows leaves its last
/// character to that.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
/// Words that are remembered at once; then all are forgotten, which bounds the memory.
const REMEMBERED: usize = 1 << 19;
/// Bytes of the longest word that is remembered.
const LONGEST: usize = 40;

/// Turns texts into ids without special tokens, from any number of threads at once.
pub(super) struct Words<'t> {
    tokenizer: &'t Tokenizer,
    /// None for a tokenizer that is not known to treat words by themselves.
    pattern: Option<Regex>,
    /// Texts with one of these are left to the tokenizer.
    added: Vec<String>,
    /// A memory for each thread at work.
    memories: Mutex<Vec<Memory>>,
}

impl<'t> Words<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer) -> Self {
        let by_words = tokenizer.splits_at_newlines();
        Self {
            tokenizer,
            pattern: by_words.then(|| Regex::new(WORDS).expect("an expression")),
            added: tokenizer.added(),
            memories: Mutex::default(),
        }
    }

    /// The ids of `text`: those the tokenizer gives.
    pub(super) fn ids(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let whole = |text: &str| self.tokenizer.ids(text, Special::Omit, None);
        let Some(pattern) = &self.pattern else {
            return whole(text);
        };
        if self.added.iter().any(|token| text.contains(token)) {
            return whole(text);
        }
        let mut memory = self.lent();
        let mut ids = Vec::with_capacity(text.len() / 3);
        let mut at = 0;
        while let Some(found) = pattern.find_at(text, at) {
            let end = word_end(text, found.start(), found.end());
            let word = &text[found.start()..end];
            at = end;
            if let Some(known) = memory.get(word) {
                ids.extend_from_slice(known);
                continue;
            }
            let new = whole(word)?;
            ids.extend_from_slice(&new);
            memory.keep(word, &new);
        }
        self.memories
            .lock()
            .expect("no panic under it")
            .push(memory);
        Ok(ids)
    }

    fn lent(&self) -> Memory {
        let mut memories = self.memories.lock().expect("no panic under it");
        memories.pop().unwrap_or_default()
    }
}

/// Where the word that the expression found really ends.
fn word_end(text: &str, start: usize, end: usize) -> usize {
    let last = text[..end]
        .chars()
        .next_back()
        .map_or(0, |last| match last.is_whitespace() {
            true => last.len_utf8(),
            false => 0,
        });
    let leaves_one = last > 0 && end < text.len() && end - start > last;
    if leaves_one { end - last } else { end }
}

/// Ids of words.
#[derive(Default)]
struct Memory {
    places: HashMap<Box<str>, (u32, u32), BuildHasherDefault<Multiply>>,
    ids: Vec<u32>,
}

impl Memory {
    fn get(&self, word: &str) -> Option<&[u32]> {
        let &(start, count) = self.places.get(word)?;
        Some(&self.ids[start as usize..][..count as usize])
    }

    fn keep(&mut self, word: &str, ids: &[u32]) {
        if word.len() > LONGEST {
            return;
        }
        if self.places.len() == REMEMBERED {
            self.places.clear();
            self.ids.clear();
        }
        let place = (self.ids.len() as u32, ids.len() as u32);
        self.ids.extend_from_slice(ids);
        self.places.insert(word.into(), place);
    }
}

/// A quick hash of short words. Nobody gains by choosing words that collide: their search only takes longer.
#[derive(Default)]
struct Multiply(u64);

impl Hasher for Multiply {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.add(u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
        }
        let mut rest = [0; 8];
        rest[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        self.add(u64::from_le_bytes(rest) ^ ((bytes.len() as u64) << 56));
    }

    fn write_u8(&mut self, _: u8) {
        // What ends a text in a hash of several parts; a word has one part.
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

impl Multiply {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
