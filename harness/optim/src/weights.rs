//! All trainable parameters in one flat buffer, and their gradients in another.
//!
//! Each leaf aliases its part of the buffer, and its gradient accumulates in the same part of the
//! gradient buffer. A norm, a perturbation or an update is then one operation, however many
//! parameters there are.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor, no_grad_guard};
use torch_ext::{Watch, set_grad};

use crate::Error;

/// The parameters that an optimizer moves.
#[derive(Debug)]
pub(crate) struct Weights {
    parts: Vec<Part>,
    /// theta: every parameter, one after the other.
    pub(crate) theta: Tensor,
    /// Gradient of the latest pass; zero where none arrived.
    pub(crate) grad: Tensor,
    /// theta + eps during the second pass; scratch space before it, theta_{t-1} between updates
    /// of methods that need both.
    pub(crate) saved: Option<Tensor>,
    saved_views: Vec<Tensor>,
}

#[derive(Debug)]
struct Part {
    name: String,
    leaf: Tensor,
    shape: Vec<i64>,
    start: i64,
    len: i64,
    theta: Tensor,
    grad: Tensor,
    watch: Watch,
    /// A gradient arrived in the latest pass.
    reached: bool,
}

/// A run of neighbouring parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: i64,
    pub(crate) len: i64,
}

impl Range {
    pub(crate) fn of(self, flat: &Tensor) -> Tensor {
        flat.narrow(0, self.start, self.len)
    }
}

