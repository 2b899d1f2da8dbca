//! `harness bench`: what a step of every method costs on this machine, beside what its passes alone would cost.
//!
//! Times are taken in turn within one process, method and base optimizer alternating, and the fastest of the rounds
//! counts: it is what other work on the machine disturbs least. Compare ratios of one run, never times of two.

pub mod pipeline;
pub mod share;

use std::cell::RefCell;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;
use optim::{Adam, Base, Method, Optimizer, Options, Output, Pass};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::models::{self, Gpt2};

/// A network to time, with random weights and one random batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// Vision transformer, 4 layers of width 64, 16 images of 32 x 32.
    VitTiny,
    /// GPT-2 with 4 layers of width 256 (16M parameters), 2 blocks of 64 tokens.
    GptSmall,
    /// GPT-2 base (124M parameters), 1 block of 64 tokens.
    GptBase,
    /// XLM-RoBERTa base (278M parameters) with 3 classes, 4 pairs of 32 tokens.
    XlmrBase,
    /// ViT base (86M parameters) with 100 classes, 1 image of 224 x 224 in patches of 16 x 16.
    VitBase,
}

impl Network {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value()
            .expect("no network is hidden")
            .get_name()
            .to_string()
    }
}

/// What one method's step costs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The method.
    pub method: String,
    /// Seconds of one step.
    pub seconds: f64,
    /// Seconds of a step over seconds of the base optimizer's.
    pub ratio: f64,
    /// That ratio for nF F + nB B + U, the passes and one base update alone.
    pub passes_ratio: f64,
    /// By how many percent the step exceeds its passes.
    pub over_percent: f64,
    /// Largest resident memory of a process that makes three steps, in bytes.
    pub peak_bytes: u64,
}

/// All rows with what they were measured on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    /// The network.
    pub network: String,
    /// Its trainable parameters.
    pub parameters: u64,
    /// Threads libtorch computed with.
    pub threads: usize,
    /// Rounds per method; the fastest counts.
    pub rounds: usize,
    /// A row a method, the base optimizer (Adam) first.
    pub rows: Vec<Row>,
}

/// How large the batch is; what is left out is as the [`Network`] says.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Size {
    /// Images, blocks or pairs
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
    pub examples: Option<i64>,
    /// Tokens of a block or pair
    #[arg(long, value_parser = clap::value_parser!(i64).range(2..))]
    pub length: Option<i64>,
    /// Compute the inside of every block again in the backward pass
    #[arg(long)]
    pub recompute: bool,
}

struct Built {
    network: models::Network,
    /// Pixels or ids.
    input: Tensor,
    /// Classes or, for a language model, the next tokens.
    labels: Tensor,
}

impl Built {
    fn new(network: Network, size: Size) -> Result<Built> {
        tch::manual_seed(2);
        let examples = |usual: i64| size.examples.unwrap_or(usual);
        let length = |usual: i64| size.length.unwrap_or(usual);
        let int = (Kind::Int64, Device::Cpu);
        let images = |batch: i64, side: i64, classes: i64| {
            let pixels = Tensor::randn([batch, 3, side, side], (Kind::Float, Device::Cpu));
            (pixels, Tensor::randint(classes, [batch], int))
        };
        let blocks = |batch: i64, length: i64| {
            let ids = Tensor::randint(50257, [batch, length], int);
            let labels = Gpt2::next_token_labels(&ids);
            (ids, labels)
        };
        // No dropout, so that a step costs its passes and nothing else.
        let (config, (input, labels)) = match network {
            Network::VitTiny => (
                json!({
                    "model_type": "vit", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
                    "intermediate_size": 256, "image_size": 32, "patch_size": 8, "num_labels": 10,
                }),
                images(examples(16), 32, 10),
            ),
            Network::VitBase => (
                json!({"model_type": "vit", "num_labels": 100}),
                images(examples(1), 224, 100),
            ),
            Network::GptSmall => (
                json!({
                    "model_type": "gpt2", "n_layer": 4, "n_embd": 256, "n_head": 4, "n_positions": length(64),
                    "embd_pdrop": 0, "attn_pdrop": 0, "resid_pdrop": 0,
                }),
                blocks(examples(2), length(64)),
            ),
            Network::GptBase => (
                json!({"model_type": "gpt2", "embd_pdrop": 0, "attn_pdrop": 0, "resid_pdrop": 0}),
                blocks(examples(1), length(64)),
            ),
            Network::XlmrBase => (
                json!({
                    "model_type": "xlm-roberta", "vocab_size": 250_002, "max_position_embeddings": 514,
                    "type_vocab_size": 1, "layer_norm_eps": 1e-5, "num_labels": 3,
                    "hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0,
                }),
                (
                    Tensor::randint_low(4, 250_002, [examples(4), length(32)], int),
                    Tensor::randint(3, [examples(4)], int),
                ),
            ),
        };
        let config = serde_json::from_value(config)?;
        let mut network = models::Network::new(&config, None, 2, Device::Cpu)?;
        if size.recompute {
            network.set_activations(models::Activations::Recomputed);
        }
        Ok(Built {
            network,
            input,
            labels,
        })
    }

