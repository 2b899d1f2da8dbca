//! What a task gives an optimizer: one forward pass, and nothing else.

use tch::Tensor;

use crate::noise::Noise;

/// A batch and a network, ready to be evaluated at the network's present parameters.
///
/// The optimizer decides how often, at which parameters and on which input; a closure
/// `|pass: &Pass| -> Output` is a task.
pub trait Task {
    /// One forward pass. It must not switch gradients on or off and must not change parameters.
    fn forward(&self, pass: &Pass) -> Output;

    /// The parts that the batch is cut into, for gradient accumulation: every pass runs over all
    /// of them, one after the other, and the update is the one of the whole batch.
    fn micro_batches(&self) -> Vec<Share> {
        vec![Share::WHOLE]
    }
}

impl<F: Fn(&Pass) -> Output> Task for F {
    fn forward(&self, pass: &Pass) -> Output {
        self(pass)
    }
}

/// What a forward pass must do.
#[derive(Debug)]
pub struct Pass<'a> {
    /// Training mode (dropout on) or evaluation mode.
    pub train: bool,
    /// Input noise. The task calls [`Noise::apply`] on its embeddings in every pass; in clean
    /// passes this returns them as they are.
    pub noise: Noise<'a>,
    /// Which micro-batch to evaluate; 0 when there is one.
    pub micro_batch: usize,
    /// If present, evaluate this one example of the micro-batch alone (a batch of size 1).
    pub example: Option<i64>,
}

/// Result of a forward pass, attached to the graph.
#[derive(Debug)]
pub struct Output {
    /// Mean loss over the (micro-)batch: 0-d.
    pub loss: Tensor,
    /// `[batch, class]` or `[batch, position, vocabulary]`, before the softmax.
    pub logits: Tensor,
}

/// How much of the whole batch a micro-batch is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Share {
    /// Weight of its mean loss in the batch's mean loss: its share of the terms, for instance of
    /// the predicted tokens.
    pub loss: f64,
    /// Its share of the examples, which weighs distances.
    pub examples: f64,
    /// Which of its examples this process evaluates, where a group shares it ([`Optimizer::join`](crate::Optimizer::join));
    /// none: all of them.
    pub rows: Option<Rows>,
}

/// Some neighbouring examples of a micro-batch. `loss` and `examples` of a [`Share`] are those of these rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rows {
    /// The micro-batch's number among those of one process that has them all, so that its noise is the same.
    pub micro_batch: usize,
    /// The first one's number.
    pub first: i64,
    /// How many examples the micro-batch has in all.
    pub of: i64,
}

impl Share {
    /// The only micro-batch.
    pub const WHOLE: Self = Self {
        loss: 1.0,
        examples: 1.0,
        rows: None,
    };

    /// `n` micro-batches of one size.
    pub fn equal(n: usize) -> Vec<Self> {
        vec![
            Self {
                loss: 1.0 / n as f64,
                examples: 1.0 / n as f64,
                rows: None,
            };
            n
        ]
    }
}

/// A closure over micro-batches: [`Pass::micro_batch`] says which one to evaluate.
pub struct Accumulated<F> {
    /// A share for every micro-batch.
    pub shares: Vec<Share>,
    /// One forward pass over one micro-batch.
    pub forward: F,
}

impl<F: Fn(&Pass) -> Output> Task for Accumulated<F> {
    fn forward(&self, pass: &Pass) -> Output {
        (self.forward)(pass)
    }

    fn micro_batches(&self) -> Vec<Share> {
        self.shares.clone()
    }
}
