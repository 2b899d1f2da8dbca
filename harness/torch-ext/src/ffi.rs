//! The C side, and how its errors become Rust's.

use std::ffi::{CStr, c_char, c_int, c_void};

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use crate::Error;

pub(crate) enum Opaque {}
pub(crate) type List = *const *const C_tensor;

unsafe extern "C" {
    fn tx_free(message: *mut c_char);
    pub(crate) fn tx_fused_adam(
        params: List,
        grads: List,
        exp_avgs: List,
        exp_avg_sqs: List,
        steps: List,
        n: c_int,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
        decoupled: bool,
    ) -> *mut c_char;
    pub(crate) fn tx_fused_sgd(
        params: List,
        grads: List,
        buffers: List,
        n: c_int,
        lr: f64,
        momentum: f64,
        weight_decay: f64,
        first: bool,
    ) -> *mut c_char;
    pub(crate) fn tx_squares(x: *const C_tensor, out: *mut *mut C_tensor) -> *mut c_char;
    pub(crate) fn tx_norms(
        theta: *const C_tensor,
        grad: *const C_tensor,
        eta: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn tx_perturb(
        out: *const C_tensor,
        theta: *const C_tensor,
        grad: *const C_tensor,
        scale: *const C_tensor,
        eta: f64,
        scaled: bool,
    ) -> *mut c_char;
    pub(crate) fn tx_fisher(
        grad: *const C_tensor,
        f: *const C_tensor,
        mul: f64,
        add: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn tx_kl(
        p: *const C_tensor,
        q: *const C_tensor,
        slope: *const C_tensor,
        factor: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn tx_backward(roots: List, grads: List, n: c_int) -> *mut c_char;
    pub(crate) fn tx_set_grad(leaf: *const C_tensor, grad: *const C_tensor) -> *mut c_char;
    pub(crate) fn tx_watch(leaf: *const C_tensor, out: *mut *mut Opaque) -> *mut c_char;
    pub(crate) fn tx_watch_take(watch: *mut Opaque) -> bool;
    pub(crate) fn tx_watch_drop(watch: *mut Opaque);
    pub(crate) fn tx_generator(device: c_int, seed: u64, out: *mut *mut Opaque) -> *mut c_char;
    pub(crate) fn tx_generator_drop(generator: *mut Opaque);
    pub(crate) fn tx_generator_seed(generator: *mut Opaque, seed: u64) -> *mut c_char;
    pub(crate) fn tx_generator_fill(
        generator: *mut Opaque,
        out: *const C_tensor,
        normal: bool,
        low: f64,
        high: f64,
    ) -> *mut c_char;
    pub(crate) fn tx_rng_state(device: c_int, out: *mut *mut C_tensor) -> *mut c_char;
    pub(crate) fn tx_set_rng_state(device: c_int, state: *const C_tensor) -> *mut c_char;
    pub(crate) fn tx_autocast_enter(
        cuda: bool,
        kind: c_int,
        enabled: bool,
        was_enabled: *mut bool,
        was_kind: *mut c_int,
    ) -> *mut c_char;
    pub(crate) fn tx_autocast_leave(cuda: bool, kind: c_int, enabled: bool) -> *mut c_char;
    pub(crate) fn tx_autocast_forget();
    pub(crate) fn tx_checkpoint(
        x: *const C_tensor,
        draws: bool,
        body: *mut c_void,
        call: unsafe extern "C" fn(
            *mut c_void,
            *const C_tensor,
            *mut c_char,
            usize,
        ) -> *mut C_tensor,
        drop: unsafe extern "C" fn(*mut c_void),
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn tx_group(
        meet: *const c_char,
        port: c_int,
        host: *const c_char,
        rank: c_int,
        size: c_int,
        milliseconds: i64,
        out: *mut *mut Opaque,
    ) -> *mut c_char;
    pub(crate) fn tx_group_drop(group: *mut Opaque);
    pub(crate) fn tx_group_sum(group: *mut Opaque, x: *const C_tensor) -> *mut c_char;
    pub(crate) fn tx_group_broadcast(
        group: *mut Opaque,
        x: *const C_tensor,
        root: c_int,
    ) -> *mut c_char;
    pub(crate) fn tx_deterministic(on: bool, warn_only: bool) -> *mut c_char;
    pub(crate) fn tx_is_deterministic() -> bool;
    pub(crate) fn tx_memory(device: c_int, out: *mut i64) -> *mut c_char;
    pub(crate) fn tx_reset_peak_memory(device: c_int) -> *mut c_char;
}

/// `Ok` for null; otherwise the message, which this frees.
pub(crate) fn check(message: *mut c_char) -> Result<(), Error> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: the shim returns a string from strdup and hands over its ownership.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        tx_free(message);
        text
    };
    Err(Error(text.lines().next().unwrap_or_default().to_owned()))
}

/// Pointers to the tensors, valid while `tensors` lives.
pub(crate) fn pointers(tensors: &[Tensor]) -> Vec<*const C_tensor> {
    tensors.iter().map(Tensor::as_ptr).collect()
}

/// -1 for the CPU, the index of a CUDA device otherwise.
pub(crate) fn index(device: Device) -> Result<c_int, Error> {
    match device {
        Device::Cpu => Ok(-1),
        Device::Cuda(n) => Ok(n as c_int),
        other => Err(Error(format!(
            "{other:?} is neither a CPU nor a CUDA device"
        ))),
    }
}

/// The number of a floating kind in libtorch's `ScalarType`.
pub(crate) fn scalar_type(kind: Kind) -> Result<c_int, Error> {
    match kind {
        Kind::Half => Ok(5),
        Kind::Float => Ok(6),
        Kind::Double => Ok(7),
        Kind::BFloat16 => Ok(15),
        other => Err(Error(format!("{other:?} is not a floating kind"))),
    }
}