    /// The same network on the examples `first..first + rows` of its batch.
    fn rows(&self, first: i64, rows: i64) -> Part<'_> {
        Part {
            network: &self.network,
            input: self.input.narrow(0, first, rows),
            labels: self.labels.narrow(0, first, rows),
        }
    }

    fn parameters(&self) -> Vec<(String, Tensor)> {
        self.network.weights().named()
    }

    fn forward(&self, pass: &Pass) -> Output {
        self.rows(0, self.input.size()[0]).forward(pass)
    }
}

/// Some of a batch's examples.
struct Part<'a> {
    network: &'a models::Network,
    input: Tensor,
    labels: Tensor,
}

impl Part<'_> {
    fn forward(&self, pass: &Pass) -> Output {
        let labels = &self.labels;
        let (loss, logits) = match self.network {
            models::Network::Vit(vit) => {
                let logits = vit.forward(&pass.noise.apply(&self.input), pass.train);
                (logits.cross_entropy_for_logits(labels), logits)
            }
            models::Network::Gpt2(gpt) => {
                let embedded = pass.noise.apply(&gpt.embed(&self.input));
                let logits = gpt.forward(&embedded, None, pass.train);
                (Gpt2::loss(&logits, labels), logits)
            }
            models::Network::XlmRoberta(xlmr) => {
                let embedded = pass.noise.apply(&xlmr.embed(&self.input));
                let positions = xlmr.positions(&self.input);
                let logits = xlmr.forward(&embedded, &positions, None, pass.train);
                (logits.cross_entropy_for_logits(labels), logits)
            }
        };
        Output { loss, logits }
    }
}

fn optimizer(method: &Method, built: &Built) -> Result<Optimizer> {
    Ok(Optimizer::new(
        method.clone(),
        Base::Adam(Adam::default()),
        Options::default(),
        built.parameters(),
    )?)
}

/// Times every method whose name is in `only`, all when it is empty.
pub fn table(network: Network, size: Size, only: &[String], rounds: usize) -> Result<Table> {
    let chosen = |method: &Method| only.is_empty() || only.iter().any(|name| name == method.name());
    let parameters = Built::new(network, size)?
        .parameters()
        .iter()
        .map(|(_, weight)| weight.numel() as u64)
        .sum();
    let mut rows = Vec::new();
    for method in Method::all().into_iter().filter(chosen) {
        rows.push(row(network, size, method, rounds)?);
    }
    Ok(Table {
        network: network.name(),
        parameters,
        threads: tch::get_num_threads() as usize,
        rounds,
        rows,
    })
}

