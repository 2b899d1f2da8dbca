//! Labelled images for a vision transformer.

use anyhow::Result;
use harness::plan::RunId;
use harness::seed::derive;
use harness::suite::{Augmentation, Images};
use tch::Tensor;

use super::cache::{Cache, Tell};
use super::error::DataError;
use super::pixels::{Encoded, Pixels, Shape};
use super::portion::Portion;
use super::{Batch, Examples};

/// Images as a network reads them: whole and resized, or a crop that changes with every epoch.
#[derive(Debug)]
pub enum ImageExamples {
    /// Resized.
    Whole(Pixels),
    /// Cropped and flipped at random.
    Cropped {
        /// The images.
        images: Encoded,
        /// What a crop becomes.
        shape: Shape,
        /// The run whose randomness decides the crops.
        run: RunId,
    },
}

impl ImageExamples {
    /// The images of `portions` as training sees them.
    pub fn train(
        cache: &Cache,
        portions: &[Portion],
        input: &Images,
        shape: Shape,
        classes: i64,
        run: &RunId,
        tell: &mut Tell,
    ) -> Result<Self, DataError> {
        match input.augmentation {
            Augmentation::None => Self::whole(cache, portions, input, shape, classes, tell),
            Augmentation::CropFlip => Ok(Self::Cropped {
                images: Encoded::prepare(cache, portions, input, classes, tell)?,
                shape,
                run: run.clone(),
            }),
        }
    }

    /// The images of `portions` as an evaluation sees them.
    pub fn whole(
        cache: &Cache,
        portions: &[Portion],
        input: &Images,
        shape: Shape,
        classes: i64,
        tell: &mut Tell,
    ) -> Result<Self, DataError> {
        Pixels::prepare(cache, portions, input, shape, classes, tell).map(Self::Whole)
    }

    fn label(&self, place: usize) -> i64 {
        match self {
            Self::Whole(pixels) => pixels.label(place),
            Self::Cropped { images, .. } => images.label(place),
        }
    }
}

impl Examples for ImageExamples {
    fn len(&self) -> usize {
        match self {
            Self::Whole(pixels) => pixels.len(),
            Self::Cropped { images, .. } => images.len(),
        }
    }

    fn tokens(&self, _place: usize) -> usize {
        0
    }

    fn batch(&self, places: &[usize], epoch: Option<u64>) -> Result<Batch> {
        let at: Vec<i64> = places.iter().map(|&place| place as i64).collect();
        let (shape, pixels) = match self {
            Self::Whole(pixels) => (pixels.shape, pixels.batch(&at)),
            Self::Cropped { images, shape, run } => {
                let purpose = format!("crops of epoch {}", epoch.unwrap_or(0));
                (*shape, images.crops(&at, *shape, derive(run, &purpose)))
            }
        };
        let (channels, side) = (shape.channels as i64, shape.side as i64);
        let labels: Vec<i64> = places.iter().map(|&place| self.label(place)).collect();
        Ok(Batch {
            input: Tensor::from_slice(&pixels).view([-1, channels, side, side]),
            mask: None,
            labels: Tensor::from_slice(&labels),
            counted: vec![1; places.len()],
        })
    }
}
