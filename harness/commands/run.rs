//! `harness run`: do what is missing, then show the comparison.

mod again;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rayon::prelude::*;
use serde_json::json;

use super::select::Only;
use super::{BadInput, Exit, fetch, plan, render, report, shown};
use crate::cluster::{self, Profile};
use crate::cost::Forecast;
use crate::plan::{Plan, PlannedRun};
use crate::schedule::queue::Order;
use crate::schedule::rules::{self, Rules};
use crate::schedule::{
    self, Audience, Control, Monitor, Outlook, Policy, Setting, Slot, Slots, Summary, Told,
    outlive_readers, schedule, worker_path,
};
use crate::show::{self, Display, Records, View};
use crate::store::{Live, Store};
use crate::suite::{self, Suite};
use crate::time;
use again::again_anywhere;

pub use again::{again, typed};

/// How often a run saves itself, how long an attempt may take, and how long a run may tell nothing, unless it is said.
const CHECKPOINT_EVERY: &str = "10m";
const TIMEOUT: &str = "0";
const STALL: &str = "1h";

/// What the command line says.
pub struct Wanted<'a> {
    pub suites: &'a [Suite],
    pub only: &'a [Only],
    pub budget: Option<plan::Budget>,
    pub store: &'a Path,
    pub options: &'a Options,
    pub executor: Executor,
    pub json: bool,
}

/// The options of `harness run` alone.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder of prepared data: decoded images, tokens
    #[arg(long, value_name = "DIR", default_value = super::CACHE)]
    cache: PathBuf,
    /// Where runs go: `cuda` (every accelerator), `cuda:0,1`, `cuda:0/2` (two at a time), `cpu:2` (two at a time, one thread
    /// each), `cpu:2x4` (four threads each) [default: every accelerator, or every core]
    #[arg(long, value_name = "SLOTS")]
    slots: Option<String>,
    /// How many devices do a run together, whatever the suite says
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1024))]
    devices: Option<u32>,
    /// What comes first: `soonest` lets the whole plan end soonest, `tables` completes one table after the other
    /// [default: soonest]
    #[arg(long, value_name = "ORDER")]
    order: Option<Order>,
    /// How often a run in training saves itself, to go on from there: `90s`, `10m`, `2h`, or 0 for never
    #[arg(long, value_name = "TIME", default_value = CHECKPOINT_EVERY, value_parser = time::read)]
    checkpoint_every: Duration,
    /// How often a run is tried that ends without a result, and how long it rests first: `killed=3/10s`, `all=1`; of failed,
    /// killed, stalled, timed_out, out_of_memory [default: killed=3/10s stalled=2/10s out_of_memory=2/60s, the others 1]
    #[arg(long, value_name = "RULE")]
    retry: Vec<rules::Word>,
    /// How long an attempt at a run may take; 0: as long as it takes
    #[arg(long, value_name = "TIME", default_value = TIMEOUT, value_parser = time::read)]
    timeout: Duration,
    /// How long a run may tell nothing; 0: for ever
    #[arg(long, value_name = "TIME", default_value = STALL, value_parser = time::read)]
    stall: Duration,
    /// Begin nothing more after so many failed runs
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_fail: Option<u32>,
    /// Append everything that happens to this file, as JSON lines; `-` for standard output
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// A shell command to call at the end, also that of an error: it gets the summary as JSON on standard input, and
    /// HARNESS_EXIT, HARNESS_DONE, HARNESS_FAILED, HARNESS_STOPPED and HARNESS_ERROR
    #[arg(long, value_name = "COMMAND")]
    notify: Option<String>,
    /// Folder for the reports
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
    /// Use no network: models and data that are not in the cache are an error (as with HF_HUB_OFFLINE=1)
    #[arg(long)]
    offline: bool,
    /// Where runs are done
    #[arg(long, value_enum, default_value_t = Place::Local)]
    executor: Place,
    /// What the cluster is asked for, with `--executor slurm`
    #[arg(long, value_name = "FILE", required_if_eq("executor", "slurm"))]
    profile: Option<PathBuf>,
    /// Write no report
    #[arg(long)]
    no_report: bool,
}

/// Where runs are done, on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Place {
    /// On this machine
    Local,
    /// As jobs of a Slurm cluster
    Slurm,
}

/// Where runs are done.
pub enum Executor {
    /// On this machine.
    Here,
    /// As jobs of a Slurm cluster.
    Slurm(Box<Profile>),
}

