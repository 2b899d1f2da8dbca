//! GPT-2 of Radford et al. (2019) as a language model, computed as Hugging Face's `GPT2LMHeadModel` does.

use serde::Serialize;
use serde_json::json;
use tch::{Device, Kind, Reduction, Tensor};

use super::config::{ConfigError, Keys, divides};
use super::layers::{
    Activation, Activations, Block, Blocks, Conv1d, Norm, Sight, attention, dropout,
};
use super::stored::{Layout, Skipped};
use super::weights::{Init, Parameter, Weights};
use harness::suite::ModelConfig;

/// Keys of a GPT-2's `config.json` that do not change what is computed here: `n_ctx` repeats `n_positions`, the others
/// belong to a head for classification.
const HARMLESS: [&str; 8] = [
    "id2label",
    "n_ctx",
    "num_labels",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
];

/// The label that the loss leaves out.
const IGNORED: i64 = -100;

/// The shape of a GPT-2: the keys of its `config.json` under their own names and defaults.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gpt2Config {
    /// Number of tokens.
    pub vocab_size: i64,
    /// Longest block in tokens.
    pub n_positions: i64,
    /// Width of a token.
    pub n_embd: i64,
    /// Number of blocks.
    pub n_layer: i64,
    /// Attention heads; divides `n_embd`.
    pub n_head: i64,
    /// Width of the feed-forward layer; 4 `n_embd` by default.
    pub n_inner: i64,
    /// Activation of the feed-forward layer.
    pub activation_function: Activation,
    /// Dropout after every projection back to `n_embd`.
    pub resid_pdrop: f64,
    /// Dropout after the embeddings.
    pub embd_pdrop: f64,
    /// Dropout of attention weights.
    pub attn_pdrop: f64,
    /// Added to the variance in layer normalisation.
    pub layer_norm_epsilon: f64,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Divide attention scores by the root of a head's width.
    pub scale_attn_weights: bool,
    /// Divide attention scores by the number of the block, from 1.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Token that starts a text.
    pub bos_token_id: Option<i64>,
    /// Token that ends a text.
    pub eos_token_id: Option<i64>,
    /// Token that fills up a batch.
    pub pad_token_id: Option<i64>,
}

impl Gpt2Config {
    /// The shape that `config` describes, or what is wrong with it. Needs no libtorch.
    pub fn read(config: &ModelConfig) -> Result<Self, ConfigError> {
        let mut keys = Keys::new("gpt2", &config.keys);
        let n_embd = keys.size("n_embd", 768)?;
        let read = Self {
            n_embd,
            vocab_size: keys.size("vocab_size", 50257)?,
            n_positions: keys.size("n_positions", 1024)?,
            n_layer: keys.size("n_layer", 12)?,
            n_head: keys.size("n_head", 12)?,
            n_inner: keys.size("n_inner", 4 * n_embd)?,
            activation_function: keys.activation("activation_function", "gelu_new")?,
            resid_pdrop: keys.probability("resid_pdrop", 0.1)?,
            embd_pdrop: keys.probability("embd_pdrop", 0.1)?,
            attn_pdrop: keys.probability("attn_pdrop", 0.1)?,
            layer_norm_epsilon: keys.number("layer_norm_epsilon", 1e-5)?,
            initializer_range: keys.number("initializer_range", 0.02)?,
            scale_attn_weights: keys.truth("scale_attn_weights", true)?,
            scale_attn_by_inverse_layer_idx: keys
                .truth("scale_attn_by_inverse_layer_idx", false)?,
            bos_token_id: keys.token("bos_token_id")?,
            eos_token_id: keys.token("eos_token_id")?,
            pad_token_id: keys.token("pad_token_id")?,
        };
        keys.only("add_cross_attention", json!(false))?;
        keys.only("reorder_and_upcast_attn", json!(false))?;
        keys.only("tie_word_embeddings", json!(true))?;
        keys.finish(&HARMLESS)?;
        divides(("n_head", read.n_head), ("n_embd", read.n_embd))?;
        Ok(read)
    }

