//! What this libtorch is and on what it runs.

use std::ffi::{CStr, c_char, c_int};

unsafe extern "C" {
    fn tx_version() -> *const c_char;
    fn tx_cpu_capability() -> *const c_char;
    fn tx_set_threads(intra: c_int, inter: c_int);
    fn tx_load_cuda() -> bool;
    fn tx_cuda_runtime() -> c_int;
    fn tx_cudnn() -> usize;
    fn tx_cuda_name(index: c_int, out: *mut c_char, len: c_int) -> bool;
}

/// Version of the libtorch whose headers this was compiled against, `2.13.0`.
pub fn version() -> String {
    // SAFETY: a string literal.
    unsafe { CStr::from_ptr(tx_version()) }
        .to_string_lossy()
        .into_owned()
}

/// Instruction set that libtorch's CPU kernels chose: `DEFAULT`, `AVX2`, `AVX512`, ...
pub fn cpu_capability() -> String {
    // SAFETY: a string that lives as long as the process.
    unsafe { CStr::from_ptr(tx_cpu_capability()) }
        .to_string_lossy()
        .into_owned()
}

/// Threads within an operation and between operations. The second can be set once, before any work.
pub fn set_threads(within: usize, between: usize) {
    // SAFETY: plain values; the shim catches.
    unsafe { tx_set_threads(within as c_int, between as c_int) }
}

/// Loads the CUDA half of libtorch, which registers its kernels; false where this libtorch has none. Costs some tenths
/// of a second once, so only who may use a device should ask.
pub fn load_cuda() -> bool {
    // SAFETY: loads a library of libtorch's own; a second call finds it loaded.
    unsafe { tx_load_cuda() }
}

/// The name of the `index`-th visible CUDA device, as the driver says it; none without one.
pub fn cuda_name(index: usize) -> Option<String> {
    let mut name = [0 as c_char; 256];
    // SAFETY: room for 256 bytes, zero-terminated by the driver.
    unsafe {
        tx_cuda_name(index as c_int, name.as_mut_ptr(), name.len() as c_int)
            .then(|| CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned())
    }
}

/// Version of the CUDA runtime that is loaded, `12.8`; none before [`load_cuda`] or without one.
pub fn cuda_runtime() -> Option<String> {
    // SAFETY: asks a loaded library for its number.
    let version = unsafe { tx_cuda_runtime() };
    (version > 0).then(|| format!("{}.{}", version / 1000, version % 1000 / 10))
}

/// Version of the cuDNN that is loaded, `9.10.2`; none without one.
pub fn cudnn() -> Option<String> {
    // SAFETY: asks a loaded library for its number.
    let version = unsafe { tx_cudnn() };
    // From cuDNN 9 on the major version has ten times the weight.
    let major = if version >= 90_000 { 10_000 } else { 1000 };
    let (minor, patch) = (version % major / 100, version % 100);
    (version > 0).then(|| format!("{}.{minor}.{patch}", version / major))
}
