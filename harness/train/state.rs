//! Where training is: all that changes from update to update, as a checkpoint holds it.

use std::time::Instant;

use anyhow::{Context, Result};
use optim::Optimizer;
use tch::{Device, Kind, Tensor};

use super::checkpoint::{Found, Told};
use crate::models::Weights;
use harness::event::Event;

const LOSSES: &str = "sum.losses";
const DISTANCES: &str = "sum.distances";
const BEST_STEP: &str = "best.step";
const BEST_LOSS: &str = "best.loss";

/// Training after some update. The order of the data, their augmentation and the noise derive from the run and the update;
/// the generator that dropout draws from is part of the optimizer's state.
pub(super) struct State {
    /// Updates done.
    pub(super) step: u64,
    pub(super) optimizer: Optimizer,
    /// Losses summed over the updates, on the device: one number that is not finite anywhere shows at the next look.
    pub(super) losses: Tensor,
    /// Distances summed over the updates, of a method that has one.
    pub(super) distances: Option<Tensor>,
    pub(super) best: Option<Best>,
}

/// The model with the lowest loss on the selecting portion so far.
pub(super) struct Best {
    pub(super) step: u64,
    pub(super) loss: f64,
    pub(super) weights: Vec<Tensor>,
}

impl State {
    /// Before the first update.
    pub(super) fn new(optimizer: Optimizer, device: Device) -> State {
        State {
            step: 0,
            optimizer,
            losses: Tensor::zeros([], (Kind::Double, device)),
            distances: None,
            best: None,
        }
    }

    /// Everything, by names for a file; most share memory with the optimizer.
    pub(super) fn tensors(&self, weights: &Weights) -> Result<Vec<(String, Tensor)>> {
        let mut tensors: Vec<_> = self.optimizer.state_views()?.into_iter().collect();
        let mut put = |name: &str, tensor: Tensor| tensors.push((name.into(), tensor));
        put(LOSSES, self.losses.shallow_clone());
        if let Some(distances) = &self.distances {
            put(DISTANCES, distances.shallow_clone());
        }
        if let Some(best) = &self.best {
            put(BEST_STEP, Tensor::from(best.step as i64));
            put(BEST_LOSS, Tensor::from(best.loss));
            for ((name, _), kept) in weights.named().iter().zip(&best.weights) {
                put(&format!("best.weights.{name}"), kept.shallow_clone());
            }
        }
        Ok(tensors)
    }

    /// Goes to where a checkpoint of the same run was. An error leaves a mixture of both.
    pub(super) fn restore(&mut self, found: &Found, weights: &Weights) -> Result<()> {
        let device = self.losses.device();
        self.optimizer.load_state(|name| found.tensor(name))?;
        let here = |name: &str| Some(found.tensor(name)?.to_device(device));
        self.losses = here(LOSSES).context("the checkpoint lacks its losses")?;
        self.distances = here(DISTANCES);
        self.best = match (found.tensor(BEST_STEP), found.tensor(BEST_LOSS)) {
            (Some(step), Some(loss)) => Some(Best {
                step: step.int64_value(&[]) as u64,
                loss: loss.double_value(&[]),
                weights: weights
                    .named()
                    .iter()
                    .map(|(name, _)| here(&format!("best.weights.{name}")))
                    .collect::<Option<_>>()
                    .context("the checkpoint lacks weights of the best model")?,
            }),
            _ => None,
        };
        self.step = found.manifest.step;
        Ok(())
    }
}

/// What training tells, remembered with its time for those who go on from a checkpoint.
pub(super) struct Journal<'a> {
    tell: &'a mut dyn FnMut(Event),
    begun: Instant,
    /// Wall-clock seconds of the attempts before this one, up to the checkpoint it goes on from.
    earlier: f64,
    pub(super) told: Vec<Told>,
}

impl<'a> Journal<'a> {
    /// An empty one of a run whose worker began at `begun`.
    pub(super) fn new(begun: Instant, tell: &'a mut dyn FnMut(Event)) -> Journal<'a> {
        Journal {
            tell,
            begun,
            earlier: 0.0,
            told: Vec::new(),
        }
    }

    /// Wall-clock seconds of the run.
    pub(super) fn seconds(&self) -> f64 {
        self.earlier + self.begun.elapsed().as_secs_f64()
    }

    /// Tells what belongs to the run.
    pub(super) fn tell(&mut self, event: Event) {
        self.told.push(Told {
            seconds: self.seconds(),
            event: event.clone(),
        });
        (self.tell)(event);
    }

    /// Tells what belongs to this attempt alone.
    pub(super) fn note(&mut self, text: String) {
        (self.tell)(Event::Note { text });
    }

    /// Goes on from what a checkpoint of a run of `steps` updates remembers, and tells it again.
    pub(super) fn resume(&mut self, found: &Found, steps: u64) {
        let (step, seconds) = (found.manifest.step, found.manifest.seconds);
        (self.tell)(Event::Resumed {
            step,
            steps,
            seconds,
        });
        for Told { seconds, event } in &found.manifest.told {
            (self.tell)(Event::Again {
                seconds: *seconds,
                told: Box::new(event.clone()),
            });
        }
        self.earlier = seconds;
        self.told = found.manifest.told.clone();
    }
}
