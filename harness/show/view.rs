//! What a schedule does right now, slot by slot: made from what it tells, shown on a terminal or read by another program.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::terminal::{cut, harmless};
use super::{bytes, grouped, name};
use crate::event::Event;
use crate::plan::{Plan, RunId};
use crate::schedule::{Outlook, Slot, Told, Use, What};
use crate::time;

/// So much of a run's name is shown, however narrow the terminal.
const SHORTEST_NAME: usize = 12;

/// A schedule at a moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct View {
    /// What every slot does.
    pub slots: Vec<SlotView>,
    /// How many runs the plan has.
    pub runs: usize,
    /// How many have ended, in whatever way; those that were done before too.
    pub ended: usize,
    /// How many of those failed.
    pub failed: usize,
    /// How many have not begun.
    pub waiting: usize,
    /// How many another supervisor is at.
    pub elsewhere: usize,
    /// Seconds until all have ended, as expected; none where nothing is known.
    pub left: Option<f64>,
    /// Counts up with every look, so that who reads this twice sees whether anybody is there.
    pub looks: u64,
}

/// A slot at a moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SlotView {
    /// As `--slots` names it.
    pub slot: String,
    /// Its device is gone.
    pub is_gone: bool,
    /// What its accelerator does.
    pub device: Option<Use>,
    /// The run that is on it.
    pub run: Option<RunView>,
}

/// A run at a moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunView {
    /// Its identity.
    pub id: RunId,
    /// What people call it.
    pub name: String,
    /// The first of its slots tells of it; this one works for that one.
    pub with: Option<String>,
    /// What it does: `starting`, `preparing train`, `training`, `measuring`.
    pub phase: String,
    /// Updates done, and in all.
    pub step: Option<(u64, u64)>,
    /// Task loss of the latest batch; none when it is not finite.
    pub loss: Option<f64>,
    /// Seconds until its last update.
    pub left: Option<f64>,
    /// When the first update was reported, and which it was: what came before is not training's speed.
    #[serde(skip)]
    first: Option<(Instant, u64)>,
    /// Seconds that all of its updates take at this speed.
    #[serde(skip)]
    whole: Option<f64>,
}

impl View {
    /// Nothing has happened yet.
    pub fn new(plan: &Plan, slots: &[Slot]) -> View {
        let slot = |slot: &Slot| SlotView {
            slot: slot.to_string(),
            ..SlotView::default()
        };
        View {
            slots: slots.iter().map(slot).collect(),
            runs: plan.runs.len(),
            ended: 0,
            failed: 0,
            waiting: plan.runs.len(),
            elsewhere: 0,
            left: None,
            looks: 0,
        }
    }

    /// Something happened to a run.
    pub fn tell(&mut self, told: &Told<'_>) {
        match &told.what {
            What::Started {
                measured_only,
                slots,
            } => self.begin(told, *measured_only, slots),
            What::Event(event) => {
                let slot = told.slot.and_then(|slot| self.slots.get_mut(slot));
                if let Some(run) = slot.and_then(|slot| slot.run.as_mut()) {
                    run.hear(event);
                }
            }
            What::Ended { failure, .. } => {
                self.failed += usize::from(failure.is_some());
                self.ended += 1;
                self.leave(told);
            }
            What::Already | What::Blocked | What::Interrupted => {
                self.ended += 1;
                self.leave(told);
            }
            What::SlotsLost { slots } => {
                self.leave(told);
                for &slot in slots {
                    self.slots[slot].is_gone = true;
                }
            }
            What::Waiting | What::Again { .. } | What::PutBack { .. } => self.leave(told),
            What::Damaged { .. } => {}
        }
    }

    /// How things stand.
    pub fn look(&mut self, outlook: &Outlook) {
        self.waiting = outlook.waiting;
        self.elsewhere = outlook.elsewhere;
        self.left = outlook.left.or_else(|| self.guess());
        self.looks += 1;
        for (slot, device) in self.slots.iter_mut().zip(&outlook.devices) {
            slot.device = *device;
        }
    }

    /// Seconds until all have ended where only those that run know how long they take: the others will take as long.
    fn guess(&self) -> Option<f64> {
        let runs = self.slots.iter().filter_map(|slot| slot.run.as_ref());
        let known = runs.filter_map(|run| Some((run.left?, run.whole?)));
        let known: Vec<(f64, f64)> = known.collect();
        if known.is_empty() {
            return None;
        }
        let longest = known.iter().map(|(left, _)| *left).fold(0.0, f64::max);
        let mean = known.iter().map(|(_, whole)| whole).sum::<f64>() / known.len() as f64;
        let slots = self.slots.iter().filter(|slot| !slot.is_gone).count();
        let rounds = self.waiting.div_ceil(slots.max(1));
        Some(longest + rounds as f64 * mean)
    }

