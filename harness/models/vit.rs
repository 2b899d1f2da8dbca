//! The vision transformer of Dosovitskiy et al. (2021) with a linear classifier on its class token, computed as
//! Hugging Face's `ViTForImageClassification` does.

use tch::{Device, Tensor};

use super::config::{ConfigError, Keys};
use super::weights::{Init, Parameter, Weights};
use harness::suite::ModelConfig;

/// Keys of a ViT's `config.json` that do not change what is computed here: they describe where the file came from,
/// name labels, or belong to the pooler and the decoder that a classifier lacks.
const HARMLESS: [&str; 19] = [
    "_name_or_path",
    "_attn_implementation",
    "architectures",
    "dtype",
    "encoder_stride",
    "finetuning_task",
    "gradient_checkpointing",
    "is_encoder_decoder",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "pooler_act",
    "pooler_output_size",
    "problem_type",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "use_bfloat16",
    "use_cache",
];

/// The shape of a vision transformer: the keys of its `config.json` under their own names and defaults.
#[derive(Clone, Debug, PartialEq)]
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
    pub num_labels: i64,
}

/// Activation of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x Phi(x), through the error function.
    Gelu,
    /// GELU with the tanh approximation.
    GeluTanh,
    /// max(x, 0).
    Relu,
}

impl VitConfig {
    /// The shape that `config` describes, or what is wrong with it. Needs no libtorch.
    pub fn read(config: &ModelConfig) -> Result<Self, ConfigError> {
        let mut keys = Keys::new("vit", &config.keys);
        let named_labels = keys
            .get("id2label")
            .and_then(|names| names.as_object())
            .map(|names| names.len() as i64);
        let read = Self {
            hidden_size: keys.size("hidden_size", 768)?,
            num_hidden_layers: keys.size("num_hidden_layers", 12)?,
            num_attention_heads: keys.size("num_attention_heads", 12)?,
            intermediate_size: keys.size("intermediate_size", 3072)?,
            hidden_act: match keys.word("hidden_act", "gelu")? {
                "gelu" => Activation::Gelu,
                "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
                "relu" => Activation::Relu,
                other => {
                    let problem = format!(
                        "should be gelu, gelu_new, gelu_pytorch_tanh or relu, found {other}"
                    );
                    return Err(ConfigError::Value {
                        key: "hidden_act".into(),
                        problem,
                    });
                }
            },
            hidden_dropout_prob: keys.probability("hidden_dropout_prob", 0.0)?,
            attention_probs_dropout_prob: keys.probability("attention_probs_dropout_prob", 0.0)?,
            initializer_range: keys.number("initializer_range", 0.02)?,
            layer_norm_eps: keys.number("layer_norm_eps", 1e-12)?,
            image_size: keys.size("image_size", 224)?,
            patch_size: keys.size("patch_size", 16)?,
            num_channels: keys.size("num_channels", 3)?,
            qkv_bias: keys.truth("qkv_bias", true)?,
            num_labels: keys.size("num_labels", named_labels.unwrap_or(2))?,
        };
        keys.finish(&HARMLESS)?;
        read.check(named_labels)?;
        Ok(read)
    }

    fn check(&self, named_labels: Option<i64>) -> Result<(), ConfigError> {
        let wrong = |key: &str, problem: String| {
            Err(ConfigError::Value {
                key: key.into(),
                problem,
            })
        };
        if self.hidden_size % self.num_attention_heads != 0 {
            return wrong(
                "num_attention_heads",
                format!("should divide hidden_size, {}", self.hidden_size),
            );
        }
        if self.image_size % self.patch_size != 0 {
            return wrong(
                "patch_size",
                format!("should divide image_size, {}", self.image_size),
            );
        }
        if self.num_channels != 1 && self.num_channels != 3 {
            return wrong(
                "num_channels",
                format!("should be 1 or 3, found {}", self.num_channels),
            );
        }
        match named_labels {
            Some(named) if named != self.num_labels => wrong(
                "num_labels",
                format!("is {}, but id2label names {named}", self.num_labels),
            ),
            _ => Ok(()),
        }
    }

    /// Every parameter, named as in the reference implementation's files.
    pub fn parameters(&self) -> Vec<Parameter> {
        let (hidden, patch) = (self.hidden_size, self.patch_size);
        let tokens = 1 + (self.image_size / patch) * (self.image_size / patch);
        let normal = Init::TruncatedNormal(self.initializer_range);
        let mut all = Vec::new();
        let mut add = |name: String, size: &[i64], init| {
            all.push(Parameter {
                name,
                size: size.to_vec(),
                init,
            })
        };

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
    layers: Vec<Layer>,
    norm: Norm,
    classifier: Linear,
}

impl Vit {
    /// Names in a file of a bare backbone lack this.
    pub const PREFIX: &str = "vit.";
    /// Parameters that a fine-tuned model may start anew.
    pub const HEAD: &str = "classifier.";

