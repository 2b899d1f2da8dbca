//! One run, from top to bottom: settings, network, data, optimizer, loop, evaluation.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use optim::{Accumulated, Numbers, Optimizer, Options, Record, Share};
use tch::{Device, Kind, Tensor};

use crate::machine;
use crate::models::{Head, Network, Vit};
use crate::tasks::images::ImageTask;
use crate::tasks::{Batch, Task};
use harness::content::sha256_of_folder;
use harness::event::{Event, Observation, Outcome};
use harness::plan::{DataSpec, Job, ModelSpec, RunSpec};
use harness::seed::{SplitMix, derive};
use harness::suite;
use harness::suite::{
    Input, Length, Measure, MethodEntry, ModelConfig, ModelType, Precision, Selection, Training,
};

/// Updates between two looks at the loss are at least this many, and so many that a run has at most
/// [`LOOKS`] of them. Looking waits for the device.
const LOOK_EVERY: u64 = 10;
const LOOKS: u64 = 500;

/// Trains and measures as `job` says, telling what happens; the final weights go to `out/model.safetensors`.
///
/// The caller tells the outcome. An error means that the run could not be done; a diverged run is not an error.
pub fn train(job: &Job, out: &Path, tell: &mut dyn FnMut(Event)) -> Result<Outcome> {
    let spec = &job.spec;
    let id = spec.id();
    let device = machine::device(&job.device).map_err(anyhow::Error::msg)?;
    torch_ext::set_threads(job.threads, 1);
    // Dropout draws from libtorch's own generator; every other stream is ours.
    tch::manual_seed(derive(&id, "dropout") as i64);
    if device.is_cuda() {
        torch_ext::set_deterministic(true, true)?;
    }

    let model = network(job, device, tell)?;
    tell(Event::Started(machine::environment(
        device,
        job.threads,
        model.weights.count(),
    )));
    let task = open(job, model, device)?;
    for wanted in &job.measurements {
        let can = task.can_measure(&wanted.measure) || wanted.measure == Measure::Distance;
        ensure!(
            can,
            "measuring `{}` is not available yet for this task",
            wanted.measure.key()
        );
    }

    let mut trained = Trained {
        step: 0,
        distance: None,
    };
    if job.finished.is_some() {
        trained.step = steps(spec, &task);
    } else if let (MethodEntry::Trained(method), Some(training)) = (&spec.method, &spec.training) {
        match fit(spec, method, training, &task, device, tell)? {
            Ok(finished) => trained = finished,
            Err(outcome) => return Ok(outcome),
        }
        task.weights().save(&out.join("model.safetensors"))?;
    }
    measure(job, &task, &trained, tell);
    Ok(Outcome::Completed)
}

/// What training leaves behind besides the weights.
struct Trained {
    /// Updates that made the weights.
    step: u64,
    /// Mean distance over all updates, if the method has one.
    distance: Option<f64>,
}

/// Plain data of a suite as the optimizer's own type: `methods` and `optim` are one source, built without and with
/// libtorch.
fn own<T: serde::de::DeserializeOwned>(data: &impl serde::Serialize) -> T {
    serde_json::to_value(data)
        .and_then(serde_json::from_value)
        .expect("one source, one form")
}

