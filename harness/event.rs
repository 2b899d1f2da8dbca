//! What a run can tell: the whole contract between training and everything that shows or stores it.
//!
//! A worker writes one [`Event`] per line, as JSON, to its standard output. The terminal, the store and the
//! report only ever consume these.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// One line of a worker's standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first event: who speaks and on what machine.
    Started(Environment),
    /// Data are being prepared, which later runs need not repeat.
    Preparing {
        /// What: the portion.
        what: String,
        /// Done so far.
        done: u64,
        /// Of so many, if that is known.
        total: Option<u64>,
    },
    /// Training has reached `step` of `steps`.
    Progress {
        /// Updates done so far.
        step: u64,
        /// Updates in total.
        steps: u64,
        /// Task loss of the latest batch in nats; none when it is not a finite number.
        loss: Option<f64>,
        /// Learning rate of the latest update.
        lr: f64,
        /// Images, blocks or pairs trained on in a second, lately. Not a result, like every speed: it is never compared.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        examples_per_second: Option<f64>,
        /// Tokens of text trained on in a second, lately; padding is none. None where the input is no text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens_per_second: Option<f64>,
    },
    /// Training goes on from a checkpoint.
    Resumed {
        /// Updates done by then.
        step: u64,
        /// Updates in total.
        steps: u64,
        /// Wall-clock time that they took, in seconds.
        seconds: f64,
    },
    /// What training told before the checkpoint that it goes on from, so that this attempt's events are those of the
    /// whole run.
    Again {
        /// Wall-clock time of the run when it was told first, in seconds.
        seconds: f64,
        /// What was told.
        told: Box<Event>,
    },
    /// A number worth keeping.
    Observed(Observation),
    /// Something was measured and has no finite value, as a perplexity beyond all numbers, or the distance of a method
    /// without one.
    NoValue {
        /// The portion, as in [`Observation::on`].
        on: String,
        /// What was measured, as in [`Observation::metric`].
        metric: String,
    },
    /// A line for the log.
    Note {
        /// One line, no line break.
        text: String,
    },
    /// The last event.
    Finished(Outcome),
}

/// A stored row: what was measured, where and when in training. The run it belongs to is the folder's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Updates done when it was measured.
    pub step: u64,
    /// The portion of the data it was measured on (`test`, `ar/test`), or `training` for a quantity of training itself.
    pub on: String,
    /// What was measured: `accuracy`, `loss`, `perplexity`, `lr`, `distance`, ...
    pub metric: String,
    /// Its value, in the metric's unit; finite.
    pub value: f64,
}

/// How a run ended. Every ending is data; a [`Outcome::Completed`] or [`Outcome::Diverged`] run is a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Trained to the end and measured.
    Completed,
    /// The loss left the finite numbers, or exploded, at `step`: a result of the method, not an error.
    Diverged {
        /// The update at which it was noticed.
        step: u64,
    },
    /// The device or the host had no memory left.
    OutOfMemory,
    /// The run took longer than it was given.
    TimedOut {
        /// What it was given.
        seconds: u64,
    },
    /// It told nothing for too long.
    Stalled {
        /// How long.
        seconds: u64,
    },
    /// The process was ended by a signal.
    Killed {
        /// Its number, 9 for SIGKILL.
        signal: i32,
    },
    /// Anything else.
    Failed {
        /// The error with its causes, on one line.
        message: String,
    },
}

impl Outcome {
    /// Whether the run is done: its numbers, or the absence of them, are a result that running again would repeat.
    pub fn is_result(&self) -> bool {
        matches!(self, Outcome::Completed | Outcome::Diverged { .. })
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Completed => write!(f, "completed"),
            Outcome::Diverged { step } => write!(f, "diverged at step {step}"),
            Outcome::OutOfMemory => write!(f, "out of memory"),
            Outcome::TimedOut { seconds } => write!(f, "timed out after {seconds} s"),
            Outcome::Stalled { seconds } => write!(f, "stalled: told nothing for {seconds} s"),
            Outcome::Killed { signal } => write!(f, "killed by signal {signal}"),
            Outcome::Failed { message } => write!(f, "failed: {message}"),
        }
    }
}

/// Where a run ran: everything outside the [`RunSpec`](crate::plan::RunSpec) that can move a last digit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of the harness, `0.1.0`.
    pub harness: String,
    /// Hash of the sources the worker was built from.
    pub build: String,
    /// Git revision of those sources, with `-dirty` when they differed from it; empty outside a checkout.
    pub revision: String,
    /// libtorch version.
    pub libtorch: String,
    /// `cpu` or `cuda:0`, as the process saw it.
    pub device: String,
    /// The processor's or accelerator's own name.
    pub device_name: String,
    /// Threads libtorch computes with; results are the same to the bit only at the same count.
    pub threads: usize,
    /// Processes that did the run together, each on a device of its own.
    #[serde(default = "one")]
    pub processes: usize,
    /// Instruction set libtorch's kernels chose, `AVX2`, `AVX512`, ...
    pub cpu_capability: String,
    /// `MKL_CBWR`, when set.
    pub mkl_cbwr: Option<String>,
    /// Number of trainable parameters.
    pub parameters: u64,
    /// The CUDA runtime that libtorch loaded, `12.8`; none for a run on a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
    /// The cuDNN that it loaded, `9.10.2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cudnn: Option<String>,
    /// What else there was.
    #[serde(default)]
    pub beside: Beside,
    /// The files of the Hugging Face Hub that the run reads, `owner/name/file`, by what they hash to: SHA-256, or the
    /// shorter one of Git for small files. Verified when they were fetched.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// What a run found on its machine and in its build that moves no digit; empty or 0 where nobody looked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Beside {
    /// Version of the crate that binds libtorch.
    pub tch: String,
    /// The compiler that built the worker, `rustc 1.95.0 (...)`.
    pub rustc: String,
    /// Kernel and distribution, `Linux 6.1.0, Debian GNU/Linux 12 (bookworm)`.
    pub system: String,
    /// NVIDIA's driver; none where there is none.
    pub driver: Option<String>,
    /// The processor's own name, also beside an accelerator.
    pub processor: String,
    /// Logical processors.
    pub cores: usize,
    /// Main memory in bytes.
    pub memory: u64,
}

fn one() -> usize {
    1
}

/// What the store knows of a run that ended: the input of every report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// How it ended.
    pub outcome: Outcome,
    /// Where it ran.
    pub environment: Environment,
    /// Wall-clock time it took, in seconds; of a resumed run, that of earlier attempts up to their checkpoints included.
    /// Not a result: it is never compared.
    pub seconds: f64,
    /// Everything it observed, in the order it was observed.
    pub observations: Vec<Observation>,
    /// What it measured without a finite value, as portion and metric: measuring again would find no other.
    #[serde(default)]
    pub no_value: BTreeSet<(String, String)>,
}

impl RunRecord {
    /// The final value of `metric` on the portion `on`.
    pub fn value(&self, on: &str, metric: &str) -> Option<f64> {
        let matching = |seen: &&Observation| seen.on == on && seen.metric == metric;
        self.observations
            .iter()
            .rev()
            .find(matching)
            .map(|seen| seen.value)
    }
}