fn row(network: Network, size: Size, method: Method, rounds: usize) -> Result<Row> {
    let passes = method.passes();
    let (built, plain_built) = (Built::new(network, size)?, Built::new(network, size)?);
    let mut stepping = optimizer(&method, &built)?;
    let mut plain = optimizer(&Method::all().remove(0), &plain_built)?;
    let first_weight = plain_built.parameters().remove(0).1;
    let (mut step, mut base) = (Vec::new(), Vec::new());
    let (forward, backward) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    for _ in 0..=rounds {
        step.push(seconds(|| {
            stepping.step(&|pass: &Pass| built.forward(pass)).map(drop)
        })?);
        base.push(seconds(|| {
            plain
                .step(&|pass: &Pass| plain_built.forward(pass))
                .map(drop)
        })?);
        plain.step(&|pass: &Pass| {
            let start = Instant::now();
            let output = plain_built.forward(pass);
            forward.borrow_mut().push(start.elapsed().as_secs_f64());
            let start = Instant::now();
            output.loss.backward();
            backward.borrow_mut().push(start.elapsed().as_secs_f64());
            // The optimizer still needs a loss; this one has no network behind it.
            Output {
                loss: first_weight.sum(Kind::Float),
                logits: output.logits.detach(),
            }
        })?;
    }
    // The first round warms up.
    let fastest = |times: &[f64]| times[1..].iter().copied().fold(f64::INFINITY, f64::min);
    let (step, base) = (fastest(&step), fastest(&base));
    let (f, b) = (fastest(&forward.borrow()), fastest(&backward.borrow()));
    let alone =
        f64::from(passes.forward) * f + f64::from(passes.backward) * b + (base - f - b).max(0.0);
    Ok(Row {
        method: method.name().to_string(),
        seconds: step,
        ratio: step / base,
        passes_ratio: alone / base,
        over_percent: 100.0 * (step / alone - 1.0),
        peak_bytes: peak_of(network, size, method.name())?,
    })
}

fn seconds(body: impl FnOnce() -> Result<(), optim::Error>) -> Result<f64> {
    let start = Instant::now();
    body()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Largest resident memory of a process of its own, which makes three steps and nothing else.
fn peak_of(network: Network, size: Size, method: &str) -> Result<u64> {
    let program = std::env::current_exe()?;
    let given = [("--examples", size.examples), ("--length", size.length)];
    let words = given
        .into_iter()
        .filter_map(|(name, value)| Some([name.to_string(), value?.to_string()]));
    let output = Command::new(program)
        .args(["peak", &network.name(), method])
        .args(words.flatten())
        .args(size.recompute.then_some("--recompute"))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| {
        format!(
            "measuring memory: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )
    })
}

/// Makes three steps and returns the largest resident memory of this process, in bytes.
pub fn peak(network: Network, size: Size, method: &str) -> Result<u64> {
    let method = Method::all()
        .into_iter()
        .find(|known| known.name() == method);
    let built = Built::new(network, size)?;
    let mut optimizer = optimizer(&method.context("no such method")?, &built)?;
    for _ in 0..3 {
        optimizer.step(&|pass: &Pass| built.forward(pass))?;
    }
    // Not getrusage: its maximum counts what the parent held when it started this process.
    let status = std::fs::read_to_string("/proc/self/status")
        .context("the peak of memory is read from /proc")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM in /proc/self/status")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024)
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{}, {} parameters, {} threads, fastest of {} rounds",
            self.network, self.parameters, self.threads, self.rounds
        )?;
        writeln!(
            f,
            "passes: the ratio of nF F + nB B + U to F + B + U, with F, B and U measured in the same run\n"
        )?;
        writeln!(
            f,
            "{:<16} {:>9} {:>7} {:>7} {:>7} {:>9}",
            "method", "ms", "ratio", "passes", "over", "peak MiB"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<16} {:>9.2} {:>7.2} {:>7.2} {:>6.1}% {:>9.0}",
                row.method,
                1e3 * row.seconds,
                row.ratio,
                row.passes_ratio,
                row.over_percent,
                row.peak_bytes as f64 / f64::from(1 << 20)
            )?;
        }
        Ok(())
    }
}