    fn begin(&mut self, told: &Told<'_>, measured_only: bool, slots: &[usize]) {
        let first = slots.first().map(|&slot| self.slots[slot].slot.clone());
        let phase = if measured_only {
            "measuring"
        } else {
            "starting"
        };
        for (i, &slot) in slots.iter().enumerate() {
            self.slots[slot].run = Some(RunView {
                id: told.run.id.clone(),
                name: name(told.run),
                with: first.clone().filter(|_| i > 0),
                phase: phase.into(),
                step: None,
                loss: None,
                left: None,
                first: None,
                whole: None,
            });
        }
    }

    /// A run is on no slot any more.
    fn leave(&mut self, told: &Told<'_>) {
        for slot in &mut self.slots {
            if slot.run.as_ref().is_some_and(|run| run.id == told.run.id) {
                slot.run = None;
            }
        }
    }

    /// A line for every slot.
    pub fn lines(&self) -> Vec<String> {
        self.lines_within(usize::MAX)
    }

    /// A line for every slot, each in so many columns: names are cut before numbers.
    pub fn lines_within(&self, columns: usize) -> Vec<String> {
        let width = self.slots.iter().map(|slot| slot.slot.len()).max();
        let width = width.unwrap_or(0);
        let room = columns.saturating_sub(width + 1);
        let line = |slot: &SlotView| {
            let line = format!("{:width$} {}", slot.slot, slot.text(room));
            cut(&harmless(&line), columns)
        };
        self.slots.iter().map(line).collect()
    }

    /// All runs in a line: `12/480 runs, 1 failed, 460 waiting, about 4 h 12 min left`.
    pub fn total(&self) -> String {
        let mut text = format!(
            "{}/{} runs",
            grouped(self.ended as u64),
            grouped(self.runs as u64)
        );
        let parts = [
            (self.failed, "failed"),
            (self.waiting, "waiting"),
            (self.elsewhere, "elsewhere"),
        ];
        for (count, what) in parts.into_iter().filter(|(count, _)| *count > 0) {
            text += &format!(", {} {what}", grouped(count as u64));
        }
        if let Some(left) = self.left {
            text += &format!(", about {} left", time::shown(left));
        }
        text
    }
}

impl SlotView {
    fn text(&self, room: usize) -> String {
        if self.is_gone {
            return "gone".into();
        }
        let (name, mut rest) = match &self.run {
            None => ("idle", String::new()),
            Some(run) => (run.name.as_str(), format!("  {}", run.doing())),
        };
        if let Some(device) = self.device {
            let (taken, memory) = (bytes(device.taken), bytes(device.memory));
            rest += &format!("  {} %, {taken} of {memory}", device.busy);
        }
        let room = room.saturating_sub(rest.chars().count());
        format!("{}{rest}", cut(name, room.max(SHORTEST_NAME)))
    }
}

impl RunView {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::Preparing { what, done, total } => {
                // What a worker tells may be any number.
                let percent = |total: u64| 100 * u128::from(*done) / u128::from(total.max(1));
                let share = total.map(|total| format!(" {} %", percent(total).min(100)));
                self.phase = format!("preparing {what}{}", share.unwrap_or_default());
            }
            Event::Progress {
                step, steps, loss, ..
            } => {
                let now = Instant::now();
                let (since, from) = *self.first.get_or_insert((now, *step));
                self.phase = if step == steps {
                    "measuring"
                } else {
                    "training"
                }
                .into();
                (self.step, self.loss) = (Some((*step, *steps)), *loss);
                self.left = match step.saturating_sub(from) {
                    0 => None,
                    done => {
                        let each = (now - since).as_secs_f64() / done as f64;
                        self.whole = Some(each * *steps as f64);
                        Some(each * steps.saturating_sub(*step) as f64)
                    }
                };
            }
            _ => {}
        }
    }

    fn doing(&self) -> String {
        if let Some(first) = &self.with {
            return format!("with {first}");
        }
        let Some((step, steps)) = self.step.filter(|_| !self.phase.starts_with("preparing")) else {
            return self.phase.clone();
        };
        let loss = match self.loss {
            Some(loss) => format!("loss {loss:.4}"),
            None => "loss not finite".into(),
        };
        let left = match self.left {
            _ if self.phase == "measuring" => "  measuring".to_string(),
            Some(left) => format!("  {} left", time::shown(left)),
            None => String::new(),
        };
        let (step, steps) = (grouped(step), grouped(steps));
        format!("{step}/{steps}  {loss}{left}")
    }
}
