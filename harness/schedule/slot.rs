//! Places to run.

use std::fmt;
use std::str::FromStr;

/// A place to run one run at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// Processor cores.
    Cpu {
        /// Threads to compute with. Results are the same to the bit only at the same count.
        threads: usize,
    },
    /// The accelerator of this number.
    Gpu(u32),
}

impl Slot {
    /// One slot a core, with one thread each: the count of slots follows the machine, that of threads never does.
    pub fn default_set() -> Vec<Slot> {
        let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
        vec![Slot::Cpu { threads: 1 }; cores]
    }

    /// Threads to compute with.
    pub fn threads(&self) -> usize {
        match self {
            Slot::Cpu { threads } => *threads,
            Slot::Gpu(_) => 1,
        }
    }

    /// The device as the worker sees it: the one accelerator that is visible to it is the first.
    pub fn device(&self) -> &'static str {
        match self {
            Slot::Cpu { .. } => "cpu",
            Slot::Gpu(_) => "cuda:0",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Cpu { threads: 1 } => write!(f, "cpu"),
            Slot::Cpu { threads } => write!(f, "cpu x{threads}"),
            Slot::Gpu(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// What `--slots` says: `cpu:2` (two slots of one thread), `cpu:2x4` (two of four), `cuda:0,1`, or several with blanks
/// or `+` between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots(pub Vec<Slot>);

impl FromStr for Slots {
    type Err = String;

    fn from_str(text: &str) -> Result<Slots, String> {
        let mut slots = Vec::new();
        for part in text.split(['+', ' ']).filter(|part| !part.is_empty()) {
            slots.extend(parse_part(part)?);
        }
        if slots.is_empty() {
            return Err("no slot; write `cpu:2`, `cpu:2x4` or `cuda:0,1`".into());
        }
        Ok(Slots(slots))
    }
}

fn parse_part(part: &str) -> Result<Vec<Slot>, String> {
    let bad = || {
        format!(
            "`{part}` is no slot; write `cpu:2` (two slots), `cpu:2x4` (four threads each) or `cuda:0,1`"
        )
    };
    let positive = |text: &str| {
        text.parse::<usize>()
            .ok()
            .filter(|&count| count > 0 && count <= 4096)
    };
    match part.split_once(':') {
        None if part == "cpu" => Ok(vec![Slot::Cpu { threads: 1 }]),
        Some(("cpu", counts)) => {
            let (slots, threads) = counts.split_once('x').unwrap_or((counts, "1"));
            let (slots, threads) = positive(slots).zip(positive(threads)).ok_or_else(bad)?;
            Ok(vec![Slot::Cpu { threads }; slots])
        }
        Some(("cuda", indices)) => {
            let index = |text: &str| text.parse().map(Slot::Gpu).map_err(|_| bad());
            indices.split(',').map(index).collect()
        }
        _ => Err(bad()),
    }
}
