//! Images with a class label, from Parquet in the Hugging Face layout.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use optim::{Output, Pass};
use polars::prelude::{DataFrame, DataType, ParquetReader, PolarsError, SerReader};
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};
use torch_ext::Autocast;

use super::{Batch, Evaluation, resize};
use crate::models::Vit;
use harness::suite::{Augmentation, Images, Precision};
use methods::VitNoiseAt;

/// Examples per forward pass of an evaluation. A constant, because the order of a sum decides its last digit.
const EVALUATION_BATCH: usize = 250;

/// Why images could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// No file of the data set belongs to the portion.
    #[error("no `{pattern}` under {folder} for the portion `{portion}`")]
    NoFile {
        /// The portion.
        portion: String,
        /// The files it would have.
        pattern: String,
        /// The data set.
        folder: PathBuf,
    },
    /// The file system refused.
    #[error("{path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its own words.
        source: std::io::Error,
    },
    /// The file is no Parquet file, or lacks a column.
    #[error("{path}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The reader's own words.
        source: PolarsError,
    },
    /// A column has no value in a row.
    #[error("{path}: row {row} has no value in column `{column}`")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: usize,
        /// The column.
        column: String,
    },
    /// An image cannot be decoded.
    #[error("{path}: the image in row {row} cannot be decoded")]
    Image {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: usize,
        /// The decoder's own words.
        source: image::ImageError,
    },
    /// A label is not a class of the network.
    #[error("portion `{portion}` has the label {label}, but the network has classes 0 to {last}")]
    Label {
        /// The portion.
        portion: String,
        /// The label.
        label: i64,
        /// The largest class.
        last: i64,
    },
    /// The task asks for something that does not exist yet.
    #[error("{0} is not available yet for images")]
    NotYet(&'static str),
}

/// Decoded images of one or more portions, in memory.
#[derive(Debug)]
pub struct ImageSet {
    /// `[example, channel, height, width]`, uint8, on the host.
    pixels: Tensor,
    /// `[example]`, int64, on the host.
    labels: Tensor,
}

/// Size of the images a network reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// 1 for grey levels, 3 for RGB.
    pub channels: usize,
    /// Height and width in pixels.
    pub side: usize,
}

