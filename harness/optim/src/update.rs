//! One update in the making: what the methods are written in.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use tch::{Kind, Tensor, no_grad_guard};
use torch_ext::{Autocast, Group};

use crate::{
    Divergence, Error, InputNoise, Noise, NoiseSource, Pass, Restore, Share, TargetMode, Task,
    ascent::{Ascent, Information, norm},
    distance::{self, Measured, Slope},
    noise::{Mode, Store},
    step::{Record, Step},
    weights::Weights,
};

pub(crate) struct Update<'a> {
    pub(crate) task: &'a dyn Task,
    pub(crate) shares: Vec<Share>,
    pub(crate) w: &'a mut Weights,
    /// theta_{t-1}, theta_0 or the moving average, as the method has it, by parameter.
    pub(crate) stored: Option<&'a [Tensor]>,
    pub(crate) noise_knobs: Option<&'a InputNoise>,
    pub(crate) source: &'a RefCell<Box<dyn NoiseSource>>,
    pub(crate) store: &'a Store,
    /// The processes that share the batch, if there are several.
    pub(crate) group: Option<&'a Group>,
    pub(crate) record: Record,
    pub(crate) step: Step,
    /// Target logits per micro-batch and draw, for the second pass of a combination.
    pub(crate) targets: Vec<Vec<Tensor>>,
}

/// Input of a gradient's forward pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Input {
    Clean,
    /// With noise, the embedding table attached.
    Noised,
    /// The noised embeddings of an earlier pass, cut from their table.
    Replayed,
}

/// Where the target distribution of a distance comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// The stored parameters.
    Stored(TargetMode),
    /// The present parameters on noised input: draws `first..first + draws`.
    Noised {
        mode: TargetMode,
        first: usize,
        draws: usize,
        graph: Graph,
        keep_embedding: bool,
    },
    /// Logits that an earlier pass of this update has kept.
    Kept,
}

/// How far the gradient flows into a noised target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Graph {
    /// Not at all.
    None,
    /// To the embedding table.
    Attached,
    /// To everything behind the embedding table.
    CutAtEmbedding,
}

/// A distance to a target, and what it is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Region<'a> {
    pub(crate) divergence: &'a Divergence,
    pub(crate) target: Target,
    /// Weight in the objective; without one the distance is measured only.
    pub(crate) lambda: Option<f64>,
    /// Keep the target's logits for a later pass.
    pub(crate) keep: bool,
}

impl Graph {
    pub(crate) fn of(target_grad: bool, detach_embedding: bool) -> Self {
        match (target_grad, detach_embedding) {
            (false, _) => Self::None,
            (true, true) => Self::CutAtEmbedding,
            (true, false) => Self::Attached,
        }
    }
}

impl<'a> Region<'a> {
    /// lambda D is part of the objective.
    pub(crate) fn penalty(divergence: &'a Divergence, target: Target, lambda: f64) -> Self {
        Self {
            divergence,
            target,
            lambda: Some(lambda),
            keep: false,
        }
    }

    /// D is a plain number, without gradient.
    pub(crate) fn measured(divergence: &'a Divergence, target: Target) -> Self {
        Self {
            divergence,
            target,
            lambda: None,
            keep: false,
        }
    }

    /// The same, keeping the target's logits for a later pass.
    pub(crate) fn kept(self) -> Self {
        Self { keep: true, ..self }
    }

    /// The same distance to another target.
    pub(crate) fn again(self, target: Target) -> Self {
        Self { target, ..self }
    }
}

/// What a pass over the batch has found; 0-d tensors, detached.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) loss: Tensor,
    pub(crate) objective: Tensor,
    pub(crate) distance: Option<Tensor>,
}