/// The training loop. The inner error is an outcome that ends the run early.
fn fit(
    spec: &RunSpec,
    method: &methods::Method,
    training: &Training,
    task: &Task,
    device: Device,
    tell: &mut dyn FnMut(Event),
) -> Result<Result<Trained, Outcome>> {
    let id = spec.id();
    let (examples, batch) = (task.examples(), training.batch as usize);
    ensure!(examples > 0, "the training portions hold no example");
    let per_epoch = examples.div_ceil(batch) as u64;
    let steps = steps(spec, task);
    let look_every = LOOK_EVERY.max(steps.div_ceil(LOOKS));
    let evaluate_every = training
        .evaluate_every
        .map(|length| updates(length, per_epoch));

    let options = Options {
        schedule: own(&training.schedule),
        length: optim::Length {
            updates: steps,
            epoch: per_epoch,
        },
        no_decay: training.no_decay.clone(),
        clip_norm: training.clip_norm,
        seed: derive(&id, "noise"),
        ..Options::default()
    };
    let mut optimizer = Optimizer::new(
        own(method),
        own(&training.base),
        options,
        task.weights().named(),
    )?;

    let mut order = Vec::new();
    let mut best: Option<Best> = None;
    // Sums on the device: one number that is not finite anywhere shows at the next look.
    let mut losses = Tensor::zeros([], (Kind::Double, device));
    let mut distances: Option<Tensor> = None;

    for step in 1..=steps {
        let epoch = (step - 1) / per_epoch;
        let start = ((step - 1) % per_epoch) as usize * batch;
        if start == 0 {
            order = SplitMix::new(derive(&id, &format!("order of epoch {epoch}")))
                .permutation(examples);
        }
        let examples = task.batch(&order[start..order.len().min(start + batch)]);
        let parts = cut(&examples, training.micro_batches as i64);
        let share = |part: &Batch| part.examples() as f64 / examples.examples() as f64;
        let shares = parts
            .iter()
            .map(|part| Share {
                loss: share(part),
                examples: share(part),
            })
            .collect();
        let update = Accumulated {
            shares,
            forward: |pass: &optim::Pass| task.forward(&parts[pass.micro_batch], pass),
        };

        let look = step == 1 || step % look_every == 0 || step == steps;
        optimizer.set_record(if look { Record::Norms } else { Record::Scalars });
        let done = optimizer.step(&update)?;

        losses += &done.loss + &done.loss_perturbed;
        if let Some(distance) = &done.distance {
            let before = distances
                .take()
                .unwrap_or_else(|| Tensor::zeros([], (Kind::Double, device)));
            distances = Some(before + distance);
        }
        if look {
            let numbers = done.read();
            let finite = losses.double_value(&[]).is_finite();
            let loss = Some(numbers.loss).filter(|loss| loss.is_finite());
            tell(Event::Progress {
                step,
                steps,
                loss,
                lr: done.lr,
            });
            if !finite {
                return Ok(Err(Outcome::Diverged { step }));
            }
            look_at(
                step,
                done.lr,
                &numbers,
                done.distance.is_some(),
                done.radius.is_some(),
                tell,
            );
        }
        if let Some(portion) = &spec.select
            && (step == steps || evaluate_every.is_some_and(|every| step % every == 0))
        {
            let found = task.evaluate(portion);
            observe(step, portion, "loss", found.loss, tell);
            observe(step, portion, "accuracy", found.accuracy, tell);
            if training.selection == Selection::Best
                && best.as_ref().is_none_or(|best| found.loss < best.loss)
            {
                best = Some(Best {
                    step,
                    loss: found.loss,
                    weights: task.weights().snapshot(),
                });
            }
        }
    }

    let mut kept = steps;
    if let Some(best) = &best {
        task.weights().restore(&best.weights);
        kept = best.step;
        tell(Event::Note {
            text: format!(
                "kept the weights of update {kept}, with selection loss {}",
                best.loss
            ),
        });
    }
    let distance = distances.map(|sum| sum.double_value(&[]) / steps as f64);
    Ok(Ok(Trained {
        step: kept,
        distance,
    }))
}

/// The model with the lowest loss on the selecting portion so far.
struct Best {
    step: u64,
    loss: f64,
    weights: Vec<Tensor>,
}

/// Tells the quantities of training at an update.
fn look_at(
    step: u64,
    lr: f64,
    numbers: &Numbers,
    distance: bool,
    radius: bool,
    tell: &mut dyn FnMut(Event),
) {
    let present = [
        ("loss", Some(numbers.loss)),
        ("lr", Some(lr)),
        ("grad_norm", numbers.grad_norm),
        ("distance", distance.then_some(numbers.distance)),
        ("radius", radius.then_some(numbers.radius)),
        ("eps_norm", numbers.eps_norm),
    ];
    for (metric, value) in present {
        if let Some(value) = value {
            observe(step, "training", metric, value, tell);
        }
    }
}

/// The final measurements.
fn measure(job: &Job, task: &Task, trained: &Trained, tell: &mut dyn FnMut(Event)) {
    for wanted in &job.measurements {
        let value = match wanted.measure {
            Measure::Accuracy => Some(task.evaluate(&wanted.on).accuracy),
            Measure::Loss => Some(task.evaluate(&wanted.on).loss),
            _ => trained.distance,
        };
        match value {
            Some(value) => observe(trained.step, &wanted.on, &wanted.measure.key(), value, tell),
            None => tell(Event::Note {
                text: format!("this run has no `{}`", wanted.measure.key()),
            }),
        }
    }
}

/// Observations are finite; a number that is not has no row.
fn observe(step: u64, on: &str, metric: &str, value: f64, tell: &mut dyn FnMut(Event)) {
    if value.is_finite() {
        tell(Event::Observed(Observation {
            step,
            on: on.into(),
            metric: metric.into(),
            value,
        }));
    }
}

