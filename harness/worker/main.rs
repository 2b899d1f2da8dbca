//! The program that trains: one run per process.
//!
//! `harness-worker run JOB.json OUT_DIR` tells [`Event`]s as JSON lines on standard output and logs on standard error.
//! It exits with 0 whenever it told an outcome. Asked to end by SIGTERM or SIGUSR1 while it trains, it writes a checkpoint
//! after the update it is at and ends by that signal. It exits at once when its standard input ends: whoever started it is gone.
//!
//! Of several processes that do one run together the first alone tells events. The others write nothing to standard
//! output, name their outcome on standard error, and exit with 0 when it is a result, with ENOMEM when no memory was left, and
//! with 1 otherwise. When `srun` started them, SIGUSR1 to it asks them all to end, and SIGTERM does not: `srun` then kills them.

use std::any::Any;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use harness::count::CountRequest;
use harness::event::{Event, Outcome};
use harness::plan::Job;
use training::share::SrunTask;
use training::{bench, machine, tasks, train};

/// Exit status when standard input ended before the run did.
const ORPHANED: libc::c_int = 3;

/// Trains one run of a benchmark; started by `harness run`.
#[derive(Parser)]
#[command(name = "harness-worker", version = version())]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Do one run and tell what happens, as JSON lines
    Run {
        /// The job, as JSON
        job: PathBuf,
        /// Existing folder for the final weights
        out: PathBuf,
        /// Started by `srun`: this process's place among those of the run is the one Slurm gave it
        #[arg(long)]
        srun: bool,
    },
    /// Time the methods on this machine
    Bench {
        /// The network
        network: bench::Network,
        #[command(flatten)]
        size: bench::Size,
        /// Only these methods
        #[arg(long)]
        method: Vec<String>,
        /// Rounds per method; the fastest counts
        #[arg(long, default_value_t = 7)]
        rounds: usize,
        /// Threads to compute with
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Time a step of this one method that so many processes share, beside one that is not shared
        #[arg(long, value_parser = clap::value_parser!(u64).range(2..=64))]
        processes: Option<u64>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Time a step that several processes share; started by `bench --processes`
    #[command(hide = true)]
    Share {
        /// The network
        network: bench::Network,
        /// The method
        method: String,
        #[command(flatten)]
        size: bench::Size,
        /// Rounds
        #[arg(long)]
        rounds: usize,
        /// Threads to compute with
        #[arg(long)]
        threads: usize,
        #[command(flatten)]
        place: bench::share::Place,
    },
    /// Make three steps and print the largest resident memory in bytes
    #[command(hide = true)]
    Peak {
        /// The network
        network: bench::Network,
        /// The method
        method: String,
        #[command(flatten)]
        size: bench::Size,
    },
    /// Time data preparation and evaluation
    #[command(hide = true)]
    Pipeline {
        /// What
        #[command(subcommand)]
        work: bench::pipeline::Work,
        /// Threads to compute with
        #[arg(long, default_value_t = 2, global = true)]
        threads: usize,
    },
    /// Count portions of data, asked for and answered as JSON
    #[command(hide = true)]
    Count,
    /// Say which libtorch and devices there are, as one JSON object
    Doctor,
}

fn version() -> &'static str {
    Box::leak(format!("{} build {}", env!("CARGO_PKG_VERSION"), harness::BUILD).into_boxed_str())
}

/// Lets the C library keep what it frees. By default every tensor of some megabytes is mapped and unmapped anew, and
/// touching fresh pages cost a tenth to a quarter of a step of a small GPT-2 on CPU. Changes no bit.
fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: two settings of the allocator, before any other thread runs.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

fn main() -> ExitCode {
    keep_freed_memory();
    let result = match Arguments::parse().command {
        Command::Run { job, out, srun } => {
            let launch = if srun { Launch::Srun } else { Launch::Single };
            return match run(&job, &out, launch) {
                Ok(code) => code,
                Err(error) => ended(Err(error)),
            };
        }
        Command::Doctor => doctor(),
        Command::Bench {
            network,
            size,
            method,
            rounds,
            threads,
            processes,
            json,
        } => {
            torch_ext::set_threads(threads, 1);
            if let Some(processes) = processes {
                return ended(scaling(
                    network,
                    size,
                    &method,
                    rounds,
                    processes as usize,
                    threads,
                    json,
                ));
            }
            bench::table(network, size, &method, rounds).and_then(|table| {
                if json {
                    println!("{}", serde_json::to_string_pretty(&table)?);
                } else {
                    print!("{table}");
                }
                Ok(())
            })
        }
        Command::Pipeline { work, threads } => {
            torch_ext::set_threads(threads, 1);
            bench::pipeline::time(&work)
                .and_then(|timed| Ok(println!("{}", serde_json::to_string(&timed)?)))
        }
        Command::Count => count(),
        Command::Share {
            network,
            method,
            size,
            rounds,
            threads,
            place,
        } => {
            torch_ext::set_threads(threads, 1);
            bench::share::measure(network, size, &method, rounds, &place).map(drop)
        }
        Command::Peak {
            network,
            method,
            size,
        } => bench::peak(network, size, &method).map(|bytes| println!("{bytes}")),
    };
    ended(result)
}

