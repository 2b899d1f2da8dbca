//! Places to run.

use std::fmt;
use std::str::FromStr;

use super::gpu::Monitor;

/// A place to run one run at a time, or one part of a run that needs several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// Processor cores.
    Cpu {
        /// Threads to compute with. Results are the same to the bit only at the same count.
        threads: usize,
    },
    /// An accelerator, or a share of it.
    Gpu(Gpu),
    /// A task of the Slurm job that we are in, started by `srun` on any of its nodes.
    Task {
        /// It has an accelerator.
        gpu: bool,
        /// Threads to compute with.
        threads: usize,
    },
}

/// An accelerator.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gpu {
    /// Its place among those that we may use.
    pub index: usize,
    /// What `CUDA_VISIBLE_DEVICES` calls it: its number on the machine, or its UUID.
    pub name: String,
}

impl Slot {
    /// One slot a core, with one thread each: the count of slots follows the machine, that of threads never does.
    pub fn cores() -> Vec<Slot> {
        let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
        vec![Slot::Cpu { threads: 1 }; cores]
    }

    /// Threads to compute with.
    pub fn threads(&self) -> usize {
        match self {
            Slot::Cpu { threads } | Slot::Task { threads, .. } => *threads,
            Slot::Gpu(_) => 1,
        }
    }

    /// The device as the worker sees it: the one accelerator that is visible to it is the first.
    pub fn device(&self) -> &'static str {
        match self {
            Slot::Cpu { .. } | Slot::Task { gpu: false, .. } => "cpu",
            Slot::Gpu(_) | Slot::Task { gpu: true, .. } => "cuda:0",
        }
    }

    /// The accelerator, if it is on one.
    pub fn gpu(&self) -> Option<&Gpu> {
        match self {
            Slot::Cpu { .. } | Slot::Task { .. } => None,
            Slot::Gpu(gpu) => Some(gpu),
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Cpu { threads: 1 } => write!(f, "cpu"),
            Slot::Cpu { threads } => write!(f, "cpu x{threads}"),
            Slot::Gpu(gpu) => write!(f, "cuda:{}", gpu.index),
            Slot::Task { .. } => write!(f, "srun"),
        }
    }
}

/// What `--slots` says: `cpu:2` (two slots of one thread), `cpu:2x4` (two of four), `cuda` (one on every accelerator),
/// `cuda:0,1`, `cuda:0,1/2` (two slots on each), or several with blanks or `+` between. Inside of a Slurm job, `srun:cuda` or
/// `srun:cpu` is a slot for each of its tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Cpu { threads: usize, slots: usize },
    Gpus { which: Which, shares: usize },
    Tasks { gpu: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    All,
    These(Vec<usize>),
}

impl Slots {
    /// One on every accelerator.
    pub fn all_gpus() -> Slots {
        Slots(vec![Part::Gpus {
            which: Which::All,
            shares: 1,
        }])
    }

    /// The slots on this machine. Accelerators are counted among those that `visible`, the variable
    /// `CUDA_VISIBLE_DEVICES`, leaves to us.
    ///
    /// # Errors
    /// When an accelerator is asked for that is not there.
    pub fn find(&self, visible: Option<&str>, monitor: &Monitor) -> Result<Vec<Slot>, String> {
        let names = monitor.names(visible);
        let mut slots = Vec::new();
        for part in &self.0 {
            match part {
                Part::Cpu { threads, slots: n } => {
                    slots.extend(vec![Slot::Cpu { threads: *threads }; *n]);
                }
                Part::Tasks { gpu } => {
                    let number = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok();
                    let tasks = number("SLURM_NTASKS").ok_or(
                        "`srun` is for the inside of a Slurm job: SLURM_NTASKS is not set",
                    )?;
                    let threads = match gpu {
                        true => 1,
                        false => number("SLURM_CPUS_PER_TASK").unwrap_or(1),
                    };
                    slots.extend(vec![Slot::Task { gpu: *gpu, threads }; tasks]);
                }
                Part::Gpus { which, shares } => {
                    for gpu in gpus(which, names.as_deref())? {
                        slots.extend(vec![Slot::Gpu(gpu); *shares]);
                    }
                }
            }
        }
        Ok(slots)
    }
}