impl Options {
    /// Where runs are done.
    pub fn executor(&self) -> anyhow::Result<Executor> {
        match (self.executor, &self.profile) {
            (Place::Local, None) => Ok(Executor::Here),
            (Place::Slurm, Some(path)) => {
                let not_here = [
                    (
                        self.slots.is_some(),
                        "--slots: a job's slots follow from the profile",
                    ),
                    (
                        self.order.is_some(),
                        "--order: Slurm decides which job begins first",
                    ),
                    (
                        self.max_fail.is_some(),
                        "--max-fail: jobs are submitted at once, and Slurm begins each as soon as it can",
                    ),
                ];
                if let Some((_, text)) = not_here.into_iter().find(|(is_there, _)| *is_there) {
                    return Err(BadInput(text.into()).into());
                }
                let profile =
                    Profile::read(path).map_err(|problems| BadInput(render(&[problems])))?;
                Ok(Executor::Slurm(Box::new(profile)))
            }
            _ => Err(BadInput("--profile goes with --executor slurm".into()).into()),
        }
    }

    fn policy(&self) -> Policy {
        let some = |time: Duration| Some(time).filter(|time| !time.is_zero());
        Policy {
            order: self.order.unwrap_or_default(),
            rules: self.retry.iter().fold(Rules::default(), Rules::with),
            timeout: some(self.timeout),
            stall: some(self.stall),
            most_failures: self.max_fail.map(|count| count as usize),
            ..Policy::default()
        }
    }

    /// The options that decide how attempts go, as they are typed.
    fn of_an_attempt(&self) -> Vec<(&'static str, String)> {
        let time = |time: Duration| format!("{}s", time.as_secs());
        let mut options = vec![
            ("--checkpoint-every", time(self.checkpoint_every)),
            ("--timeout", time(self.timeout)),
            ("--stall", time(self.stall)),
        ];
        options.extend(self.retry.iter().map(|word| ("--retry", word.to_string())));
        let devices = self.devices.iter();
        options.extend(devices.map(|devices| ("--devices", devices.to_string())));
        options
    }

    /// Those that are not as they are when nothing is said.
    fn unusual(&self) -> Vec<(&'static str, String)> {
        let usual = [
            ("--checkpoint-every", CHECKPOINT_EVERY),
            ("--timeout", TIMEOUT),
            ("--stall", STALL),
        ];
        let is_usual = |(name, value): &(&str, String)| {
            let mut usual = usual.iter().filter(|(usual, _)| usual == name);
            usual.any(|(_, text)| time::read(text) == time::read(value))
        };
        let mut options = self.of_an_attempt();
        options.retain(|option| !is_usual(option));
        options
    }

    /// The slots that are asked for, or all that this machine has.
    fn slots(&self, monitor: &Monitor) -> anyhow::Result<Vec<Slot>> {
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        if let Some(text) = &self.slots {
            let slots = text.parse::<Slots>();
            let slots = slots.and_then(|slots| slots.find(visible.as_deref(), monitor));
            return slots.map_err(|error| BadInput(format!("--slots: {error}")).into());
        }
        // An accelerator is of no use to a libtorch that was built without support for it.
        match Slots::all_gpus().find(visible.as_deref(), monitor) {
            Ok(slots) if super::doctor::worker_has_gpus() => Ok(slots),
            _ => Ok(Slot::cores()),
        }
    }
}

pub fn run(wanted: &Wanted<'_>) -> anyhow::Result<Exit> {
    // Weeks of work do not depend on whoever reads what is printed.
    outlive_readers();
    let mut summary = Summary::default();
    let ended = run_and_report(wanted, &mut summary);
    if let Some(command) = &wanted.options.notify {
        Control::give_back_signals();
        notify(command, &summary, &ended);
    }
    ended
}