    /// A network with fresh weights from the stream that starts at `seed`.
    pub fn new(config: VitConfig, seed: u64, device: Device) -> Result<Self, torch_ext::Error> {
        let weights = Weights::init(&config.parameters(), seed, device)?;
        let linear = |name: &str, bias| Linear::new(&weights, name, bias);
        let norm = |name: &str| Norm::new(&weights, name, config.layer_norm_eps);
        let layers = (0..config.num_hidden_layers).map(|n| {
            let layer = format!("vit.encoder.layer.{n}");
            Layer {
                norm_before: norm(&format!("{layer}.layernorm_before")),
                query: linear(
                    &format!("{layer}.attention.attention.query"),
                    config.qkv_bias,
                ),
                key: linear(&format!("{layer}.attention.attention.key"), config.qkv_bias),
                value: linear(
                    &format!("{layer}.attention.attention.value"),
                    config.qkv_bias,
                ),
                attention_output: linear(&format!("{layer}.attention.output.dense"), true),
                norm_after: norm(&format!("{layer}.layernorm_after")),
                intermediate: linear(&format!("{layer}.intermediate.dense"), true),
                output: linear(&format!("{layer}.output.dense"), true),
            }
        });
        Ok(Self {
            layers: layers.collect(),
            projection: linear("vit.embeddings.patch_embeddings.projection", true),
            class_token: weights.get("vit.embeddings.cls_token"),
            positions: weights.get("vit.embeddings.position_embeddings"),
            norm: norm("vit.layernorm"),
            classifier: linear("classifier", true),
            weights,
            config,
        })
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
        let batch = patches.size()[0];
        let class_token = self.class_token.expand([batch, -1, -1], false);
        // [batch, 1 + patches, hidden]; autocast leaves concatenation to the widest kind.
        let embedded = Tensor::cat(&[class_token, patches.to_kind(self.class_token.kind())], 1)
            + &self.positions;
        let mut x = embedded.dropout(self.config.hidden_dropout_prob, train);
        for layer in &self.layers {
            x = layer.forward(&x, &self.config, train);
        }
        // Layer normalisation acts on each token alone, so only the one that is read needs it.
        self.classifier.forward(&self.norm.forward(&x.select(1, 0)))
    }

    /// Logits, `[batch, class]`, from normalised `pixels`.
    pub fn forward(&self, pixels: &Tensor, train: bool) -> Tensor {
        self.classify(&self.patches(pixels), train)
    }
}

#[derive(Debug)]
struct Layer {
    norm_before: Norm,
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    norm_after: Norm,
    intermediate: Linear,
    output: Linear,
}

impl Layer {
    /// `[batch, token, hidden]` to the same.
    fn forward(&self, x: &Tensor, config: &VitConfig, train: bool) -> Tensor {
        let dropout = |x: Tensor| {
            if train {
                x.dropout(config.hidden_dropout_prob, true)
            } else {
                x
            }
        };
        let h = x + dropout(self.attention_output.forward(&self.attend(
            &self.norm_before.forward(x),
            config,
            train,
        )));
        let wide = self.intermediate.forward(&self.norm_after.forward(&h));
        let active = match config.hidden_act {
            Activation::Gelu => wide.gelu("none"),
            Activation::GeluTanh => wide.gelu("tanh"),
            Activation::Relu => wide.relu(),
        };
        &h + dropout(self.output.forward(&active))
    }

    fn attend(&self, x: &Tensor, config: &VitConfig, train: bool) -> Tensor {
        let (batch, tokens, hidden) = x.size3().expect("[batch, token, hidden]");
        let heads = config.num_attention_heads;
        // [batch, head, token, hidden / heads]
        let split = |linear: &Linear| {
            linear
                .forward(x)
                .view([batch, tokens, heads, hidden / heads])
                .transpose(1, 2)
        };
        let dropout = if train {
            config.attention_probs_dropout_prob
        } else {
            0.0
        };
        let no_mask: Option<Tensor> = None;
        let (q, k, v) = (split(&self.query), split(&self.key), split(&self.value));
        let context =
            Tensor::scaled_dot_product_attention(&q, &k, &v, no_mask, dropout, false, None, false);
        context.transpose(1, 2).reshape([batch, tokens, hidden])
    }
}

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    fn new(weights: &Weights, name: &str, bias: bool) -> Self {
        let bias = bias.then(|| weights.get(&format!("{name}.bias")));
        Self {
            weight: weights.get(&format!("{name}.weight")),
            bias,
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }
}

#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl Norm {
    fn new(weights: &Weights, name: &str, eps: f64) -> Self {
        let (weight, bias) = (
            weights.get(&format!("{name}.weight")),
            weights.get(&format!("{name}.bias")),
        );
        Self { weight, bias, eps }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(
            self.weight.size(),
            Some(&self.weight),
            Some(&self.bias),
            self.eps,
            true,
        )
    }
}
