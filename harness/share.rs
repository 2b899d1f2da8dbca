//! One run by several processes, each with a part of every batch.
//!
//! All processes read the same data and take the same decisions; what they compute apart is summed. They differ in the
//! rows of a micro-batch that they evaluate, in the draws of dropout, and in that the first alone tells and writes.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use optim::Rows;
use tch::Tensor;
use torch_ext::{Group, Meet};

use crate::tasks::Batch;
use harness::plan::{Job, Meeting, Member};

/// How long a process waits for an answer of the others. One that died is noticed at once, and one that hangs by the
/// supervisor, which hears nothing any more; this only must outlast what the first process does alone, as preparing data.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// A process's place among those that share a run.
#[derive(Clone, Debug)]
pub struct Share(Rc<Group>);

impl Share {
    /// Joins the others, and returns when all have come.
    ///
    /// # Errors
    /// When they do not come.
    pub fn join(member: &Member) -> Result<Share> {
        let meet = match &member.meeting {
            Meeting::File(path) => Meet::File(path.clone()),
            Meeting::Port { host, port } => Meet::Port {
                host: host.clone(),
                port: *port,
            },
        };
        let (rank, size) = (member.rank, member.size);
        let group = Group::join(&meet, rank, size, PATIENCE)
            .with_context(|| format!("process {rank} of {size} cannot join the others"))?;
        Ok(Share(Rc::new(group)))
    }

    /// The processes, for the optimizer.
    pub fn group(&self) -> Rc<Group> {
        self.0.clone()
    }

    /// This process's number, from zero.
    pub fn rank(&self) -> usize {
        self.0.rank()
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        self.0.size()
    }

    /// The sum over all processes takes the place of `x`.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn sum(&self, x: &mut Tensor) -> Result<()> {
        self.0
            .sum(x)
            .context("a process of this run is gone or hangs")
    }

    /// The first process's `number`.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn of_first(&self, number: i64) -> Result<i64> {
        let mut sum = Tensor::from(if self.rank() == 0 { number } else { 0 });
        self.sum(&mut sum)?;
        Ok(sum.int64_value(&[]))
    }

    /// What processes ask each other after an update: whether any wants to stop, and of the first one whether a
    /// checkpoint is due, and after how many updates they ask again.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn ask(&self, stop: bool, due: bool, next: u64) -> Result<(bool, bool, u64)> {
        let own = |number: u64| if self.rank() == 0 { number as i64 } else { 0 };
        let mut sum = Tensor::from_slice(&[i64::from(stop), own(due.into()), own(next)]);
        self.sum(&mut sum)?;
        let number = |i: i64| sum.int64_value(&[i]);
        Ok((number(0) > 0, number(1) > 0, number(2) as u64))
    }

    /// Whether any process says so.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn any(&self, says: bool) -> Result<bool> {
        let mut sum = Tensor::from(i64::from(says));
        self.sum(&mut sum)?;
        Ok(sum.int64_value(&[]) > 0)
    }

    /// Returns when all processes have come here.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn wait(&self) -> Result<()> {
        self.any(false).map(drop)
    }

    /// This process's rows of a batch that is cut into `count` micro-batches: neighbours, as many as everybody has but
    /// for one, in the pieces that lie in different micro-batches. Where there are fewer examples than processes, some
    /// get the first one, which then counts for nothing: everybody takes part in every pass.
    pub fn parts(&self, batch: &Batch, count: usize) -> Vec<Part> {
        let examples = batch.examples();
        let bound = |rank: usize| rank * examples / self.size();
        let (start, end) = (bound(self.rank()), bound(self.rank() + 1));
        let counts = end > start;
        let (start, end) = if counts { (start, end) } else { (0, 1) };
        let micro_batches = cut(examples, count).into_iter().enumerate();
        micro_batches
            .map(|(i, whole)| (i, start.max(whole.start)..end.min(whole.end), whole))
            .filter(|(_, rows, _)| !rows.is_empty())
            .map(|(micro_batch, rows, whole)| Part {
                batch: batch.part(rows.start, rows.end),
                rows: Some(Rows {
                    micro_batch,
                    first: (rows.start - whole.start) as i64,
                    of: whole.len() as i64,
                }),
                counts,
            })
            .collect()
    }
}

/// The examples of a batch in `count` micro-batches whose sizes differ by one at most; fewer when there are fewer examples.
pub fn cut(examples: usize, count: usize) -> Vec<Range<usize>> {
    let count = count.clamp(1, examples.max(1));
    let bound = |part: usize| part * examples / count;
    (0..count)
        .map(|part| bound(part)..bound(part + 1))
        .collect()
}

/// What `srun` says to one of the processes that it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrunTask {
    /// Its number among all processes, from zero.
    pub rank: usize,
    /// How many they are.
    pub size: usize,
    /// Its number among those of its node, from zero.
    pub local: usize,
}

impl SrunTask {
    /// What the variables say that `srun` sets: SLURM_PROCID, SLURM_NTASKS and SLURM_LOCALID.
    ///
    /// # Errors
    /// When one of them is not there or is no number, or they contradict each other.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<SrunTask> {
        let number = |name: &str| {
            let text = variable(name)
                .with_context(|| format!("{name} is not set: --srun is for a process of `srun`"))?;
            text.parse::<usize>()
                .with_context(|| format!("{name} is `{}`, no number", text.escape_debug()))
        };
        let (rank, size) = (number("SLURM_PROCID")?, number("SLURM_NTASKS")?);
        ensure!(
            rank < size,
            "SLURM_PROCID is {rank}, and SLURM_NTASKS says that there are {size} processes"
        );
        let local = number("SLURM_LOCALID")?;
        Ok(SrunTask { rank, size, local })
    }

    /// Makes a job, the same for all processes, this one's: its rank, and of several accelerators that it sees its own.
    ///
    /// # Errors
    /// When the job is not for as many processes as there are.
    pub fn place(&self, job: &mut Job, accelerators: impl Fn() -> usize) -> Result<()> {
        let member = job
            .member
            .as_mut()
            .context("`member` is missing: the job is for one process alone")?;
        ensure!(
            member.size == self.size,
            "`member.size` is {}, and SLURM_NTASKS says that there are {} processes",
            member.size,
            self.size
        );
        member.rank = self.rank;
        if job.device == "cuda:0" && accelerators() > 1 {
            job.device = format!("cuda:{}", self.local);
        }
        Ok(())
    }
}

/// What a process evaluates of a micro-batch.
#[derive(Debug)]
pub struct Part {
    /// The examples.
    pub batch: Batch,
    /// Which ones of the micro-batch they are; none: all.
    pub rows: Option<Rows>,
    /// Whether they count.
    pub counts: bool,
}

impl Part {
    /// All of a micro-batch.
    pub fn whole(batch: Batch) -> Part {
        Part {
            batch,
            rows: None,
            counts: true,
        }
    }

    /// How much it is of the whole batch.
    pub fn share(&self, whole: &Batch) -> optim::Share {
        let of = |part: f64, whole: f64| if self.counts { part / whole } else { 0.0 };
        optim::Share {
            loss: of(
                self.batch.labels_counted() as f64,
                whole.labels_counted() as f64,
            ),
            examples: of(self.batch.examples() as f64, whole.examples() as f64),
            rows: self.rows,
        }
    }
}
