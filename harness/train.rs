//! One run, from top to bottom: settings, network, data, optimizer, loop, measurements.

mod checkpoint;
mod state;
mod stop;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use optim::{Accumulated, Numbers, Optimizer, Options, Record};
use tch::Tensor;

use crate::machine;
use crate::measure::{self, Scores};
use crate::models::{Head, Network};
use crate::ready::{files, network, task, weights_file};
use crate::share::{Part, Share, cut};
use crate::tasks::{Batch, Task, ahead};
use checkpoint::{Checkpoints, Found};
use harness::event::{Event, Observation, Outcome};
use harness::plan::{Job, RunSpec};
use harness::seed::{SplitMix, derive};
use harness::suite;
use harness::suite::{
    Length, Measure, MethodEntry, PerplexityWeighting, Selection, SizeUnit, TRAINING, Training,
};
use state::{Best, Journal, State};

pub use stop::{Signals, Stop};

/// Updates between two looks at the loss are at least this many, and so many that a run has at most
/// [`LOOKS`] of them. Looking waits for the device.
const LOOK_EVERY: u64 = 10;
const LOOKS: u64 = 500;

/// Time between two times that the processes of a run ask each other whether one is to stop.
const ASK: Duration = Duration::from_secs(1);

/// The longest that a training says nothing of how far it is.
const ALIVE: Duration = Duration::from_secs(60);

/// Batches prepared before the device asks for them.
const AHEAD: usize = 4;

/// Trains and measures as `job` says, telling what happens; the final network goes to the folder `out`.
///
/// The caller tells the outcome; there is none when `stop` ended the run. An error means that the run could not be done; a
/// diverged run is not an error.
pub fn train(
    job: &Job,
    out: &Path,
    stop: &dyn Stop,
    tell: &mut dyn FnMut(Event),
) -> Result<Option<Outcome>> {
    let begun = Instant::now();
    let spec = &job.spec;
    let id = spec.id();
    let device = machine::device(&job.device).map_err(anyhow::Error::msg)?;
    torch_ext::set_threads(job.threads, 1);
    // Dropout draws from libtorch's own generator; every other stream is ours.
    tch::manual_seed(derive(&id, "dropout") as i64);
    if device.is_cuda() {
        torch_ext::set_deterministic(true, true)?;
    }

    let share = job.member.as_ref().map(Share::join).transpose()?;
    let mut nobody = |_: Event| {};
    let tell: &mut dyn FnMut(Event) = match &share {
        Some(share) if share.rank() > 0 => &mut nobody,
        _ => tell,
    };
    // The first process prepares data, the others find them prepared.
    if let Some(share) = share.as_ref().filter(|share| share.rank() > 0) {
        share.wait()?;
    }
    let network = network(job, device, tell)?;
    let environment = machine::environment(
        device,
        job.threads,
        job.member.as_ref().map_or(1, |member| member.size),
        network.weights().count(),
        files(job),
    );
    tell(Event::Started(environment.clone()));
    let mut task = task(job, network, device, tell)?;
    if let Some(share) = share.as_ref().filter(|share| share.rank() == 0) {
        share.wait()?;
    }
    task.share = share;
    sizes(spec, &task, tell);
    let before = before_training(job, &task)?;

    let mut trained = Trained {
        step: 0,
        distances: false,
    };
    if let Some(weights) = &job.finished {
        task.network.load(&weights_file(weights), Head::Stored)?;
        trained.step = steps(spec, &task);
    } else if let (MethodEntry::Trained(method), Some(training)) = (&spec.method, &spec.training) {
        let mut journal = Journal::new(begun, tell);
        let checkpoints = Checkpoints::of(job, &environment);
        match fit(
            spec,
            method,
            training,
            &task,
            checkpoints,
            stop,
            &mut journal,
        )? {
            Ok(finished) => trained = finished,
            Err(outcome) => return Ok(outcome),
        }
        if task.share.as_ref().is_none_or(|share| share.rank() == 0) {
            task.network.save(out)?;
        }
    }
    measure(job, &task, &before, trained, tell)?;
    Ok(Some(Outcome::Completed))
}

/// What training leaves behind besides the weights.
struct Trained {
    /// The update that made them.
    step: u64,
    /// Whether mean and largest distance were told.
    distances: bool,
}

