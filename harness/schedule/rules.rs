//! How often a run is tried, by how it ends. Pure.

use std::str::FromStr;
use std::time::Duration;

use crate::event::Outcome;

/// A rule for every way in which an attempt can end without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    rules: [Rule; KINDS.len()],
}

/// How often a run may end in one way, and how long it rests after the first such end; twice as long after each further one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    attempts: u32,
    rest: Duration,
}

/// The ways, as the command line names them.
const KINDS: [&str; 5] = ["failed", "killed", "stalled", "timed_out", "out_of_memory"];

/// A rest grows no longer than this.
const LONGEST_REST: Duration = Duration::from_secs(3600);

fn kind(outcome: &Outcome) -> Option<usize> {
    match outcome {
        Outcome::Completed | Outcome::Diverged { .. } => None,
        Outcome::Failed { .. } => Some(0),
        Outcome::Killed { .. } => Some(1),
        Outcome::Stalled { .. } => Some(2),
        Outcome::TimedOut { .. } => Some(3),
        Outcome::OutOfMemory => Some(4),
    }
}

impl Default for Rules {
    /// An error of the run's own comes back, and so does the time that it takes. Whoever killed it may not, a stall neither,
    /// and memory may be free another time.
    fn default() -> Rules {
        let rule = |attempts, seconds| Rule {
            attempts,
            rest: Duration::from_secs(seconds),
        };
        Rules {
            rules: [
                rule(1, 0),
                rule(3, 10),
                rule(2, 10),
                rule(1, 0),
                rule(2, 60),
            ],
        }
    }
}

impl Rules {
    /// Every run is tried once.
    pub fn once() -> Rules {
        Rules {
            rules: [Rule {
                attempts: 1,
                rest: Duration::ZERO,
            }; KINDS.len()],
        }
    }

    /// With what one more word of the command line says: `killed=5`, `failed=2/30s`, `all=1`.
    pub fn with(mut self, word: &Word) -> Rules {
        for (i, rule) in self.rules.iter_mut().enumerate() {
            if word.kind.is_none_or(|kind| kind == i) {
                rule.attempts = word.attempts;
                rule.rest = word.rest.unwrap_or(rule.rest);
            }
        }
        self
    }

    /// How long to rest before the next attempt, after the one that ended like this and `before` that ended in the same way;
    /// none: it was the last.
    pub fn rest(&self, outcome: &Outcome, before: u32) -> Option<Duration> {
        let rule = self.rules[kind(outcome)?];
        let rest = rule.rest.saturating_mul(1 << before.min(20));
        (before + 1 < rule.attempts).then_some(rest.min(LONGEST_REST))
    }

    /// How often a run may end like this.
    pub fn attempts(&self, outcome: &Outcome) -> u32 {
        kind(outcome).map_or(1, |kind| self.rules[kind].attempts)
    }
}

/// How often each run has ended in each way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ends([u32; KINDS.len()]);

impl Ends {
    /// Takes over what another supervisor counted.
    pub(super) fn set(&mut self, outcome: &Outcome, count: u32) {
        if let Some(kind) = kind(outcome) {
            self.0[kind] = count;
        }
    }

    /// Counts one more; returns how many there were before in the same way.
    pub(super) fn count(&mut self, outcome: &Outcome) -> u32 {
        let Some(kind) = kind(outcome) else { return 0 };
        self.0[kind] += 1;
        self.0[kind] - 1
    }
}

/// One rule on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// None: every kind.
    kind: Option<usize>,
    attempts: u32,
    rest: Option<Duration>,
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.kind.map_or("all", |kind| KINDS[kind]);
        write!(f, "{kind}={}", self.attempts)?;
        match self.rest {
            None => Ok(()),
            Some(rest) => write!(f, "/{}s", rest.as_secs()),
        }
    }
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Word, String> {
        let wrong = || {
            format!(
                "`{text}` is no rule; write `killed=3` or `killed=3/10s` (attempts, and the rest between them) for {} or `all`",
                KINDS.map(|kind| format!("`{kind}`")).join(", ")
            )
        };
        let (name, rule) = text.split_once('=').ok_or_else(wrong)?;
        let kind = match name {
            "all" => None,
            _ => Some(
                KINDS
                    .iter()
                    .position(|kind| *kind == name)
                    .ok_or_else(wrong)?,
            ),
        };
        let (attempts, rest) = match rule.split_once('/') {
            Some((attempts, rest)) => (attempts, Some(crate::time::read(rest)?)),
            None => (rule, None),
        };
        let attempts = attempts.parse().ok().filter(|&attempts| attempts > 0);
        Ok(Word {
            kind,
            attempts: attempts.ok_or_else(wrong)?,
            rest,
        })
    }
}
