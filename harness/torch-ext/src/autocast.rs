//! Mixed precision for a scope.

use std::{ffi::c_int, marker::PhantomData};

use tch::{Device, Kind};

use crate::{
    Error,
    ffi::{check, scalar_type, tx_autocast_enter, tx_autocast_forget, tx_autocast_leave},
};

/// While this lives, operations on its kind of device run in the chosen kind where libtorch
/// holds that to be safe. Works on the CPU too; nests.
#[derive(Debug)]
pub struct Autocast {
    cuda: bool,
    before: (bool, c_int),
    // The switch is thread-local, so the guard stays on its thread.
    thread: PhantomData<*const ()>,
}

impl Autocast {
    /// Switches autocast to `kind` on this thread; `kind` is `BFloat16` or, on CUDA, `Half` too.
    pub fn enter(device: Device, kind: Kind) -> Result<Self, Error> {
        Self::switch(device, kind, true)
    }

    /// Switches autocast off on this thread, inside a scope where it is on.
    pub fn leave(device: Device) -> Result<Self, Error> {
        Self::switch(device, Kind::BFloat16, false)
    }

    /// Forgets the casts of leaves that autocast has kept for further use in its scope. To be
    /// called after changing a leaf behind autograd's back, for instance through an alias.
    pub fn forget_casts() {
        // SAFETY: empties a cache.
        unsafe { tx_autocast_forget() }
    }

    fn switch(device: Device, kind: Kind, enabled: bool) -> Result<Self, Error> {
        let cuda = device.is_cuda();
        let mut before = (false, 0);
        // SAFETY: the two places live; the rest are plain values.
        check(unsafe {
            tx_autocast_enter(
                cuda,
                scalar_type(kind)?,
                enabled,
                &mut before.0,
                &mut before.1,
            )
        })?;
        Ok(Self {
            cuda,
            before,
            thread: PhantomData,
        })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // SAFETY: plain values that tx_autocast_enter reported.
        let left = check(unsafe { tx_autocast_leave(self.cuda, self.before.1, self.before.0) });
        debug_assert_eq!(left, Ok(()));
    }
}
