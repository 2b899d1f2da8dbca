//! Linear centred kernel alignment of what two networks make of the same examples.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::for_each_batch;
use crate::tasks::Task;

/// Linear CKA of `x` and `y`, `[example, feature]` each, between 0 and 1: ||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F), computed
/// in double precision. TRAM paper, eq. 12; Kornblith et al. (2019), whose definition assumes centred columns.
pub fn linear_cka(x: &Tensor, y: &Tensor, centred: bool) -> f64 {
    let columns = |t: &Tensor| {
        let t = t.to_kind(Kind::Double);
        match centred {
            true => &t - t.mean_dim(0, true, Kind::Double),
            false => t,
        }
    };
    let (x, y) = (columns(x), columns(y));
    let norm = |a: &Tensor, b: &Tensor| a.tr().matmul(b).norm().double_value(&[]);
    let cross = norm(&y, &x);
    cross * cross / (norm(&x, &x) * norm(&y, &y))
}

/// Final hidden states of the first token on `portion`, `[example, hidden]`, in the order of the data, on the host.
pub fn states(task: &Task, portion: &str) -> Result<Tensor> {
    let mut places = Vec::new();
    let mut states = Vec::new();
    for_each_batch(task, portion, |at, batch| {
        places.extend(at.iter().map(|&place| place as i64));
        states.push(task.first_token(&batch).to_device(Device::Cpu));
        Ok(())
    })?;
    let examples = task.portion(portion)?.len() as i64;
    let Some(share) = &task.share else {
        let order = Tensor::from_slice(&places).argsort(0, false);
        return Ok(Tensor::cat(&states, 0).index_select(0, &order));
    };
    // The first process has a batch of every portion; others may have none.
    let own = states.first().map_or(0, |states| states.size()[1]);
    let width = share.of_first(own)?;
    let mut all = Tensor::zeros([examples, width], (Kind::Float, Device::Cpu));
    if !states.is_empty() {
        let _ = all.index_copy_(0, &Tensor::from_slice(&places), &Tensor::cat(&states, 0));
    }
    share.sum(&mut all)?;
    Ok(all)
}