/// Prints what sharing a step gains, for every method asked for.
fn scaling(
    network: bench::Network,
    size: bench::Size,
    methods: &[String],
    rounds: usize,
    processes: usize,
    threads: usize,
    json: bool,
) -> Result<()> {
    anyhow::ensure!(!methods.is_empty(), "--processes needs a --method");
    let mut all = Vec::new();
    for method in methods {
        let measured = bench::share::scaling(network, size, method, rounds, processes, threads)?;
        if !json {
            print!("{measured}");
        }
        all.push(measured);
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    Ok(())
}

fn ended(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Answers a request on standard input.
fn count() -> Result<()> {
    let request: CountRequest = serde_json::from_reader(io::stdin().lock())?;
    let counts = tasks::count::count(&request)?;
    println!("{}", serde_json::to_string(&counts)?);
    Ok(())
}

fn doctor() -> Result<()> {
    println!("{}", serde_json::to_string(&machine::doctor())?);
    Ok(())
}

/// Who started the processes of a run.
#[derive(Clone, Copy, Debug)]
enum Launch {
    /// A supervisor, each by itself.
    Single,
    /// `srun`, all of them alike.
    Srun,
}

/// Does the run. An error means that nobody could be told.
fn run(path: &Path, out: &Path, launch: Launch) -> Result<ExitCode> {
    let mut events = take_standard_output()?;
    exit_with_standard_input();
    let mut told = Ok(());
    let signals = train::Signals::take().context("signals")?;
    // Where Slurm does not say which process this is, all are silent: they would speak at once.
    let task = match launch {
        Launch::Single => None,
        Launch::Srun => Some(SrunTask::of(|name| std::env::var(name).ok())?),
    };
    let mut rank = task.map_or(0, |task| task.rank);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut job: Job =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        if let Some(task) = &task {
            task.place(&mut job, machine::accelerators)
                .with_context(|| path.display().to_string())?;
        }
        rank = job.member.as_ref().map_or(0, |member| member.rank);
        train::train(&job, out, &signals, &mut |event| {
            if rank == 0 && told.is_ok() {
                told = write(&mut events, &event);
            }
        })
    }));
    let outcome = match outcome {
        Ok(Ok(Some(outcome))) => outcome,
        // Whoever asked it to end hears no outcome, and sees by which signal it ended.
        Ok(Ok(None)) => {
            signals.end().context("ending by a signal")?;
            return Ok(ExitCode::SUCCESS);
        }
        Ok(Err(error)) => failure(&format!("{error:#}")),
        Err(panic) => failure(panic_message(panic.as_ref())),
    };
    if rank > 0 {
        say(format_args!("process {rank}: {outcome}"));
        return Ok(match outcome {
            _ if outcome.is_result() => ExitCode::SUCCESS,
            Outcome::OutOfMemory => ExitCode::from(libc::ENOMEM as u8),
            _ => ExitCode::FAILURE,
        });
    }
    told.and_then(|()| write(&mut events, &Event::Finished(outcome)))
        .context("telling events")?;
    Ok(ExitCode::SUCCESS)
}

fn write(events: &mut File, event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_string(event)?;
    line.push('\n');
    events.write_all(line.as_bytes())
}

/// Writes a line to the log, which lies on a disk that may be full.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The outcome of a run that ended with `message`.
fn failure(message: &str) -> Outcome {
    say(format_args!("error: {message}"));
    // A C++ exception's message carries a stack after its first line.
    let line = message.lines().next().unwrap_or("unknown error").trim();
    let signs = [
        "out of memory",
        "not enough memory",
        "can't allocate memory",
        "cannot allocate memory",
        "bad_alloc",
    ];
    let lower = message.to_lowercase();
    if signs.iter().any(|sign| lower.contains(sign)) {
        Outcome::OutOfMemory
    } else {
        Outcome::Failed {
            message: line.to_string(),
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("the worker panicked")
}

/// Standard output for events alone: whatever a library prints there goes to standard error.
fn take_standard_output() -> Result<File> {
    // SAFETY: both descriptors are open; the new one belongs to the returned file only.
    unsafe {
        let events = libc::fcntl(io::stdout().as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3);
        if events < 0 || libc::dup2(io::stderr().as_raw_fd(), io::stdout().as_raw_fd()) < 0 {
            return Err(io::Error::last_os_error()).context("standard output");
        }
        Ok(File::from_raw_fd(events))
    }
}

/// Ends the process when standard input ends, which the supervisor holds open as long as it lives.
fn exit_with_standard_input() {
    std::thread::spawn(|| {
        let mut buffer = [0; 64];
        let mut input = io::stdin().lock();
        while !matches!(input.read(&mut buffer), Ok(0) | Err(_)) {}
        say(format_args!("standard input ended; so does this run"));
        // SAFETY: ends the process. Its exit handlers stay out: they would take libtorch apart under the main thread.
        unsafe { libc::_exit(ORPHANED) };
    });
}
