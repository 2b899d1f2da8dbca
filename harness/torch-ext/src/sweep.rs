//! Sweeps over flat CPU tensors in single or double precision, each one trip to memory where
//! ordinary operations need several. Sums are 0-d or flat tensors in double precision, and do not
//! depend on the number of threads.

use std::ptr;

use tch::{Device, Kind, Tensor};

use crate::{
    Error,
    ffi::{check, tx_fisher, tx_kl, tx_norms, tx_perturb, tx_squares},
};

/// Whether these functions work on such a tensor; otherwise use ordinary operations.
pub fn fits(flat: &Tensor) -> bool {
    flat.device() == Device::Cpu
        && matches!(flat.kind(), Kind::Float | Kind::Double)
        && flat.is_contiguous()
}

/// sum x^2: 0-d.
pub fn squares(x: &Tensor) -> Result<Tensor, Error> {
    let mut out = ptr::null_mut();
    // SAFETY: x lives; out receives a new tensor that only the returned value owns.
    let sums = unsafe {
        check(tx_squares(x.as_ptr(), &mut out))?;
        Tensor::from_ptr(out)
    };
    Ok(sums.get(0))
}

/// With T = |theta| + eta: sums of g^2, (T g)^2 and (T^2 g)^2, as `[3]`.
pub fn norms(theta: &Tensor, grad: &Tensor, eta: f64) -> Result<Tensor, Error> {
    let mut out = ptr::null_mut();
    // SAFETY: as above.
    unsafe {
        check(tx_norms(theta.as_ptr(), grad.as_ptr(), eta, &mut out))?;
        Ok(Tensor::from_ptr(out))
    }
}

/// out <- theta + scale T^2 g with T = |theta| + `eta`, or T = 1 without `eta`. `scale` is 0-d.
pub fn perturb(
    out: &mut Tensor,
    theta: &Tensor,
    grad: &Tensor,
    scale: &Tensor,
    eta: Option<f64>,
) -> Result<(), Error> {
    let (eta, scaled) = (eta.unwrap_or(0.0), eta.is_some());
    // SAFETY: all tensors live; the shim checks kind, size and layout.
    check(unsafe {
        tx_perturb(
            out.as_ptr(),
            theta.as_ptr(),
            grad.as_ptr(),
            scale.as_ptr(),
            eta,
            scaled,
        )
    })
}

/// grad <- u = w g with w = 1 / (`add` + `mul` f); f is g^2 if absent. Returns sum g u: 0-d.
pub fn fisher(grad: &mut Tensor, f: Option<&Tensor>, mul: f64, add: f64) -> Result<Tensor, Error> {
    let mut out = ptr::null_mut();
    let f = f.map_or(ptr::null(), Tensor::as_ptr);
    // SAFETY: as above.
    let sums = unsafe {
        check(tx_fisher(grad.as_ptr(), f, mul, add, &mut out))?;
        Tensor::from_ptr(out)
    };
    Ok(sums.get(0))
}

/// Sum over rows of KL(softmax p || softmax q) in nats: 0-d. The rows lie along the last dimension.
pub fn kl(p: &Tensor, q: &Tensor) -> Result<Tensor, Error> {
    kl_into(p, q, ptr::null(), 1.0)
}

/// [`kl`], and `factor` times its gradient in q, which is softmax q - softmax p.
pub fn kl_with_slope(p: &Tensor, q: &Tensor, factor: f64) -> Result<(Tensor, Tensor), Error> {
    let slope = q.detach().empty_like();
    Ok((kl_into(p, q, slope.as_ptr(), factor)?, slope))
}

fn kl_into(
    p: &Tensor,
    q: &Tensor,
    slope: *const torch_sys::C_tensor,
    factor: f64,
) -> Result<Tensor, Error> {
    let mut out = ptr::null_mut();
    // SAFETY: all tensors live; the shim checks kind, size and layout.
    unsafe {
        check(tx_kl(p.as_ptr(), q.as_ptr(), slope, factor, &mut out))?;
        Ok(Tensor::from_ptr(out))
    }
}
