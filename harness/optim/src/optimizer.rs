//! The optimizer: one method over one base optimizer, on one set of parameters.

use std::{cell::RefCell, rc::Rc};

use tch::{Kind, Tensor, no_grad_guard};
use torch_ext::Group;

use crate::{
    Base, Error, InputNoise, Length, Method, NoiseSource, PrevSnapshot, Record, Schedule, Step,
    Task, asam, ascent::norm, combined, fsam, mesa, noise::Seeded, noise::Store, r3f, sam, tram,
    tram_fisher, trpo, update::Update, update_base::BaseState, weights::Weights,
};

/// Everything about a run but its method, base optimizer and parameters.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// How long the run is; schedules need it.
    pub length: Length,
    /// Parameters whose names contain one of these fragments have no weight decay.
    pub no_decay: Vec<String>,
    /// Scale the last gradient down to this global 2-norm, by min(1, c / (norm + 1e-6)).
    pub clip_norm: Option<f64>,
    /// Seed of the input noise.
    pub seed: u64,
    /// How much every step tells.
    pub record: Record,
    /// Where theta_0 or theta_{t-1} is kept.
    pub keep: Keep,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            length: Length {
                updates: 0,
                epoch: 0,
            },
            no_decay: Vec::new(),
            clip_norm: None,
            seed: 0,
            record: Record::default(),
            keep: Keep::default(),
        }
    }
}

/// How stored parameters are kept; by default as the parameters themselves. Anything else saves
/// device memory between forward passes and changes results where it rounds. A moving average
/// is always kept in full.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Keep {
    /// Kind to keep them in.
    pub kind: Option<Kind>,
    /// Keep them in host memory.
    pub on_host: bool,
}

/// A method at work on a set of parameters.
pub struct Optimizer {
    method: Method,
    options: Options,
    base_lr: f64,
    pub(crate) weights: Weights,
    pub(crate) base: BaseState,
    pub(crate) stored: Option<Tensor>,
    stored_views: Vec<Tensor>,
    source: RefCell<Box<dyn NoiseSource>>,
    group: Option<Rc<Group>>,
    pub(crate) updates: u64,
}

impl std::fmt::Debug for Optimizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Optimizer")
            .field("method", &self.method)
            .field("options", &self.options)
            .field("updates", &self.updates)
            .finish_non_exhaustive()
    }
}

/// What a method remembers from one update to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum History {
    None,
    Initial,
    Average(f64),
    /// theta_{t-1}; with a second pass, it lies in that pass's buffer between updates.
    Previous {
        snapshot: PrevSnapshot,
        in_saved: bool,
    },
}

impl Optimizer {
    /// Takes over the parameters that require a gradient. Names matter for `no_decay` and
    /// `asam_scope`; the order does not.
    ///
    /// From here on the parameters lie in one buffer. Assigning to them is fine; replacing their
    /// storage (`set_data`) is noticed at the next step.
    pub fn new(
        method: Method,
        base: Base,
        options: Options,
        parameters: Vec<(String, Tensor)>,
    ) -> Result<Self, Error> {
        method.check()?;
        base.check()?;
        options.schedule.check(options.length)?;
        if let Some(clip_norm) = options.clip_norm {
            crate::check::positive("clip_norm", clip_norm)?;
        }
        let weights = Weights::new(parameters)?;
        let source: Box<dyn NoiseSource> = Box::new(Seeded::new(options.seed));
        let mut optimizer = Self {
            base_lr: base.lr(),
            base: BaseState::new(base, &options.no_decay, &weights),
            stored: None,
            stored_views: Vec::new(),
            source: RefCell::new(source),
            group: None,
            updates: 0,
            method,
            options,
            weights,
        };
        optimizer.remember_start();
        Ok(optimizer)
    }

