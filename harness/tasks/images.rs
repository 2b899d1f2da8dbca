//! A vision transformer on images with a class label.

use std::collections::BTreeMap;
use std::path::Path;

use optim::{Output, Pass};
use tch::{Device, Kind, Tensor};
use torch_ext::Autocast;

use super::cache::{Cache, Tell};
use super::error::DataError;
use super::pixels::{Encoded, Pixels};
pub use super::pixels::{Shape, decode};
use super::portion::Portion;
use super::{Batch, Evaluation};
use crate::models::Vit;
use harness::suite::{Augmentation, Images, Precision, VitNoise};

/// Examples per forward pass of an evaluation. A constant, because the order of a sum decides its last digit.
const EVALUATION_BATCH: usize = 250;

/// Labelled images, in the form that their use asks for.
#[derive(Debug)]
pub enum Examples {
    /// Each the same every time.
    Fixed(Pixels),
    /// Each cropped and flipped anew.
    Cropped(Encoded),
}

impl Examples {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Fixed(pixels) => pixels.len(),
            Self::Cropped(encoded) => encoded.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A vision transformer on labelled images.
#[derive(Debug)]
pub struct ImageTask {
    /// The network.
    pub model: Vit,
    /// The training examples.
    pub train: Examples,
    portions: BTreeMap<String, Examples>,
    input: Images,
    precision: Precision,
    device: Device,
}

impl ImageTask {
    /// As [`open_in`](Self::open_in) with a cache that forgets, for images that are not augmented.
    pub fn open(
        model: Vit,
        folder: &Path,
        input: &Images,
        train: &[String],
        portions: &[String],
        precision: Precision,
        device: Device,
    ) -> Result<Self, DataError> {
        if input.augmentation != Augmentation::None {
            return Err(DataError::NotYet("`augmentation: crop_flip`"));
        }
        let data = Data {
            folder,
            input,
            train,
            portions,
        };
        Self::open_in(
            &Cache::forgetful(),
            model,
            data,
            precision,
            device,
            &mut |_| {},
        )
    }

    /// `model` on `data`, which is prepared in `cache`.
    pub fn open_in(
        cache: &Cache,
        model: Vit,
        data: Data,
        precision: Precision,
        device: Device,
        tell: &mut Tell,
    ) -> Result<Self, DataError> {
        let (input, shape, classes) = (data.input, shape(&model), model.config.num_labels);
        let find = |name: &String| Portion::find(data.folder, name);
        let train = data.train.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let train = match input.augmentation {
            Augmentation::None => {
                Examples::Fixed(Pixels::prepare(cache, &train, input, shape, classes, tell)?)
            }
            Augmentation::CropFlip => {
                Examples::Cropped(Encoded::prepare(cache, &train, input, classes, tell)?)
            }
        };
        let mut portions = BTreeMap::new();
        for name in data.portions {
            let pixels = Pixels::prepare(cache, &[find(name)?], input, shape, classes, tell)?;
            portions.insert(name.clone(), Examples::Fixed(pixels));
        }
        Ok(Self {
            model,
            train,
            portions,
            input: input.clone(),
            precision,
            device,
        })
    }

    /// The examples of `set` at `places`, normalised, on the device. Panics where examples are cropped: they take
    /// [`augmented`](Self::augmented).
    pub fn batch(&self, set: &Examples, places: &[i64]) -> Batch {
        match set {
            Examples::Fixed(_) => self.augmented(set, places, 0),
            Examples::Cropped(_) => panic!("cropped images take a seed"),
        }
    }

    /// The examples of `set` at `places`, augmented if they are to be, normalised, on the device. `seed` is that of
    /// the epoch.
    pub fn augmented(&self, set: &Examples, places: &[i64], seed: u64) -> Batch {
        let shape = shape(&self.model);
        let label = |&place: &i64| match set {
            Examples::Fixed(pixels) => pixels.label(place as usize),
            Examples::Cropped(encoded) => encoded.label(place as usize),
        };
        let labels: Vec<i64> = places.iter().map(label).collect();
        let pixels = match set {
            Examples::Fixed(pixels) => pixels.batch(places),
            Examples::Cropped(encoded) => encoded.crops(places, shape, seed),
        };
        let (side, count) = (shape.side as i64, places.len() as i64);
        let pixels = Tensor::from_slice(&pixels)
            .view([count, shape.channels as i64, side, side])
            .to_device(self.device)
            .to_kind(Kind::Float);
        Batch {
            input: ((pixels * (1.0 / 255.0)) - self.input.mean) / self.input.std,
            labels: Tensor::from_slice(&labels).to_device(self.device),
        }
    }

    /// Mean cross entropy in nats and logits, `[batch, class]`.
    pub fn forward(&self, batch: &Batch, pass: &Pass) -> Output {
        let narrow = pass.example.map(|place| batch.part(place, 1));
        let batch = narrow.as_ref().unwrap_or(batch);
        let logits = self.autocast(|| match self.input.vit_noise_at {
            VitNoise::Pixels => self
                .model
                .forward(&pass.noise.apply(&batch.input), pass.train),
            VitNoise::PatchEmbeddings => self.model.classify(
                &pass.noise.apply(&self.model.patches(&batch.input)),
                pass.train,
            ),
        });
        Output {
            loss: logits.cross_entropy_for_logits(&batch.labels),
            logits,
        }
    }

    /// Loss and accuracy on a portion that was named at [`open`](Self::open), in evaluation mode.
    pub fn evaluate(&self, portion: &str) -> Evaluation {
        let _no_grad = tch::no_grad_guard();
        let set = &self.portions[portion];
        let places: Vec<i64> = (0..set.len() as i64).collect();
        let mut loss = Tensor::zeros([], (Kind::Double, self.device));
        let mut right = Tensor::zeros([], (Kind::Int64, self.device));
        for places in places.chunks(EVALUATION_BATCH) {
            let batch = self.batch(set, places);
            let logits = self.autocast(|| self.model.forward(&batch.input, false));
            let weights: Option<Tensor> = None;
            loss +=
                logits.cross_entropy_loss(&batch.labels, weights, tch::Reduction::Sum, -100, 0.0);
            right += logits
                .argmax(-1, false)
                .eq_tensor(&batch.labels)
                .sum(Kind::Int64);
        }
        let examples = set.len() as f64;
        Evaluation {
            loss: loss.double_value(&[]) / examples,
            accuracy: 100.0 * right.double_value(&[]) / examples,
        }
    }

    /// Runs a forward pass in the task's number format; logits come out as float32.
    fn autocast(&self, forward: impl FnOnce() -> Tensor) -> Tensor {
        match self.precision {
            Precision::Float32 => forward(),
            Precision::Bfloat16 => {
                let _bfloat16 = Autocast::enter(self.device, Kind::BFloat16)
                    .expect("bfloat16 autocast on any device");
                forward().to_kind(Kind::Float)
            }
        }
    }
}

/// What a network is trained and evaluated on.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// The data set.
    pub folder: &'a Path,
    /// Its columns, and what happens to an image.
    pub input: &'a Images,
    /// Portions trained on.
    pub train: &'a [String],
    /// Portions evaluated on.
    pub portions: &'a [String],
}

/// Size of the images that `model` reads.
fn shape(model: &Vit) -> Shape {
    Shape {
        channels: model.config.num_channels as usize,
        side: model.config.image_size as usize,
    }
}