/// `summary` is there as soon as the runs have ended, whatever comes after.
fn run_and_report(wanted: &Wanted<'_>, summary: &mut Summary) -> anyhow::Result<Exit> {
    let options = wanted.options;
    let monitor = Monitor::open();
    let slots = match wanted.executor {
        Executor::Here => options.slots(&monitor)?,
        Executor::Slurm(_) => Vec::new(),
    };
    let store = Store::open(wanted.store)?;
    let (mut plan, _) = plan::planned(wanted.suites, wanted.only, wanted.budget, &store)?;
    if let Some(devices) = options.devices {
        plan.runs
            .iter_mut()
            .for_each(|run| run.devices = devices as usize);
    }
    // A damaged run counts as missing; the schedule then names the file.
    let missing: Vec<&PlannedRun> = plan
        .runs
        .par_iter()
        .filter(|run| store.damage(&run.id).is_some() || !store.is_done(run).unwrap_or(false))
        .collect();
    *summary = if !missing.is_empty() {
        match &wanted.executor {
            Executor::Here => room(&missing, schedule::most_devices(&slots), "the slots have")?,
            Executor::Slurm(profile) => room(&missing, profile.devices(), "a job has")?,
        }
        let worker = match wanted.executor {
            Executor::Here => worker()?,
            Executor::Slurm(_) => PathBuf::new(),
        };
        let control = Control::of_signals()?;
        let mut folders = locate(wanted.suites)?;
        match fetch::provide(
            wanted.suites,
            &missing,
            super::reach(options.offline),
            &control,
        )? {
            Some(fetched) => folders.extend(fetched),
            None => return Ok(Exit::Interrupted),
        }
        match &wanted.executor {
            Executor::Here => {
                let ground = Ground {
                    slots: &slots,
                    monitor: &monitor,
                    folders,
                    worker,
                };
                here(wanted, &plan, &store, ground, &control)?
            }
            Executor::Slurm(profile) => on_cluster(wanted, &plan, &store, profile, &control)?,
        }
    } else {
        // A supervisor may have ended between its last result and the end of its lease. What cannot be removed harms nobody.
        let _ = store.clear_leftovers();
        Summary {
            already: plan.runs.iter().map(|run| run.id.clone()).collect(),
            ..Summary::default()
        }
    };
    let mut reports = Vec::new();
    let reported = match options.no_report {
        false => wanted.suites,
        true => &[],
    };
    for suite in reported {
        let rendered = report::write(suite, &store, &options.out)?;
        if !wanted.json {
            report::show(&rendered);
        }
        reports.push(
            json!({ "suite": suite.name, "folder": rendered.folder, "files": rendered.files }),
        );
    }
    if wanted.json {
        let said = json!({ "runs": summary, "reports": reports });
        show::print(format!("{said:#}\n"));
    } else {
        show::print(format!("{}\n", sentence(summary)));
    }
    Ok(exit(summary, options))
}

/// The worker program. One that the user names must be there.
fn worker() -> anyhow::Result<PathBuf> {
    worker_path().map_err(|error| match std::env::var_os("HARNESS_WORKER") {
        Some(_) => BadInput(format!("{error:#}")).into(),
        None => error,
    })
}

/// Whether there are enough devices for every run; `have` says who has so many.
fn room(missing: &[&PlannedRun], most: usize, have: &str) -> anyhow::Result<()> {
    let Some(run) = missing.iter().find(|run| run.devices > most) else {
        return Ok(());
    };
    let text = format!(
        "a run of task {} asks for {} devices, and {have} {most}; `--devices {most}` does each run on {most}, which gives the \
         same but for rounding",
        run.task, run.devices
    );
    Err(BadInput(text).into())
}

/// What a schedule on this machine stands on.
struct Ground<'a> {
    slots: &'a [Slot],
    monitor: &'a Monitor,
    folders: BTreeMap<String, PathBuf>,
    worker: PathBuf,
}

fn here(
    wanted: &Wanted<'_>,
    plan: &Plan,
    store: &Store,
    ground: Ground<'_>,
    control: &Control,
) -> anyhow::Result<Summary> {
    let options = wanted.options;
    let setting = Setting {
        store,
        slots: ground.slots,
        worker: ground.worker,
        folders: ground.folders,
        cache: Some(std::path::absolute(&options.cache)?),
        checkpoint_every: Some(options.checkpoint_every).filter(|every| !every.is_zero()),
        policy: options.policy(),
        forecast: Forecast::new(wanted.suites, plan, |id| store.seconds(id)),
        monitor: ground.monitor,
        guard: std::env::current_exe().ok(),
        again: &|run| again_anywhere(wanted, ground.slots, run),
    };
    let mut everybody = Everybody::new(options, plan, ground.slots, store)?;
    let summary = schedule(plan, &setting, control, &mut everybody);
    everybody.display.close();
    // Supervisors that died beside us said something too, which this removes.
    store.supervisors();
    summary
}

/// Who is told of a schedule: a person, other programs, and who looks from elsewhere.
struct Everybody {
    view: View,
    display: Display,
    records: Option<Records>,
    live: Option<Live>,
}

impl Everybody {
    fn new(
        options: &Options,
        plan: &Plan,
        slots: &[Slot],
        store: &Store,
    ) -> anyhow::Result<Everybody> {
        let view = View::new(plan, slots);
        let records = options.events.as_deref().map(|path| {
            Records::to(path)
                .map_err(|error| BadInput(format!("--events: {}: {error}", shown(path))))
        });
        Ok(Everybody {
            display: Display::new(plan, &view),
            view,
            records: records.transpose()?,
            // Who looks from elsewhere is shown nothing where nothing can be written.
            live: store.live().ok(),
        })
    }
}

impl Audience for Everybody {
    fn tell(&mut self, told: Told<'_>) {
        let slot = told.slot.map(|slot| self.view.slots[slot].slot.clone());
        self.view.tell(&told);
        self.display.tell(&told, &self.view);
        if let Some(records) = &mut self.records {
            records.tell(&told, slot.as_deref());
        }
    }