fn gpus(which: &Which, names: Option<&[String]>) -> Result<Vec<Gpu>, String> {
    let gpu = |index: usize, name: &str| Gpu {
        index,
        name: name.into(),
    };
    match (which, names) {
        (Which::All, None) => Err(
            "no accelerator was found; `cuda:0` takes one without being asked whether it is there"
                .into(),
        ),
        (Which::All, Some([])) => Err("no accelerator is visible".into()),
        (Which::All, Some(names)) => Ok(names
            .iter()
            .enumerate()
            .map(|(i, name)| gpu(i, name))
            .collect()),
        // Nobody knows what is there: the worker will tell.
        (Which::These(these), None) => Ok(these.iter().map(|&i| gpu(i, &i.to_string())).collect()),
        (Which::These(these), Some(names)) => these
            .iter()
            .map(|&i| {
                let count = names.len();
                let name = names.get(i);
                name.map(|name| gpu(i, name)).ok_or_else(|| match count {
                    0 => format!("there is no `cuda:{i}`: no accelerator is visible"),
                    _ => format!("there is no `cuda:{i}`: {count} visible, counted from 0"),
                })
            })
            .collect(),
    }
}

impl FromStr for Slots {
    type Err = String;

    fn from_str(text: &str) -> Result<Slots, String> {
        let parts: Vec<Part> = text
            .split(['+', ' '])
            .filter(|part| !part.is_empty())
            .map(part)
            .collect::<Result<_, _>>()?;
        if parts.is_empty() {
            return Err("no slot; write `cpu:2`, `cpu:2x4`, `cuda` or `cuda:0,1`".into());
        }
        Ok(Slots(parts))
    }
}

fn part(text: &str) -> Result<Part, String> {
    let bad = || {
        format!(
            "`{text}` is no slot; write `cpu:2` (two slots), `cpu:2x4` (four threads each), `cuda` (every accelerator), \
             `cuda:0,1` or `cuda:0,1/2` (two slots on each)"
        )
    };
    let count = |text: &str| {
        let count = text.parse::<usize>().ok();
        count
            .filter(|&count| count > 0 && count <= 4096)
            .ok_or_else(bad)
    };
    match text {
        "srun:cuda" => return Ok(Part::Tasks { gpu: true }),
        "srun:cpu" => return Ok(Part::Tasks { gpu: false }),
        _ => {}
    }
    let (kind, rest) = match text.split_once(':') {
        Some((kind, rest)) => (kind, Some(rest)),
        None => (text, None),
    };
    if kind == "cpu" {
        let (slots, threads) = rest.map_or(("1", "1"), |rest| {
            rest.split_once('x').unwrap_or((rest, "1"))
        });
        let (slots, threads) = (count(slots)?, count(threads)?);
        return Ok(Part::Cpu { threads, slots });
    }
    let cut = |text| str::split_once(text, '/').unwrap_or((text, "1"));
    let (which, shares) = match (cut(kind), rest.map(cut)) {
        (("cuda", shares), None) => (Which::All, shares),
        (("cuda", "1"), Some((indices, shares))) if !kind.contains('/') => {
            let mut these: Vec<usize> = Vec::new();
            for index in indices.split(',') {
                let index = index.parse().map_err(|_| bad())?;
                if these.contains(&index) {
                    return Err(format!("`{text}` names an accelerator twice"));
                }
                these.push(index);
            }
            (Which::These(these), shares)
        }
        _ => return Err(bad()),
    };
    let shares = count(shares)?;
    Ok(Part::Gpus { which, shares })
}
