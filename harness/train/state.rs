//! Where training is: all that changes from update to update, as a checkpoint holds it.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use optim::Optimizer;
use tch::{Device, Kind, Tensor};
use torch_ext::{rng_state, set_rng_state};

use super::checkpoint::{Found, Told};
use crate::models::Weights;
use harness::event::Event;

const LOSSES: &str = "sum.losses";
const DISTANCES: &str = "distances";
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
    /// The sum and the largest of the distances over the updates, of a method that has one: `[2]`, on the device.
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

    /// Counts the distance of an update in.
    pub(super) fn see(&mut self, distance: &Tensor) {
        let distance = distance.to_kind(Kind::Double);
        self.distances = Some(match &self.distances {
            None => Tensor::stack(&[&distance, &distance], 0),
            Some(seen) => Tensor::stack(
                &[seen.get(0) + &distance, seen.get(1).maximum(&distance)],
                0,
            ),
        });
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
                put(&best_weight(name), kept.shallow_clone());
            }
        }
        Ok(tensors)
    }

    /// Says what is wrong with a checkpoint that training of `steps` updates, of which this is the state before the
    /// first, can never have written. Nothing changes; only numbers are read.
    pub(super) fn check(&self, found: &Found, weights: &Weights, steps: u64) -> Result<()> {
        let last = found.manifest.step;
        ensure!(
            (1..=steps).contains(&last),
            "it is of update {last} of {steps}"
        );
        let entries = &found.tensors.entries;
        let mut expected = self.tensors(weights)?;
        if entries.contains_key(DISTANCES) {
            expected.push((
                DISTANCES.into(),
                Tensor::zeros([2], (Kind::Double, Device::Cpu)),
            ));
        }
        if entries.contains_key(BEST_STEP) {
            expected.push((BEST_STEP.into(), Tensor::from(0_i64)));
            expected.push((BEST_LOSS.into(), Tensor::from(0.0)));
            let best = weights.named().into_iter();
            expected.extend(best.map(|(name, tensor)| (best_weight(&name), tensor)));
        }
        for (name, tensor) in &expected {
            let entry = entries
                .get(name)
                .with_context(|| format!("it lacks `{name}`"))?;
            ensure!(
                entry.kind() == Some(tensor.kind()) && entry.shape == tensor.size(),
                "its `{name}` is not {:?} in {:?}",
                tensor.size(),
                tensor.kind()
            );
            let number = || -> Result<i64> { Ok(found.needed(name)?.f_int64_value(&[])?) };
            let is_possible = match name.as_str() {
                "updates" => number()? == last as i64,
                BEST_STEP => (1..=last as i64).contains(&number()?),
                "seed" => number()? == tensor.int64_value(&[]),
                "generator.cpu" => is_generator(Device::Cpu, &found.needed(name)?)?,
                "generator.cuda" => is_generator(self.losses.device(), &found.needed(name)?)?,
                _ if name.starts_with("updates.") => (0..=last as i64).contains(&number()?),
                _ => true,
            };
            ensure!(is_possible, "its `{name}` cannot be at update {last}");
        }
        let known: BTreeSet<&String> = expected.iter().map(|(name, _)| name).collect();
        if let Some(name) = entries.keys().find(|name| !known.contains(name)) {
            bail!("it holds `{name}`, which this run has no use for");
        }
        Ok(())
    }

    /// Goes to where a checkpoint was in which [`State::check`] found nothing wrong. An error leaves a mixture of both.
    pub(super) fn restore(&mut self, found: &Found, weights: &Weights) -> Result<()> {
        let device = self.losses.device();
        self.optimizer
            .load_state(|name| found.tensor(name).ok().flatten())?;
        let here = |name: &str| found.needed(name).map(|tensor| tensor.to_device(device));
        let has = |name: &str| found.tensors.entries.contains_key(name);
        self.losses = here(LOSSES)?;
        self.distances = has(DISTANCES).then(|| here(DISTANCES)).transpose()?;
        self.best = match has(BEST_STEP) {
            true => Some(Best {
                step: found.needed(BEST_STEP)?.f_int64_value(&[])? as u64,
                loss: found.needed(BEST_LOSS)?.f_double_value(&[])?,
                weights: weights
                    .named()
                    .iter()
                    .map(|(name, _)| here(&best_weight(name)))
                    .collect::<Result<_>>()?,
            }),
            false => None,
        };
        self.step = found.manifest.step;
        Ok(())
    }
}

fn best_weight(name: &str) -> String {
    format!("best.weights.{name}")
}

/// Whether the device's generator takes `state`; afterwards it has its own again.
fn is_generator(device: Device, state: &Tensor) -> Result<bool> {
    let own = rng_state(device)?;
    let is_taken = set_rng_state(device, state).is_ok();
    set_rng_state(device, &own)?;
    Ok(is_taken)
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

    /// Tells what is of no use to those who go on from a checkpoint.
    pub(super) fn say(&mut self, event: Event) {
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
