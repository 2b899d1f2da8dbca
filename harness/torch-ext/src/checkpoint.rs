//! Activation checkpointing: memory for time.

use std::{
    any::Any,
    ffi::{c_char, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::{
    Error,
    ffi::{check, tx_checkpoint},
};

/// Whether a piece of a network draws random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draws {
    /// It does not.
    Nothing,
    /// From libtorch's global generators, as dropout does.
    Global,
}

type Body = Box<dyn Fn(&Tensor) -> Tensor + Send>;

/// `body(x)`, of which only `x` is kept: the backward pass runs `body` again, with gradients, under the same autocast
/// and, if it [draws](Draws), from the same generator states, and accumulates gradients in the leaves that it reads.
///
/// The leaves must hold the same values in both runs. Without gradients this is `body(x)`. The backward pass may run
/// on another thread. Gradients of chosen inputs (`run_backward`) cannot pass and are an error, as is a second backward
/// pass through the same graph. A panic in `body` becomes an error here, and in the backward pass one of libtorch's.
pub fn checkpoint(
    x: &Tensor,
    draws: Draws,
    body: impl Fn(&Tensor) -> Tensor + Send + 'static,
) -> Result<Tensor, Error> {
    let body: Box<Body> = Box::new(Box::new(body));
    let mut out = ptr::null_mut();
    // SAFETY: the shim takes the body over, calls it and drops it once; out receives a tensor that only the returned
    // value owns.
    unsafe {
        check(tx_checkpoint(
            x.as_ptr(),
            draws == Draws::Global,
            Box::into_raw(body).cast(),
            call,
            forget,
            &mut out,
        ))?;
        Ok(Tensor::from_ptr(out))
    }
}

/// Runs the body for the shim: an owned tensor, or null with the panic's message in `message`, which has room for
/// `room` bytes and is zero.
unsafe extern "C" fn call(
    body: *mut c_void,
    x: *const C_tensor,
    message: *mut c_char,
    room: usize,
) -> *mut C_tensor {
    let run = || {
        // SAFETY: the body is what `checkpoint` boxed, alive until `forget`; x lives until this returns.
        let (body, x) = unsafe { (&*body.cast::<Body>(), Tensor::clone_from_ptr(x.cast_mut())) };
        body(&x)
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(mut y) => {
            let owned = y.as_mut_ptr();
            std::mem::forget(y);
            owned
        }
        Err(panic) => {
            let text = text_of(panic.as_ref());
            let text = &text.as_bytes()[..text.len().min(room)];
            // SAFETY: as many bytes fit.
            unsafe { ptr::copy_nonoverlapping(text.as_ptr().cast(), message, text.len()) };
            ptr::null_mut()
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a recomputed block panicked")
}

unsafe extern "C" fn forget(body: *mut c_void) {
    // SAFETY: the shim calls this once, last.
    drop(unsafe { Box::from_raw(body.cast::<Body>()) });
}
