//! How fast data are prepared and a network evaluated, without training: our side of `pipeline.py`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use clap::Subcommand;
use harness::suite::{Augmentation, Images, Input, Precision};
use methods::VitNoiseAt;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::models::{Gpt2, Network};
use crate::tasks::blocks::{Blocks, Tail, Tokens};
use crate::tasks::cache::Cache;
use crate::tasks::images::ImageExamples;
use crate::tasks::pixels::Shape;
use crate::tasks::portion::Portion;
use crate::tasks::tokenizer::Tokenizer;
use crate::tasks::{Batch, Examples, Task, ahead};

/// Tokens of a block.
const LENGTH: usize = 1024;
/// Images of a batch.
const IMAGES: usize = 32;
/// Blocks of a batch.
const BLOCKS: i64 = 2;
/// Evaluations, of which the fastest counts.
const ROUNDS: usize = 4;

/// What is timed.
#[derive(Clone, Debug, Subcommand)]
pub enum Work {
    /// Text into blocks of 1,024 tokens
    Text {
        /// The data set
        folder: PathBuf,
        /// Its portion
        portion: String,
        /// The tokenizer's folder
        tokenizer: PathBuf,
        /// Where the tokens go
        #[arg(long)]
        cache: PathBuf,
    },
    /// Encoded images into normalised ones of 224 x 224
    Images {
        /// The data set
        folder: PathBuf,
        /// Its portion
        portion: String,
    },
    /// The loss of a GPT-2 of 4 layers and width 256 on blocks of 1,024 tokens
    Evaluate,
}

/// How long it took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Timed {
    /// Seconds.
    pub seconds: f64,
    /// Tokens or images.
    pub items: u64,
    /// Items a second.
    pub per_second: f64,
    /// Blocks of a batch, in an evaluation.
    pub batch: Option<i64>,
    /// Tokens of a block, in an evaluation.
    pub length: Option<usize>,
}

impl Timed {
    fn new(seconds: f64, items: u64) -> Self {
        Self {
            seconds,
            items,
            per_second: items as f64 / seconds,
            batch: None,
            length: None,
        }
    }
}

/// Does `work` and times it.
pub fn time(work: &Work) -> Result<Timed> {
    match work {
        Work::Text {
            folder,
            portion,
            tokenizer,
            cache,
        } => text(folder, portion, tokenizer, cache),
        Work::Images { folder, portion } => images(folder, portion),
        Work::Evaluate => evaluate(),
    }
}

fn text(folder: &Path, portion: &str, tokenizer: &Path, cache: &Path) -> Result<Timed> {
    let tokenizer = Tokenizer::open(tokenizer)?;
    let start = Instant::now();
    let portion = Portion::find(folder, portion)?;
    let tokens = Tokens::prepare(&Cache::at(cache), &portion, "text", &tokenizer, &mut |_| {})?;
    let blocks = Blocks::new(vec![tokens], LENGTH, Tail::Drop);
    let seconds = start.elapsed().as_secs_f64();
    Ok(Timed::new(seconds, blocks.tokens() as u64))
}

fn images(folder: &Path, portion: &str) -> Result<Timed> {
    let input = Images {
        image: "image".into(),
        label: "label".into(),
        mean: 0.5,
        std: 0.5,
        augmentation: Augmentation::None,
        classes: None,
    };
    let shape = Shape {
        channels: 3,
        side: 224,
    };
    let start = Instant::now();
    let portion = [Portion::find(folder, portion)?];
    let cache = Cache::forgetful();
    let images = Arc::new(ImageExamples::whole(
        &cache,
        &portion,
        &input,
        shape,
        i64::MAX,
        &mut |_| {},
    )?);
    let count = images.len();
    let places: Vec<Vec<usize>> = (0..count)
        .collect::<Vec<_>>()
        .chunks(IMAGES)
        .map(<[usize]>::to_vec)
        .collect();
    let batches = ahead(2, places.into_iter(), move |places| {
        images.batch(&places, None)
    });
    for batch in batches {
        let pixels = batch?.input.to_kind(Kind::Float);
        let _ = std::hint::black_box((pixels * (1.0 / 255.0) - input.mean) / input.std);
    }
    Ok(Timed::new(start.elapsed().as_secs_f64(), count as u64))
}

/// No example at all.
struct Nothing;

impl Examples for Nothing {
    fn len(&self) -> usize {
        0
    }
    fn tokens(&self, _place: usize) -> usize {
        0
    }
    fn batch(&self, _places: &[usize], _epoch: Option<u64>) -> Result<Batch> {
        anyhow::bail!("there is no example")
    }
}

fn evaluate() -> Result<Timed> {
    let config = serde_json::json!({
        "model_type": "gpt2", "n_layer": 4, "n_embd": 256, "n_head": 4, "n_positions": LENGTH,
    });
    let network = Network::new(&serde_json::from_value(config)?, None, 2, Device::Cpu)?;
    let input = serde_json::from_value(serde_json::json!({"text_blocks": {"length": LENGTH}}))?;
    let task = Task::new(
        network,
        &Input::clone(&input),
        Arc::new(Nothing),
        Default::default(),
        Precision::Float32,
        Device::Cpu,
        VitNoiseAt::default(),
    );
    let ids = Tensor::randint(50257, [BLOCKS, LENGTH as i64], (Kind::Int64, Device::Cpu));
    let batch = Batch {
        labels: Gpt2::next_token_labels(&ids),
        input: ids,
        mask: None,
        counted: vec![LENGTH as u32 - 1; BLOCKS as usize],
    };
    let mut fastest = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        std::hint::black_box(task.scores(&batch));
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok(Timed {
        batch: Some(BLOCKS),
        length: Some(LENGTH),
        ..Timed::new(fastest, BLOCKS as u64 * LENGTH as u64)
    })
}
