//! The live display: a line per slot, and a total.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{duration, lasting, name};
use crate::event::Event;
use crate::plan::Plan;
use crate::schedule::{Slot, Told, What};

/// A line per slot: method, task, seed, step/steps, loss, time left; and a total.
pub struct Progress {
    all: MultiProgress,
    slots: Vec<Line>,
    total: ProgressBar,
    failed: u64,
    /// Runs that ended here, and the seconds they took together.
    ended: (u64, f64),
}

struct Line {
    bar: ProgressBar,
    label: String,
    begun: Instant,
    /// When the first update was reported, and which it was: what came before is not training's speed.
    first: Option<(Instant, u64)>,
}

impl Progress {
    pub(super) fn new(plan: &Plan, slots: &[Slot]) -> Progress {
        let all = MultiProgress::new();
        let width = slots
            .iter()
            .map(|slot| slot.to_string().len())
            .max()
            .unwrap_or(0);
        let line = |slot: &Slot| {
            let bar = all.add(ProgressBar::new(0).with_style(style("{prefix} {wide_msg}")));
            bar.set_prefix(format!("{:width$}", slot.to_string()));
            bar.set_message("idle");
            Line {
                bar,
                label: String::new(),
                begun: Instant::now(),
                first: None,
            }
        };
        let slots = slots.iter().map(line).collect();
        let total = all.add(ProgressBar::new(plan.runs.len() as u64));
        total.set_style(style("{bar:24} {pos}/{len} runs, {elapsed}{msg}"));
        total.enable_steady_tick(Duration::from_secs(1));
        Progress {
            all,
            slots,
            total,
            failed: 0,
            ended: (0, 0.0),
        }
    }

    pub(super) fn tell(&mut self, told: &Told<'_>) {
        for line in lasting(told) {
            let _ = self.all.println(line);
        }
        match &told.what {
            What::Started { measured_only } => self.begin(told, *measured_only),
            What::Event(event) => self.event(told, event),
            What::Ended {
                seconds, failure, ..
            } => {
                self.failed += u64::from(failure.is_some());
                if told.slot.is_some() {
                    self.ended = (self.ended.0 + 1, self.ended.1 + seconds);
                }
                self.end(told);
            }
            What::Already | What::Blocked => self.end(told),
            What::Interrupted | What::Waiting => self.idle(told),
            What::Damaged { .. } => {}
        }
    }

    pub(super) fn close(&mut self) {
        for line in &self.slots {
            line.bar.finish_and_clear();
        }
        self.total.finish_and_clear();
    }

    fn begin(&mut self, told: &Told<'_>, measured_only: bool) {
        let Some(line) = told.slot.map(|slot| &mut self.slots[slot]) else {
            return;
        };
        line.label = name(told.run);
        (line.begun, line.first) = (Instant::now(), None);
        let doing = if measured_only {
            "measuring"
        } else {
            "starting"
        };
        line.bar.set_message(format!("{}  {doing}", line.label));
    }

    fn event(&mut self, told: &Told<'_>, event: &Event) {
        let Some(line) = told.slot.map(|slot| &mut self.slots[slot]) else {
            return;
        };
        if let Event::Preparing { what, done, total } = event {
            let share = total.map(|total| format!("  {} %", 100 * done / total.max(1)));
            let share = share.unwrap_or_default();
            let message = format!("{}  preparing {what}{share}", line.label);
            return line.bar.set_message(message);
        }
        let Event::Progress {
            step, steps, loss, ..
        } = event
        else {
            return;
        };
        let now = Instant::now();
        let (since, from) = *line.first.get_or_insert((now, *step));
        let loss = loss.map_or("loss not finite".to_string(), |loss| {
            format!("loss {loss:.4}")
        });
        let left = match step - from.min(*step) {
            0 => String::new(),
            done => {
                let each = (now - since).as_secs_f64() / done as f64;
                format!(
                    "  {} left",
                    duration(each * steps.saturating_sub(*step) as f64)
                )
            }
        };
        let left = if step == steps {
            "  measuring".to_string()
        } else {
            left
        };
        line.bar
            .set_message(format!("{}  {step}/{steps}  {loss}{left}", line.label));
    }

    fn end(&mut self, told: &Told<'_>) {
        self.idle(told);
        self.total.inc(1);
        let (ended, seconds) = self.ended;
        let waiting = self
            .total
            .length()
            .unwrap_or(0)
            .saturating_sub(self.total.position());
        let left = match ended {
            _ if ended == 0 || waiting == 0 => String::new(),
            _ => {
                let each = seconds / ended as f64;
                format!(
                    ", about {} left",
                    duration(each * waiting as f64 / self.slots.len().max(1) as f64)
                )
            }
        };
        let failed = if self.failed > 0 {
            format!(", {} failed", self.failed)
        } else {
            String::new()
        };
        self.total.set_message(format!("{failed}{left}"));
    }

    fn idle(&mut self, told: &Told<'_>) {
        if let Some(slot) = told.slot {
            self.slots[slot].bar.set_message("idle");
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}
