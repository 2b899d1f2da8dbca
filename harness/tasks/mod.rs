//! Tasks: examples read ahead on the host, a network on the device, and one forward pass over a batch.

pub mod ahead;
pub mod blocks;
pub mod cache;
pub mod count;
pub mod crop;
pub mod error;
pub mod images;
mod joined;
pub mod open;
pub mod pairs;
pub mod pixels;
pub mod portion;
pub mod resize;
#[cfg(test)]
mod testing;
pub mod text;
pub mod tokenizer;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use optim::{Output, Pass};
use tch::{Device, Kind, Reduction, Tensor};
use torch_ext::Autocast;

use crate::models::{Network, Weights};
use crate::share::Share;
use harness::suite::{Input, Precision};
use methods::VitNoiseAt;

pub use ahead::ahead;
pub use open::{Source, open};

/// A label that counts for nothing: padding, and the last token of a block.
pub const IGNORED: i64 = -100;

/// The examples of one or more portions of a data set, on the host; shared with the threads that read ahead.
pub trait Examples: Send + Sync {
    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of the example at `place`; 0 for images.
    fn tokens(&self, place: usize) -> usize;

    /// The examples at `places`, in that order, on the host. In training, `epoch` is the number of the pass over the
    /// data, which augmentation derives its randomness from; an evaluation has none.
    ///
    /// # Errors
    /// When an example cannot be read.
    fn batch(&self, places: &[usize], epoch: Option<u64>) -> Result<Batch>;
}

/// Examples ready for a forward pass.
#[derive(Debug)]
pub struct Batch {
    /// What the network reads: pixels, `[batch, channel, height, width]`, uint8 on the host and normalised on the
    /// device, or token ids, `[batch, token]`, int64.
    pub input: Tensor,
    /// 1 at tokens and 0 at padding, `[batch, token]`, int64; none where nothing is padded.
    pub mask: Option<Tensor>,
    /// Classes, `[batch]`, or the token that follows each one, `[batch, token]`; int64, [`IGNORED`] where none counts.
    pub labels: Tensor,
    /// Labels of each example that count.
    pub counted: Vec<u32>,
}

impl Batch {
    /// Number of examples.
    pub fn examples(&self) -> usize {
        self.counted.len()
    }

    /// Labels that count.
    pub fn labels_counted(&self) -> u64 {
        self.counted.iter().map(|&count| u64::from(count)).sum()
    }

    /// Tokens with their padding, or 0 for images.
    pub fn tokens(&self) -> u64 {
        match self.input.size()[..] {
            [examples, tokens] => (examples * tokens) as u64,
            _ => 0,
        }
    }

    /// The examples `start..end`.
    pub fn part(&self, start: usize, end: usize) -> Batch {
        let narrow = |tensor: &Tensor| tensor.narrow(0, start as i64, (end - start) as i64);
        Batch {
            input: narrow(&self.input),
            mask: self.mask.as_ref().map(narrow),
            labels: narrow(&self.labels),
            counted: self.counted[start..end].to_vec(),
        }
    }
}

/// What an evaluation finds for one example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Cross entropy, summed over the labels that count, in nats.
    pub nll: f64,
    /// Labels that count.
    pub labels: u32,
    /// Of these, the ones with the largest logit; 0 for a language model, which is not asked.
    pub right: u32,
}

/// A network on the data of its task.
pub struct Task {
    /// The network.
    pub network: Network,
    /// The training examples.
    pub train: Arc<dyn Examples>,
    /// The processes that share batches and evaluations with this one; none when it has all.
    pub share: Option<Share>,
    portions: BTreeMap<String, Arc<dyn Examples>>,
    precision: Precision,
    device: Device,
    noise_at: VitNoiseAt,
    /// Mean and standard deviation of pixels in 0..1; none for text.
    pixels: Option<(f64, f64)>,
}

impl Task {
    /// `network` with its training examples and the portions to evaluate, by name.
    pub fn new(
        network: Network,
        input: &Input,
        train: Arc<dyn Examples>,
        portions: BTreeMap<String, Arc<dyn Examples>>,
        precision: Precision,
        device: Device,
        noise_at: VitNoiseAt,
    ) -> Self {
        Self {
            network,
            train,
            share: None,
            portions,
            precision,
            device,
            noise_at,
            pixels: match input {
                Input::Images(input) => Some((input.mean, input.std)),
                _ => None,
            },
        }
    }

    /// The network's parameters.
    pub fn weights(&self) -> &Weights {
        self.network.weights()
    }

    /// Where the network is.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The examples of a portion.
    pub fn portion(&self, name: &str) -> Result<&Arc<dyn Examples>> {
        self.portions
            .get(name)
            .with_context(|| format!("the portion `{name}` was not opened"))
    }

    /// The portions to evaluate, by name.
    pub fn portions(&self) -> impl Iterator<Item = (&str, &Arc<dyn Examples>)> {
        self.portions
            .iter()
            .map(|(name, examples)| (name.as_str(), examples))
    }

