//! XLM-RoBERTa of Conneau et al. (2020) as a classifier of texts and pairs of texts, computed as Hugging Face's
//! `XLMRobertaForSequenceClassification` does.

use serde::Serialize;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::config::{ConfigError, Keys, divides, wrong};
use super::layers::{
    Activation, Activations, Attention, Block, Blocks, FeedForward, Heads, Linear, Norm, Sight,
    dropout,
};
use super::stored::{Layout, Skipped};
use super::weights::{Init, Parameter, Weights};
use harness::suite::ModelConfig;

/// The shape of an XLM-RoBERTa: the keys of its `config.json` under their own names and defaults.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct XlmRobertaConfig {
    /// Number of tokens.
    pub vocab_size: i64,
    /// Width of a token.
    pub hidden_size: i64,
    /// Number of blocks.
    pub num_hidden_layers: i64,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: i64,
    /// Width of the feed-forward layer.
    pub intermediate_size: i64,
    /// Activation of the feed-forward layer.
    pub hidden_act: Activation,
    /// Dropout after embeddings and after every projection back to `hidden_size`.
    pub hidden_dropout_prob: f64,
    /// Dropout of attention weights.
    pub attention_probs_dropout_prob: f64,
    /// Rows of the position table; a text has at most this many tokens less `pad_token_id` + 1.
    pub max_position_embeddings: i64,
    /// Rows of the table of token types; every token has type 0.
    pub type_vocab_size: i64,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Added to the variance in layer normalisation.
    pub layer_norm_eps: f64,
    /// Dropout in the classifier; `hidden_dropout_prob` where there is none.
    pub classifier_dropout: Option<f64>,
    /// Token that fills up a batch, and row of the position table that goes with it.
    pub pad_token_id: i64,
    /// Token that starts a text.
    pub bos_token_id: Option<i64>,
    /// Token that ends a text.
    pub eos_token_id: Option<i64>,
    /// Number of classes.
    #[serde(skip)]
    pub num_labels: i64,
    /// Names of the classes, or none.
    #[serde(skip)]
    pub label_names: Vec<String>,
}

impl XlmRobertaConfig {
    /// The shape that `config` describes, or what is wrong with it. Needs no libtorch.
    pub fn read(config: &ModelConfig) -> Result<Self, ConfigError> {
        let mut keys = Keys::new("xlm-roberta", &config.keys);
        let (num_labels, label_names) = keys.labels()?;
        let hidden_dropout_prob = keys.probability("hidden_dropout_prob", 0.1)?;
        let classifier_dropout = match keys.get("classifier_dropout") {
            Some(_) => Some(keys.probability("classifier_dropout", 0.0)?),
            None => None,
        };
        let read = Self {
            vocab_size: keys.size("vocab_size", 30522)?,
            hidden_size: keys.size("hidden_size", 768)?,
            num_hidden_layers: keys.size("num_hidden_layers", 12)?,
            num_attention_heads: keys.size("num_attention_heads", 12)?,
            intermediate_size: keys.size("intermediate_size", 3072)?,
            hidden_act: keys.activation("hidden_act", "gelu")?,
            hidden_dropout_prob,
            attention_probs_dropout_prob: keys.probability("attention_probs_dropout_prob", 0.1)?,
            max_position_embeddings: keys.size("max_position_embeddings", 512)?,
            type_vocab_size: keys.size("type_vocab_size", 2)?,
            initializer_range: keys.number("initializer_range", 0.02)?,
            layer_norm_eps: keys.number("layer_norm_eps", 1e-12)?,
            classifier_dropout,
            pad_token_id: keys.token("pad_token_id")?.unwrap_or(1),
            bos_token_id: keys.token("bos_token_id")?,
            eos_token_id: keys.token("eos_token_id")?,
            num_labels,
            label_names,
        };
        keys.only("add_cross_attention", json!(false))?;
        keys.only("is_decoder", json!(false))?;
        keys.only("position_embedding_type", json!("absolute"))?;
        // Says how the masked language model's head is stored, which a classifier lacks.
        keys.finish(&["tie_word_embeddings"])?;
        divides(
            ("num_attention_heads", read.num_attention_heads),
            ("hidden_size", read.hidden_size),
        )?;
        let last = read.vocab_size.min(read.max_position_embeddings) - 1;
        if read.pad_token_id > last {
            let problem = format!("should be a row of both tables, at most {last}");
            return Err(wrong("pad_token_id", problem));
        }
        Ok(read)
    }

