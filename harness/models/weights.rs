//! The named parameters of a network: drawn from a seed, kept and put back.

use tch::{Device, Kind, Tensor};

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// Like `Normal`, but 0 in this row, which stands for padding.
    NormalButRow(f64, i64),
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

impl Parameter {
    /// A parameter called `name`.
    pub fn new(name: impl Into<String>, size: &[i64], init: Init) -> Self {
        Self {
            name: name.into(),
            size: size.to_vec(),
            init,
        }
    }
}

/// The parameters of a network, in the order it declares them: leaves that require gradients, float32 at first.
///
/// A clone of a tensor in here is the same leaf: whoever replaces its data changes the network.
#[derive(Debug)]
pub struct Weights(Vec<(String, Tensor)>);

impl Weights {
    /// Fresh parameters on `device`, drawn in order from the stream that starts at `seed`. The stream is the CPU's
    /// on every device, so that equal seeds mean equal weights.
    ///
    /// All lie in one buffer: an optimizer moves them to its own, and what is left behind is one piece that its next
    /// buffer fits into.
    pub fn init(
        parameters: &[Parameter],
        seed: u64,
        device: Device,
    ) -> Result<Self, torch_ext::Error> {
        let mut generator = torch_ext::Generator::new(Device::Cpu, seed)?;
        let scalars = |parameter: &Parameter| parameter.size.iter().product::<i64>();
        let buffer = Tensor::empty(
            [parameters.iter().map(scalars).sum::<i64>()],
            (Kind::Float, device),
        );
        let mut weights = Vec::with_capacity(parameters.len());
        let mut start = 0;
        for parameter in parameters {
            let count = scalars(parameter);
            let mut leaf = buffer
                .narrow(0, start, count)
                .view(parameter.size.as_slice());
            leaf.copy_(&draw(&mut generator, parameter)?);
            weights.push((
                parameter.name.clone(),
                leaf.detach().set_requires_grad(true),
            ));
            start += count;
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

    /// The floating kind of every parameter.
    pub fn kind(&self) -> Kind {
        self.0
            .first()
            .map_or(Kind::Float, |(_, tensor)| tensor.kind())
    }

    /// Converts every parameter, and with it the network, to another floating kind. Gradients are forgotten, and an
    /// optimizer made before must not be used again.
    pub fn to_kind(&self, kind: Kind) -> Result<(), torch_ext::Error> {
        let _no_grad = tch::no_grad_guard();
        for (_, tensor) in &self.0 {
            torch_ext::set_grad(tensor, None)?;
            tensor
                .shallow_clone()
                .set_data(&tensor.detach().to_kind(kind));
        }
        Ok(())
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
}

fn draw(
    generator: &mut torch_ext::Generator,
    parameter: &Parameter,
) -> Result<Tensor, torch_ext::Error> {
    let (size, float) = (parameter.size.as_slice(), (Kind::Float, Device::Cpu));
    let mut normal = |sd| {
        let mut draws = Tensor::empty(size, float);
        generator.normal(&mut draws, 0.0, sd).map(|()| draws)
    };
    match parameter.init {
        Init::Zeros => Ok(Tensor::zeros(size, float)),
        Init::Ones => Ok(Tensor::ones(size, float)),
        Init::Normal(sd) => normal(sd),
        Init::NormalButRow(sd, row) => {
            let draws = normal(sd)?;
            let _ = draws.select(0, row).zero_();
            Ok(draws)
        }
        Init::TruncatedNormal(sd) => truncated_normal(generator, size, sd),
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
