//! Tasks, a file each: examples in memory, a network on them, and what can be measured.

pub mod ahead;
pub mod blocks;
pub mod cache;
pub mod count;
pub mod crop;
pub mod error;
pub mod images;
mod joined;
pub mod pairs;
pub mod pixels;
pub mod portion;
pub mod resize;
#[cfg(test)]
mod testing;
pub mod tokenizer;
mod words;

use optim::{Output, Pass};
use tch::Tensor;

use crate::models::Weights;
use harness::suite::Measure;

/// A network on the data of its task.
#[derive(Debug)]
pub enum Task {
    /// Image classification.
    Images(images::ImageTask),
}

/// Examples on the device, ready for a forward pass.
#[derive(Debug)]
pub struct Batch {
    /// What the network reads: normalised pixels, `[batch, channel, height, width]`.
    pub input: Tensor,
    /// Classes, `[batch]`, int64.
    pub labels: Tensor,
}

impl Batch {
    /// Number of examples.
    pub fn examples(&self) -> i64 {
        self.labels.size()[0]
    }

    /// The examples `start..start + count`.
    pub fn part(&self, start: i64, count: i64) -> Batch {
        Batch {
            input: self.input.narrow(0, start, count),
            labels: self.labels.narrow(0, start, count),
        }
    }
}

/// What an evaluation finds on a portion of the data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean task loss in nats.
    pub loss: f64,
    /// Share of examples whose largest logit is the label, in percent.
    pub accuracy: f64,
}

impl Task {
    /// The network's parameters.
    pub fn weights(&self) -> &Weights {
        match self {
            Task::Images(task) => &task.model.weights,
        }
    }

    /// Number of training examples.
    pub fn examples(&self) -> usize {
        match self {
            Task::Images(task) => task.train.len(),
        }
    }

    /// The training examples at `places`, in that order.
    pub fn batch(&self, places: &[i64]) -> Batch {
        match self {
            Task::Images(task) => task.batch(&task.train, places),
        }
    }

    /// One forward pass over `batch`.
    pub fn forward(&self, batch: &Batch, pass: &Pass) -> Output {
        match self {
            Task::Images(task) => task.forward(batch, pass),
        }
    }

    /// Loss and accuracy on `portion`, which must have been named when the task was opened.
    pub fn evaluate(&self, portion: &str) -> Evaluation {
        match self {
            Task::Images(task) => task.evaluate(portion),
        }
    }

    /// Whether `measure` can be measured here on a portion of the data.
    pub fn can_measure(&self, measure: &Measure) -> bool {
        match self {
            Task::Images(_) => matches!(measure, Measure::Accuracy | Measure::Loss),
        }
    }
}
