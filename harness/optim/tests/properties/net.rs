//! A small classifier over token ids, with everything that can matter: an embedding, a
//! normalisation, biases, dropout.

use std::collections::BTreeMap;

use optim::{Accumulated, Base, Method, Numbers, Optimizer, Options, Output, Pass, Sgd, Share};
use tch::{Device, Kind, Tensor};

pub struct Net {
    pub weights: BTreeMap<String, Tensor>,
    pub dropout: f64,
}

pub const VOCABULARY: i64 = 11;
pub const CLASSES: i64 = 3;

impl Net {
    /// The same weights every time, without touching the global generator.
    pub fn new(kind: Kind) -> Self {
        let shapes: [(&str, &[i64]); 7] = [
            ("emb.weight", &[VOCABULARY, 8]),
            ("ln.weight", &[8]),
            ("ln.bias", &[8]),
            ("fc1.weight", &[16, 8]),
            ("fc1.bias", &[16]),
            ("fc2.weight", &[CLASSES, 16]),
            ("fc2.bias", &[CLASSES]),
        ];
        let weights = shapes.iter().enumerate().map(|(i, (name, shape))| {
            let n: i64 = shape.iter().product();
            let x = (Tensor::arange(n, (Kind::Double, Device::Cpu)) * 1.7 + i as f64).sin() * 0.6;
            (
                name.to_string(),
                x.view(*shape).to_kind(kind).set_requires_grad(true),
            )
        });
        Self {
            weights: weights.collect(),
            dropout: 0.0,
        }
    }

    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        self.weights
            .iter()
            .map(|(name, w)| (name.clone(), w.shallow_clone()))
            .collect()
    }

    pub fn forward(&self, batch: &Batch, pass: &Pass) -> Output {
        let w = |name: &str| &self.weights[name];
        let one = |x: &Tensor| {
            pass.example
                .map_or(x.shallow_clone(), |i| x.narrow(0, i, 1))
        };
        let (ids, labels) = (one(&batch.ids), one(&batch.labels));
        let e = Tensor::embedding(w("emb.weight"), &ids, -1, false, false);
        let h = pass.noise.apply(&e).tanh().mean_dim(1, false, None::<Kind>);
        let h = h.layer_norm([8], Some(w("ln.weight")), Some(w("ln.bias")), 1e-5, false);
        let h = h.linear(w("fc1.weight"), Some(w("fc1.bias"))).tanh();
        let h = h.dropout(self.dropout, pass.train);
        let logits = h.linear(w("fc2.weight"), Some(w("fc2.bias")));
        let mean = tch::Reduction::Mean;
        let loss = logits.cross_entropy_loss(&labels, None::<Tensor>, mean, -100, 0.0);
        Output { loss, logits }
    }

    pub fn optimizer(&self, method: Method, options: Options) -> Optimizer {
        let base = Base::Sgd(Sgd {
            lr: 0.1,
            momentum: 0.9,
            weight_decay: 1e-3,
        });
        Optimizer::new(method, base, options, self.parameters()).expect("an optimizer")
    }

    /// Runs updates `from..=to`; every update has a batch of its own.
    pub fn train(&self, optimizer: &mut Optimizer, from: u64, to: u64) -> Vec<Numbers> {
        let update = |t| {
            let batch = Batch::number(t);
            let step = optimizer.step(&|pass: &Pass| self.forward(&batch, pass));
            step.expect("an update").read()
        };
        (from..=to).map(update).collect()
    }

    pub fn values(&self) -> BTreeMap<String, Tensor> {
        self.weights
            .iter()
            .map(|(name, w)| (name.clone(), w.detach().copy()))
            .collect()
    }
}

pub struct Batch {
    pub ids: Tensor,
    pub labels: Tensor,
}

impl Batch {
    /// Eight examples of five tokens, different for every number.
    pub fn number(t: u64) -> Self {
        let count = |n: i64| Tensor::arange(n, (Kind::Int64, Device::Cpu));
        let t = t as i64;
        let ids = (count(40) * (t + 3) + t).remainder(VOCABULARY).view([8, 5]);
        let labels = (count(8) * 2 + t).remainder(CLASSES);
        Self { ids, labels }
    }

    pub fn part(&self, start: i64, len: i64) -> Self {
        Self {
            ids: self.ids.narrow(0, start, len),
            labels: self.labels.narrow(0, start, len),
        }
    }
}

/// The batch in parts of the given sizes.
pub fn in_parts<'a>(
    net: &'a Net,
    batch: &'a Batch,
    sizes: &'a [i64],
) -> Accumulated<impl Fn(&Pass) -> Output + 'a> {
    let total: i64 = sizes.iter().sum();
    let share = |size: &i64| *size as f64 / total as f64;
    Accumulated {
        shares: sizes
            .iter()
            .map(share)
            .map(|s| Share {
                rows: None,
                loss: s,
                examples: s,
            })
            .collect(),
        forward: move |pass: &Pass| {
            let start = sizes[..pass.micro_batch].iter().sum();
            net.forward(&batch.part(start, sizes[pass.micro_batch]), pass)
        },
    }
}

pub fn same_bits(a: &BTreeMap<String, Tensor>, b: &BTreeMap<String, Tensor>) -> bool {
    a.len() == b.len() && a.iter().all(|(name, x)| x.equal(&b[name]))
}

pub fn largest_gap(a: &BTreeMap<String, Tensor>, b: &BTreeMap<String, Tensor>) -> f64 {
    let gaps = a
        .iter()
        .map(|(name, x)| (x - &b[name]).abs().max().double_value(&[]));
    gaps.fold(0.0, f64::max)
}
