//! Epsilon-sharpness (Keskar et al. 2017): how much the loss can rise within a small box around the weights.

use anyhow::{Result, ensure};
use tch::{Tensor, no_grad_guard};

use super::evaluate;
use crate::tasks::Task;
use harness::suite::{BoxKind, Reduction, SharpnessKnobs, SharpnessValue};

/// 100 (L_max - L_0) / (1 + L_0), L the mean loss on `portion` in evaluation mode: TRAM paper, eq. 11. L_max is found by
/// one sweep of gradient ascent over the portion, in the order of the data, projected onto the box after every step;
/// batches that do not fill a step are dropped. Afterwards the weights are what they were.
///
/// `value: best` evaluates the whole portion after every step.
///
/// # Errors
/// When the portion holds too few examples for one step.
pub fn sharpness(task: &Task, portion: &str, knobs: &SharpnessKnobs) -> Result<f64> {
    let examples = task.portion(portion)?.clone();
    let places: Vec<usize> = (0..examples.len()).collect();
    let batches: Vec<&[usize]> = places.chunks(knobs.batch as usize).collect();
    let steps = batches.chunks_exact(knobs.accumulation as usize);
    ensure!(
        steps.len() > 0,
        "sharpness on `{portion}` needs {} batches of {} examples for a step, and there are {} examples",
        knobs.accumulation,
        knobs.batch,
        examples.len()
    );

    let leaves: Vec<Tensor> = task
        .weights()
        .named()
        .into_iter()
        .map(|(_, leaf)| leaf)
        .collect();
    let start = task.weights().snapshot();
    let widths: Vec<Tensor> = start.iter().map(|theta| width(theta, knobs)).collect();
    let lr = match knobs.accum_reduction {
        Reduction::Sum => knobs.lr,
        Reduction::Mean => knobs.lr / knobs.accumulation as f64,
    };

    let lowest = evaluate(task, portion)?.loss();
    let mut highest = f64::NEG_INFINITY;
    for step in steps {
        for leaf in &leaves {
            let mut grad = leaf.grad();
            if grad.defined() {
                let _ = grad.zero_();
            }
        }
        for places in step {
            let batch = task.on_device(&examples.batch(places, None)?);
            task.loss(&batch).backward();
        }
        ascend(&leaves, &start, &widths, lr);
        if knobs.value == SharpnessValue::Best {
            highest = highest.max(evaluate(task, portion)?.loss());
        }
    }
    if knobs.value == SharpnessValue::Final {
        highest = evaluate(task, portion)?.loss();
    }
    task.weights().restore(&start);
    Ok(100.0 * (highest - lowest) / (1.0 + lowest))
}

/// Half-width of the box around `theta`, coordinate by coordinate.
fn width(theta: &Tensor, knobs: &SharpnessKnobs) -> Tensor {
    let size = match knobs.box_ {
        BoxKind::Absolute => theta.abs() + 1.0,
        BoxKind::Signed => (theta + 1.0).abs(),
    };
    size * knobs.epsilon
}

/// theta <- the point of the box nearest to theta + lr g.
fn ascend(leaves: &[Tensor], start: &[Tensor], widths: &[Tensor], lr: f64) {
    let _no_grad = no_grad_guard();
    for ((leaf, start), width) in leaves.iter().zip(start).zip(widths) {
        let grad = leaf.grad();
        if grad.defined() {
            let moved = (leaf.detach() + grad * lr)
                .max_other(&(start - width))
                .min_other(&(start + width));
            leaf.shallow_clone().copy_(&moved);
        }
    }
}
