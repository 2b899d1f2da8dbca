//! The parts of libtorch that `tch` does not bind and a training loop needs: fused updates,
//! gradient buffers, generator state, autocast with a chosen kind, recomputed activations, determinism, memory statistics, groups of
//! processes.
//!
//! Everything is a thin safe function over one C++ file. A C++ exception becomes an [`Error`]
//! with the first line of its message.

mod about;
mod autocast;
mod checkpoint;
mod error;
mod ffi;
mod fused;
mod grad;
mod group;
mod memory;
mod rng;
pub mod sweep;

pub use about::{cpu_capability, cuda_name, cuda_runtime, cudnn, load_cuda, set_threads, version};
pub use autocast::Autocast;
pub use checkpoint::{Draws, checkpoint};
pub use error::Error;
pub use fused::{Adam, Sgd, fused_adam, fused_sgd};
pub use grad::{Watch, backward, set_grad};
pub use group::{Group, Meet};
pub use memory::{Memory, memory, reset_peak_memory};
pub use rng::{Generator, rng_state, set_rng_state};

/// Asks libtorch for algorithms that give the same bits on every run, or for its default choice.
///
/// With `warn_only` an operation without such an algorithm warns; otherwise it is an error.
pub fn set_deterministic(on: bool, warn_only: bool) -> Result<(), Error> {
    // SAFETY: plain values.
    ffi::check(unsafe { ffi::tx_deterministic(on, warn_only) })
}

/// Whether deterministic algorithms are asked for.
pub fn is_deterministic() -> bool {
    // SAFETY: reads a flag.
    unsafe { ffi::tx_is_deterministic() }
}
