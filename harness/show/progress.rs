//! A display that stays in place, for terminals.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::terminal::{first, size};
use super::{View, lasting};
use crate::schedule::Told;

/// A line per slot as far as they fit, and a total.
pub struct Progress {
    all: MultiProgress,
    slots: Vec<ProgressBar>,
    total: ProgressBar,
}

impl Progress {
    pub(super) fn new(view: &View) -> Progress {
        let all = MultiProgress::new();
        let total = all.add(ProgressBar::new(view.runs as u64));
        total.set_style(style("{bar:16} {elapsed}  {wide_msg}"));
        total.enable_steady_tick(Duration::from_secs(1));
        let mut progress = Progress {
            all,
            slots: Vec::new(),
            total,
        };
        progress.draw(view);
        progress
    }

    pub(super) fn tell(&mut self, told: &Told<'_>, view: &View) {
        for line in lasting(told) {
            self.line(&line);
        }
        self.draw(view);
    }

    pub(super) fn line(&mut self, line: &str) {
        let _ = self.all.println(line);
    }

    /// The library draws no more often than an eye can see.
    pub(super) fn draw(&mut self, view: &View) {
        let (rows, columns) = size(libc::STDERR_FILENO).unwrap_or((24, 80));
        // One row for the total, and one for what is typed.
        let lines = first(view.lines_within(columns), rows.saturating_sub(2));
        while self.slots.len() > lines.len() {
            self.slots.pop().iter().for_each(|bar| self.all.remove(bar));
        }
        while self.slots.len() < lines.len() {
            let bar = ProgressBar::new(0).with_style(style("{wide_msg}"));
            self.slots.push(self.all.insert_before(&self.total, bar));
        }
        for (bar, line) in self.slots.iter().zip(lines) {
            bar.set_message(line);
        }
        self.total.set_position(view.ended as u64);
        self.total.set_message(view.total());
    }

    pub(super) fn close(&mut self) {
        for bar in &self.slots {
            bar.finish_and_clear();
        }
        self.total.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}