/// Plain data of a suite as the optimizer's own type: `methods` and `optim` are one source, built without and with
/// libtorch.
fn own<T: serde::de::DeserializeOwned>(data: &impl serde::Serialize) -> T {
    serde_json::to_value(data)
        .and_then(serde_json::from_value)
        .expect("one source, one form")
}

/// The training loop, from the latest checkpoint on if there is one. The inner error ends the run early: an outcome, or
/// none where `stop` asked for it.
fn fit(
    spec: &RunSpec,
    method: &methods::Method,
    training: &Training,
    task: &Task,
    mut checkpoints: Option<Checkpoints>,
    stop: &dyn Stop,
    journal: &mut Journal<'_>,
) -> Result<Result<Trained, Option<Outcome>>> {
    let id = spec.id();
    let (examples, batch) = (task.train.len(), training.batch as usize);
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
    let optimizer = Optimizer::new(
        own(method),
        own(&training.base),
        options,
        task.weights().named(),
    )?;

    let mut state = State::new(optimizer, task.device());
    if let Some(checkpoints) = &mut checkpoints {
        let fits = |found: &Found| state.check(found, task.weights(), steps);
        if let Some(found) = resumed(checkpoints, task.share.as_ref(), fits, journal)? {
            state.restore(&found, task.weights())?;
            journal.resume(&found, steps);
        }
    }
    if let Some(share) = &task.share {
        state.optimizer.join(share.group())?;
    }
    let done = state.step;

    // Every epoch is a permutation of the examples; its last batch may be smaller than the others.
    let epoch = done / per_epoch;
    let order = (epoch..).flat_map(move |epoch| {
        let order =
            SplitMix::new(derive(&id, &format!("order of epoch {epoch}"))).permutation(examples);
        let order: Vec<usize> = order.into_iter().map(|place| place as usize).collect();
        let batches: Vec<Vec<usize>> = order.chunks(batch).map(<[usize]>::to_vec).collect();
        batches.into_iter().map(move |places| (epoch, places))
    });
    let train = task.train.clone();
    let order = order
        .skip((done - epoch * per_epoch) as usize)
        .take((steps - done) as usize);
    let batches = ahead(AHEAD, order, move |(epoch, places)| {
        train.batch(&places, Some(epoch))
    });

    stop.listen();
    let mut pace = Pace::new();
    let (mut ask_at, mut asked) = (done + 1, (done, Instant::now()));
    let mut heard = Instant::now();
    for (step, examples) in (done + 1..=steps).zip(batches) {
        let examples = task.on_device(&examples?);
        pace.add(&examples);
        let count = training.micro_batches as usize;
        let parts: Vec<Part> = match &task.share {
            None => cut(examples.examples(), count)
                .into_iter()
                .map(|rows| Part::whole(examples.part(rows.start, rows.end)))
                .collect(),
            Some(share) => {
                // Every process has draws of its own, which no state has to be kept for.
                let stream = format!("dropout of update {step} in process {}", share.rank());
                tch::manual_seed(derive(&spec.id(), &stream) as i64);
                share.parts(&examples, count)
            }
        };
        let update = Accumulated {
            shares: parts.iter().map(|part| part.share(&examples)).collect(),
            forward: |pass: &optim::Pass| task.forward(&parts[pass.micro_batch].batch, pass),
        };

        let look = step == 1 || step % look_every == 0 || step == steps;
        let record = if look { Record::Norms } else { Record::Scalars };
        state.optimizer.set_record(record);
        let done = state.optimizer.step(&update)?;

        state.step = step;
        state.losses += &done.loss + &done.loss_perturbed;
        if let Some(distance) = &done.distance {
            state.see(distance);
        }
        if look {
            heard = Instant::now();
            let numbers = done.read();
            let finite = state.losses.double_value(&[]).is_finite();
            let loss = Some(numbers.loss).filter(|loss| loss.is_finite());
            journal.tell(Event::Progress {
                step,
                steps,
                loss,
                lr: done.lr,
                examples_per_second: pace.of(pace.examples),
                tokens_per_second: pace.of(pace.tokens),
            });
            pace = Pace::new();
            if !finite {
                return Ok(Err(Some(Outcome::Diverged { step })));
            }
            look_at(
                step,
                done.lr,
                &numbers,
                done.distance.is_some(),
                done.radius.is_some(),
                &mut |event| journal.tell(event),
            );
        }
        if heard.elapsed() >= ALIVE {
            heard = Instant::now();
            journal.say(Event::Progress {
                step,
                steps,
                loss: None,
                lr: done.lr,
                examples_per_second: None,
                tokens_per_second: None,
            });
        }
        let evaluated = step == steps || evaluate_every.is_some_and(|every| step % every == 0);
        if let Some(portion) = &spec.select
            && evaluated
        {
            let found = measure::evaluate(task, portion)?;
            let tell = &mut |event| journal.tell(event);
            observe(step, portion, "loss", found.loss(), tell);
            if matches!(task.network, Network::Gpt2(_)) {
                let perplexity = found.perplexity(PerplexityWeighting::default());
                observe(step, portion, "perplexity", perplexity, tell);
            } else {
                observe(step, portion, "accuracy", found.accuracy(), tell);
            }
            let loss = found.loss();
            if training.selection == Selection::Best
                && state.best.as_ref().is_none_or(|best| loss < best.loss)
            {
                state.best = Some(Best {
                    step,
                    loss,
                    weights: task.weights().snapshot(),
                });
            }
            pace = Pace::new();
        }
        let due = |checkpoints: &Checkpoints| checkpoints.is_due(evaluated);
        let (stopped, due) = match &task.share {
            None => (stop.wanted(step), checkpoints.as_ref().is_some_and(due)),
            // Asking the others costs a message: not at every update that takes no time.
            Some(share) if step >= ask_at || evaluated => {
                let due = checkpoints.as_ref().is_some_and(due);
                let (before, then) = asked;
                asked = (step, Instant::now());
                let each = then.elapsed().as_secs_f64() / (step - before).max(1) as f64;
                let next = (ASK.as_secs_f64() / each.max(1e-9)) as u64;
                let (stopped, due, next) = share.ask(stop.wanted(step), due, next)?;
                ask_at = step + next.clamp(1, look_every);
                (stopped, due)
            }
            Some(_) => (false, false),
        };
        if let Some(checkpoints) = &mut checkpoints
            && (stopped || due)
        {
            save(checkpoints, &state, task, journal)?;
            pace = Pace::new();
        }
        if stopped {
            return Ok(Err(None));
        }
    }
    stop.ignore();
    // It may have come since the last update.
    let stopped = match &task.share {
        None => stop.wanted(steps),
        Some(share) => share.any(stop.wanted(steps))?,
    };
    if stopped {
        if let Some(checkpoints) = &mut checkpoints {
            save(checkpoints, &state, task, journal)?;
        }
        return Ok(Err(None));
    }

    let tell = &mut |event| journal.tell(event);
    let State {
        distances, best, ..
    } = state;
    let distances = distances.map(|seen| {
        let mean = seen.double_value(&[0]) / steps as f64;
        [
            (Measure::Distance, mean),
            (Measure::MaxDistance, seen.double_value(&[1])),
        ]
    });
    let distances = distances.filter(|of| of.iter().all(|(_, value)| value.is_finite()));
    for (measure, value) in distances.iter().flatten() {
        observe(steps, TRAINING, &measure.key(), *value, tell);
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
    Ok(Ok(Trained {
        step: kept,
        distances: distances.is_some(),
    }))
}

/// The checkpoint to go on from: the latest, and of a group the one that is the first process's. All go on from it, or all
/// begin anew: what they make of each other's updates would be of no run.
fn resumed(
    checkpoints: &mut Checkpoints,
    share: Option<&Share>,
    fits: impl Fn(&Found) -> Result<()>,
    journal: &mut Journal<'_>,
) -> Result<Option<Found>> {
    let note = &mut |text| journal.note(text);
    let Some(share) = share else {
        return Ok(checkpoints.latest(fits, note));
    };
    let own = match share.rank() {
        0 => checkpoints.latest(&fits, note),
        _ => None,
    };
    let step = share.of_first(own.as_ref().map_or(0, |found| found.manifest.step as i64))?;
    let found = match (share.rank(), step) {
        (0, _) | (_, 0) => own,
        (_, step) => checkpoints.at(step as u64, &fits, note),
    };
    if share.any(step > 0 && found.is_none())? {
        note(format!(
            "not every process can read the checkpoint at update {step}: all begin anew"
        ));
        return Ok(None);
    }
    Ok(found)
}

/// Writes a checkpoint of training as it is now.
fn save(
    checkpoints: &mut Checkpoints,
    state: &State,
    task: &Task,
    journal: &mut Journal<'_>,
) -> Result<()> {
    // All processes of a group are where the first one is.
    if task.share.as_ref().is_some_and(|share| share.rank() > 0) {
        return Ok(());
    }
    let tensors = state.tensors(task.weights())?;
    let mut said = Vec::new();
    let note = &mut |text| said.push(text);
    checkpoints.write(state.step, journal.seconds(), &journal.told, &tensors, note);
    said.into_iter().for_each(|text| journal.note(text));
    Ok(())
}

/// How fast training goes: what it did since the last look at the loss or the last evaluation, which takes time itself.
struct Pace {
    since: Instant,
    examples: u64,
    tokens: u64,
}

impl Pace {
    fn new() -> Pace {
        Pace {
            since: Instant::now(),
            examples: 0,
            tokens: 0,
        }
    }

    fn add(&mut self, batch: &Batch) {
        self.examples += batch.examples() as u64;
        self.tokens += batch.tokens();
    }

    /// `count` things a second; none where there was nothing, as images have no tokens.
    fn of(&self, count: u64) -> Option<f64> {
        let rate = count as f64 / self.since.elapsed().as_secs_f64();
        Some(rate).filter(|rate| rate.is_finite() && count > 0)
    }
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
            observe(step, TRAINING, metric, value, tell);
        }
    }
}

