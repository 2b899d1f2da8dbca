//! The command that makes numbers again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::run::typed;
use super::super::select::{Only, select};
use super::super::{shown, sources};
use crate::event::{Environment, RunRecord};
use crate::plan::{Plan, PlannedRun, RunId, with_starts};
use crate::store::Store;
use crate::suite::Suite;

/// Runs of a plan that are to be made again.
pub struct Again<'a> {
    /// The suites of the plan.
    pub suites: &'a [Suite],
    pub plan: &'a Plan,
    pub store: &'a Store,
    /// What is known of the runs.
    pub records: &'a BTreeMap<RunId, RunRecord>,
}

impl Again<'_> {
    /// `harness run` of the runs `wanted` alone, on devices as they had. No store does a run twice, so where one of them is
    /// done it is a new store, with reports of its own. Runs that differ in their devices, also those that others start
    /// from, take a command each.
    ///
    /// `about` are conditions that may select just these runs, with their tasks, in fewer words than their ids.
    pub fn commands(&self, wanted: &BTreeSet<RunId>, about: &[String]) -> Vec<String> {
        let runs = self.plan.runs.iter().filter(|run| wanted.contains(&run.id));
        let tasks: BTreeSet<&str> = runs.clone().map(|run| run.task.as_str()).collect();
        let tasks: Vec<&str> = tasks.into_iter().collect();
        let tasks = format!("task={}", tasks.join(","));
        let about: Vec<&str> = about.iter().chain([&tasks]).map(String::as_str).collect();
        let is_new = runs.clone().all(|run| self.done(run).is_none());
        let place = if is_new {
            here(self.store)
        } else {
            elsewhere()
        };

        let starts = self.plan.starts();
        let all = with_starts(wanted, &starts);
        // By how many runs come before, so that these are done first, and by devices.
        let mut groups: BTreeMap<(usize, Vec<String>), BTreeSet<RunId>> = BTreeMap::new();
        let mut anywhere = BTreeSet::new();
        for run in self.plan.runs.iter().filter(|run| all.contains(&run.id)) {
            match self.done(run).filter(|_| !is_new) {
                Some(record) => {
                    let before = with_starts([&run.id], &starts).len();
                    let group = groups.entry((before, devices(run, &record.environment)));
                    group.or_default().insert(run.id.clone());
                }
                None if wanted.contains(&run.id) => drop(anywhere.insert(run.id.clone())),
                None => {}
            }
        }
        let alike: BTreeSet<Vec<String>> =
            groups.keys().map(|(_, devices)| devices.clone()).collect();
        if alike.len() <= 1 {
            let devices = alike.into_iter().next().unwrap_or_default();
            groups = BTreeMap::from([((0, devices), wanted.clone())]);
        } else if !anywhere.is_empty() {
            groups.insert((usize::MAX, Vec::new()), anywhere);
        }
        let command = |((_, devices), ids): (&(usize, Vec<String>), &BTreeSet<RunId>)| {
            let mut words = vec!["harness".to_string(), "run".into()];
            words.extend(self.suites.iter().map(|suite| shown(&suite.path)));
            for condition in self.conditions(ids, &about) {
                words.extend(["--only".to_string(), condition]);
            }
            words.extend(place.iter().chain(devices).cloned());
            typed(&words)
        };
        groups.iter().map(command).collect()
    }

    /// What is known of a run that has a result.
    fn done(&self, run: &PlannedRun) -> Option<&RunRecord> {
        let record = self.records.get(&run.id);
        record.filter(|record| record.outcome.is_result())
    }

    /// The fewest of `about` that select `ids` and what these start from, else the ids.
    fn conditions(&self, ids: &BTreeSet<RunId>, about: &[&str]) -> Vec<String> {
        let list: Vec<&str> = ids.iter().map(|id| id.0.as_str()).collect();
        let by_id = format!("run={}", list.join(","));
        let by_id = [by_id.as_str()];
        let selected = |conditions: &[&str]| -> Option<BTreeSet<RunId>> {
            let only: Result<Vec<Only>, _> = conditions.iter().map(|text| text.parse()).collect();
            let found = select(self.plan.clone(), &only.ok()?).ok()?;
            Some(found.runs.into_iter().map(|run| run.id).collect())
        };
        let wanted = selected(&by_id);
        // A single run has no shorter name.
        let most = if ids.len() > 1 { about.len() } else { 0 };
        let fewer = (1..=most).map(|count| &about[..count]);
        let mut just = fewer.filter(|conditions| selected(conditions) == wanted);
        let just = just.next().unwrap_or(&by_id).iter();
        just.map(ToString::to_string).collect()
    }
}

/// The store itself, unless nothing can be added to it.
fn here(store: &Store) -> Vec<String> {
    vec!["--store".into(), shown(&sources::home(store))]
}

/// A store that is not there yet.
fn elsewhere() -> Vec<String> {
    let mut names = (1..).map(|count| match count {
        1 => "again".to_string(),
        count => format!("again-{count}"),
    });
    let name = names.find(|name| !Path::new(name).exists());
    let name = name.expect("there is always one more");
    let reports = format!("{name}/reports");
    ["--store".into(), name, "--out".into(), reports].into()
}

/// What makes the devices of a run those that it had, as far as they decide a last digit.
fn devices(run: &PlannedRun, had: &Environment) -> Vec<String> {
    let (processes, threads) = (had.processes, had.threads);
    let slots = match had.device.split(':').next() {
        Some("cuda") => "cuda".to_string(),
        Some("cpu") if threads > 1 => format!("cpu:{processes}x{threads}"),
        Some("cpu") => format!("cpu:{processes}"),
        _ => return Vec::new(),
    };
    let mut words = vec!["--slots".to_string(), slots];
    if processes != run.devices {
        words.extend(["--devices".into(), processes.to_string()]);
    }
    words
}
