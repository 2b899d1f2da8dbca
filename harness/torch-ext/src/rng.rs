//! Random generators: libtorch's global one per device, and own ones.

use std::ptr;

use tch::{Device, Tensor};

use crate::{
    Error,
    ffi::{
        Opaque, check, index, tx_generator, tx_generator_drop, tx_generator_fill,
        tx_generator_seed, tx_rng_state, tx_set_rng_state,
    },
};

/// State of the device's global generator, which dropout and initialisation draw from: bytes.
pub fn rng_state(device: Device) -> Result<Tensor, Error> {
    let mut out = ptr::null_mut();
    // SAFETY: out receives a new tensor that only the returned value owns.
    unsafe {
        check(tx_rng_state(index(device)?, &mut out))?;
        Ok(Tensor::from_ptr(out))
    }
}

/// Puts a state from [`rng_state`] back.
pub fn set_rng_state(device: Device, state: &Tensor) -> Result<(), Error> {
    // SAFETY: the tensor lives; libtorch checks its size.
    check(unsafe { tx_set_rng_state(index(device)?, state.as_ptr()) })
}

/// A generator of its own, which no other draw disturbs.
#[derive(Debug)]
pub struct Generator(*mut Opaque);

impl Generator {
    /// A generator for tensors on `device`.
    pub fn new(device: Device, seed: u64) -> Result<Self, Error> {
        let mut out = ptr::null_mut();
        // SAFETY: out receives a pointer that only this value owns.
        check(unsafe { tx_generator(index(device)?, seed, &mut out) })?;
        Ok(Self(out))
    }

    /// Starts the stream that belongs to `seed`.
    pub fn seed(&mut self, seed: u64) -> Result<(), Error> {
        // SAFETY: the pointer is valid until drop.
        check(unsafe { tx_generator_seed(self.0, seed) })
    }

    /// Fills `out` with draws from a normal distribution.
    pub fn normal(&mut self, out: &mut Tensor, mean: f64, sd: f64) -> Result<(), Error> {
        // SAFETY: as above; the tensor lives.
        check(unsafe { tx_generator_fill(self.0, out.as_ptr(), true, mean, sd) })
    }

    /// Fills `out` with draws from a uniform distribution on `[low, high)`.
    pub fn uniform(&mut self, out: &mut Tensor, low: f64, high: f64) -> Result<(), Error> {
        // SAFETY: as above; the tensor lives.
        check(unsafe { tx_generator_fill(self.0, out.as_ptr(), false, low, high) })
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // SAFETY: the pointer came from tx_generator and is dropped once.
        unsafe { tx_generator_drop(self.0) }
    }
}

// SAFETY: at::Generator is reference counted and guarded by its own mutex.
unsafe impl Send for Generator {}