impl Weights {
    /// Takes over every parameter that requires a gradient. Names are unique; a tensor that
    /// appears under several names counts once, under the first.
    pub(crate) fn new(mut parameters: Vec<(String, Tensor)>) -> Result<Self, Error> {
        let _no_grad = no_grad_guard();
        parameters.retain(|(_, leaf)| leaf.requires_grad());
        parameters.sort_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(pair) = parameters.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::parameter(&pair[0].0, "is named twice"));
        }
        let mut seen = BTreeMap::new();
        let mut tied = Vec::new();
        parameters.retain(|(name, leaf)| {
            let place = leaf.data_ptr() as usize;
            let first = leaf.numel() == 0 || seen.insert(place, name.clone()).is_none();
            if !first {
                tied.push((name.clone(), leaf.shallow_clone()));
            }
            first
        });
        let Some((_, first)) = parameters.first() else {
            return Err(Error::Task("no parameter requires a gradient".to_owned()));
        };
        let like = (first.kind(), first.device());
        for (name, leaf) in &parameters {
            if !leaf.is_leaf() {
                return Err(Error::parameter(name, "is not a leaf of the graph"));
            }
            if (leaf.kind(), leaf.device()) != like {
                let why = format!("is {:?}, others are {like:?}", (leaf.kind(), leaf.device()));
                return Err(Error::parameter(name, why));
            }
        }
        // Odd sizes last, so that the others stay aligned for vector instructions.
        parameters.sort_by_key(|(_, leaf)| leaf.numel() % 16 != 0);
        let total: usize = parameters.iter().map(|(_, leaf)| leaf.numel()).sum();
        let theta = Tensor::empty([total as i64], like);
        let grad = Tensor::zeros([total as i64], like);
        let mut parts = Vec::with_capacity(parameters.len());
        let mut start = 0;
        for (name, leaf) in parameters {
            let (shape, len) = (leaf.size(), leaf.numel() as i64);
            let range = Range { start, len };
            let part = Part {
                name,
                start,
                len,
                theta: range.of(&theta).view(shape.as_slice()),
                grad: range.of(&grad).view(shape.as_slice()),
                watch: Watch::new(&leaf)?,
                reached: false,
                shape,
                leaf,
            };
            start += len;
            parts.push(part);
        }
        let mut weights = Self {
            parts,
            theta,
            grad,
            saved: None,
            saved_views: Vec::new(),
        };
        weights.alias()?;
        for (name, leaf) in tied {
            if !weights
                .parts
                .iter()
                .any(|part| part.theta.data_ptr() == leaf.data_ptr())
            {
                return Err(Error::parameter(
                    &name,
                    "shares memory with another one, but is not it",
                ));
            }
        }
        Ok(weights)
    }

    /// Makes sure that every leaf aliases the buffers, adopting values that were put in its place.
    pub(crate) fn alias(&mut self) -> Result<(), Error> {
        let _no_grad = no_grad_guard();
        for part in &mut self.parts {
            if part.leaf.data_ptr() != part.theta.data_ptr() || part.len == 0 {
                if part.leaf.size() != part.shape {
                    return Err(Error::parameter(&part.name, "has changed its shape"));
                }
                part.theta.copy_(&part.leaf.detach());
                part.leaf.set_data(&part.theta);
                set_grad(&part.leaf, Some(&part.grad))?;
            }
        }
        Ok(())
    }

    pub(crate) fn kind(&self) -> Kind {
        self.theta.kind()
    }

    pub(crate) fn device(&self) -> Device {
        self.theta.device()
    }

    /// A 0-d tensor beside the parameters, made without waiting for the device.
    pub(crate) fn constant(&self, value: f64) -> Tensor {
        Tensor::full([0_i64; 0], value, (self.kind(), self.device()))
    }

    /// A copy of theta as it is now.
    pub(crate) fn copy(&self) -> Tensor {
        self.theta.copy()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.name.as_str())
    }

    /// Number of parameters (tensors).
    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    pub(crate) fn name(&self, i: usize) -> &str {
        &self.parts[i].name
    }

    pub(crate) fn reached(&self, i: usize) -> bool {
        self.parts[i].reached
    }

    /// A flat tensor's parts, by name; copies.
    pub(crate) fn split(&self, flat: &Tensor, only_reached: bool) -> BTreeMap<String, Tensor> {
        let parts = self
            .parts
            .iter()
            .filter(|part| part.reached || !only_reached);
        let view = |part: &Part| {
            flat.narrow(0, part.start, part.len)
                .view(part.shape.as_slice())
        };
        parts
            .map(|part| (part.name.clone(), view(part).copy()))
            .collect()
    }

    /// The parts of a flat tensor by name, sharing its memory.
    pub(crate) fn split_views(&self, flat: &Tensor) -> BTreeMap<String, Tensor> {
        let view = |part: &Part| {
            flat.narrow(0, part.start, part.len)
                .view(part.shape.as_slice())
        };
        let parts = self.parts.iter();
        parts.map(|part| (part.name.clone(), view(part))).collect()
    }

    /// The flat tensor made of parts by name; the inverse of [`Self::split`].
    pub(crate) fn join(
        &self,
        into: &mut Tensor,
        get: impl Fn(&str) -> Result<Tensor, Error>,
    ) -> Result<(), Error> {
        let _no_grad = no_grad_guard();
        for part in &self.parts {
            let value = get(&part.name)?;
            if value.size() != part.shape {
                return Err(Error::State(format!(
                    "parameter `{}` has shape {:?}, not {:?}",
                    part.name,
                    value.size(),
                    part.shape
                )));
            }
            into.narrow(0, part.start, part.len)
                .copy_(&value.reshape([-1]));
        }
        Ok(())
    }

    /// Runs of neighbours with one key; parameters without a key are left out.
    pub(crate) fn ranges<K: PartialEq>(&self, key: impl Fn(usize) -> Option<K>) -> Vec<(Range, K)> {
        let mut ranges: Vec<(Range, K)> = Vec::new();
        for (i, part) in self.parts.iter().enumerate() {
            let Some(key) = key(i) else { continue };
            match ranges.last_mut() {
                Some((range, last)) if range.start + range.len == part.start && *last == key => {
                    range.len += part.len;
                }
                _ => ranges.push((
                    Range {
                        start: part.start,
                        len: part.len,
                    },
                    key,
                )),
            }
        }
        ranges
    }

    /// Forgets the gradient before a pass.
    pub(crate) fn zero_grad(&mut self) -> Result<(), Error> {
        let _no_grad = no_grad_guard();
        let _ = self.grad.zero_();
        for part in &mut self.parts {
            part.watch.take();
            part.reached = false;
            set_grad(&part.leaf, Some(&part.grad))?;
        }
        Ok(())
    }

    /// Notes which parameters the gradient has reached since [`Self::zero_grad`].
    pub(crate) fn note_reached(&mut self) {
        for part in &mut self.parts {
            part.reached |= part.watch.take();
        }
    }

    /// Runs `body` while every leaf holds its part of `views`, without gradient.
    pub(crate) fn at<T>(&mut self, views: &[Tensor], body: impl FnOnce() -> T) -> T {
        let _no_grad = no_grad_guard();
        for (part, view) in self.parts.iter_mut().zip(views) {
            part.leaf.set_data(view);
        }
        let back = Back(&mut self.parts);
        let value = body();
        drop(back);
        value
    }

    /// The second buffer of the size of theta.
    pub(crate) fn saved(&mut self) -> &mut Tensor {
        let empty = || self.theta.empty_like();
        self.saved.get_or_insert_with(empty)
    }

    /// Points every leaf at the second buffer.
    pub(crate) fn enter_saved(&mut self) {
        let _no_grad = no_grad_guard();
        let saved = self.saved().shallow_clone();
        if self.saved_views.is_empty() {
            self.saved_views = self.views(&saved);
        }
        for (part, view) in self.parts.iter_mut().zip(&self.saved_views) {
            part.leaf.set_data(view);
        }
    }

    /// Points every leaf at theta again.
    pub(crate) fn leave_saved(&mut self) {
        let _no_grad = no_grad_guard();
        drop(Back(&mut self.parts));
    }

    /// The parameters' views of a flat tensor.
    pub(crate) fn views(&self, flat: &Tensor) -> Vec<Tensor> {
        let view = |part: &Part| {
            flat.narrow(0, part.start, part.len)
                .view(part.shape.as_slice())
        };
        self.parts.iter().map(view).collect()
    }
}

/// Puts the leaves back on their own buffer, also when the body panics.
struct Back<'a>(&'a mut Vec<Part>);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        for part in self.0.iter_mut() {
            part.leaf.set_data(&part.theta);
        }
    }
}