    fn note(&mut self, text: &str) {
        self.display.note(text);
        if let Some(records) = &mut self.records {
            records.note(text);
        }
    }

    fn look(&mut self, outlook: &Outlook) {
        self.view.look(outlook);
        self.display.look(&self.view);
        if let Some(records) = &mut self.records {
            records.look(&self.view);
        }
        let text = serde_json::to_string(&self.view).unwrap_or_default();
        if let Some(live) = &self.live {
            // The next look says it again.
            let _ = live.say(&text);
        }
    }
}

/// Calls the user's command. Its failure is told, and costs no result.
fn notify(command: &str, summary: &Summary, ended: &anyhow::Result<Exit>) {
    let (exit, error) = match ended {
        Ok(exit) => (*exit, String::new()),
        Err(error) => (Exit::of(error), format!("{error:#}")),
    };
    let called = || -> anyhow::Result<()> {
        let mut child = Command::new("sh")
            .args(["-c", command])
            .env("HARNESS_EXIT", (exit as u8).to_string())
            .env(
                "HARNESS_DONE",
                (summary.done.len() + summary.already.len()).to_string(),
            )
            .env(
                "HARNESS_FAILED",
                (summary.failed.len() + summary.blocked.len()).to_string(),
            )
            .env("HARNESS_STOPPED", summary.interrupted.len().to_string())
            .env("HARNESS_ERROR", error.replace('\0', ""))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let text = serde_json::to_string(summary)?;
        if let Some(mut input) = child.stdin.take() {
            // It need not read it.
            let _ = writeln!(input, "{text}");
        }
        let status = child.wait()?;
        anyhow::ensure!(status.success(), "it ended with {status}");
        Ok(())
    };
    if let Err(error) = called() {
        show::say(format!("--notify: {error:#}"));
    }
}

/// Submits the runs to a cluster, where a job for each does `harness run --only run=...`, and waits for them.
fn on_cluster(
    wanted: &Wanted<'_>,
    plan: &Plan,
    store: &Store,
    profile: &Profile,
    control: &Control,
) -> anyhow::Result<Summary> {
    let absolute = |path: &Path| anyhow::Ok(shown(&std::path::absolute(path)?));
    let mut arguments = vec!["run".to_string()];
    for suite in wanted.suites {
        arguments.push(absolute(&suite.path)?);
    }
    arguments.extend(["--store".into(), absolute(wanted.store)?]);
    arguments.extend(["--cache".into(), absolute(&wanted.options.cache)?]);
    arguments.extend(["--offline".into(), "--no-report".into()]);
    let options = wanted.options.of_an_attempt().into_iter();
    arguments.extend(options.flat_map(|(name, value)| [name.to_string(), value]));
    let program = profile.program(std::env::current_exe()?);
    let setting = cluster::Setting {
        profile,
        store,
        command: cluster::Command { program, arguments },
        again: &|run| again_anywhere(wanted, &[], run),
        note: &|line| show::say(line),
    };
    let mut everybody = Everybody::new(wanted.options, plan, &[], store)?;
    let summary = cluster::watch(plan, &setting, control, &mut everybody);
    everybody.display.close();
    summary
}

/// Every folder the suites name, checked before any time is spent.
pub(super) fn locate(suites: &[Suite]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut folders = BTreeMap::new();
    let mut problems = Vec::new();
    for suite in suites {
        match suite::locate(suite) {
            Ok(found) => folders.extend(found),
            Err(found) => problems.push(found),
        }
    }
    if problems.is_empty() {
        Ok(folders)
    } else {
        Err(BadInput(render(&problems)).into())
    }
}

fn sentence(summary: &Summary) -> String {
    let parts = [
        (summary.done.len(), "done"),
        (summary.already.len(), "done before"),
        (summary.failed.len(), "failed"),
        (summary.blocked.len(), "blocked"),
        (summary.interrupted.len(), "stopped"),
    ];
    let said: Vec<_> = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect();
    let text = format!("runs: {}", said.join(", "));
    let before = Summary {
        already: summary.already.clone(),
        ..Summary::default()
    };
    match *summary == before {
        true => format!("{text}; nothing to do"),
        false => text,
    }
}

fn exit(summary: &Summary, options: &Options) -> Exit {
    let has_failed = !summary.failed.is_empty() || !summary.blocked.is_empty();
    // What was left undone because of failures was stopped by nobody.
    let gave_up = options
        .max_fail
        .is_some_and(|most| summary.failed.len() >= most as usize);
    if !summary.interrupted.is_empty() && !gave_up {
        Exit::Interrupted
    } else if has_failed {
        Exit::RunsFailed
    } else {
        Exit::Success
    }
}