    /// Shares every batch with the other processes of `group`, which have made the same optimizer. They start from the
    /// parameters of the process with rank 0, and then make the same updates, those of the whole batch: gradients,
    /// Fisher information, losses and distances are summed over the group, so that the [`Share`](crate::Share)s of all
    /// processes sum to one.
    ///
    /// Every process evaluates at least one example in every micro-batch; one with nothing to add takes any example at
    /// share 0. Call it before the first update, or when all have loaded the same state.
    ///
    /// # Errors
    /// When a process is gone, here and in every later step.
    pub fn join(&mut self, group: Rc<Group>) -> Result<(), Error> {
        let no_grad = no_grad_guard();
        group.broadcast(&mut self.weights.theta, 0)?;
        drop(no_grad);
        // One that goes on from a saved state has its memory from there.
        if self.updates == 0 {
            self.remember_start();
        }
        self.group = Some(group);
        Ok(())
    }

    /// One update: the method's passes over the task's batch, then the base optimizer's update.
    pub fn step(&mut self, task: &impl Task) -> Result<Step, Error> {
        self.weights.alias()?;
        let t = self.updates + 1;
        let lr = self
            .options
            .schedule
            .rate(self.base_lr, t, self.options.length);
        let shares = task.micro_batches();
        if shares.is_empty() {
            return Err(Error::Task("the batch has no micro-batch".to_owned()));
        }
        let stored = self.stored_views();
        let store = Store::default();
        let mut update = Update {
            task,
            shares,
            w: &mut self.weights,
            stored: stored.as_deref(),
            noise_knobs: input_noise(&self.method),
            source: &self.source,
            store: &store,
            group: self.group.as_deref(),
            record: self.options.record,
            step: Step::new(t, lr),
            targets: Vec::new(),
        };
        perform(&self.method, &mut update)?;
        let mut step = update.step;
        drop(stored);
        let _no_grad = no_grad_guard();
        self.clip(&mut step);
        self.remember(PrevSnapshot::BeforeUpdate);
        self.base.update(&self.weights, lr)?;
        self.remember(PrevSnapshot::AfterUpdate);
        self.updates = t;
        Ok(step)
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Updates so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The learning rate of the next update.
    pub fn lr(&self) -> f64 {
        self.options
            .schedule
            .rate(self.base_lr, self.updates + 1, self.options.length)
    }

    /// How much the next steps tell.
    pub fn set_record(&mut self, record: Record) {
        self.options.record = record;
    }

    /// Draws input noise from another source; the default draws from `Options::seed`.
    pub fn set_noise_source(&mut self, source: impl NoiseSource + 'static) {
        self.source = RefCell::new(Box::new(source));
    }

    pub(crate) fn seed(&self) -> u64 {
        self.options.seed
    }

    pub(crate) fn reseed(&mut self, seed: u64) {
        if seed != self.options.seed {
            self.options.seed = seed;
            self.set_noise_source(Seeded::new(seed));
        }
    }

    /// Global clipping of the last gradient.
    fn clip(&mut self, step: &mut Step) {
        if self.options.record == Record::Scalars && self.options.clip_norm.is_none() {
            return;
        }
        let norm = norm(&self.weights.grad);
        if let Some(clip_norm) = self.options.clip_norm {
            // h <- h min(1, c / (||h|| + 1e-6))
            let coef = (clip_norm / (&norm + 1e-6)).clamp_max(1.0);
            let _ = self.weights.grad.g_mul_(&coef);
            step.clip_coef = Some(coef);
        }
        step.grad_norm_perturbed = Some(norm);
    }

    fn history(&self) -> History {
        match &self.method {
            Method::Trpo(k) => History::Previous {
                snapshot: k.prev_snapshot,
                in_saved: false,
            },
            Method::AsamTrpo(k) => History::Previous {
                snapshot: k.prev_snapshot,
                in_saved: self.options.keep == Keep::default(),
            },
            Method::TramThetaPrev(k) => History::Previous {
                snapshot: k.prev_snapshot,
                in_saved: self.options.keep == Keep::default(),
            },
            Method::Mesa(k) => History::Average(k.ema_decay),
            Method::AsamMesa(k) => History::Average(k.ema_decay),
            Method::TramTheta0(_) => History::Initial,
            _ => History::None,
        }
    }

    /// theta_0 = theta_{t-1} = the average before the first update.
    fn remember_start(&mut self) {
        let _no_grad = no_grad_guard();
        self.stored = match self.history() {
            History::None => None,
            History::Average(_) => Some(self.weights.copy()),
            History::Initial
            | History::Previous {
                in_saved: false, ..
            } => Some(self.kept()),
            History::Previous { in_saved: true, .. } => {
                // The target is evaluated before the second buffer is needed for the perturbed
                // point, so that one buffer serves both.
                let theta = self.weights.theta.shallow_clone();
                self.weights.saved().copy_(&theta);
                Some(self.weights.saved().shallow_clone())
            }
        };
        if let (Some(stored), true) = (&self.stored, self.options.keep == Keep::default()) {
            self.stored_views = self.weights.views(stored);
        }
    }

    /// A copy of theta in the kind and place that the options ask for.
    fn kept(&self) -> Tensor {
        let Keep { kind, on_host } = self.options.keep;
        let theta = &self.weights.theta;
        let kept = theta.to_kind(kind.unwrap_or(theta.kind()));
        let kept = if on_host {
            kept.to_device(tch::Device::Cpu)
        } else {
            kept
        };
        if kept.data_ptr() == theta.data_ptr() {
            kept.copy()
        } else {
            kept
        }
    }

    /// The stored parameters as a forward pass needs them.
    fn stored_views(&self) -> Option<Vec<Tensor>> {
        let stored = self.stored.as_ref()?;
        if self.options.keep == Keep::default() {
            return Some(
                self.stored_views
                    .iter()
                    .map(Tensor::shallow_clone)
                    .collect(),
            );
        }
        let stored = stored.to_device(self.weights.device());
        Some(self.weights.views(&stored.to_kind(self.weights.kind())))
    }

    fn remember(&mut self, when: PrevSnapshot) {
        match self.history() {
            History::Previous { snapshot, .. } if snapshot == when => {
                let theta = self.weights.theta.shallow_clone();
                self.stored
                    .as_mut()
                    .expect("made at the start")
                    .copy_(&theta);
            }
            History::Average(decay) if when == PrevSnapshot::AfterUpdate => {
                // theta_ema <- decay theta_ema + (1 - decay) theta_{t+1}
                let theta = self.weights.theta.shallow_clone();
                let _ = self
                    .stored
                    .as_mut()
                    .expect("made at the start")
                    .lerp_(&theta, 1.0 - decay);
            }
            _ => {}
        }
    }
}

/// The method's passes; the gradient for the base optimizer lies in `w.grad` afterwards.
fn perform(method: &Method, u: &mut Update) -> Result<(), Error> {
    match method {
        Method::Base(_) => {
            let found = u.gradient(crate::update::Input::Clean)?;
            u.first(found);
            Ok(())
        }
        Method::Sam(knobs) => sam::step(knobs, u),
        Method::Asam(knobs) => asam::step(knobs, u),
        Method::Fsam(knobs) => fsam::step(knobs, u),
        Method::Trpo(knobs) => trpo::step(knobs, u),
        Method::R3f(knobs) => r3f::step(knobs, u),
        Method::Mesa(knobs) => mesa::step(knobs, u),
        Method::AsamTrpo(knobs) => combined::trpo(knobs, u),
        Method::AsamR3f(knobs) => combined::r3f(knobs, u),
        Method::AsamMesa(knobs) => combined::mesa(knobs, u),
        Method::TramThetaPrev(knobs) => tram::theta_prev(knobs, u),
        Method::TramTheta0(knobs) => tram::theta_0(knobs, u),
        Method::TramX(knobs) => tram::x(knobs, u),
        Method::TramFisher(knobs) => tram_fisher::step(knobs, u),
    }
}

fn input_noise(method: &Method) -> Option<&InputNoise> {
    match method {
        Method::R3f(knobs) => Some(&knobs.noise),
        Method::AsamR3f(knobs) => Some(&knobs.noise),
        Method::TramX(knobs) => Some(&knobs.noise),
        Method::TramFisher(knobs) => Some(&knobs.noise),
        _ => None,
    }
}
