//! A display that stays in place, for terminals.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::View;
use super::lasting;
use crate::schedule::Told;

/// A line per slot, and a total.
pub struct Progress {
    all: MultiProgress,
    slots: Vec<ProgressBar>,
    total: ProgressBar,
}

impl Progress {
    pub(super) fn new(view: &View) -> Progress {
        let all = MultiProgress::new();
        let line = |_| all.add(ProgressBar::new(0).with_style(style("{wide_msg}")));
        let slots = view.slots.iter().map(line).collect();
        let total = all.add(ProgressBar::new(view.runs as u64));
        total.set_style(style("{bar:24} {msg}, {elapsed}"));
        total.enable_steady_tick(Duration::from_secs(1));
        let progress = Progress { all, slots, total };
        progress.draw(view);
        progress
    }

    pub(super) fn tell(&mut self, told: &Told<'_>, view: &View) {
        for line in lasting(told) {
            let _ = self.all.println(line);
        }
        self.draw(view);
    }

    /// The library draws no more often than an eye can see.
    pub(super) fn draw(&self, view: &View) {
        for (bar, line) in self.slots.iter().zip(view.lines()) {
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
