//! One function per command: wires suites, plan, store, schedule and report together.

mod archive;
mod data;
mod diff;
mod doctor;
mod explain;
mod fetch;
mod lint;
mod methods;
mod plan;
mod report;
mod run;
mod select;
mod sources;
mod stats;
mod status;
mod validate;
mod watch;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::archive::is_archive;
use crate::hub::Reach;
use crate::report::quoted;
use crate::suite::{self, Problems, Suite};
use select::Only;

/// Where results are kept unless `--store` says otherwise.
const STORE: &str = "data/runs";
/// Where prepared data are kept unless `--cache` says otherwise.
const CACHE: &str = "data/cache";

/// Runs every cell of a paper's tables and sets the paper's numbers beside ours.
///
/// Exit codes: 0 success, also when there was nothing to do; 1 unexpected error; 2 bad input; 3 some runs failed;
/// 4 interrupted; 5 `lint` found something; 6 a claim is refuted (`report --strict`);
/// 7 two result sets differ (`diff`).
#[derive(Debug, Parser)]
#[command(name = "harness", version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check suites, and the folders they name, without running anything
    Validate {
        #[command(flatten)]
        suites: Suites,
        #[command(flatten)]
        output: Output,
    },
    /// Audit a paper: say where the numbers and claims it prints contradict each other; exit code 5 when they do
    Lint {
        #[command(flatten)]
        suites: Suites,
        #[command(flatten)]
        output: Output,
    },
    /// Say which runs the suites need, which are done, and which cells each pays for
    Plan {
        #[command(flatten)]
        suites: Suites,
        #[command(flatten)]
        select: Select,
        #[command(flatten)]
        within: Within,
        #[command(flatten)]
        store: StoreAt,
        /// List every run, however many there are
        #[arg(long)]
        runs: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Get the models and data that suites need from the Hugging Face Hub, verified; again, what is missing
    Fetch {
        #[command(flatten)]
        suites: Suites,
        #[command(flatten)]
        select: Select,
        /// Say what would be fetched, and how much that is
        #[arg(long, conflicts_with = "offline_check")]
        dry_run: bool,
        /// Say whether everything is here, using no network; exit code 2 when it is not
        #[arg(long)]
        offline_check: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Run what is missing, then report
    Run {
        #[command(flatten)]
        suites: Suites,
        #[command(flatten)]
        select: Select,
        #[command(flatten)]
        within: Within,
        #[command(flatten)]
        store: StoreAt,
        #[command(flatten)]
        options: Box<run::Options>,
        #[command(flatten)]
        output: Output,
    },
    /// Say how far the suites are, and what every slot does right now
    Status {
        #[command(flatten)]
        suites: SuitesOrArchive,
        #[command(flatten)]
        store: StoreAt,
        /// Say it again every two seconds, until Ctrl-C or until nobody works on it
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Count the examples and tokens of every portion that the suites read
    Data {
        #[command(flatten)]
        suites: Suites,
        /// Folder of prepared data
        #[arg(long, value_name = "DIR", default_value = CACHE)]
        cache: PathBuf,
        /// Use no network
        #[arg(long)]
        offline: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Write the comparison of the paper's numbers with ours
    Report {
        #[command(flatten)]
        suites: SuitesOrArchive,
        #[command(flatten)]
        store: StoreAt,
        #[command(flatten)]
        options: report::Options,
        #[command(flatten)]
        output: Output,
    },
    /// Say what methods do, their knobs, and their passes per update
    Methods {
        /// One method; all when left out
        name: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Time a step of every method on this machine, beside what its passes alone would cost
    #[command(trailing_var_arg = true, allow_hyphen_values = true)]
    Bench {
        /// `vit-tiny`, `vit-base`, `gpt-small`, `gpt-base` or `xlmr-base`, then --examples, --length, --method, --rounds,
        /// --threads, --json
        #[arg(required = true, value_name = "NETWORK [OPTIONS]")]
        arguments: Vec<String>,
    },
    /// Say what a cell (TABLE/ROW/COLUMN) or a run is made of, and the command that makes it again
    Explain {
        /// A cell, `table3/SAM/cars`, a correlation over methods, `table9/Cult.`, or the beginning of a run's id
        #[arg(value_name = "CELL|RUN")]
        what: String,
        #[command(flatten)]
        suites: SuitesOrArchive,
        #[command(flatten)]
        store: StoreAt,
        #[command(flatten)]
        output: Output,
    },
    /// Compare two stores or archives; exit code 0 only if they agree, to the last bit unless --tolerance says otherwise
    Diff {
        #[command(flatten)]
        options: diff::Options,
        #[command(flatten)]
        output: Output,
    },
    /// Write one file with suites, results, environments and logs, which `report`, `status`, `explain` and `diff` read
    Archive {
        #[command(flatten)]
        suites: Suites,
        #[command(flatten)]
        store: StoreAt,
        /// Take final weights along
        #[arg(long)]
        weights: bool,
        /// The file [default: SUITE.tar.gz]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        format: Output,
    },
    /// Print the JSON Schema of the suite language
    Schema,
    /// Say what was found on this machine, and what is missing
    Doctor {
        #[command(flatten)]
        output: Output,
    },
    /// Answer statistical questions, a line of JSON each
    #[command(hide = true)]
    Stats,
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, clap::Args)]
struct Suites {
    /// Suite files
    #[arg(required = true, value_name = "SUITE")]
    paths: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct SuitesOrArchive {
    /// Suite files, or one archive, which has suites and results
    #[arg(required = true, value_name = "SUITE")]
    paths: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct StoreAt {
    /// Folder of the results [default: data/runs]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl StoreAt {
    fn dir(&self) -> &Path {
        self.store.as_deref().unwrap_or(Path::new(STORE))
    }
}

#[derive(Debug, clap::Args)]
struct Select {
    /// Only runs with this method, task, seed, table or run id: `method=SAM`, `seed=0,1`; may be repeated, all must hold
    #[arg(long, value_name = "KEY=VALUE")]
    only: Vec<Only>,
}

#[derive(Debug, clap::Args)]
struct Within {
    /// Only the runs that settle the most claims in so much device time: `200h`, `90m`
    #[arg(long, value_name = "TIME")]
    budget: Option<plan::Budget>,
}

#[derive(Debug, clap::Args)]
struct Output {
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well; nothing to do is well.
    Success = 0,
    /// An error nobody foresaw.
    Unexpected = 1,
    /// The command line or a suite is wrong.
    BadInput = 2,
    /// Some runs failed.
    RunsFailed = 3,
    /// Stopped by ctrl-C, SIGTERM or SIGUSR1.
    Interrupted = 4,
    /// The audit of a paper found something.
    Findings = 5,
    /// Our numbers refute a claim, and that was asked.
    ClaimRefuted = 6,
    /// Two result sets do not agree.
    Differ = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// The exit code an error means.
    pub fn of(error: &anyhow::Error) -> Exit {
        if error.is::<BadInput>() {
            Exit::BadInput
        } else {
            Exit::Unexpected
        }
    }
}

/// The user's input is wrong; the text says where and how.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(pub String);

/// The text that tells a user of an error. Problems of suites bring their own form.
pub fn explain(error: &anyhow::Error) -> String {
    match error.downcast_ref::<BadInput>() {
        Some(BadInput(text)) if text.starts_with("error") || text.contains("\x1b[") => text.clone(),
        _ => format!("error: {error:#}"),
    }
}

/// Does what the arguments say.
pub fn perform(arguments: Arguments) -> anyhow::Result<Exit> {
    match arguments.command {
        Command::Validate { suites, output } => validate::validate(&suites.paths, output.json),
        Command::Lint { suites, output } => lint::lint(&read(&suites.paths)?, output.json),
        Command::Plan {
            suites,
            select,
            within,
            store,
            runs,
            output,
        } => plan::plan(
            &read(&suites.paths)?,
            &select.only,
            within.budget,
            store.dir(),
            if runs {
                plan::Listing::Full
            } else {
                plan::Listing::Short
            },
            output.json,
        ),
        Command::Fetch {
            suites,
            select,
            dry_run,
            offline_check,
            output,
        } => {
            let mode = match (dry_run, offline_check) {
                (_, true) => fetch::Mode::OfflineCheck,
                (true, _) => fetch::Mode::DryRun,
                _ => fetch::Mode::Fetch,
            };
            fetch::fetch(&read(&suites.paths)?, &select.only, mode, output.json)
        }
        Command::Run {
            suites,
            select,
            within,
            store,
            options,
            output,
        } => {
            let suites = read(&suites.paths)?;
            let executor = options.executor()?;
            run::run(&run::Wanted {
                suites: &suites,
                only: &select.only,
                budget: within.budget,
                store: store.dir(),
                options: &options,
                executor,
                json: output.json,
            })
        }
        Command::Status {
            suites,
            store,
            watch,
            output,
        } => {
            let found = sources::open(&suites.paths, store.store.as_deref())?;
            match watch {
                true => watch::watch(&found.store, output.json),
                false => status::status(&found.suites, &found.store, output.json),
            }
        }
        Command::Data {
            suites,
            cache,
            offline,
            output,
        } => data::data(&read(&suites.paths)?, &cache, reach(offline), output.json),
        Command::Report {
            suites,
            store,
            options,
            output,
        } => {
            let found = sources::open(&suites.paths, store.store.as_deref())?;
            report::report(&found.suites, &found.store, &options, output.json)
        }
        Command::Archive {
            suites,
            store,
            weights,
            output,
            format,
        } => {
            let weights = match weights {
                true => crate::archive::Weights::With,
                false => crate::archive::Weights::Without,
            };
            let suites = read(&suites.paths)?;
            archive::archive(
                &suites,
                store.dir(),
                weights,
                output.as_deref(),
                format.json,
            )
        }
        Command::Diff { options, output } => diff::compare(&options, output.json),
        Command::Explain {
            what,
            suites,
            store,
            output,
        } => {
            let found = sources::open(&suites.paths, store.store.as_deref())?;
            explain::explain(&what, &found.suites, &found.store, output.json)
        }
        Command::Methods { name, output } => methods::methods(name.as_deref(), output.json),
        Command::Bench { arguments } => bench(&arguments),
        Command::Schema => {
            print_json(&suite::schema())?;
            Ok(Exit::Success)
        }
        Command::Stats => stats::stats(),
        Command::Doctor { output } => doctor::doctor(output.json),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Arguments::command(),
                "harness",
                &mut std::io::stdout(),
            );
            Ok(Exit::Success)
        }
    }
}

/// Only the worker has libtorch, so it is what times the methods.
fn bench(arguments: &[String]) -> anyhow::Result<Exit> {
    let status = std::process::Command::new(crate::schedule::worker_path()?)
        .arg("bench")
        .args(arguments)
        .status()?;
    Ok(match status.code() {
        Some(0) => Exit::Success,
        // How clap says that the arguments are wrong.
        Some(2) => Exit::BadInput,
        _ => Exit::Unexpected,
    })
}

/// How far commands may reach for what the hub has.
fn reach(offline: bool) -> Reach {
    match offline {
        true => Reach::Cache,
        false => Reach::Network,
    }
}

/// Reads all suites, or tells everything that is wrong with any of them.
fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Suite>> {
    refuse_archives(paths)?;
    let (suites, problems) = read_each(paths);
    if !problems.is_empty() {
        return Err(BadInput(render(&problems)).into());
    }
    for (i, suite) in suites.iter().enumerate() {
        if let Some(other) = suites[..i].iter().find(|other| other.name == suite.name) {
            let (a, b) = (other.path.display(), suite.path.display());
            return Err(BadInput(format!(
                "two suites are called `{}`: {a} and {b}",
                suite.name
            ))
            .into());
        }
    }
    Ok(suites)
}

/// # Errors
/// [`BadInput`] for an archive where only suite files will do.
fn refuse_archives(paths: &[PathBuf]) -> Result<(), BadInput> {
    match paths.iter().find(|path| is_archive(path)) {
        None => Ok(()),
        Some(path) => Err(BadInput(format!(
            "{} is an archive, which `report`, `status`, `explain` and `diff` read; this command reads suite files",
            path.display()
        ))),
    }
}

fn read_each(paths: &[PathBuf]) -> (Vec<Suite>, Vec<Problems>) {
    let mut suites = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match suite::read(&from_here(path)) {
            Ok(suite) => suites.push(suite),
            Err(found) => problems.push(found),
        }
    }
    (suites, problems)
}

/// All problems as text, in colour when standard error is a terminal.
fn render(problems: &[Problems]) -> String {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    problems
        .iter()
        .map(|problems| problems.render(colour))
        .collect::<Vec<_>>()
        .join("\n\n")
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// The way from the current folder to what lies in it, so that what is written does not tell where on a machine that is.
fn from_here(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    let within = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf));
    let within = within.filter(|within| !within.as_os_str().is_empty());
    within.unwrap_or_else(|| path.to_path_buf())
}

/// A path as the user would type it.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_hostile_name_stays_one_word() {
        assert_eq!(quoted("method=TRAM-x"), "method=TRAM-x");
        assert_eq!(
            quoted("method=a; rm -rf 'b'"),
            r"'method=a; rm -rf '\''b'\'''"
        );
    }
}