    /// Every parameter, named as in the reference implementation's files.
    pub fn parameters(&self) -> Vec<Parameter> {
        let (hidden, inner) = (self.n_embd, self.n_inner);
        let normal = Init::Normal(self.initializer_range);
        // Two projections of every block add to the residual stream.
        let residual = Init::Normal(self.initializer_range / (2.0 * self.n_layer as f64).sqrt());
        let mut all = vec![
            Parameter::new("transformer.wte.weight", &[self.vocab_size, hidden], normal),
            Parameter::new(
                "transformer.wpe.weight",
                &[self.n_positions, hidden],
                normal,
            ),
        ];
        let norm = |name: String| {
            [
                Parameter::new(format!("{name}.weight"), &[hidden], Init::Ones),
                Parameter::new(format!("{name}.bias"), &[hidden], Init::Zeros),
            ]
        };
        for n in 0..self.n_layer {
            let block = format!("transformer.h.{n}");
            all.extend(norm(format!("{block}.ln_1")));
            all.extend(norm(format!("{block}.ln_2")));
            for (name, input, output, init) in [
                ("attn.c_attn", hidden, 3 * hidden, normal),
                ("attn.c_proj", hidden, hidden, residual),
                ("mlp.c_fc", hidden, inner, normal),
                ("mlp.c_proj", inner, hidden, residual),
            ] {
                let name = format!("{block}.{name}");
                all.push(Parameter::new(
                    format!("{name}.weight"),
                    &[input, output],
                    init,
                ));
                all.push(Parameter::new(
                    format!("{name}.bias"),
                    &[output],
                    Init::Zeros,
                ));
            }
        }
        all.extend(norm("transformer.ln_f".into()));
        all
    }
}

/// A GPT-2 with its weights.
#[derive(Debug)]
pub struct Gpt2 {
    /// Its shape.
    pub config: Gpt2Config,
    /// Its parameters.
    pub weights: Weights,
    token_embeddings: Tensor,
    position_embeddings: Tensor,
    pub(super) blocks: Blocks<Gpt2Block>,
    norm: Norm,
}

impl Gpt2 {
    pub(super) const LAYOUT: Layout = Layout {
        prefix: "transformer.",
        head: &[],
        tied: Some(("lm_head.weight", "transformer.wte.weight")),
        skipped: &[
            Skipped {
                pattern: "h.*.attn.bias",
                why: "the causal mask, which older files hold as a buffer",
            },
            Skipped {
                pattern: "h.*.attn.masked_bias",
                why: "the score of a masked token, which older files hold as a buffer",
            },
        ],
    };

    /// A network with fresh weights from the stream that starts at `seed`.
    pub fn new(config: Gpt2Config, seed: u64, device: Device) -> Result<Self, torch_ext::Error> {
        let weights = Weights::init(&config.parameters(), seed, device)?;
        let block = |n| Gpt2Block::new(&weights, &config, n);
        let dropout = [config.attn_pdrop, config.resid_pdrop];
        Ok(Self {
            token_embeddings: weights.get("transformer.wte.weight"),
            position_embeddings: weights.get("transformer.wpe.weight"),
            blocks: Blocks::new((0..config.n_layer).map(block), &dropout),
            norm: Norm::new(&weights, "transformer.ln_f", config.layer_norm_epsilon),
            weights,
            config,
        })
    }

    /// What the blocks leave for the backward pass.
    pub fn set_activations(&mut self, activations: Activations) {
        self.blocks.activations = activations;
    }

    /// Token embeddings, `[batch, token, hidden]`, of `ids`, `[batch, token]`, int64.
    pub fn embed(&self, ids: &Tensor) -> Tensor {
        Tensor::embedding(&self.token_embeddings, ids, -1, false, false)
    }

    /// Logits of the next token, `[batch, token, vocabulary]`, from [`embed`](Self::embed). Positions count from 0
    /// whatever `mask` says, which is `[batch, token]` and not 0 where there is a token. `train` switches dropout on.
    pub fn forward(&self, embedded: &Tensor, mask: Option<&Tensor>, train: bool) -> Tensor {
        let hidden = self.run(embedded, mask, train, &mut |_| {});
        self.logits(&self.norm.forward(&hidden))
    }

    /// Logits, `[batch, token, vocabulary]`, of final hidden states.
    fn logits(&self, hidden: &Tensor) -> Tensor {
        hidden.linear(&self.token_embeddings, None::<&Tensor>)
    }

    /// Final hidden state of the first token, `[batch, hidden]`. It depends on no token behind it.
    pub fn first_token(&self, embedded: &Tensor, train: bool) -> Tensor {
        let first = self.run(&embedded.narrow(1, 0, 1), None, train, &mut |_| {});
        self.norm.forward(&first.select(1, 0))
    }

    /// What enters the first block and what leaves every block, the last one's normalised; each
    /// `[batch, token, hidden]`.
    pub fn hidden_states(&self, embedded: &Tensor, mask: Option<&Tensor>) -> Vec<Tensor> {
        let mut states = Vec::new();
        let last = self.run(embedded, mask, false, &mut |x| {
            states.push(x.shallow_clone())
        });
        states.pop();
        states.push(self.norm.forward(&last));
        states
    }

