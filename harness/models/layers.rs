//! What the families of networks have in common.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tch::Tensor;
use torch_ext::Draws;

use super::weights::Weights;

/// Activation of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Activation {
    /// x Phi(x), through the error function.
    #[serde(rename = "gelu")]
    Gelu,
    /// GELU with the tanh approximation.
    #[serde(rename = "gelu_new")]
    GeluTanh,
    /// max(x, 0).
    #[serde(rename = "relu")]
    Relu,
}

impl Activation {
    pub(super) fn forward(self, x: &Tensor) -> Tensor {
        match self {
            Self::Gelu => x.gelu("none"),
            Self::GeluTanh => x.gelu("tanh"),
            Self::Relu => x.relu(),
        }
    }
}

/// What the blocks of a network leave for the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// Everything their gradients need.
    #[default]
    Kept,
    /// Their input alone: the backward pass runs each block again, for a third more time and the memory of one block.
    Recomputed,
}

/// x W^T + b.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn new(weights: &Weights, name: &str, bias: bool) -> Self {
        let bias = bias.then(|| weights.get(&format!("{name}.bias")));
        Self {
            weight: weights.get(&format!("{name}.weight")),
            bias,
        }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }
}

/// x W + b, with W stored `[in, out]`.
#[derive(Debug)]
pub(super) struct Conv1d(Linear);

impl Conv1d {
    pub(super) fn new(weights: &Weights, name: &str) -> Self {
        Self(Linear::new(weights, name, true))
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.0.weight.tr(), self.0.bias.as_ref())
    }
}

/// Layer normalisation over the last dimension.
#[derive(Debug)]
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl Norm {
    pub(super) fn new(weights: &Weights, name: &str, eps: f64) -> Self {
        let (weight, bias) = (
            weights.get(&format!("{name}.weight")),
            weights.get(&format!("{name}.bias")),
        );
        Self { weight, bias, eps }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(
            self.weight.size(),
            Some(&self.weight),
            Some(&self.bias),
            self.eps,
            true,
        )
    }
}

/// Dropout with probability `p` in training; draws nothing when there is nothing to drop.
pub(super) fn dropout(x: Tensor, p: f64, train: bool) -> Tensor {
    if train && p > 0.0 {
        x.dropout(p, true)
    } else {
        x
    }
}

/// Who attends to whom.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sight<'a> {
    /// Everyone to everyone.
    All,
    /// Every token to itself and those before it.
    Past,
    /// As the boolean mask says; it extends to `[batch, head, query, key]`.
    Masked(&'a Tensor),
}

/// Softmax attention of `heads` heads: `q`, `k` and `v` are `[batch, token, hidden]`, and so is the result. The scores
/// are multiplied by `scale`, by default the inverse root of a head's width. `p` is the dropout of the weights.
pub(super) fn attention(
    [q, k, v]: [&Tensor; 3],
    heads: i64,
    sight: Sight,
    p: f64,
    scale: Option<f64>,
) -> Tensor {
    let (batch, tokens, hidden) = q.size3().expect("[batch, token, hidden]");
    // [batch, head, token, hidden / heads]
    let split = |x: &Tensor| {
        x.view([batch, tokens, heads, hidden / heads])
            .transpose(1, 2)
    };
    let (mask, causal) = match sight {
        Sight::All => (None, false),
        Sight::Past => (None, true),
        Sight::Masked(mask) => (Some(mask), false),
    };
    let context = Tensor::scaled_dot_product_attention(
        &split(q),
        &split(k),
        &split(v),
        mask,
        p,
        causal,
        scale,
        false,
    );
    context.transpose(1, 2).reshape([batch, tokens, hidden])
}

/// Attention with separate projections, without dropout behind the last.
#[derive(Debug)]
pub(super) struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: i64,
    dropout: f64,
}

