//! A network of GPT-2's shape, for timing only.

use std::collections::BTreeMap;

use optim::{Noise, Output};
use tch::{Device, Kind, Reduction, Tensor};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

/// A decoder-only transformer with tied embeddings, as GPT-2 is built, and random weights.
pub struct Gpt {
    layers: i64,
    width: i64,
    weights: BTreeMap<String, Tensor>,
}

impl Gpt {
    /// `layers` blocks of `width` (heads of 64), for blocks of `length` tokens out of `vocabulary`.
    pub fn new(layers: i64, width: i64, vocabulary: i64, length: i64) -> Self {
        let mut weights = BTreeMap::new();
        let mut add = |name: String, shape: &[i64], scale: f64| {
            let w = Tensor::randn(shape, CPU) * scale;
            weights.insert(name, w.set_requires_grad(true));
        };
        add("wte".into(), &[vocabulary, width], 0.02);
        add("wpe".into(), &[length, width], 0.02);
        for i in 0..layers {
            for (name, shape) in [
                ("ln1.weight", vec![width]),
                ("ln1.bias", vec![width]),
                ("qkv.weight", vec![3 * width, width]),
                ("qkv.bias", vec![3 * width]),
                ("out.weight", vec![width, width]),
                ("out.bias", vec![width]),
                ("ln2.weight", vec![width]),
                ("ln2.bias", vec![width]),
                ("up.weight", vec![4 * width, width]),
                ("up.bias", vec![4 * width]),
                ("down.weight", vec![width, 4 * width]),
                ("down.bias", vec![width]),
            ] {
                add(format!("h{i}.{name}"), &shape, 0.02);
            }
        }
        Self {
            layers,
            width,
            weights,
        }
    }

    /// The parameters by name.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        self.weights
            .iter()
            .map(|(name, weight)| (name.clone(), weight.shallow_clone()))
            .collect()
    }

    /// Mean cross entropy of the next token, and logits `[batch, length, vocabulary]`, of `ids` `[batch, length]`.
    pub fn forward(&self, ids: &Tensor, noise: &Noise) -> Output {
        let w = |name: &str| &self.weights[name];
        let e = Tensor::embedding(w("wte"), ids, -1, false, false);
        let (batch, length) = ids.size2().expect("batch of blocks");
        let mut x = noise.apply(&e) + w("wpe");
        for i in 0..self.layers {
            let w = |name: &str| &self.weights[&format!("h{i}.{name}")];
            let norm = |x: &Tensor, n: &str| {
                let (g, b) = (w(&format!("{n}.weight")), w(&format!("{n}.bias")));
                x.layer_norm([self.width], Some(g), Some(b), 1e-5, false)
            };
            let linear = |x: &Tensor, n: &str| {
                x.linear(w(&format!("{n}.weight")), Some(w(&format!("{n}.bias"))))
            };
            let heads = self.width / 64;
            let qkv = linear(&norm(&x, "ln1"), "qkv").view([batch, length, 3, heads, 64]);
            let qkv = qkv.permute([2, 0, 3, 1, 4]);
            let (q, k, v) = (qkv.get(0), qkv.get(1), qkv.get(2));
            let a = Tensor::scaled_dot_product_attention(
                &q,
                &k,
                &v,
                None::<Tensor>,
                0.0,
                true,
                None::<f64>,
                false,
            );
            let a = a.transpose(1, 2).reshape([batch, length, self.width]);
            x = linear(&a, "out") + x;
            x = &x + linear(&linear(&norm(&x, "ln2"), "up").gelu("tanh"), "down");
        }
        let logits = x.linear(w("wte"), None::<Tensor>);
        let classes = logits.size()[2];
        let predicted = logits.narrow(1, 0, length - 1).reshape([-1, classes]);
        let next = ids.narrow(1, 1, length - 1).reshape([-1]);
        let loss = predicted.cross_entropy_loss(&next, None::<Tensor>, Reduction::Mean, -100, 0.0);
        Output { loss, logits }
    }
}
