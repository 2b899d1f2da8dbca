//! The named parameters of a network: drawn from a seed, read from and written to safetensors.

use std::path::{Path, PathBuf};

use tch::{Device, Kind, TchError, Tensor};

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// Normal with mean 0 and this standard deviation, truncated to [-2, 2] as the reference implementation does.
    TruncatedNormal(f64),
}

/// A parameter as the network declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in `model.safetensors`.
    pub name: String,
    /// Its shape.
    pub size: Vec<i64>,
    /// How it starts.
    pub init: Init,
}

/// The parameters of a network, in the order it declares them: float32 leaves that require gradients.
///
/// A clone of a tensor in here is the same leaf: whoever replaces its data changes the network.
#[derive(Debug)]
pub struct Weights(Vec<(String, Tensor)>);

/// What reading a file of weights found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// Parameters that the file lacks, or has in another shape where that is allowed: they keep what they had.
    pub newly_initialised: Vec<String>,
    /// Tensors of the file that are no parameter of the network.
    pub skipped: Vec<String>,
}

/// Why weights could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read or written.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// libtorch's or the format's own words.
        message: String,
    },
    /// A tensor has another shape than the network's.
    #[error("{path}: `{name}` has shape {found:?}, the network's is {expected:?}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// The parameter.
        name: String,
        /// Shape in the file.
        found: Vec<i64>,
        /// Shape in the network.
        expected: Vec<i64>,
    },
}

impl Weights {
    /// Fresh parameters on `device`, drawn in order from the stream that starts at `seed`. The stream is the CPU's
    /// on every device, so that equal seeds mean equal weights.
    pub fn init(
        parameters: &[Parameter],
        seed: u64,
        device: Device,
    ) -> Result<Self, torch_ext::Error> {
        let mut generator = torch_ext::Generator::new(Device::Cpu, seed)?;
        let mut weights = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            let size = parameter.size.as_slice();
            let start = match parameter.init {
                Init::Zeros => Tensor::zeros(size, (Kind::Float, Device::Cpu)),
                Init::Ones => Tensor::ones(size, (Kind::Float, Device::Cpu)),
                Init::TruncatedNormal(sd) => truncated_normal(&mut generator, size, sd)?,
            };
            weights.push((
                parameter.name.clone(),
                start.to_device(device).set_requires_grad(true),
            ));
        }
        Ok(Self(weights))
    }

    /// The parameter called `name`, which the network must have declared.
    pub fn get(&self, name: &str) -> Tensor {
        let (_, tensor) = self
            .0
            .iter()
            .find(|(known, _)| known == name)
            .expect("a declared parameter");
        tensor.shallow_clone()
    }

    /// Names and leaves, in declared order.
    pub fn named(&self) -> Vec<(String, Tensor)> {
        self.0
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect()
    }

    /// Number of scalars.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(_, tensor)| tensor.numel() as u64).sum()
    }

    /// A copy of every value, in declared order.
    pub fn snapshot(&self) -> Vec<Tensor> {
        self.0
            .iter()
            .map(|(_, tensor)| tensor.detach().copy())
            .collect()
    }

    /// Puts a [`snapshot`](Self::snapshot) back.
    pub fn restore(&self, snapshot: &[Tensor]) {
        let _no_grad = tch::no_grad_guard();
        for ((_, tensor), saved) in self.0.iter().zip(snapshot) {
            tensor.shallow_clone().copy_(saved);
        }
    }

    /// Reads a safetensors file. A name counts with and without `prefix`, since files of a bare backbone lack it.
    /// Parameters whose name starts with `head` may be absent or of another shape: they are then newly initialised.
    /// Values are converted to float32.
    pub fn load(&self, path: &Path, prefix: &str, head: &str) -> Result<Loaded, WeightsError> {
        let file_error = |error: TchError| WeightsError::File {
            path: path.into(),
            message: first_line(&error.to_string()),
        };
        let mut found = Tensor::read_safetensors(path).map_err(file_error)?;
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let mut loaded = Loaded::default();
        let mut used = vec![false; found.len()];
        let _no_grad = tch::no_grad_guard();
        for (name, tensor) in &self.0 {
            let bare = name.strip_prefix(prefix).unwrap_or(name);
            let place = found
                .iter()
                .position(|(other, _)| other == name || other == bare);
            let Some(place) = place else {
                loaded.newly_initialised.push(name.clone());
                continue;
            };
            used[place] = true;
            let value = &found[place].1;
            if value.size() == tensor.size() {
                tensor.shallow_clone().f_copy_(value).map_err(file_error)?;
            } else if name.starts_with(head) {
                loaded.newly_initialised.push(name.clone());
            } else {
                return Err(WeightsError::Shape {
                    path: path.into(),
                    name: name.clone(),
                    found: value.size(),
                    expected: tensor.size(),
                });
            }
        }
        let unused = found.into_iter().zip(used).filter(|(_, used)| !used);
        loaded.skipped = unused.map(|((name, _), _)| name).collect();
        Ok(loaded)
    }

    /// Writes every parameter to a safetensors file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), WeightsError> {
        let error = |message: String| WeightsError::File {
            path: path.into(),
            message,
        };
        let tensors: Vec<(&str, Tensor)> = self
            .0
            .iter()
            .map(|(name, tensor)| {
                (
                    name.as_str(),
                    tensor.detach().to_device(Device::Cpu).contiguous(),
                )
            })
            .collect();
        let partial = path.with_extension("safetensors.partial");
        Tensor::write_safetensors(&tensors, &partial)
            .map_err(|cause| error(first_line(&cause.to_string())))?;
        std::fs::rename(&partial, path).map_err(|cause| error(cause.to_string()))
    }
}

/// Inverse of the normal distribution function at uniform draws, then clamped. In double precision, because a float32
/// draw hits the end of its range once in 2^24 and would become an outlier at -2.
fn truncated_normal(
    generator: &mut torch_ext::Generator,
    size: &[i64],
    sd: f64,
) -> Result<Tensor, torch_ext::Error> {
    let mut draws = Tensor::empty(size, (Kind::Double, Device::Cpu));
    generator.uniform(&mut draws, -1.0, 1.0)?;
    let normal = draws.erfinv() * (sd * std::f64::consts::SQRT_2);
    Ok(normal.clamp(-2.0, 2.0).to_kind(Kind::Float))
}

/// A C++ exception's message carries a stack after its first line.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_string()
}