/// The numbers of an [`Attention`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub(super) count: i64,
    /// Dropout of the attention weights.
    pub(super) dropout: f64,
    /// Whether query, key and value have a bias.
    pub(super) bias: bool,
}

impl Attention {
    /// Reads `<name>.<inner>.query` and so on, and `<name>.output.dense`.
    pub(super) fn new(weights: &Weights, name: &str, inner: &str, heads: Heads) -> Self {
        let linear =
            |part: &str| Linear::new(weights, &format!("{name}.{inner}.{part}"), heads.bias);
        Self {
            query: linear("query"),
            key: linear("key"),
            value: linear("value"),
            output: Linear::new(weights, &format!("{name}.output.dense"), true),
            heads: heads.count,
            dropout: heads.dropout,
        }
    }

    pub(super) fn forward(&self, x: &Tensor, sight: Sight, train: bool) -> Tensor {
        let [q, k, v] = [&self.query, &self.key, &self.value].map(|linear| linear.forward(x));
        let p = if train { self.dropout } else { 0.0 };
        self.output
            .forward(&attention([&q, &k, &v], self.heads, sight, p, None))
    }
}

/// `down(activation(up(x)))`.
#[derive(Debug)]
pub(super) struct FeedForward {
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl FeedForward {
    /// Reads `<name>.intermediate.dense` and `<name>.output.dense`.
    pub(super) fn new(weights: &Weights, name: &str, activation: Activation) -> Self {
        Self {
            up: Linear::new(weights, &format!("{name}.intermediate.dense"), true),
            down: Linear::new(weights, &format!("{name}.output.dense"), true),
            activation,
        }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        self.down
            .forward(&self.activation.forward(&self.up.forward(x)))
    }
}

/// One of the equal parts that a network is a stack of: `[batch, token, hidden]` to the same.
pub(super) trait Block: std::fmt::Debug + Send + 'static {
    /// `mask` says who attends to whom, where it is not the same for every batch.
    fn forward(&self, x: &Tensor, mask: Option<&Tensor>, train: bool) -> Tensor;
}

/// A stack of blocks. Each has a lock, because a backward pass may run it on a thread of libtorch's.
#[derive(Debug)]
pub(super) struct Blocks<B> {
    blocks: Vec<Arc<Mutex<B>>>,
    pub(super) activations: Activations,
    /// What a block draws from the global generator in training.
    draws: Draws,
}

impl<B: Block> Blocks<B> {
    /// `dropout`: the probabilities that a block drops with.
    pub(super) fn new(blocks: impl Iterator<Item = B>, dropout: &[f64]) -> Self {
        let draws = match dropout.iter().any(|&p| p > 0.0) {
            true => Draws::Global,
            false => Draws::Nothing,
        };
        Self {
            blocks: blocks.map(|block| Arc::new(Mutex::new(block))).collect(),
            activations: Activations::Kept,
            draws,
        }
    }

    /// Runs `x` through the stack and shows what comes out of each block to `seen`.
    pub(super) fn forward(
        &self,
        mut x: Tensor,
        mask: Option<&Tensor>,
        train: bool,
        seen: &mut dyn FnMut(&Tensor),
    ) -> Tensor {
        let draws = if train { self.draws } else { Draws::Nothing };
        for block in &self.blocks {
            x = match self.activations {
                Activations::Kept => open(block).forward(&x, mask, train),
                Activations::Recomputed => {
                    let (block, mask) = (block.clone(), mask.map(Tensor::shallow_clone));
                    let body = move |x: &Tensor| open(&block).forward(x, mask.as_ref(), train);
                    torch_ext::checkpoint(&x, draws, body).unwrap_or_else(|error| panic!("{error}"))
                }
            };
            seen(&x);
        }
        x
    }
}

/// A panic inside a block leaves its tensors as they were.
fn open<B>(block: &Mutex<B>) -> MutexGuard<'_, B> {
    block.lock().unwrap_or_else(PoisonError::into_inner)
}