    /// Every parameter, named as in the reference implementation's files.
    pub fn parameters(&self) -> Vec<Parameter> {
        let hidden = self.hidden_size;
        let normal = Init::Normal(self.initializer_range);
        let padded = Init::NormalButRow(self.initializer_range, self.pad_token_id);
        let mut all = Vec::new();
        let embeddings = "roberta.embeddings";
        for (name, rows, init) in [
            ("word", self.vocab_size, padded),
            ("position", self.max_position_embeddings, padded),
            ("token_type", self.type_vocab_size, normal),
        ] {
            let name = format!("{embeddings}.{name}_embeddings.weight");
            all.push(Parameter::new(name, &[rows, hidden], init));
        }
        let norm = |name: String| {
            [
                Parameter::new(format!("{name}.weight"), &[hidden], Init::Ones),
                Parameter::new(format!("{name}.bias"), &[hidden], Init::Zeros),
            ]
        };
        let linear = |name: String, output: i64, input: i64| {
            [
                Parameter::new(format!("{name}.weight"), &[output, input], normal),
                Parameter::new(format!("{name}.bias"), &[output], Init::Zeros),
            ]
        };
        all.extend(norm(format!("{embeddings}.LayerNorm")));
        for n in 0..self.num_hidden_layers {
            let layer = format!("roberta.encoder.layer.{n}");
            let wide = self.intermediate_size;
            for part in ["query", "key", "value"] {
                all.extend(linear(
                    format!("{layer}.attention.self.{part}"),
                    hidden,
                    hidden,
                ));
            }
            all.extend(linear(
                format!("{layer}.attention.output.dense"),
                hidden,
                hidden,
            ));
            all.extend(norm(format!("{layer}.attention.output.LayerNorm")));
            all.extend(linear(format!("{layer}.intermediate.dense"), wide, hidden));
            all.extend(linear(format!("{layer}.output.dense"), hidden, wide));
            all.extend(norm(format!("{layer}.output.LayerNorm")));
        }
        all.extend(linear("classifier.dense".into(), hidden, hidden));
        all.extend(linear(
            "classifier.out_proj".into(),
            self.num_labels,
            hidden,
        ));
        all
    }
}

/// An XLM-RoBERTa with its weights.
#[derive(Debug)]
pub struct XlmRoberta {
    /// Its shape.
    pub config: XlmRobertaConfig,
    /// Its parameters.
    pub weights: Weights,
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: Norm,
    pub(super) blocks: Blocks<XlmRobertaBlock>,
    dense: Linear,
    out_proj: Linear,
}

impl XlmRoberta {
    pub(super) const LAYOUT: Layout = Layout {
        prefix: "roberta.",
        head: &["classifier."],
        tied: None,
        skipped: &[
            Skipped {
                pattern: "embeddings.position_ids",
                why: "the numbers from 0, which older files hold as a buffer",
            },
            Skipped {
                pattern: "pooler.dense.*",
                why: "the classifier reads the first token itself",
            },
            Skipped {
                pattern: "lm_head.*",
                why: "the head of the masked language model",
            },
            Skipped {
                pattern: "lm_head.*.*",
                why: "the head of the masked language model",
            },
        ],
    };

    /// A network with fresh weights from the stream that starts at `seed`.
    pub fn new(
        config: XlmRobertaConfig,
        seed: u64,
        device: Device,
    ) -> Result<Self, torch_ext::Error> {
        let weights = Weights::init(&config.parameters(), seed, device)?;
        let table =
            |name: &str| weights.get(&format!("roberta.embeddings.{name}_embeddings.weight"));
        let block = |n| XlmRobertaBlock::new(&weights, &config, n);
        let dropout = [
            config.attention_probs_dropout_prob,
            config.hidden_dropout_prob,
        ];
        Ok(Self {
            words: table("word"),
            positions: table("position"),
            types: table("token_type"),
            norm: Norm::new(
                &weights,
                "roberta.embeddings.LayerNorm",
                config.layer_norm_eps,
            ),
            blocks: Blocks::new((0..config.num_hidden_layers).map(block), &dropout),
            dense: Linear::new(&weights, "classifier.dense", true),
            out_proj: Linear::new(&weights, "classifier.out_proj", true),
            weights,
            config,
        })
    }

    /// What the blocks leave for the backward pass.
    pub fn set_activations(&mut self, activations: Activations) {
        self.blocks.activations = activations;
    }