    /// `batch` on the device, pixels normalised.
    pub fn on_device(&self, batch: &Batch) -> Batch {
        let input = batch.input.to_device(self.device);
        let kind = self.weights().kind();
        let input = match self.pixels {
            Some((mean, std)) => (input.to_kind(kind) * (1.0 / 255.0) - mean) / std,
            None => input,
        };
        Batch {
            input,
            mask: batch.mask.as_ref().map(|mask| mask.to_device(self.device)),
            labels: batch.labels.to_device(self.device),
            counted: batch.counted.clone(),
        }
    }

    /// One forward pass over `batch`: mean cross entropy over the labels that count, and logits.
    pub fn forward(&self, batch: &Batch, pass: &Pass) -> Output {
        let one = pass
            .example
            .map(|place| batch.part(place as usize, place as usize + 1));
        let batch = one.as_ref().unwrap_or(batch);
        let logits = self.logits(batch, pass.train, &|embedded| pass.noise.apply(embedded));
        let loss = cross_entropy(&logits, &batch.labels, Reduction::Mean);
        Output { loss, logits }
    }

    /// Logits in float32 at least, `[batch, class]` or `[batch, token, vocabulary]`. `noise` is applied to what the
    /// method perturbs: word embeddings, or pixels or patch embeddings of images.
    fn logits(&self, batch: &Batch, train: bool, noise: &dyn Fn(&Tensor) -> Tensor) -> Tensor {
        let mask = batch.mask.as_ref();
        let forward = || match &self.network {
            Network::Vit(vit) => match self.noise_at {
                VitNoiseAt::Pixels => vit.forward(&noise(&batch.input), train),
                VitNoiseAt::PatchEmbeddings => {
                    vit.classify(&noise(&vit.patches(&batch.input)), train)
                }
            },
            Network::Gpt2(gpt2) => gpt2.forward(&noise(&gpt2.embed(&batch.input)), mask, train),
            // Positions come from the ids, so that noise moves words and nothing else; the reference implementation
            // counts padding as well when it is given embeddings.
            Network::XlmRoberta(xlmr) => {
                let positions = xlmr.positions(&batch.input);
                xlmr.forward(&noise(&xlmr.embed(&batch.input)), &positions, mask, train)
            }
        };
        match self.precision {
            Precision::Float32 => forward(),
            Precision::Bfloat16 => {
                let _bfloat16 = Autocast::enter(self.device, Kind::BFloat16)
                    .expect("bfloat16 autocast on any device");
                forward().to_kind(Kind::Float)
            }
        }
    }

    /// Mean loss over `batch` in evaluation mode, attached to the graph.
    pub fn loss(&self, batch: &Batch) -> Tensor {
        let logits = self.logits(batch, false, &Tensor::shallow_clone);
        cross_entropy(&logits, &batch.labels, Reduction::Mean)
    }

    /// What an evaluation finds for every example of `batch`.
    pub fn scores(&self, batch: &Batch) -> Vec<Score> {
        let _no_grad = tch::no_grad_guard();
        let logits = self.logits(batch, false, &Tensor::shallow_clone);
        let classified = !matches!(self.network, Network::Gpt2(_));
        scores(&logits, &batch.labels, &batch.counted, classified)
    }

    /// Final hidden states of the first token, `[batch, hidden]`, in evaluation mode.
    pub fn first_token(&self, batch: &Batch) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        match &self.network {
            Network::Vit(vit) => vit.first_token(&vit.patches(&batch.input), false),
            Network::Gpt2(gpt2) => gpt2.first_token(&gpt2.embed(&batch.input), false),
            Network::XlmRoberta(xlmr) => {
                let positions = xlmr.positions(&batch.input);
                let mask = batch.mask.as_ref();
                xlmr.first_token(&xlmr.embed(&batch.input), &positions, mask, false)
            }
        }
    }
}

/// Cross entropy over the labels that count; without reduction, 0 elsewhere.
fn cross_entropy(logits: &Tensor, labels: &Tensor, reduction: Reduction) -> Tensor {
    let classes = *logits.size().last().expect("logits have classes");
    let weights: Option<Tensor> = None;
    logits.view([-1, classes]).cross_entropy_loss(
        &labels.reshape([-1]),
        weights,
        reduction,
        IGNORED,
        0.0,
    )
}

/// What `logits` make of `labels`, of which each example has `counted` that count. Whether the largest logit is the
/// label is asked where `classified`, with one label an example.
pub fn scores(logits: &Tensor, labels: &Tensor, counted: &[u32], classified: bool) -> Vec<Score> {
    let nll = cross_entropy(logits, labels, Reduction::None)
        .view([counted.len() as i64, -1])
        .sum_dim_intlist(1, false, Kind::Double);
    let nll = Vec::<f64>::try_from(nll).expect("a vector of doubles");
    let right = classified.then(|| {
        let right = logits.argmax(-1, false).eq_tensor(labels);
        Vec::<i64>::try_from(right.to_kind(Kind::Int64)).expect("a vector of whole numbers")
    });
    let score = |(i, &labels): (usize, &u32)| Score {
        nll: nll[i],
        labels,
        right: right.as_ref().map_or(0, |right| right[i] as u32),
    };
    counted.iter().enumerate().map(score).collect()
}
