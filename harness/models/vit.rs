//! The vision transformer of Dosovitskiy et al. (2021) with a linear classifier on its class token, computed as
//! Hugging Face's `ViTForImageClassification` does.

use serde::Serialize;
use tch::{Device, Tensor};

use super::config::{ConfigError, Keys, divides, wrong};
use super::layers::{
    Activation, Activations, Attention, Block, Blocks, FeedForward, Heads, Linear, Norm, Sight,
    dropout,
};
use super::stored::{Layout, Skipped};
use super::weights::{Init, Parameter, Weights};
use harness::suite::ModelConfig;

/// Keys of a ViT's `config.json` that do not change what is computed here: they belong to the pooler and the decoder
/// that a classifier lacks.
const HARMLESS: [&str; 3] = ["encoder_stride", "pooler_act", "pooler_output_size"];

/// The shape of a vision transformer: the keys of its `config.json` under their own names and defaults.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VitConfig {
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
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Added to the variance in layer normalisation.
    pub layer_norm_eps: f64,
    /// Height and width of an image in pixels.
    pub image_size: i64,
    /// Height and width of a patch in pixels; divides `image_size`.
    pub patch_size: i64,
    /// 1 for grey levels, 3 for RGB.
    pub num_channels: i64,
    /// Whether query, key and value have a bias.
    pub qkv_bias: bool,
    /// Number of classes.
    #[serde(skip)]
    pub num_labels: i64,
    /// Names of the classes, or none.
    #[serde(skip)]
    pub label_names: Vec<String>,
}

impl VitConfig {
    /// The shape that `config` describes, or what is wrong with it. Needs no libtorch.
    pub fn read(config: &ModelConfig) -> Result<Self, ConfigError> {
        let mut keys = Keys::new("vit", &config.keys);
        let (num_labels, label_names) = keys.labels()?;
        let read = Self {
            hidden_size: keys.size("hidden_size", 768)?,
            num_hidden_layers: keys.size("num_hidden_layers", 12)?,
            num_attention_heads: keys.size("num_attention_heads", 12)?,
            intermediate_size: keys.size("intermediate_size", 3072)?,
            hidden_act: keys.activation("hidden_act", "gelu")?,
            hidden_dropout_prob: keys.probability("hidden_dropout_prob", 0.0)?,
            attention_probs_dropout_prob: keys.probability("attention_probs_dropout_prob", 0.0)?,
            initializer_range: keys.number("initializer_range", 0.02)?,
            layer_norm_eps: keys.number("layer_norm_eps", 1e-12)?,
            image_size: keys.size("image_size", 224)?,
            patch_size: keys.size("patch_size", 16)?,
            num_channels: keys.size("num_channels", 3)?,
            qkv_bias: keys.truth("qkv_bias", true)?,
            num_labels,
            label_names,
        };
        keys.finish(&HARMLESS)?;
        divides(
            ("num_attention_heads", read.num_attention_heads),
            ("hidden_size", read.hidden_size),
        )?;
        divides(
            ("patch_size", read.patch_size),
            ("image_size", read.image_size),
        )?;
        match read.num_channels {
            1 | 3 => Ok(read),
            other => Err(wrong(
                "num_channels",
                format!("should be 1 or 3, found {other}"),
            )),
        }
    }

    /// Every parameter, named as in the reference implementation's files.
    pub fn parameters(&self) -> Vec<Parameter> {
        let (hidden, patch) = (self.hidden_size, self.patch_size);
        let tokens = 1 + (self.image_size / patch) * (self.image_size / patch);
        let normal = Init::TruncatedNormal(self.initializer_range);
        let mut all = Vec::new();
        let mut add = |name: String, size: &[i64], init| all.push(Parameter::new(name, size, init));

        add("vit.embeddings.cls_token".into(), &[1, 1, hidden], normal);
        add(
            "vit.embeddings.position_embeddings".into(),
            &[1, tokens, hidden],
            normal,
        );
        let projection = "vit.embeddings.patch_embeddings.projection";
        add(
            format!("{projection}.weight"),
            &[hidden, self.num_channels, patch, patch],
            normal,
        );
        add(format!("{projection}.bias"), &[hidden], Init::Zeros);
        for n in 0..self.num_hidden_layers {
            let layer = format!("vit.encoder.layer.{n}");
            let mut linear = |name: &str, output: i64, input: i64, bias: bool| {
                add(format!("{layer}.{name}.weight"), &[output, input], normal);
                if bias {
                    add(format!("{layer}.{name}.bias"), &[output], Init::Zeros);
                }
            };
            linear("attention.attention.query", hidden, hidden, self.qkv_bias);
            linear("attention.attention.key", hidden, hidden, self.qkv_bias);
            linear("attention.attention.value", hidden, hidden, self.qkv_bias);
            linear("attention.output.dense", hidden, hidden, true);
            linear("intermediate.dense", self.intermediate_size, hidden, true);
            linear("output.dense", hidden, self.intermediate_size, true);
            for norm in ["layernorm_before", "layernorm_after"] {
                add(format!("{layer}.{norm}.weight"), &[hidden], Init::Ones);
                add(format!("{layer}.{norm}.bias"), &[hidden], Init::Zeros);
            }
        }
        add("vit.layernorm.weight".into(), &[hidden], Init::Ones);
        add("vit.layernorm.bias".into(), &[hidden], Init::Zeros);
        add(
            "classifier.weight".into(),
            &[self.num_labels, hidden],
            normal,
        );
        add("classifier.bias".into(), &[self.num_labels], Init::Zeros);
        all
    }
}

