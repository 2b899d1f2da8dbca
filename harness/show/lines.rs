//! Plain lines, for logs and pipes.

use std::io::Write;

use super::{lasting, name};
use crate::plan::Plan;
use crate::schedule::{Told, What};

/// A line when a run begins, one or more when it ends.
pub struct Lines {
    out: Box<dyn Write>,
    total: usize,
    ended: usize,
}

impl Lines {
    pub(super) fn new(plan: &Plan, out: Box<dyn Write>) -> Lines {
        Lines {
            out,
            total: plan.runs.len(),
            ended: 0,
        }
    }

    pub(super) fn tell(&mut self, told: &Told<'_>) {
        let count = match &told.what {
            What::Already | What::Ended { .. } | What::Blocked => {
                self.ended += 1;
                format!("[{}/{}] ", self.ended, self.total)
            }
            _ => String::new(),
        };
        match &told.what {
            What::Started {
                measured_only: false,
                ..
            } => self.line(&format!("{}: started", name(told.run))),
            What::Started {
                measured_only: true,
                ..
            } => self.line(&format!("{}: measuring", name(told.run))),
            _ => {}
        }
        for (i, line) in lasting(told).into_iter().enumerate() {
            self.line(&if i == 0 {
                format!("{count}{line}")
            } else {
                line
            });
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        // A reader that went away is no reason to lose runs.
        let _ = self.out.write_all(format!("{line}\n").as_bytes());
    }
}