    fn run(
        &self,
        embedded: &Tensor,
        mask: Option<&Tensor>,
        train: bool,
        seen: &mut dyn FnMut(&Tensor),
    ) -> Tensor {
        let tokens = embedded.size()[1];
        // [token, hidden]
        let positions = self.position_embeddings.narrow(0, 0, tokens);
        let x = dropout(embedded + positions, self.config.embd_pdrop, train);
        seen(&x);
        let mask = mask.map(|mask| sight(mask, tokens));
        self.blocks.forward(x, mask.as_ref(), train, seen)
    }

    /// What [`loss`](Self::loss) compares logits with: every label one place to the left, and an ignored one at the
    /// end. `labels` are the ids, `[batch, token]`, with -100 where nothing is to be predicted.
    pub fn next_token_labels(labels: &Tensor) -> Tensor {
        let tokens = labels.size()[1];
        let end = labels.narrow(1, 0, 1).full_like(IGNORED);
        Tensor::cat(&[labels.narrow(1, 1, tokens - 1), end], 1)
    }

    /// Mean cross entropy in nats over the labels that are not -100: 0-d. `logits`: `[batch, token, vocabulary]`;
    /// `labels`: from [`next_token_labels`](Self::next_token_labels). NaN when every label is ignored.
    pub fn loss(logits: &Tensor, labels: &Tensor) -> Tensor {
        let vocabulary = logits.size()[2];
        logits.view([-1, vocabulary]).cross_entropy_loss(
            &labels.view([-1]),
            None::<&Tensor>,
            Reduction::Mean,
            IGNORED,
            0.0,
        )
    }
}

/// `[batch, 1, query, key]`: tokens see those before them that the mask keeps, and themselves. What a token sees that
/// is none matters to nobody, but seeing nothing would make it NaN.
fn sight(mask: &Tensor, tokens: i64) -> Tensor {
    let (batch, _) = mask.size2().expect("[batch, token]");
    let past = Tensor::ones([tokens, tokens], (Kind::Bool, mask.device())).tril(0);
    let own = Tensor::ones([tokens, tokens], (Kind::Bool, mask.device()))
        .tril(0)
        .triu(0);
    mask.ne(0)
        .view([batch, 1, 1, tokens])
        .logical_or(&own)
        .logical_and(&past)
}

#[derive(Debug)]
pub(super) struct Gpt2Block {
    norm_1: Norm,
    c_attn: Conv1d,
    attention_output: Conv1d,
    norm_2: Norm,
    c_fc: Conv1d,
    output: Conv1d,
    heads: i64,
    activation: Activation,
    attention_dropout: f64,
    residual_dropout: f64,
    /// Of attention scores.
    scale: f64,
}

impl Gpt2Block {
    fn new(weights: &Weights, config: &Gpt2Config, n: i64) -> Self {
        let block = format!("transformer.h.{n}");
        let conv = |name: &str| Conv1d::new(weights, &format!("{block}.{name}"));
        let norm = |name: &str| {
            Norm::new(
                weights,
                &format!("{block}.{name}"),
                config.layer_norm_epsilon,
            )
        };
        let mut scale = 1.0;
        if config.scale_attn_weights {
            scale /= ((config.n_embd / config.n_head) as f64).sqrt();
        }
        if config.scale_attn_by_inverse_layer_idx {
            scale /= (n + 1) as f64;
        }
        Self {
            norm_1: norm("ln_1"),
            c_attn: conv("attn.c_attn"),
            attention_output: conv("attn.c_proj"),
            norm_2: norm("ln_2"),
            c_fc: conv("mlp.c_fc"),
            output: conv("mlp.c_proj"),
            heads: config.n_head,
            activation: config.activation_function,
            attention_dropout: config.attn_pdrop,
            residual_dropout: config.resid_pdrop,
            scale,
        }
    }
}

impl Block for Gpt2Block {
    fn forward(&self, x: &Tensor, mask: Option<&Tensor>, train: bool) -> Tensor {
        let dropout = |x| dropout(x, self.residual_dropout, train);
        let qkv = self.c_attn.forward(&self.norm_1.forward(x)).chunk(3, 2);
        let [q, k, v] = &qkv[..] else {
            unreachable!("the width is three times a token's")
        };
        let sight = mask.map_or(Sight::Past, Sight::Masked);
        let p = if train { self.attention_dropout } else { 0.0 };
        let context = attention([q, k, v], self.heads, sight, p, Some(self.scale));
        let h = x + dropout(self.attention_output.forward(&context));
        let wide = self.c_fc.forward(&self.norm_2.forward(&h));
        &h + dropout(self.output.forward(&self.activation.forward(&wide)))
    }
}