impl ImageSet {
    /// The images of `portion` of the data set in `folder`, decoded and resized.
    ///
    /// A portion is a split, whose files are `data/<split>-*-of-*.parquet`, or `<config>/<split>` with files
    /// `<config>/<split>-*-of-*.parquet`.
    pub fn read(
        folder: &Path,
        portion: &str,
        input: &Images,
        shape: Shape,
    ) -> Result<Self, ImagesError> {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for path in files(folder, portion)? {
            let (encoded, mut classes) = columns(&path, input)?;
            let decoded: Vec<Vec<u8>> = encoded
                .par_iter()
                .enumerate()
                .map(|(row, bytes)| {
                    decode(bytes, shape).map_err(|source| ImagesError::Image {
                        path: path.clone(),
                        row,
                        source,
                    })
                })
                .collect::<Result<_, _>>()?;
            decoded
                .iter()
                .for_each(|image| pixels.extend_from_slice(image));
            labels.append(&mut classes);
        }
        let size = [
            labels.len() as i64,
            shape.channels as i64,
            shape.side as i64,
            shape.side as i64,
        ];
        Ok(Self {
            pixels: Tensor::from_slice(&pixels).view(size),
            labels: Tensor::from_slice(&labels),
        })
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.labels.size()[0] as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn join(sets: &[Self]) -> Self {
        let pixels: Vec<&Tensor> = sets.iter().map(|set| &set.pixels).collect();
        let labels: Vec<&Tensor> = sets.iter().map(|set| &set.labels).collect();
        Self {
            pixels: Tensor::cat(&pixels, 0),
            labels: Tensor::cat(&labels, 0),
        }
    }

    /// The largest and smallest label; none when there is no example.
    fn labels(&self) -> Option<(i64, i64)> {
        (!self.is_empty()).then(|| {
            (
                self.labels.min().int64_value(&[]),
                self.labels.max().int64_value(&[]),
            )
        })
    }
}

/// The files of `portion`, in the order of their numbers.
fn files(folder: &Path, portion: &str) -> Result<Vec<PathBuf>, ImagesError> {
    let (config, split) = portion.rsplit_once('/').unwrap_or(("data", portion));
    let directory = folder.join(config);
    let is_wanted = |name: &str| {
        let numbers = name
            .strip_suffix(".parquet")
            .and_then(|name| name.strip_prefix(split)?.strip_prefix('-'));
        numbers
            .and_then(|numbers| numbers.split_once("-of-"))
            .is_some_and(|(part, parts)| {
                [part, parts].iter().all(|number| {
                    !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
                })
            })
    };
    let mut found = Vec::new();
    if directory.is_dir() {
        let io = |source| ImagesError::Io {
            path: directory.clone(),
            source,
        };
        for entry in fs::read_dir(&directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(is_wanted)
            {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() {
        let pattern = format!("{config}/{split}-*-of-*.parquet");
        return Err(ImagesError::NoFile {
            portion: portion.into(),
            pattern,
            folder: folder.into(),
        });
    }
    Ok(found)
}

/// Encoded images and labels of one file.
fn columns(path: &Path, input: &Images) -> Result<(Vec<Vec<u8>>, Vec<i64>), ImagesError> {
    let parquet = |source| ImagesError::Parquet {
        path: path.into(),
        source,
    };
    let missing = |column: &str, row| ImagesError::Missing {
        path: path.into(),
        row,
        column: column.into(),
    };
    let file = File::open(path).map_err(|source| ImagesError::Io {
        path: path.into(),
        source,
    })?;
    let wanted = vec![input.image.clone(), input.label.clone()];
    let table: DataFrame = ParquetReader::new(file)
        .with_columns(Some(wanted))
        .finish()
        .map_err(parquet)?;

    // The Image feature is a struct of bytes and path; bare bytes are understood as well.
    let image = table
        .column(&input.image)
        .map_err(parquet)?
        .as_materialized_series()
        .clone();
    let bytes = match image.dtype() {
        DataType::Struct(_) => image
            .struct_()
            .and_then(|fields| fields.field_by_name("bytes"))
            .map_err(parquet)?,
        _ => image,
    };
    let bytes = bytes.binary().map_err(parquet)?;
    let encoded = bytes.iter().enumerate().map(|(row, value)| {
        value
            .map(<[u8]>::to_vec)
            .ok_or_else(|| missing(&input.image, row))
    });
    let encoded = encoded.collect::<Result<_, _>>()?;

    let label = table
        .column(&input.label)
        .and_then(|column| column.cast(&DataType::Int64))
        .map_err(parquet)?;
    let label = label.i64().map_err(parquet)?;
    let labels = label
        .iter()
        .enumerate()
        .map(|(row, value)| value.ok_or_else(|| missing(&input.label, row)));
    Ok((encoded, labels.collect::<Result<_, _>>()?))
}

/// An encoded image as `[channel, height, width]`. Alpha is dropped, not blended.
pub fn decode(bytes: &[u8], shape: Shape) -> Result<Vec<u8>, image::ImageError> {
    let decoded = image::load_from_memory(bytes)?;
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let pixels = match (shape.channels, decoded.color().has_color()) {
        (1, true) => decoded
            .to_rgb8()
            .pixels()
            .map(|pixel| grey(pixel.0))
            .collect(),
        (1, false) => decoded.to_luma8().into_raw(),
        _ => decoded.to_rgb8().into_raw(),
    };
    let resized = resize::bilinear(
        &pixels,
        (height, width),
        shape.channels,
        (shape.side, shape.side),
    );
    let channel = |c: usize| resized.iter().skip(c).step_by(shape.channels).copied();
    Ok((0..shape.channels).flat_map(channel).collect())
}

/// Pillow's luma of ITU-R 601-2, rounded.
fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// A vision transformer on labelled images.
#[derive(Debug)]
pub struct ImageTask {
    /// The network.
    pub model: Vit,
    /// The training examples.
    pub train: ImageSet,
    portions: BTreeMap<String, ImageSet>,
    input: Images,
    noise_at: VitNoiseAt,
    precision: Precision,
    device: Device,
}

impl ImageTask {
    /// `model` on the data set in `folder`: trains on the portions `train`, evaluates on `portions`.
    pub fn open(
        model: Vit,
        folder: &Path,
        input: &Images,
        train: &[String],
        portions: &[String],
        precision: Precision,
        noise_at: VitNoiseAt,
        device: Device,
    ) -> Result<Self, ImagesError> {
        if input.augmentation != Augmentation::None {
            return Err(ImagesError::NotYet("`augmentation: crop_flip`"));
        }
        let shape = Shape {
            channels: model.config.num_channels as usize,
            side: model.config.image_size as usize,
        };
        let last = model.config.num_labels - 1;
        let read = |portion: &String| {
            let set = ImageSet::read(folder, portion, input, shape)?;
            if let Some((smallest, largest)) = set.labels()
                && let Some(&label) = [smallest, largest]
                    .iter()
                    .find(|label| !(0..=last).contains(*label))
            {
                return Err(ImagesError::Label {
                    portion: portion.clone(),
                    label,
                    last,
                });
            }
            Ok(set)
        };
        let sets = train.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let train = match sets.is_empty() {
            true => ImageSet {
                pixels: Tensor::new(),
                labels: Tensor::zeros([0], (Kind::Int64, Device::Cpu)),
            },
            false => ImageSet::join(&sets),
        };
        let portions = portions
            .iter()
            .map(|portion| Ok((portion.clone(), read(portion)?)))
            .collect::<Result<_, ImagesError>>()?;
        Ok(Self {
            model,
            train,
            portions,
            input: input.clone(),
            noise_at,
            precision,
            device,
        })
    }

    /// The examples of `set` at `places`, normalised, on the device.
    pub fn batch(&self, set: &ImageSet, places: &[i64]) -> Batch {
        let places = Tensor::from_slice(places);
        let pixels = set
            .pixels
            .index_select(0, &places)
            .to_device(self.device)
            .to_kind(Kind::Float);
        let input = ((pixels * (1.0 / 255.0)) - self.input.mean) / self.input.std;
        Batch {
            input,
            labels: set.labels.index_select(0, &places).to_device(self.device),
        }
    }

    /// Mean cross entropy in nats and logits, `[batch, class]`.
    pub fn forward(&self, batch: &Batch, pass: &Pass) -> Output {
        let narrow = pass.example.map(|place| batch.part(place, 1));
        let batch = narrow.as_ref().unwrap_or(batch);
        let logits = self.autocast(|| match self.noise_at {
            VitNoiseAt::Pixels => self
                .model
                .forward(&pass.noise.apply(&batch.input), pass.train),
            VitNoiseAt::PatchEmbeddings => self.model.classify(
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