/// Tells how large the portions are that the run reads.
fn sizes(spec: &RunSpec, task: &Task, tell: &mut dyn FnMut(Event)) {
    let train = spec.train.join("+");
    let portions = task
        .portions()
        .map(|(name, examples)| (name, examples.as_ref()));
    for (name, examples) in portions.chain([(train.as_str(), task.train.as_ref())]) {
        let tokens: usize = (0..examples.len())
            .map(|place| examples.tokens(place))
            .sum();
        for (unit, count) in [
            (SizeUnit::Examples, examples.len()),
            (SizeUnit::Tokens, tokens),
        ] {
            if count > 0 {
                observe(0, name, unit.metric(), count as f64, tell);
            }
        }
    }
}

/// What the network that training starts from makes of the portions whose CKA is asked for.
fn before_training(job: &Job, task: &Task) -> Result<BTreeMap<String, Tensor>> {
    job.measurements
        .iter()
        .filter(|wanted| matches!(wanted.measure, Measure::Cka(_)))
        .map(|wanted| Ok((wanted.on.clone(), measure::states(task, &wanted.on)?)))
        .collect()
}

/// The final measurements. What has no finite value is told as well, so that no run is lost for it.
fn measure(
    job: &Job,
    task: &Task,
    before: &BTreeMap<String, Tensor>,
    Trained { step, distances }: Trained,
    tell: &mut dyn FnMut(Event),
) -> Result<()> {
    let mut evaluated: BTreeMap<&str, Scores> = BTreeMap::new();
    for wanted in &job.measurements {
        let on = wanted.on.as_str();
        let mut scores = || -> Result<Scores> {
            if !evaluated.contains_key(on) {
                evaluated.insert(on, measure::evaluate(task, on)?);
            }
            Ok(evaluated[on].clone())
        };
        let value = match &wanted.measure {
            Measure::Accuracy => scores()?.accuracy(),
            Measure::Loss => scores()?.loss(),
            Measure::Perplexity(measure) => {
                scores()?.perplexity(measure.perplexity.perplexity_weighting)
            }
            Measure::Sharpness(measure) => measure::sharpness(task, on, &measure.sharpness)?,
            Measure::Cka(measure) => {
                let after = measure::states(task, on)?;
                measure::linear_cka(&before[on], &after, measure.cka.centred)
            }
            // Training tells it, if the method has one.
            Measure::Distance | Measure::MaxDistance if distances => continue,
            Measure::Distance | Measure::MaxDistance => f64::NAN,
        };
        let metric = wanted.measure.key();
        if value.is_finite() {
            observe(step, on, &metric, value, tell);
        } else {
            tell(Event::NoValue {
                on: on.into(),
                metric,
            });
        }
    }
    Ok(())
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

/// Updates in the whole run; none without training.
fn steps(spec: &RunSpec, task: &Task) -> u64 {
    spec.training.as_ref().map_or(0, |training| {
        updates(
            training.length,
            (task.train.len() as u64).div_ceil(training.batch),
        )
    })
}

fn updates(length: suite::Length, per_epoch: u64) -> u64 {
    match length {
        Length::Steps(steps) => steps,
        Length::Epochs(epochs) => epochs.saturating_mul(per_epoch),
    }
}
