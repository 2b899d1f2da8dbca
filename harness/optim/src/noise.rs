//! Input noise: drawn once per update, shared, drawn again or replayed as a method wants it.

use std::cell::{Cell, RefCell};

use tch::{Device, Kind, Tensor};
use torch_ext::Generator;

use crate::{InputNoise, NoiseKind, Rows};

/// Where noise comes from. The default draws from a generator of its own; tests bring theirs.
pub trait NoiseSource {
    /// Noise of unit scale, as `draw` asks for it.
    fn draw(&mut self, draw: &Draw) -> Tensor;
}

/// Which noise is wanted. The same draw of the same update is asked for at most once.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// Number of the update, from one.
    pub update: u64,
    /// Number of the draw within the update, from zero.
    pub draw: usize,
    /// Number of the micro-batch.
    pub micro_batch: usize,
    /// The example, where one is evaluated alone; the shape then has a first dimension of 1.
    pub example: Option<i64>,
    /// Number of the call of [`Noise::apply`] within the forward pass; 0 for the first.
    pub call: usize,
    /// Its distribution, at unit scale.
    pub noise_kind: NoiseKind,
    /// Shape of the embedding.
    pub shape: Vec<i64>,
    /// Kind to draw in.
    pub kind: Kind,
    /// Where to draw.
    pub device: Device,
}

/// Noise that depends on the seed and the place of the draw only, so that a restored run
/// continues with the noise it would have had.
#[derive(Debug)]
pub(crate) struct Seeded {
    pub(crate) seed: u64,
    generator: Option<(Device, Generator)>,
}

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            generator: None,
        }
    }
}

impl NoiseSource for Seeded {
    fn draw(&mut self, draw: &Draw) -> Tensor {
        if self
            .generator
            .as_ref()
            .is_none_or(|(device, _)| *device != draw.device)
        {
            let generator = Generator::new(draw.device, self.seed).expect("the device exists");
            self.generator = Some((draw.device, generator));
        }
        let (_, generator) = self.generator.as_mut().expect("made above");
        let place = [
            draw.update,
            draw.draw as u64,
            draw.micro_batch as u64,
            draw.example.map_or(0, |i| i as u64 + 1),
            draw.call as u64,
        ];
        let seed = place
            .into_iter()
            .fold(self.seed, |seed, part| mix(seed ^ mix(part)));
        let mut out = Tensor::empty(&draw.shape, (draw.kind, draw.device));
        generator
            .seed(seed)
            .and_then(|()| match draw.noise_kind {
                NoiseKind::Normal => generator.normal(&mut out, 0.0, 1.0),
                NoiseKind::Uniform => generator.uniform(&mut out, -1.0, 1.0),
            })
            .expect("a floating tensor can be filled");
        out
    }
}

/// The finaliser of SplitMix64.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What an update keeps of its noise: entries per micro-batch and draw.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// Scaled noise z.
    pub(crate) drawn: RefCell<Vec<Kept>>,
    /// Detached embeddings with the noise added.
    pub(crate) embedded: RefCell<Vec<Kept>>,
}

#[derive(Debug)]
pub(crate) struct Kept {
    micro_batch: usize,
    draw: usize,
    call: usize,
    tensor: Tensor,
}

impl Store {
    fn get(list: &RefCell<Vec<Kept>>, at: (usize, usize, usize)) -> Option<Tensor> {
        let list = list.borrow();
        let kept = list
            .iter()
            .find(|k| (k.micro_batch, k.draw, k.call) == at)?;
        Some(kept.tensor.shallow_clone())
    }
}

/// What [`Noise::apply`] does in one pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Clean,
    Noised {
        draw: usize,
        detach: bool,
        keep_embedding: bool,
    },
    Replayed,
}

/// Noise for one forward pass.
pub struct Noise<'a> {
    pub(crate) mode: Mode,
    pub(crate) knobs: Option<&'a InputNoise>,
    pub(crate) source: &'a RefCell<Box<dyn NoiseSource>>,
    pub(crate) store: &'a Store,
    pub(crate) update: u64,
    pub(crate) micro_batch: usize,
    pub(crate) example: Option<i64>,
    pub(crate) rows: Option<Rows>,
    pub(crate) calls: Cell<usize>,
}

impl std::fmt::Debug for Noise<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Noise")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Noise<'_> {
    /// The embedding as this pass must see it: with noise added, or as it is.
    ///
    /// To be called in every pass on the output of the word embedding (before positions and
    /// normalisation), or on an image where the method's `vit_noise_at` says. The result
    /// replaces the embedding; in some passes it is cut from the embedding's graph.
    pub fn apply(&self, embedding: &Tensor) -> Tensor {
        let call = self.calls.replace(self.calls.get() + 1);
        match self.mode {
            Mode::Clean => embedding.shallow_clone(),
            Mode::Replayed => Store::get(&self.store.embedded, (self.micro_batch, 0, call))
                .expect("the noised pass ran before, with as many embeddings"),
            Mode::Noised {
                draw,
                detach,
                keep_embedding,
            } => {
                let z = self.drawn(embedding, draw, call).to_kind(embedding.kind());
                let noised = match detach {
                    true => embedding.detach() + z,
                    false => embedding + z,
                };
                if keep_embedding {
                    let (micro_batch, tensor) = (self.micro_batch, noised.detach());
                    let kept = Kept {
                        micro_batch,
                        draw: 0,
                        call,
                        tensor,
                    };
                    let mut list = self.store.embedded.borrow_mut();
                    list.retain(|k| (k.micro_batch, k.call) != (micro_batch, call));
                    list.push(kept);
                }
                noised
            }
        }
    }

    /// Whether this pass adds noise.
    pub fn is_noised(&self) -> bool {
        self.mode != Mode::Clean
    }

    fn drawn(&self, embedding: &Tensor, draw: usize, call: usize) -> Tensor {
        let at = (self.micro_batch, draw, call);
        if self.example.is_none()
            && let Some(z) = Store::get(&self.store.drawn, at)
        {
            return z;
        }
        let knobs = self.knobs.expect("only methods with noise ask for it");
        let kind = match embedding.kind() {
            Kind::Double => Kind::Double,
            _ => Kind::Float,
        };
        let mut draw_of = Draw {
            update: self.update,
            draw,
            micro_batch: self.rows.map_or(self.micro_batch, |rows| rows.micro_batch),
            example: self.example,
            call,
            noise_kind: knobs.noise_kind,
            shape: embedding.size(),
            kind,
            device: embedding.device(),
        };
        // Noise is that of the whole micro-batch, however many processes share it.
        let rows = self.rows.filter(|_| self.example.is_none());
        match (self.rows, draw_of.example) {
            (Some(rows), Some(example)) => draw_of.example = Some(rows.first + example),
            (Some(rows), None) => draw_of.shape[0] = rows.of,
            (None, _) => {}
        }
        let mut z = self.source.borrow_mut().draw(&draw_of);
        if let Some(rows) = rows {
            z = z.narrow(0, rows.first, embedding.size()[0]);
        }
        let z = z * knobs.sigma;
        if self.example.is_none() {
            let (micro_batch, tensor) = (self.micro_batch, z.shallow_clone());
            self.store.drawn.borrow_mut().push(Kept {
                micro_batch,
                draw,
                call,
                tensor,
            });
        }
        z
    }
}
