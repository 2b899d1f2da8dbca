//! What libtorch's caching allocator holds on an accelerator.

use tch::Device;

use crate::{
    Error,
    ffi::{check, index, tx_memory, tx_reset_peak_memory},
};

/// Bytes on one accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// In tensors now.
    pub allocated: u64,
    /// In tensors at most, since the last [`reset_peak_memory`].
    pub peak_allocated: u64,
    /// Held by the allocator now.
    pub reserved: u64,
    /// Held by the allocator at most, since the last [`reset_peak_memory`].
    pub peak_reserved: u64,
}

/// What the allocator holds; `None` for a CPU, which has no such allocator.
pub fn memory(device: Device) -> Result<Option<Memory>, Error> {
    if !device.is_cuda() {
        return Ok(None);
    }
    let mut bytes = [0_i64; 4];
    // SAFETY: room for the four numbers that the shim writes.
    check(unsafe { tx_memory(index(device)?, bytes.as_mut_ptr()) })?;
    let [allocated, peak_allocated, reserved, peak_reserved] = bytes.map(|b| b.max(0) as u64);
    Ok(Some(Memory {
        allocated,
        peak_allocated,
        reserved,
        peak_reserved,
    }))
}

/// Starts the peaks of [`memory`] anew; nothing on a CPU.
pub fn reset_peak_memory(device: Device) -> Result<(), Error> {
    if !device.is_cuda() {
        return Ok(());
    }
    // SAFETY: a plain value.
    check(unsafe { tx_reset_peak_memory(index(device)?) })
}
