//! Base updates in one sweep over memory. Tensors may be flat views of a larger buffer.

use tch::Tensor;

use crate::{
    Error,
    ffi::{check, pointers, tx_fused_adam, tx_fused_sgd},
};

/// Numbers of one Adam update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Learning rate of this update.
    pub lr: f64,
    /// Decay rates of the two moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decay rate; see `decoupled`.
    pub weight_decay: f64,
    /// Multiply the parameter by `1 - lr * weight_decay` (AdamW) instead of adding
    /// `weight_decay * parameter` to the gradient (Adam).
    pub decoupled: bool,
}

/// One Adam or AdamW update in place.
///
/// `steps` holds, per parameter, a 0-d float tensor on the parameter's device with the number of
/// this update, counted from one; the bias corrections come from it. All lists have one length.
pub fn fused_adam(
    params: &[Tensor],
    grads: &[Tensor],
    exp_avgs: &[Tensor],
    exp_avg_sqs: &[Tensor],
    steps: &[Tensor],
    adam: Adam,
) -> Result<(), Error> {
    let n = same_length(&[params, grads, exp_avgs, exp_avg_sqs, steps])?;
    // SAFETY: n tensors in every list, alive until the call returns.
    check(unsafe {
        tx_fused_adam(
            pointers(params).as_ptr(),
            pointers(grads).as_ptr(),
            pointers(exp_avgs).as_ptr(),
            pointers(exp_avg_sqs).as_ptr(),
            pointers(steps).as_ptr(),
            n,
            adam.lr,
            adam.betas.0,
            adam.betas.1,
            adam.weight_decay,
            adam.eps,
            adam.decoupled,
        )
    })
}

/// Numbers of one SGD update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Learning rate of this update.
    pub lr: f64,
    /// Share of the buffer that is kept; 0 needs no buffers.
    pub momentum: f64,
    /// `weight_decay * parameter` is added to the gradient.
    pub weight_decay: f64,
    /// The buffer is undefined and starts as this update's decayed gradient.
    pub first: bool,
}

/// One SGD update in place, without dampening or Nesterov's correction.
///
/// `buffers` is empty when `momentum` is 0.
pub fn fused_sgd(
    params: &[Tensor],
    grads: &[Tensor],
    buffers: &[Tensor],
    sgd: Sgd,
) -> Result<(), Error> {
    let n = same_length(&[params, grads])?;
    let held = pointers(buffers);
    let list = if sgd.momentum == 0.0 {
        std::ptr::null()
    } else {
        same_length(&[params, buffers])?;
        held.as_ptr()
    };
    // SAFETY: n tensors in every list that is not null, alive until the call returns.
    check(unsafe {
        tx_fused_sgd(
            pointers(params).as_ptr(),
            pointers(grads).as_ptr(),
            list,
            n,
            sgd.lr,
            sgd.momentum,
            sgd.weight_decay,
            sgd.first,
        )
    })
}

fn same_length(lists: &[&[Tensor]]) -> Result<i32, Error> {
    let n = lists[0].len();
    match lists.iter().all(|list| list.len() == n) {
        true => Ok(n as i32),
        false => Err(Error("lists of different lengths".to_owned())),
    }
}