/// The network that the run starts from, or ended with.
fn network(job: &Job, device: Device, tell: &mut dyn FnMut(Event)) -> Result<Vit> {
    let spec = &job.spec;
    let config = config(job, &spec.model)?;
    ensure!(
        config.model_type == ModelType::Vit,
        "networks of type {:?} are not available yet",
        config.model_type
    );
    let model = Network::new(&config, None, derive(&spec.id(), "weights"), device)?;
    let start = match (&job.finished, &spec.model) {
        (Some(finished), _) => Some((weights_file(finished), Head::Stored)),
        (None, ModelSpec::Config(_)) => None,
        (None, ModelSpec::Folder { sha256 }) => Some((folder(job, sha256)?, Head::Fresh)),
        (None, ModelSpec::Stage(_)) => {
            let stage = job.stage.as_ref();
            let stage = stage.context("the job names no weights of the stage it starts from")?;
            Some((weights_file(stage), Head::Stored))
        }
        (None, ModelSpec::Hub(hub)) => {
            bail!("models from the Hub are not available yet: {}", hub.hub)
        }
    };
    if let Some((path, head)) = start {
        let loaded = model.load(&path, head)?;
        for (what, names) in [
            ("newly initialised", loaded.newly_initialised),
            ("skipped", loaded.skipped),
        ] {
            if !names.is_empty() {
                tell(Event::Note {
                    text: format!("{what}: {}", names.join(", ")),
                });
            }
        }
    }
    match model {
        Network::Vit(vit) => Ok(vit),
        _ => bail!(
            "networks of type {:?} are not available yet",
            config.model_type
        ),
    }
}

/// The configuration of the network, through any number of stages.
fn config(job: &Job, model: &ModelSpec) -> Result<ModelConfig> {
    match model {
        ModelSpec::Config(config) => Ok(config.clone()),
        ModelSpec::Stage(stage) => config(job, &stage.model),
        ModelSpec::Folder { sha256 } => {
            let path = folder(job, sha256)?.join("config.json");
            let text =
                std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            serde_json::from_str(&text).with_context(|| path.display().to_string())
        }
        ModelSpec::Hub(hub) => bail!("models from the Hub are not available yet: {}", hub.hub),
    }
}

/// `model` on the data of the run.
fn open(job: &Job, model: Vit, device: Device) -> Result<Task> {
    let spec = &job.spec;
    let data = match &spec.data {
        DataSpec::Folder { sha256 } => folder(job, sha256)?,
        DataSpec::Hub(hub) => bail!("data from the Hub are not available yet: {}", hub.hub),
    };
    let Input::Images(input) = &spec.input else {
        bail!("this network reads images")
    };
    let measured = job
        .measurements
        .iter()
        .filter(|wanted| wanted.measure != Measure::Distance)
        .map(|wanted| &wanted.on);
    let portions: Vec<String> = measured.chain(&spec.select).cloned().collect();
    let precision = spec
        .training
        .as_ref()
        .map_or(Precision::Float32, |training| training.precision);
    Ok(Task::Images(ImageTask::open(
        model,
        &data,
        input,
        &spec.train,
        &portions,
        precision,
        device,
    )?))
}

/// The local folder with the content `sha256`, which is checked.
fn folder(job: &Job, sha256: &str) -> Result<PathBuf> {
    let path = job
        .folders
        .get(sha256)
        .with_context(|| format!("the job does not say where the folder {sha256} lies"))?;
    let found = sha256_of_folder(path)?;
    ensure!(
        found == sha256,
        "{}: expected content with SHA-256 {sha256}, found {found}",
        path.display()
    );
    Ok(path.clone())
}

/// A folder of a finished run stands for the weights in it.
fn weights_file(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join("model.safetensors")
    } else {
        path.into()
    }
}

/// Updates in the whole run; none without training.
fn steps(spec: &RunSpec, task: &Task) -> u64 {
    spec.training.as_ref().map_or(0, |training| {
        updates(
            training.length,
            (task.examples() as u64).div_ceil(training.batch),
        )
    })
}

fn updates(length: suite::Length, per_epoch: u64) -> u64 {
    match length {
        Length::Steps(steps) => steps,
        Length::Epochs(epochs) => epochs * per_epoch,
    }
}

/// A batch in `count` parts whose sizes differ by one at most; fewer when there are fewer examples.
fn cut(batch: &Batch, count: i64) -> Vec<Batch> {
    let examples = batch.examples();
    let count = count.clamp(1, examples.max(1));
    let bound = |part: i64| part * examples / count;
    (0..count)
        .map(|part| batch.part(bound(part), bound(part + 1) - bound(part)))
        .collect()
}