impl Update<'_> {
    /// The gradient of the mean loss goes to `w.grad`.
    pub(crate) fn gradient(&mut self, input: Input) -> Result<Found, Error> {
        self.pass(input, None)
    }

    /// The gradient of the mean loss, plus lambda times the distance if `region` has a lambda,
    /// goes to `w.grad`; the distance is found on the way.
    pub(crate) fn gradient_within(&mut self, region: Region) -> Result<Found, Error> {
        self.pass(Input::Clean, Some(region))
    }

    fn pass(&mut self, input: Input, region: Option<Region>) -> Result<Found, Error> {
        self.w.zero_grad()?;
        let mut found: Option<Found> = None;
        let mut apart = region.filter(|region| self.is_apart(region)).map(Apart::of);
        for (micro_batch, share) in self.shares.clone().into_iter().enumerate() {
            let targets = match region {
                Some(region) => self.target(region, micro_batch)?,
                None => Vec::new(),
            };
            let mode = match input {
                Input::Clean => Mode::Clean,
                Input::Noised => Mode::Noised {
                    draw: 0,
                    detach: false,
                    keep_embedding: false,
                },
                Input::Replayed => Mode::Replayed,
            };
            let (loss, logits) = self.forward(micro_batch, None, mode, true)?;
            let loss = times(loss, share.loss);
            let measured = match (region, &mut apart) {
                (Some(_), Some(apart)) => {
                    apart.add(&targets, &logits, share);
                    None
                }
                (Some(region), None) => Some(distances(region, &targets, &logits, share)?),
                (None, _) => None,
            };
            let lambda = region.and_then(|region| region.lambda);
            let objective = match (&measured, lambda) {
                (Some(d), Some(lambda)) => &loss + &d.value * lambda,
                _ => loss.shallow_clone(),
            };
            self.capture_logits(&logits, &targets);
            match measured.as_ref().and_then(|d| d.slope.as_ref()) {
                // grad J = grad L + lambda grad D, where D's gradient starts at the logits.
                Some(slope) => {
                    let slope = slope.to_kind(logits.kind());
                    let one = loss.detach().ones_like();
                    torch_ext::backward(&[loss.shallow_clone(), logits], &[one, slope])?;
                }
                None => {
                    drop(logits);
                    objective.backward();
                }
            }
            self.step.passes.backward += 1;
            if region.is_some_and(|region| region.keep) {
                self.targets.push(targets);
            }
            let part = Found {
                loss: loss.detach(),
                objective: objective.detach(),
                distance: measured.map(|d| d.value.detach()),
            };
            found = Some(match found {
                Some(found) => found.plus(part),
                None => part,
            });
        }
        self.w.note_reached();
        let mut found = found.expect("checked: at least one micro-batch");
        found.distance = match apart {
            Some(apart) => Some(apart.distance(self.group)?),
            None => found.distance,
        };
        if let Some(group) = self.group {
            group.sum(&mut self.w.grad)?;
            found.sum(group)?;
        }
        Ok(found)
    }

    /// Whether a distance, measured only, is one of all examples at once while these are not together.
    fn is_apart(&self, region: &Region) -> bool {
        let together = self.group.is_none() && self.shares == [Share::WHOLE];
        region.lambda.is_none() && distance::needs_all(region.divergence) && !together
    }

    /// Target logits, one per draw.
    fn target(&mut self, region: Region, micro_batch: usize) -> Result<Vec<Tensor>, Error> {
        match region.target {
            Target::Kept => {
                let kept = &self.targets[micro_batch];
                Ok(kept.iter().map(Tensor::shallow_clone).collect())
            }
            Target::Stored(mode) => {
                let train = mode == TargetMode::Train;
                let theta = self.stored.expect("the method keeps parameters");
                let pass = pass(self, micro_batch, None, Mode::Clean, train);
                let task = self.task;
                self.step.passes.forward += 1;
                let output = self.w.at(theta, || task.forward(&pass));
                Ok(vec![output.logits])
            }
            Target::Noised {
                mode,
                first,
                draws,
                graph,
                keep_embedding,
            } => {
                let train = mode != TargetMode::Eval;
                let _guard = (graph == Graph::None).then(no_grad_guard);
                let detach = graph == Graph::CutAtEmbedding;
                let logits = |draw| {
                    let mode = Mode::Noised {
                        draw,
                        detach,
                        keep_embedding,
                    };
                    Ok(self.forward(micro_batch, None, mode, train)?.1)
                };
                (first..first + draws).map(logits).collect()
            }
        }
    }

    /// One forward pass at the present parameters: loss and logits.
    fn forward(
        &mut self,
        micro_batch: usize,
        example: Option<i64>,
        mode: Mode,
        train: bool,
    ) -> Result<(Tensor, Tensor), Error> {
        let pass = pass(self, micro_batch, example, mode, train);
        let output = self.task.forward(&pass);
        if mode != Mode::Clean && pass.noise.calls.get() == 0 {
            return Err(Error::Task(
                "the task did not call `pass.noise.apply` on its embeddings".to_owned(),
            ));
        }
        self.step.passes.forward += 1;
        Ok((output.loss, output.logits))
    }

    /// f: mean over examples of the squared gradient of one example's loss. `w.grad` stays.
    pub(crate) fn fisher_per_example(&mut self, input: Input) -> Result<Information, Error> {
        let mode = match input {
            Input::Noised => Mode::Noised {
                draw: 0,
                detach: false,
                keep_embedding: false,
            },
            _ => Mode::Clean,
        };
        let mut f = self.w.theta.zeros_like();
        let g = self.w.grad.copy();
        for (micro_batch, share) in self.shares.clone().into_iter().enumerate() {
            let examples = self.step.examples[micro_batch];
            for example in 0..examples {
                self.w.zero_grad()?;
                let (loss, _) = self.forward(micro_batch, Some(example), mode, true)?;
                loss.backward();
                self.step.passes.backward += 1;
                let weighted = &self.w.grad * (share.examples / examples as f64);
                let _ = f.addcmul_(&weighted, &self.w.grad);
            }
        }
        self.w.note_reached();
        if let Some(group) = self.group {
            group.sum(&mut f)?;
        }
        self.w.grad.copy_(&g);
        Ok(Information::Apart(f))
    }

    /// f: the square of the gradient that `body` leaves in `w.grad`, where g was before.
    pub(crate) fn beside_gradient(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<Information, Error> {
        let g = self.w.grad.shallow_clone();
        self.w.saved().copy_(&g);
        body(self)?;
        let _no_grad = no_grad_guard();
        let _ = self.w.grad.square_();
        Ok(Information::Swapped)
    }

    pub(crate) fn capture_noised(&mut self) {
        if self.record == Record::Tensors {
            self.step.tensors.grad_noised = self.w.split(&self.w.grad, true);
        }
    }

    /// Notes the first pass.
    pub(crate) fn first(&mut self, found: Found) {
        self.step.loss_perturbed = found.loss.shallow_clone();
        self.step.objective_perturbed = found.objective.shallow_clone();
        self.step.loss = found.loss;
        self.step.objective = found.objective;
        if let Some(distance) = found.distance {
            self.step.distance_perturbed = Some(distance.shallow_clone());
            self.step.distance = Some(distance);
        }
        if self.record != Record::Scalars {
            self.step.grad_norm = Some(norm(&self.w.grad));
        }
        if self.record == Record::Tensors {
            self.step.tensors.grad = self.w.split(&self.w.grad, true);
        }
    }

    /// Runs `body` at theta + eps, which leaves its gradient h in `w.grad`; the parameters are
    /// theta again afterwards, whatever happens. theta itself is never written.
    pub(crate) fn perturbed(
        &mut self,
        ascent: Ascent,
        restore: Restore,
        body: impl FnOnce(&mut Self) -> Result<Found, Error>,
    ) -> Result<(), Error> {
        if self.record != Record::Scalars {
            self.step.eps_norm = Some(ascent.eps_norm(self.w));
        }
        ascent.write(self.w)?;
        if self.record == Record::Tensors {
            let theta = self.w.theta.shallow_clone();
            let eps = self.w.saved().shallow_clone() - theta;
            self.step.tensors.eps = self.w.split(&eps, true);
        }
        self.w.enter_saved();
        let found = catch_unwind(AssertUnwindSafe(|| body(self)));
        self.w.leave_saved();
        let found = found.unwrap_or_else(|panic| resume_unwind(panic))?;
        if restore == Restore::GradedOnly {
            let saved = self.w.saved().shallow_clone();
            for (range, ()) in self.w.ranges(|i| (!self.w.reached(i)).then_some(())) {
                range.of(&self.w.theta).copy_(&range.of(&saved));
            }
        }
        self.step.radius = Some(ascent.radius);
        self.step.denominator = Some(ascent.denominator);
        self.step.loss_perturbed = found.loss;
        self.step.objective_perturbed = found.objective;
        self.step.distance_perturbed = found.distance;
        if self.record == Record::Tensors {
            self.step.tensors.grad_perturbed = self.w.split(&self.w.grad, true);
        }
        Ok(())
    }

    fn capture_logits(&mut self, logits: &Tensor, targets: &[Tensor]) {
        if self.step.examples.len() < self.shares.len() {
            self.step.examples.push(logits.size()[0]);
        }
        if self.record == Record::Tensors && self.step.tensors.logits.len() < self.shares.len() {
            let copy = |x: &Tensor| x.detach().copy();
            self.step.tensors.logits.push(copy(logits));
            self.step
                .tensors
                .target_logits
                .extend(targets.iter().map(copy));
        }
    }
}

