//! Where a leaf's gradient is stored, and whether one arrived.

use std::ptr;

use tch::Tensor;

use crate::{
    Error,
    ffi::{
        Opaque, check, pointers, tx_backward, tx_set_grad, tx_watch, tx_watch_drop, tx_watch_take,
    },
};

/// Makes `grad` the place where backward passes accumulate the gradient of `leaf`; with `None`,
/// the leaf has no gradient again. `grad` has the leaf's shape, kind and device.
pub fn set_grad(leaf: &Tensor, grad: Option<&Tensor>) -> Result<(), Error> {
    // SAFETY: both tensors live; the shim copies the reference.
    check(unsafe { tx_set_grad(leaf.as_ptr(), grad.map_or(ptr::null(), Tensor::as_ptr)) })
}

/// Backward from several roots at once, each with the gradient that arrives at it.
pub fn backward(roots: &[Tensor], grads: &[Tensor]) -> Result<(), Error> {
    if roots.len() != grads.len() {
        return Err(Error("lists of different lengths".to_owned()));
    }
    let n = roots.len() as i32;
    // SAFETY: n tensors in both lists, alive until the call returns.
    check(unsafe { tx_backward(pointers(roots).as_ptr(), pointers(grads).as_ptr(), n) })
}

/// Tells whether a gradient reached a leaf, without looking at the gradient's values.
#[derive(Debug)]
pub struct Watch(*mut Opaque);

impl Watch {
    /// Starts to watch a leaf that requires a gradient.
    pub fn new(leaf: &Tensor) -> Result<Self, Error> {
        let mut out = ptr::null_mut();
        // SAFETY: out receives a pointer that only this value owns.
        check(unsafe { tx_watch(leaf.as_ptr(), &mut out) })?;
        Ok(Self(out))
    }

    /// Whether a gradient arrived since the last call.
    pub fn take(&self) -> bool {
        // SAFETY: the pointer is valid until drop; the flag behind it is atomic.
        unsafe { tx_watch_take(self.0) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: the pointer came from tx_watch and is dropped once.
        unsafe { tx_watch_drop(self.0) }
    }
}

// SAFETY: the handle is a reference-counted tensor and an atomic flag.
unsafe impl Send for Watch {}