    /// Word embeddings, `[batch, token, hidden]`, of `ids`, `[batch, token]`, int64. Padding gets no gradient.
    pub fn embed(&self, ids: &Tensor) -> Tensor {
        Tensor::embedding(&self.words, ids, self.config.pad_token_id, false, false)
    }

    /// Rows of the position table, `[batch, token]`: tokens count from `pad_token_id` + 1, and padding has
    /// `pad_token_id`.
    pub fn positions(&self, ids: &Tensor) -> Tensor {
        let pad = self.config.pad_token_id;
        let is_token = ids.ne(pad).to_kind(Kind::Int64);
        is_token.cumsum(1, Kind::Int64) * is_token + pad
    }

    /// Logits, `[batch, class]`, from [`embed`](Self::embed) and [`positions`](Self::positions). `mask`:
    /// `[batch, token]`, not 0 where there is a token. `train` switches dropout on.
    pub fn forward(
        &self,
        embedded: &Tensor,
        positions: &Tensor,
        mask: Option<&Tensor>,
        train: bool,
    ) -> Tensor {
        let p = self
            .config
            .classifier_dropout
            .unwrap_or(self.config.hidden_dropout_prob);
        let first = dropout(self.first_token(embedded, positions, mask, train), p, train);
        let x = self.dense.forward(&first).tanh();
        self.out_proj.forward(&dropout(x, p, train))
    }

    /// Final hidden state of the first token, `[batch, hidden]`.
    pub fn first_token(
        &self,
        embedded: &Tensor,
        positions: &Tensor,
        mask: Option<&Tensor>,
        train: bool,
    ) -> Tensor {
        self.run(embedded, positions, mask, train, &mut |_| {})
            .select(1, 0)
    }

    /// What enters the first block and what leaves every block; each `[batch, token, hidden]`.
    pub fn hidden_states(
        &self,
        embedded: &Tensor,
        positions: &Tensor,
        mask: Option<&Tensor>,
    ) -> Vec<Tensor> {
        let mut states = Vec::new();
        let _ = self.run(embedded, positions, mask, false, &mut |x| {
            states.push(x.shallow_clone());
        });
        states
    }

    fn run(
        &self,
        embedded: &Tensor,
        positions: &Tensor,
        mask: Option<&Tensor>,
        train: bool,
        seen: &mut dyn FnMut(&Tensor),
    ) -> Tensor {
        let pad = self.config.pad_token_id;
        let positions = Tensor::embedding(&self.positions, positions, pad, false, false);
        let x = self
            .norm
            .forward(&(embedded + self.types.select(0, 0) + positions));
        let x = dropout(x, self.config.hidden_dropout_prob, train);
        seen(&x);
        // [batch, head, query, key]
        let mask = mask.map(|mask| mask.ne(0).unsqueeze(1).unsqueeze(1));
        self.blocks.forward(x, mask.as_ref(), train, seen)
    }
}

#[derive(Debug)]
pub(super) struct XlmRobertaBlock {
    attention: Attention,
    attention_norm: Norm,
    feed_forward: FeedForward,
    norm: Norm,
    dropout: f64,
}

impl XlmRobertaBlock {
    fn new(weights: &Weights, config: &XlmRobertaConfig, n: i64) -> Self {
        let layer = format!("roberta.encoder.layer.{n}");
        let norm =
            |name: &str| Norm::new(weights, &format!("{layer}.{name}"), config.layer_norm_eps);
        let heads = Heads {
            count: config.num_attention_heads,
            dropout: config.attention_probs_dropout_prob,
            bias: true,
        };
        Self {
            attention: Attention::new(weights, &format!("{layer}.attention"), "self", heads),
            attention_norm: norm("attention.output.LayerNorm"),
            feed_forward: FeedForward::new(weights, &layer, config.hidden_act),
            norm: norm("output.LayerNorm"),
            dropout: config.hidden_dropout_prob,
        }
    }
}

impl Block for XlmRobertaBlock {
    fn forward(&self, x: &Tensor, mask: Option<&Tensor>, train: bool) -> Tensor {
        let dropout = |x| dropout(x, self.dropout, train);
        let sight = mask.map_or(Sight::All, Sight::Masked);
        let attended = dropout(self.attention.forward(x, sight, train));
        let h = self.attention_norm.forward(&(attended + x));
        self.norm
            .forward(&(dropout(self.feed_forward.forward(&h)) + h))
    }
}