/// What the next forward pass must do.
fn pass<'a>(
    update: &Update<'a>,
    micro_batch: usize,
    example: Option<i64>,
    mode: Mode,
    train: bool,
) -> Pass<'a> {
    // If the caller has autocast around the whole update, its casts of the parameters are stale.
    Autocast::forget_casts();
    let noise = Noise {
        rows: update.shares[micro_batch].rows,
        mode,
        knobs: update.noise_knobs,
        source: update.source,
        store: update.store,
        update: update.step.update,
        micro_batch,
        example,
        calls: 0.into(),
    };
    Pass {
        train,
        noise,
        micro_batch,
        example,
    }
}

/// The logits of a batch that is cut, for a distance of all examples at once.
struct Apart<'a> {
    region: Region<'a>,
    /// Those of the model and of each draw of the target, by micro-batch.
    logits: Vec<Vec<Tensor>>,
}

impl<'a> Apart<'a> {
    fn of(region: Region<'a>) -> Self {
        Self {
            region,
            logits: Vec::new(),
        }
    }

    /// Adds those of a micro-batch; none of one that counts for nothing.
    fn add(&mut self, targets: &[Tensor], logits: &Tensor, share: Share) {
        let counted = |x: &Tensor| match share.examples {
            0.0 => x.detach().narrow(0, 0, 0),
            _ => x.detach(),
        };
        let all = std::iter::once(logits).chain(targets);
        self.logits.push(all.map(counted).collect());
    }

