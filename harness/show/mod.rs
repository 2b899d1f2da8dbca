//! What a schedule or a fetch shows while it works: a live display on a terminal, plain lines elsewhere.

mod lines;
mod progress;
mod records;
mod terminal;
mod transfer;
mod view;

use std::fmt;
use std::io::{self, IsTerminal, Write};

use crate::event::{Event, Outcome};
use crate::plan::{Plan, PlannedRun};
use crate::schedule::{Failure, Told, What};
use crate::time;

use lines::Lines;
use progress::Progress;
use terminal::harmless;

pub use records::Records;
pub use terminal::{cut, first, size};
pub use transfer::Transfer;
pub use view::{RunView, SlotView, View};

/// A display on standard error.
pub enum Display {
    /// A line per slot and a total.
    Live(Progress),
    /// A line per beginning and end.
    Plain(Lines),
}

impl Display {
    /// The one that fits standard error.
    pub fn new(plan: &Plan, view: &View) -> Display {
        if std::io::stderr().is_terminal() {
            Display::Live(Progress::new(view))
        } else {
            Display::Plain(Lines::new(plan, Box::new(std::io::stderr())))
        }
    }

    /// Plain lines to `out`.
    pub fn plain(plan: &Plan, out: Box<dyn std::io::Write>) -> Display {
        Display::Plain(Lines::new(plan, out))
    }

    /// Shows what happened to a run, which `view` knows already.
    pub fn tell(&mut self, told: &Told<'_>, view: &View) {
        match self {
            Display::Live(progress) => progress.tell(told, view),
            Display::Plain(lines) => lines.tell(told),
        }
    }

    /// Shows a sentence that is of no one run.
    pub fn note(&mut self, text: &str) {
        match self {
            Display::Live(progress) => progress.line(text),
            Display::Plain(lines) => lines.line(text),
        }
    }

    /// Shows how things stand.
    pub fn look(&mut self, view: &View) {
        if let Display::Live(progress) = self {
            progress.draw(view);
        }
    }

    /// Leaves the terminal as it was.
    pub fn close(&mut self) {
        if let Display::Live(progress) = self {
            progress.close();
        }
    }
}

/// Prints a line to standard error. A reader that went away is no reason to end.
pub fn say(line: impl fmt::Display) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Prints to standard output, where nobody may read any more, either.
pub fn print(text: impl fmt::Display) {
    let mut out = io::stdout();
    let _ = out
        .write_all(text.to_string().as_bytes())
        .and_then(|()| out.flush());
}

/// How a person calls a run: `digits tram-x seed 3`.
fn name(run: &PlannedRun) -> String {
    format!("{} {} seed {}", run.task, run.method, run.spec.seed)
}

/// `812 B`, `4.0 kB`, `1.2 GB`, in powers of a thousand.
pub fn bytes(count: u64) -> String {
    let mut scaled = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        // From here on one digit after the point would round up to a thousand.
        if scaled < 999.95 {
            let digits = usize::from(unit != "B");
            return format!("{scaled:.digits$} {unit}");
        }
        scaled /= 1000.0;
    }
    format!("{scaled:.1} TB")
}

/// `12`, `1,200`, `50,000`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// An error with its causes, in a line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// The lines that stay of an end, empty for what leaves none; nothing in them is obeyed by a terminal.
fn lasting(told: &Told<'_>) -> Vec<String> {
    let lines = lines_of(told).into_iter();
    lines.map(|line| harmless(&line)).collect()
}

fn lines_of(told: &Told<'_>) -> Vec<String> {
    let name = name(told.run);
    match &told.what {
        What::Ended {
            outcome,
            seconds,
            failure: None,
        } => {
            vec![format!("{name}: {outcome} in {}", time::shown(*seconds))]
        }
        What::Ended {
            outcome,
            seconds,
            failure: Some(failure),
        } => {
            let mut lines = vec![format!("{name}: {outcome} after {}", time::shown(*seconds))];
            lines.extend(details(outcome, failure));
            lines
        }
        What::Again {
            outcome,
            seconds,
            failure,
            attempts: (count, of),
            rest,
        } => {
            let after = time::shown(*seconds);
            let mut lines = vec![format!(
                "{name}: {outcome} after {after}; attempt {count} of {of}, again in {}",
                time::shown(*rest)
            )];
            lines.extend(details(outcome, failure));
            lines
        }
        What::SlotsLost { .. } => vec![format!(
            "{name}: its device is gone and no longer used; it will be tried on another"
        )],
        What::Damaged { what } => vec![format!("{name}: {what}; it is done again")],
        What::PutBack { why } => vec![format!("{name}: {why}; it will be tried again")],
        What::Waiting => vec![format!("{name}: waiting for another supervisor")],
        What::Blocked => vec![format!(
            "{name}: not begun, the run it starts from left no weights"
        )],
        What::Interrupted => vec![format!("{name}: stopped")],
        What::Event(Event::Resumed { step, steps, .. }) => vec![format!(
            "{name}: resumed at update {} of {}",
            grouped(*step),
            grouped(*steps)
        )],
        What::Event(Event::Note { text }) if text.contains(PASSED_OVER) => {
            vec![format!("{name}: {text}")]
        }
        What::Already | What::Started { .. } | What::Event(_) => Vec::new(),
    }
}

/// What a worker notes of a checkpoint that is damaged or another program's: its user should know, as training is repeated.
const PASSED_OVER: &str = "is passed over: ";

fn details(outcome: &Outcome, failure: &Failure) -> Vec<String> {
    let mut lines = Vec::new();
    let said = |line: &String| matches!(outcome, Outcome::Failed { message } if line.contains(message.as_str()));
    lines.extend(
        failure
            .log_end
            .iter()
            .filter(|line| !said(line))
            .map(|line| format!("    | {line}")),
    );
    if let Some(folder) = &failure.folder {
        lines.push(format!("    log: {}", folder.join("log.txt").display()));
    }
    lines.push(format!("    again: {}", failure.again));
    lines
}

#[cfg(test)]
mod tests {
    use super::{bytes, grouped};

    #[test]
    fn counts_are_grouped_by_thousands() {
        let told: Vec<_> = [0, 999, 1200, 50_000, 1_234_567].map(grouped).into();
        assert_eq!(told, ["0", "999", "1,200", "50,000", "1,234,567"]);
    }

    #[test]
    fn bytes_are_told_in_the_largest_unit_that_leaves_a_whole_number() {
        let told: Vec<_> = [0, 999, 1000, 999_960, 1_234_567_890].map(bytes).into();
        assert_eq!(told, ["0 B", "999 B", "1.0 kB", "1.0 MB", "1.2 GB"]);
    }
}
