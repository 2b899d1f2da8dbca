//! What sharing a run costs and gains: a step of one process with the whole batch beside a step of several with their
//! parts, in turn, and the sum of the gradients alone.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use optim::{Accumulated, Method, Pass, Rows, Share as Portion};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::{Built, Network, Size, optimizer};
use crate::share::Share;
use harness::plan::{Meeting, Member};

/// What one method's step costs, shared and not; of every time the fastest round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scaling {
    /// The network.
    pub network: String,
    /// The method.
    pub method: String,
    /// How many processes share a step.
    pub processes: usize,
    /// Seconds of a step of one process with the whole batch, while the others wait.
    pub alone: f64,
    /// Seconds of a step that all share.
    pub shared: f64,
    /// Seconds of one sum of the gradients, of which a step has as many as backward passes.
    pub sum: f64,
    /// How many such sums a step has.
    pub sums: u32,
}

/// A process's place in a measurement.
#[derive(Clone, Debug, clap::Args)]
pub struct Place {
    /// Its number
    #[arg(long)]
    pub rank: usize,
    /// How many there are
    #[arg(long)]
    pub processes: usize,
    /// The file where they meet
    #[arg(long)]
    pub meeting: PathBuf,
}

/// Starts the other processes and measures with them; every process has `threads`.
pub fn scaling(
    network: Network,
    size: Size,
    method: &str,
    rounds: usize,
    processes: usize,
    threads: usize,
) -> Result<Scaling> {
    ensure!(processes > 1, "one process has nobody to share with");
    let meeting = std::env::temp_dir().join(format!("harness-bench-{}", std::process::id()));
    let given = [("--examples", size.examples), ("--length", size.length)];
    let words = given
        .into_iter()
        .filter_map(|(name, value)| Some([name.to_string(), value?.to_string()]));
    let words: Vec<String> = words.flatten().collect();
    let start = |rank: usize| {
        Command::new(std::env::current_exe()?)
            .args([
                "share",
                &network.name(),
                method,
                "--rounds",
                &rounds.to_string(),
            ])
            .args([
                "--threads",
                &threads.to_string(),
                "--rank",
                &rank.to_string(),
            ])
            .args(["--processes", &processes.to_string(), "--meeting"])
            .arg(&meeting)
            .args(&words)
            .args(size.recompute.then_some("--recompute"))
            .spawn()
            .context("starting another process")
    };
    let mut others = (1..processes).map(start).collect::<Result<Vec<_>>>()?;
    let place = Place {
        rank: 0,
        processes,
        meeting: meeting.clone(),
    };
    let measured = measure(network, size, method, rounds, &place);
    for other in &mut others {
        other.wait()?;
    }
    let _ = std::fs::remove_file(meeting);
    measured
}

/// This process's part of a measurement; its result is the first one's.
pub fn measure(
    network: Network,
    size: Size,
    method: &str,
    rounds: usize,
    place: &Place,
) -> Result<Scaling> {
    let known = Method::all()
        .into_iter()
        .find(|known| known.name() == method);
    let method = known.with_context(|| format!("no method `{method}`"))?;
    let (rank, processes) = (place.rank, place.processes);
    let share = Share::join(&Member {
        rank,
        size: processes,
        meeting: Meeting::File(place.meeting.clone()),
    })?;
    let built = Built::new(network, size)?;
    let mut alone = optimizer(&method, &built)?;
    let own = Built::new(network, size)?;
    let mut shared = optimizer(&method, &own)?;
    shared.join(share.group())?;

    let examples = own.input.size()[0];
    ensure!(
        examples >= processes as i64,
        "{processes} processes cannot share {examples} examples; see --examples"
    );
    let bound = |rank: usize| rank as i64 * examples / processes as i64;
    let (first, rows) = (bound(rank), bound(rank + 1) - bound(rank));
    let part = own.rows(first, rows);
    let weight = rows as f64 / examples as f64;
    let portion = Portion {
        loss: weight,
        examples: weight,
        rows: Some(Rows {
            micro_batch: 0,
            first,
            of: examples,
        }),
    };
    let task = Accumulated {
        shares: vec![portion],
        forward: |pass: &Pass| part.forward(pass),
    };

    let parameters: i64 = built
        .parameters()
        .iter()
        .map(|(_, weight)| weight.numel() as i64)
        .sum();
    let mut gradient = Tensor::zeros([parameters], (Kind::Float, Device::Cpu));
    let (mut times, mut sums) = ([f64::INFINITY; 3], 0);
    // The first round warms up.
    for round in 0..=rounds {
        let mut note = |which: usize, since: Instant| {
            if round > 0 {
                times[which] = times[which].min(since.elapsed().as_secs_f64());
            }
        };
        share.wait()?;
        if rank == 0 {
            let since = Instant::now();
            alone.step(&|pass: &Pass| built.forward(pass))?;
            note(0, since);
        }
        share.wait()?;
        let since = Instant::now();
        sums = shared.step(&task)?.passes.backward;
        note(1, since);
        share.wait()?;
        let since = Instant::now();
        share.sum(&mut gradient)?;
        note(2, since);
    }
    Ok(Scaling {
        network: network.name(),
        method: method.name().into(),
        processes,
        alone: times[0],
        shared: times[1],
        sum: times[2],
        sums,
    })
}

impl std::fmt::Display for Scaling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{}, {}: {:.1} ms alone, {:.1} ms shared by {} processes: {:.2} times as fast",
            self.network,
            self.method,
            1e3 * self.alone,
            1e3 * self.shared,
            self.processes,
            self.alone / self.shared
        )?;
        writeln!(
            f,
            "a sum of the gradients takes {:.1} ms; {} of them are {:.1} % of the shared step",
            1e3 * self.sum,
            self.sums,
            100.0 * self.sum * f64::from(self.sums) / self.shared
        )
    }
}
