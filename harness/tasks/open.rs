//! The data of a run, prepared once and shared by every run that reads the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use harness::plan::RunId;
use harness::suite::Input;

use super::Examples;
use super::blocks::{Blocks, Tail, Tokens};
use super::cache::{Cache, Tell};
use super::images::ImageExamples;
use super::pairs::Pairs;
use super::pixels::Shape;
use super::portion::Portion;
use super::text::PaddedPairs;
use super::tokenizer::Tokenizer;
use crate::models::Network;

/// Where the data of a run lie.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The data set.
    pub folder: &'a Path,
    /// The tokenizer, where text is read.
    pub tokenizer: Option<&'a Path>,
    /// Where prepared data are kept.
    pub cache: &'a Cache,
}

/// Training examples, and the portions to evaluate by name.
pub type Opened = (Arc<dyn Examples>, BTreeMap<String, Arc<dyn Examples>>);

/// Opens the portions `train` together and each of `portions` by itself, as `network` reads them.
pub fn open(
    source: Source,
    input: &Input,
    network: &Network,
    run: &RunId,
    train: &[String],
    portions: &[String],
    tell: &mut Tell,
) -> Result<Opened> {
    let find = |name: &String| Portion::find(source.folder, name);
    let train = train.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let mut evaluated = BTreeMap::new();
    let trained: Arc<dyn Examples> = match (input, network) {
        (Input::Images(input), Network::Vit(vit)) => {
            let shape = Shape {
                channels: vit.config.num_channels as usize,
                side: vit.config.image_size as usize,
            };
            let (cache, classes) = (source.cache, vit.config.num_labels);
            for name in portions {
                let portion = [find(name)?];
                let images = ImageExamples::whole(cache, &portion, input, shape, classes, tell)?;
                evaluated.insert(name.clone(), Arc::new(images) as Arc<dyn Examples>);
            }
            Arc::new(ImageExamples::train(
                cache, &train, input, shape, classes, run, tell,
            )?)
        }
        (Input::TextBlocks(input), Network::Gpt2(gpt2)) => {
            let tokenizer = tokenizer(source)?;
            let length = input.length as usize;
            ensure!(
                length <= gpt2.config.n_positions as usize,
                "blocks of {length} tokens are longer than the network's {} positions",
                gpt2.config.n_positions
            );
            fits(&tokenizer, gpt2.config.vocab_size)?;
            let mut tokens = |portion: &Portion| {
                Tokens::prepare(source.cache, portion, &input.text, &tokenizer, tell)
            };
            for name in portions {
                let blocks = Blocks::new(vec![tokens(&find(name)?)?], length, Tail::Keep);
                evaluated.insert(name.clone(), Arc::new(blocks) as Arc<dyn Examples>);
            }
            let train = train.iter().map(tokens).collect::<Result<Vec<_>, _>>()?;
            Arc::new(Blocks::new(train, length, Tail::Drop))
        }
        (Input::SentencePairs(input), Network::XlmRoberta(xlmr)) => {
            let tokenizer = tokenizer(source)?;
            let config = &xlmr.config;
            let usable = config.max_position_embeddings - config.pad_token_id - 1;
            ensure!(
                input.max_length as i64 <= usable,
                "pairs of {} tokens are longer than the network's {usable} positions",
                input.max_length
            );
            fits(&tokenizer, config.vocab_size)?;
            let mut pairs = |portions: &[Portion]| -> Result<Arc<dyn Examples>> {
                let classes = config.num_labels;
                let pairs =
                    Pairs::prepare(source.cache, portions, input, &tokenizer, classes, tell)?;
                let pad = config.pad_token_id as u32;
                Ok(Arc::new(PaddedPairs { pairs, pad }))
            };
            for name in portions {
                evaluated.insert(name.clone(), pairs(&[find(name)?])?);
            }
            pairs(&train)?
        }
        (input, _) => {
            let (reads, by) = match input {
                Input::Images(_) => ("images", "a vision transformer"),
                Input::TextBlocks(_) => ("text blocks", "a GPT-2"),
                Input::SentencePairs(_) => ("sentence pairs", "an XLM-RoBERTa"),
            };
            bail!("{reads} are read by {by}, and the model is another network")
        }
    };
    Ok((trained, evaluated))
}

fn tokenizer(source: Source) -> Result<Tokenizer> {
    let folder = source.tokenizer.context(
        "neither the model nor `tokenizer` says which tokenizer makes the text into tokens",
    )?;
    Ok(Tokenizer::open(folder)?)
}

/// Every id of the tokenizer has a row in the network's table.
fn fits(tokenizer: &Tokenizer, vocabulary: i64) -> Result<()> {
    let size = tokenizer.vocabulary as i64;
    ensure!(
        size <= vocabulary,
        "the tokenizer has {size} tokens, and the network's vocabulary {vocabulary}"
    );
    Ok(())
}