    /// The distance of the whole batch; of a group it is that of the first process, and nothing of the others, so that
    /// the sum is right.
    fn distance(self, group: Option<&Group>) -> Result<Tensor, Error> {
        let whole = |i: usize| {
            let parts: Vec<&Tensor> = self.logits.iter().map(|of| &of[i]).collect();
            gathered(Tensor::cat(&parts, 0), group)
        };
        let count = self.logits.first().map_or(0, Vec::len);
        let all = (0..count).map(whole).collect::<Result<Vec<_>, Error>>()?;
        let value = distances(self.region, &all[1..], &all[0], Share::WHOLE)?.value;
        Ok(match group {
            Some(group) if group.rank() > 0 => value.zeros_like(),
            _ => value,
        })
    }
}

/// Everybody's rows below one another, in the order of the processes.
fn gathered(rows: Tensor, group: Option<&Group>) -> Result<Tensor, Error> {
    let Some(group) = group else {
        return Ok(rows);
    };
    let mut counts = vec![0.0; group.size()];
    counts[group.rank()] = rows.size()[0] as f64;
    let mut counts = Tensor::from_slice(&counts).to_device(rows.device());
    group.sum(&mut counts)?;
    let counts = counts.to_device(tch::Device::Cpu);
    let count = |rank: usize| counts.double_value(&[rank as i64]) as i64;
    let before: i64 = (0..group.rank()).map(count).sum();
    let mut size = rows.size();
    size[0] = (0..group.size()).map(count).sum();
    let mut all = Tensor::zeros(&size, (rows.kind(), rows.device()));
    all.narrow(0, before, rows.size()[0]).copy_(&rows);
    group.sum(&mut all)?;
    Ok(all)
}

/// D(target, logits), averaged over the draws of the target.
fn distances(
    region: Region,
    targets: &[Tensor],
    logits: &Tensor,
    share: Share,
) -> Result<Measured, Error> {
    let (logits, slope) = match region.lambda {
        Some(lambda) => (logits.shallow_clone(), Slope::Beside(lambda)),
        None => (logits.detach(), Slope::InGraph),
    };
    let d = |target| distance::partial(region.divergence, target, &logits, share, slope);
    let mut sum = d(&targets[0])?;
    for target in &targets[1..] {
        let Measured { value, slope } = d(target)?;
        sum.value += value;
        sum.slope = sum.slope.zip(slope).map(|(a, b)| a + b);
    }
    let mean = 1.0 / targets.len() as f64;
    let slope = sum.slope.map(|slope| times(slope, mean));
    Ok(Measured {
        value: times(sum.value, mean),
        slope,
    })
}

impl Found {
    /// Everybody's sum, in one exchange.
    fn sum(&mut self, group: &Group) -> Result<(), Error> {
        let present = [
            Some(&self.loss),
            Some(&self.objective),
            self.distance.as_ref(),
        ];
        let present = present.into_iter().flatten();
        let mut all = Tensor::stack(
            &present.map(|x| x.to_kind(Kind::Double)).collect::<Vec<_>>(),
            0,
        );
        group.sum(&mut all)?;
        let sum = |i, like: &Tensor| all.get(i).to_kind(like.kind());
        let distance = self.distance.as_ref().map(|distance| sum(2, distance));
        (self.loss, self.objective) = (sum(0, &self.loss), sum(1, &self.objective));
        self.distance = distance;
        Ok(())
    }

    fn plus(self, other: Self) -> Self {
        Self {
            loss: self.loss + other.loss,
            objective: self.objective + other.objective,
            distance: self.distance.zip(other.distance).map(|(a, b)| a + b),
        }
    }
}

fn times(x: Tensor, factor: f64) -> Tensor {
    if factor == 1.0 { x } else { x * factor }
}
