//! Saving and restoring everything that decides how an optimizer continues.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor, no_grad_guard};
use torch_ext::{rng_state, set_rng_state};

use crate::{Error, Optimizer};

impl Optimizer {
    /// The complete state as named tensors, ready for a file: parameters, moments, stored
    /// parameters, number of updates, seed and libtorch's global generators. An optimizer made
    /// with the same settings that loads it continues bit for bit.
    ///
    /// Frozen parameters are not part of it.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>, Error> {
        let views = self.state_views()?.into_iter();
        Ok(views.map(|(name, view)| (name, view.copy())).collect())
    }

    /// The same tensors without a copy: they share memory with the optimizer and hold until its next step. For a writer
    /// that takes them one after another, so that saving needs no second state in memory.
    pub fn state_views(&self) -> Result<BTreeMap<String, Tensor>, Error> {
        let mut state = BTreeMap::new();
        let mut put = |prefix: &str, flat: &Tensor| {
            for (name, tensor) in self.weights.split_views(flat) {
                state.insert(format!("{prefix}.{name}"), tensor);
            }
        };
        put("theta", &self.weights.theta);
        for (name, flat) in &self.base.moments {
            put(name, flat);
        }
        if let Some(stored) = &self.stored {
            put("stored", stored);
        }
        for (name, updates) in self.weights.names().zip(&self.base.updates) {
            state.insert(format!("updates.{name}"), Tensor::from(*updates as i64));
        }
        state.insert("updates".to_owned(), Tensor::from(self.updates as i64));
        state.insert("seed".to_owned(), Tensor::from(self.seed() as i64));
        state.insert("generator.cpu".to_owned(), rng_state(Device::Cpu)?);
        if self.weights.device().is_cuda() {
            state.insert(
                "generator.cuda".to_owned(),
                rng_state(self.weights.device())?,
            );
        }
        Ok(state)
    }

    /// Puts a state from [`Optimizer::state`] back; `get` finds a tensor by its name.
    ///
    /// The optimizer has the same method, base optimizer and parameters as the saved one; what
    /// does not fit is an error, and then nothing has changed but perhaps some tensors' values.
    pub fn load_state(&mut self, get: impl Fn(&str) -> Option<Tensor>) -> Result<(), Error> {
        let _no_grad = no_grad_guard();
        let need = |name: &str| get(name).ok_or_else(|| Error::State(format!("lacks `{name}`")));
        let number = |name: &str| {
            let number = need(name)?.f_int64_value(&[]);
            number
                .map(|number| number as u64)
                .map_err(|_| Error::State(format!("`{name}` is no number")))
        };
        let updates = number("updates")?;
        let seed = number("seed")?;
        let counts: Result<Vec<u64>, Error> = self
            .weights
            .names()
            .map(|name| number(&format!("updates.{name}")))
            .collect();
        let counts = counts?;
        self.weights.alias()?;
        let weights = &self.weights;
        let fill = |prefix: &str, flat: &Tensor| {
            weights.join(&mut flat.shallow_clone(), |name| {
                let name = format!("{prefix}.{name}");
                let tensor = need(&name)?;
                let (kind, expected) = (tensor.kind(), flat.kind());
                match kind == expected {
                    true => Ok(tensor),
                    false => Err(Error::State(format!(
                        "`{name}` is {kind:?}, not {expected:?}"
                    ))),
                }
            })
        };
        fill("theta", &weights.theta)?;
        for (name, flat) in &self.base.moments {
            fill(name, flat)?;
        }
        if let Some(stored) = &self.stored {
            fill("stored", stored)?;
        }
        set_rng_state(Device::Cpu, &need("generator.cpu")?.to_kind(Kind::Uint8))?;
        if let (Some(state), true) = (get("generator.cuda"), self.weights.device().is_cuda()) {
            set_rng_state(self.weights.device(), &state.to_device(Device::Cpu))?;
        }
        self.base.updates = counts;
        self.updates = updates;
        self.reseed(seed);
        Ok(())
    }
}