/// A vision transformer with its weights.
#[derive(Debug)]
pub struct Vit {
    /// Its shape.
    pub config: VitConfig,
    /// Its parameters.
    pub weights: Weights,
    projection: Linear,
    class_token: Tensor,
    positions: Tensor,
    pub(super) blocks: Blocks<VitBlock>,
    norm: Norm,
    classifier: Linear,
}

impl Vit {
    pub(super) const LAYOUT: Layout = Layout {
        prefix: "vit.",
        head: &["classifier."],
        tied: None,
        skipped: &[Skipped {
            pattern: "pooler.dense.*",
            why: "the classifier reads the first token itself",
        }],
    };

    /// A network with fresh weights from the stream that starts at `seed`.
    pub fn new(config: VitConfig, seed: u64, device: Device) -> Result<Self, torch_ext::Error> {
        let weights = Weights::init(&config.parameters(), seed, device)?;
        let block = |n| VitBlock::new(&weights, &config, n);
        let dropout = [
            config.attention_probs_dropout_prob,
            config.hidden_dropout_prob,
        ];
        Ok(Self {
            projection: Linear::new(&weights, "vit.embeddings.patch_embeddings.projection", true),
            class_token: weights.get("vit.embeddings.cls_token"),
            positions: weights.get("vit.embeddings.position_embeddings"),
            blocks: Blocks::new((0..config.num_hidden_layers).map(block), &dropout),
            norm: Norm::new(&weights, "vit.layernorm", config.layer_norm_eps),
            classifier: Linear::new(&weights, "classifier", true),
            weights,
            config,
        })
    }

    /// What the blocks leave for the backward pass.
    pub fn set_activations(&mut self, activations: Activations) {
        self.blocks.activations = activations;
    }

    /// Output of the patch projection: `[batch, patches, hidden]` from normalised `pixels`,
    /// `[batch, channel, height, width]`.
    pub fn patches(&self, pixels: &Tensor) -> Tensor {
        let (p, n) = (
            self.config.patch_size,
            self.config.image_size / self.config.patch_size,
        );
        // A convolution whose stride is its width multiplies each patch by one matrix.
        let patches = pixels
            .view([-1, self.config.num_channels, n, p, n, p])
            .permute([0, 2, 4, 1, 3, 5]);
        let patches = patches.reshape([-1, n * n, self.config.num_channels * p * p]);
        patches.linear(
            &self.projection.weight.flatten(1, -1),
            self.projection.bias.as_ref(),
        )
    }

    /// Logits, `[batch, class]`, from [`patches`](Self::patches). `train` switches dropout on.
    pub fn classify(&self, patches: &Tensor, train: bool) -> Tensor {
        self.classifier.forward(&self.first_token(patches, train))
    }

    /// Final hidden state of the class token, normalised: `[batch, hidden]`.
    pub fn first_token(&self, patches: &Tensor, train: bool) -> Tensor {
        // Layer normalisation acts on each token alone, so only the one that is read needs it.
        self.norm
            .forward(&self.run(patches, train, &mut |_| {}).select(1, 0))
    }

    /// What enters the first block and what leaves every block, before the final norm; each `[batch, token, hidden]`.
    pub fn hidden_states(&self, patches: &Tensor) -> Vec<Tensor> {
        let mut states = Vec::new();
        let _ = self.run(patches, false, &mut |x| states.push(x.shallow_clone()));
        states
    }

    fn run(&self, patches: &Tensor, train: bool, seen: &mut dyn FnMut(&Tensor)) -> Tensor {
        let batch = patches.size()[0];
        let class_token = self.class_token.expand([batch, -1, -1], false);
        // [batch, 1 + patches, hidden]; autocast leaves concatenation to the widest kind.
        let embedded = Tensor::cat(&[class_token, patches.to_kind(self.class_token.kind())], 1)
            + &self.positions;
        let x = dropout(embedded, self.config.hidden_dropout_prob, train);
        seen(&x);
        self.blocks.forward(x, None, train, seen)
    }

    /// Logits, `[batch, class]`, from normalised `pixels`.
    pub fn forward(&self, pixels: &Tensor, train: bool) -> Tensor {
        self.classify(&self.patches(pixels), train)
    }
}

#[derive(Debug)]
pub(super) struct VitBlock {
    norm_before: Norm,
    attention: Attention,
    norm_after: Norm,
    feed_forward: FeedForward,
    dropout: f64,
}

impl VitBlock {
    fn new(weights: &Weights, config: &VitConfig, n: i64) -> Self {
        let layer = format!("vit.encoder.layer.{n}");
        let norm =
            |name: &str| Norm::new(weights, &format!("{layer}.{name}"), config.layer_norm_eps);
        let heads = Heads {
            count: config.num_attention_heads,
            dropout: config.attention_probs_dropout_prob,
            bias: config.qkv_bias,
        };
        Self {
            norm_before: norm("layernorm_before"),
            attention: Attention::new(weights, &format!("{layer}.attention"), "attention", heads),
            norm_after: norm("layernorm_after"),
            feed_forward: FeedForward::new(weights, &layer, config.hidden_act),
            dropout: config.hidden_dropout_prob,
        }
    }
}

impl Block for VitBlock {
    fn forward(&self, x: &Tensor, _: Option<&Tensor>, train: bool) -> Tensor {
        let dropout = |x| dropout(x, self.dropout, train);
        let attended = self
            .attention
            .forward(&self.norm_before.forward(x), Sight::All, train);
        let h = x + dropout(attended);
        &h + dropout(self.feed_forward.forward(&self.norm_after.forward(&h)))
    }
}
