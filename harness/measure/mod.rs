//! What is measured on a trained network, apart from its training: a finished run's weights are enough.

mod cka;
mod sharpness;

use anyhow::{Result, ensure};
use tch::Tensor;

use crate::share::Share;
use crate::tasks::{Batch, Examples, Score, Task};
use harness::suite::PerplexityWeighting;

pub use cka::{linear_cka, states};
pub use sharpness::sharpness;

/// Examples per forward pass of an evaluation at most. Constants, because the shape of a batch decides last digits.
const EXAMPLES: usize = 250;
/// Tokens per forward pass at most: logits over 50,000 words take 0.2 MB a token.
const TOKENS: usize = 2048;

/// What an evaluation finds on a portion: a score for every example, in the order of the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores(pub Vec<Score>);

impl Scores {
    fn labels(&self) -> f64 {
        self.0.iter().map(|score| f64::from(score.labels)).sum()
    }

    /// Cross entropy, mean over the labels that count, in nats.
    pub fn loss(&self) -> f64 {
        self.0.iter().map(|score| score.nll).sum::<f64>() / self.labels()
    }

    /// Share of the labels that have the largest logit, in percent.
    pub fn accuracy(&self) -> f64 {
        let right: f64 = self.0.iter().map(|score| f64::from(score.right)).sum();
        100.0 * right / self.labels()
    }

    /// exp of the mean cross entropy of a token. Every block of T tokens predicts T - 1; its mean counts as often, or T
    /// times as in the script of the M2D2 data set. The two differ where blocks have different lengths.
    pub fn perplexity(&self, weighting: PerplexityWeighting) -> f64 {
        let extra = match weighting {
            PerplexityWeighting::PredictedTokens => 0.0,
            PerplexityWeighting::BlockTokens => 1.0,
        };
        let (mut sum, mut weight) = (0.0, 0.0);
        for score in &self.0 {
            let predicted = f64::from(score.labels);
            sum += score.nll / predicted * (predicted + extra);
            weight += predicted + extra;
        }
        (sum / weight).exp()
    }
}

/// Evaluates every example of `portion`.
pub fn evaluate(task: &Task, portion: &str) -> Result<Scores> {
    let examples = task.portion(portion)?;
    let mut found = vec![None; examples.len()];
    for_each_batch(task, portion, |places, batch| {
        for (place, score) in places.iter().zip(task.scores(&batch)) {
            found[*place] = Some(score);
        }
        Ok(())
    })?;
    if let Some(share) = &task.share {
        return together(&found, share);
    }
    Ok(Scores(found.into_iter().flatten().collect()))
}

/// The scores of all processes: 0 where another one has found an example's, so that sums are exact.
fn together(found: &[Option<Score>], share: &Share) -> Result<Scores> {
    let numbers = found.iter().flat_map(|score| match score {
        Some(Score { nll, labels, right }) => [*nll, f64::from(*labels), f64::from(*right)],
        None => [0.0; 3],
    });
    let numbers: Vec<f64> = numbers.collect();
    let mut all = Tensor::from_slice(&numbers);
    share.sum(&mut all)?;
    let all = Vec::<f64>::try_from(all)?;
    let score = |three: &[f64]| Score {
        nll: three[0],
        labels: three[1] as u32,
        right: three[2] as u32,
    };
    Ok(Scores(all.chunks_exact(3).map(score).collect()))
}

/// Hands every example of `portion` that is this process's over once, in batches on the device. Examples of like size share a batch, so that
/// little is padded; who needs the order of the data puts results back by their places.
fn for_each_batch(
    task: &Task,
    portion: &str,
    mut body: impl FnMut(&[usize], Batch) -> Result<()>,
) -> Result<()> {
    let examples = task.portion(portion)?.clone();
    ensure!(!examples.is_empty(), "portion `{portion}` holds no example");
    let mut batches = batches(examples.as_ref());
    if let Some(share) = &task.share {
        let mut turn = 0..;
        batches.retain(|_| {
            turn.next()
                .is_some_and(|i: usize| i % share.size() == share.rank())
        });
    }
    let prepared = crate::tasks::ahead(2, batches.into_iter(), move |places: Vec<usize>| {
        let batch = examples.batch(&places, None)?;
        Ok::<_, anyhow::Error>((places, batch))
    });
    for prepared in prepared {
        let (places, batch) = prepared?;
        body(&places, task.on_device(&batch))?;
    }
    Ok(())
}

/// The places of all examples in batches, the smallest examples first, equal ones in the order of the data.
fn batches(examples: &dyn Examples) -> Vec<Vec<usize>> {
    let mut places: Vec<usize> = (0..examples.len()).collect();
    places.sort_by_key(|&place| examples.tokens(place));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for place in places {
        let tokens = examples.tokens(place);
        match batches.last_mut() {
            // The new one is the largest of its batch, and all are padded to it.
            Some(batch) if batch.len() < EXAMPLES && (batch.len() + 1) * tokens <= TOKENS => {
                batch.push(place);
            }
            _ => batches.push(vec![place]),
        }
    }
    batches
}
