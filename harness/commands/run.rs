//! `harness run`: do what is missing, then show the comparison.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::select::Only;
use super::{BadInput, Exit, fetch, plan, print_json, quoted, render, report, shown};
use crate::cluster::{self, Profile};
use crate::hub::Reach;
use crate::plan::{Plan, PlannedRun};
use crate::schedule::{Control, Setting, Slot, Slots, Summary, schedule, worker_path};
use crate::show::Display;
use crate::store::Store;
use crate::suite::{self, Suite};

/// What the command line says.
pub struct Wanted<'a> {
    pub suites: &'a [Suite],
    pub only: &'a [Only],
    pub budget: Option<plan::Budget>,
    pub store: &'a Path,
    pub cache: &'a Path,
    pub slots: Option<&'a str>,
    pub checkpoint_every: Duration,
    pub out: &'a Path,
    pub reach: Reach,
    pub executor: Executor,
    pub reports: Reports,
    pub json: bool,
}

/// Where runs are done.
pub enum Executor {
    /// On this machine.
    Here,
    /// As jobs of a Slurm cluster.
    Slurm(Box<Profile>),
}

/// Whether reports are written at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reports {
    /// They are.
    Write,
    /// They are not: another process does.
    Leave,
}

pub fn run(wanted: &Wanted<'_>) -> anyhow::Result<Exit> {
    let slots = match wanted.slots {
        Some(text) => {
            text.parse::<Slots>()
                .map_err(|error| BadInput(format!("--slots: {error}")))?
                .0
        }
        None => Slot::default_set(),
    };
    let store = Store::open(wanted.store)?;
    let (plan, _) = plan::planned(wanted.suites, wanted.only, wanted.budget, &store)?;
    // A damaged run counts as missing; the schedule then names the file.
    let missing: Vec<&PlannedRun> = plan
        .runs
        .iter()
        .filter(|run| store.damage(&run.id).is_some() || !store.is_done(run).unwrap_or(false))
        .collect();
    let summary = if !missing.is_empty() {
        let control = Control::of_signals()?;
        let mut folders = locate(wanted.suites)?;
        match fetch::provide(wanted.suites, &missing, wanted.reach, &control)? {
            Some(fetched) => folders.extend(fetched),
            None => return Ok(Exit::Interrupted),
        }
        match &wanted.executor {
            Executor::Here => here(wanted, &plan, &store, &slots, folders, &control)?,
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
    let reported = match wanted.reports {
        Reports::Write => wanted.suites,
        Reports::Leave => &[],
    };
    for suite in reported {
        let rendered = report::write(suite, &store, wanted.out)?;
        if !wanted.json {
            report::show(&rendered);
        }
        reports.push(
            json!({ "suite": suite.name, "folder": rendered.folder, "files": rendered.files }),
        );
    }
    if wanted.json {
        print_json(&json!({ "runs": summary, "reports": reports }))?;
    } else {
        println!("{}", sentence(&summary));
    }
    Ok(exit(&summary))
}

fn here(
    wanted: &Wanted<'_>,
    plan: &Plan,
    store: &Store,
    slots: &[Slot],
    folders: BTreeMap<String, PathBuf>,
    control: &Control,
) -> anyhow::Result<Summary> {
    let setting = Setting {
        store,
        slots,
        worker: worker_path()?,
        folders,
        cache: Some(std::path::absolute(wanted.cache)?),
        checkpoint_every: Some(wanted.checkpoint_every).filter(|every| !every.is_zero()),
        again: &|run| again(wanted.suites, wanted.store, run),
    };
    let mut display = Display::new(plan, slots);
    let summary = schedule(plan, &setting, control, &mut |told| display.tell(&told));
    display.close();
    summary
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
    arguments.extend(["--cache".into(), absolute(wanted.cache)?]);
    arguments.extend(["--offline".into(), "--no-report".into()]);
    let program = profile.program(std::env::current_exe()?);
    let setting = cluster::Setting {
        profile,
        store,
        command: cluster::Command { program, arguments },
        again: &|run| again(wanted.suites, wanted.store, run),
        note: &|line| eprintln!("{line}"),
    };
    let mut display = Display::new(plan, &[]);
    let summary = cluster::watch(plan, &setting, control, &mut |told| display.tell(&told));
    display.close();
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

/// The command that does one run again.
pub(super) fn again(suites: &[Suite], store: &Path, run: &PlannedRun) -> String {
    let mut words = vec!["harness".to_string(), "run".to_string()];
    words.extend(suites.iter().map(|suite| shown(&suite.path)));
    words.extend(["--store".to_string(), shown(store)]);
    for (key, value) in [
        ("method", &run.method),
        ("task", &run.task),
        ("seed", &run.spec.seed.to_string()),
    ] {
        words.extend(["--only".to_string(), format!("{key}={value}")]);
    }
    words
        .iter()
        .map(|word| quoted(word))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A time as the command line says it: `90s`, `10m`, `2h`, or `0`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is no time; write `90s`, `10m`, `2h`, or 0");
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (count, unit) = text.split_at(end.unwrap_or(text.len()));
    let count: u64 = count.parse().map_err(|_| refused())?;
    let seconds = match unit {
        "" if count == 0 => Some(0),
        "s" => Some(count),
        "m" => count.checked_mul(60),
        "h" => count.checked_mul(3600),
        _ => None,
    };
    // Longer than a century is a slip; never is 0.
    let century = 100 * 366 * 24 * 3600;
    let seconds = seconds.filter(|&seconds| seconds <= century);
    seconds.map(Duration::from_secs).ok_or_else(refused)
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
    if exit(summary) == Exit::Success && summary.done.is_empty() {
        format!("{text}; nothing to do")
    } else {
        text
    }
}

fn exit(summary: &Summary) -> Exit {
    if !summary.interrupted.is_empty() {
        Exit::Interrupted
    } else if !summary.failed.is_empty() || !summary.blocked.is_empty() {
        Exit::RunsFailed
    } else {
        Exit::Success
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, seconds) in [("0", 0), ("0s", 0), ("90s", 90), ("10m", 600), ("2h", 7200)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "m",
            "10",
            "10 m",
            "-1s",
            "1.5h",
            "1d",
            "99999999999999999999s",
            "9999999999999999h",
        ] {
            assert!(
                duration(text).is_err_and(|error| error.contains(text)),
                "{text}"
            );
        }
    }
}
