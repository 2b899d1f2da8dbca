//! Text for a network: blocks for a language model, sentence pairs for a classifier.

use anyhow::Result;
use tch::Tensor;

use super::blocks::Blocks;
use super::pairs::Pairs;
use super::{Batch, Examples, IGNORED};

impl Examples for Blocks {
    fn len(&self) -> usize {
        Blocks::len(self)
    }

    fn tokens(&self, place: usize) -> usize {
        self.block(place).len()
    }

    /// Every token's label is the next one. A shorter block is filled up at its end, which no token before sees.
    fn batch(&self, places: &[usize], _epoch: Option<u64>) -> Result<Batch> {
        let width = places
            .iter()
            .map(|&place| self.block(place).len())
            .max()
            .unwrap_or(0);
        let (mut ids, mut labels) = (Vec::with_capacity(places.len() * width), Vec::new());
        let mut counted = Vec::with_capacity(places.len());
        labels.reserve(places.len() * width);
        for (row, &place) in places.iter().enumerate() {
            let start = row * width;
            self.block(place).append_to(&mut ids);
            labels.extend_from_slice(&ids[start + 1..]);
            counted.push((ids.len() - start - 1) as u32);
            ids.resize(start + width, 0);
            labels.resize(start + width, IGNORED);
        }
        let size = [places.len() as i64, width as i64];
        Ok(Batch {
            input: Tensor::from_slice(&ids).view(size),
            mask: None,
            labels: Tensor::from_slice(&labels).view(size),
            counted,
        })
    }
}

/// Sentence pairs with the token that fills them up.
#[derive(Debug)]
pub struct PaddedPairs {
    /// The pairs.
    pub pairs: Pairs,
    /// The token.
    pub pad: u32,
}

impl Examples for PaddedPairs {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn tokens(&self, place: usize) -> usize {
        self.pairs.length(place)
    }

    fn batch(&self, places: &[usize], _epoch: Option<u64>) -> Result<Batch> {
        let places: Vec<i64> = places.iter().map(|&place| place as i64).collect();
        let batch = self.pairs.batch(&places, self.pad);
        let size = [places.len() as i64, batch.width as i64];
        let full = batch.mask.iter().all(|&mask| mask == 1);
        Ok(Batch {
            input: Tensor::from_slice(&batch.ids).view(size),
            mask: (!full).then(|| Tensor::from_slice(&batch.mask).view(size)),
            labels: Tensor::from_slice(&batch.labels),
            counted: vec![1; places.len()],
        })
    }
}
