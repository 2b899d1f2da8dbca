//! Seconds per step of every method on a small GPT, beside what its passes alone would cost:
//! `cargo bench -p optim --bench steps [-- LAYERS WIDTH VOCABULARY BATCH LENGTH ROUNDS]`.

use std::{cell::RefCell, collections::BTreeMap, time::Instant};

use optim::{Adam, Base, Method, Noise, Optimizer, Options, Output, Pass};
use tch::{Device, Kind, Reduction, Tensor};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

struct Gpt {
    layers: i64,
    width: i64,
    weights: BTreeMap<String, Tensor>,
}

impl Gpt {
    fn new(layers: i64, width: i64, vocabulary: i64, length: i64) -> Self {
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

    fn forward(&self, ids: &Tensor, noise: &Noise) -> Output {
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

fn seconds(body: impl FnOnce()) -> f64 {
    let start = Instant::now();
    body();
    start.elapsed().as_secs_f64()
}

/// The fastest: what other work on the machine disturbs least.
fn fastest(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

fn prepare(method: Method, [layers, width, vocabulary, length]: [i64; 4]) -> (Gpt, Optimizer) {
    tch::manual_seed(2);
    let gpt = Gpt::new(layers, width, vocabulary, length);
    let parameters = gpt
        .weights
        .iter()
        .map(|(n, w)| (n.clone(), w.shallow_clone()))
        .collect();
    let base = Base::Adam(Adam::default());
    let optimizer = Optimizer::new(method, base, Options::default(), parameters);
    (gpt, optimizer.expect("an optimizer"))
}

fn main() {
    let numbers: Vec<i64> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let get = |i: usize, default| numbers.get(i).copied().unwrap_or(default);
    let (layers, width, vocabulary) = (get(0, 4), get(1, 256), get(2, 50257));
    let (batch, length, rounds) = (get(3, 2), get(4, 64), get(5, 7));
    let sizes = [layers, width, vocabulary, length];
    let ids = Tensor::randint(vocabulary, [batch, length], (Kind::Int64, Device::Cpu));
    println!(
        "GPT, {layers} layers of width {width}, {vocabulary} tokens, batch {batch} x {length}"
    );
    println!("passes: F, B and U = base step - F - B, measured in turn with the method's step");
    println!(
        "{:<16} {:>8} {:>7} {:>7} {:>6}",
        "method", "ms", "ratio", "passes", "over"
    );
    for method in Method::all() {
        let (name, passes) = (method.name(), method.passes());
        let (gpt, mut optimizer) = prepare(method, sizes);
        let (plain_gpt, mut plain) = prepare(Method::all().remove(0), sizes);
        let (mut step, mut base) = (vec![], vec![]);
        let (f, b) = (RefCell::new(vec![]), RefCell::new(vec![]));
        for _ in 0..=rounds {
            step.push(seconds(|| {
                optimizer
                    .step(&|pass: &Pass| gpt.forward(&ids, &pass.noise))
                    .expect("an update");
            }));
            base.push(seconds(|| {
                plain
                    .step(&|pass: &Pass| plain_gpt.forward(&ids, &pass.noise))
                    .expect("an update");
            }));
            let task = |pass: &Pass| {
                let start = Instant::now();
                let output = plain_gpt.forward(&ids, &pass.noise);
                f.borrow_mut().push(start.elapsed().as_secs_f64());
                b.borrow_mut().push(seconds(|| output.loss.backward()));
                // The optimizer still needs a loss; this one has no network behind it.
                let loss = plain_gpt.weights["h0.ln1.bias"].sum(Kind::Float);
                Output {
                    loss,
                    logits: output.logits.detach(),
                }
            };
            plain.step(&task).expect("an update");
        }
        // The first round warms up.
        let [step, base, f, b] =
            [step, base, f.into_inner(), b.into_inner()].map(|times| fastest(&times[1..]));
        let alone = f64::from(passes.forward) * f + f64::from(passes.backward) * b + (base - f - b);
        let over = 100.0 * (step / alone - 1.0);
        let (ratio, ideal) = (step / base, alone / base);
        println!(
            "{name:<16} {:>8.1} {ratio:>7.2} {ideal:>7.2} {over:>5.1}%",
            1e3 * step
        );
    }
}
