//! Damage to real files, and the bounds that reading what comes of it keeps: `HARNESS_FUZZ=20000` makes more cases of each
//! kind than the few that every test run makes.

use std::fs;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Longer than any input takes; input that makes a reader hang takes for ever.
pub const SOON: Duration = Duration::from_secs(20);

/// Makes the cases of one test, always the same.
fn runner() -> TestRunner {
    let cases = std::env::var("HARNESS_FUZZ")
        .ok()
        .and_then(|text| text.parse().ok());
    TestRunner::new_with_rng(
        Config {
            cases: cases.unwrap_or(60),
            failure_persistence: None,
            ..Config::default()
        },
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    )
}

/// One change to a text or file; places are shares of its length.
#[derive(Clone, Debug)]
pub enum Change {
    Flip {
        at: f64,
        bit: u8,
    },
    Set {
        at: f64,
        byte: u8,
    },
    Cut {
        at: f64,
        length: usize,
    },
    End {
        at: f64,
    },
    Repeat {
        at: f64,
        length: usize,
        to: f64,
        times: usize,
    },
    Insert {
        at: f64,
        word: &'static str,
    },
}

/// What YAML, JSON and Parquet readers trip over.
const WORDS: &[&str] = &[
    "\n",
    " ",
    "\t",
    ":",
    "- ",
    "? ",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "|\n",
    ">\n",
    "---\n",
    "%YAML 9\n",
    "\u{feff}",
    "\0",
    "\u{202e}",
    "é",
    "1e999",
    "-0",
    ".nan",
    ".inf",
    "0x",
    "18446744073709551616",
    "~",
    "null",
    "true",
    "yes",
    "2024-01-01",
    "PAR1",
    "\u{ff}",
    "{\"a\":",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

/// Any of them.
pub fn change() -> impl Strategy<Value = Change> {
    let at = || 0.0..1.0f64;
    prop_oneof![
        (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip { at, bit }),
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set { at, byte }),
        (at(), 1..200usize).prop_map(|(at, length)| Change::Cut { at, length }),
        at().prop_map(|at| Change::End { at }),
        (at(), 1..200usize, at(), 1..50usize).prop_map(|(at, length, to, times)| Change::Repeat {
            at,
            length,
            to,
            times
        }),
        (at(), proptest::sample::select(WORDS)).prop_map(|(at, word)| Change::Insert { at, word }),
    ]
}

/// Makes it.
pub fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let place = |at: f64, bytes: &Vec<u8>| (at * bytes.len() as f64) as usize;
    match *change {
        Change::Flip { at, bit } => {
            let at = place(at, bytes);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Change::Set { at, byte } => {
            let at = place(at, bytes);
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
        }
        Change::Cut { at, length } => {
            let at = place(at, bytes);
            bytes.drain(at..(at + length).min(bytes.len()));
        }
        Change::End { at } => bytes.truncate(place(at, bytes)),
        Change::Repeat {
            at,
            length,
            to,
            times,
        } => {
            let (at, to) = (place(at, bytes), place(to, bytes));
            let piece = bytes[at..(at + length).min(bytes.len())].repeat(times);
            bytes.splice(to..to, piece);
        }
        Change::Insert { at, word } => {
            let at = place(at, bytes);
            bytes.splice(at..at, word.bytes());
        }
    }
}

/// Checks `body` on damaged forms of `corpus`.
pub fn fuzz(corpus: Vec<Vec<u8>>, body: impl Fn(&[u8])) {
    let cases = (0..corpus.len(), proptest::collection::vec(change(), 1..8));
    check(cases, |(which, changes)| {
        let mut bytes = corpus[which].clone();
        changes.iter().for_each(|change| apply(&mut bytes, change));
        body(&bytes);
    });
}

/// Checks `body` on every one of `cases`.
pub fn check<S: Strategy>(cases: S, body: impl Fn(S::Value)) {
    let memory = peak_memory();
    let result = runner().run(&cases, |case| {
        let begun = Instant::now();
        body(case);
        prop_assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let grown = peak_memory().saturating_sub(memory);
    assert!(grown < 1 << 30, "reading took {grown} bytes");
}

/// The largest resident memory so far, in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or("0 kB");
    line.trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<u64>()
        .unwrap_or(0)
        * 1024
}
