//! The command that makes numbers again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::select::{Only, select};
use super::super::{quoted, shown, sources};
use crate::event::{Environment, RunRecord};
use crate::plan::{Plan, PlannedRun, RunId};
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
    /// done it is a new store, with reports of its own. Runs that differ in their devices take a command each.
    ///
    /// `about` are conditions that may select just these runs, with their tasks, in fewer words than their ids.
    pub fn commands(&self, wanted: &BTreeSet<RunId>, about: &[String]) -> Vec<String> {
        let runs = self.plan.runs.iter().filter(|run| wanted.contains(&run.id));
        let tasks: BTreeSet<&str> = runs.clone().map(|run| run.task.as_str()).collect();
        let tasks: Vec<&str> = tasks.into_iter().collect();
        let tasks = format!("task={}", tasks.join(","));
        let about: Vec<&str> = about.iter().chain([&tasks]).map(String::as_str).collect();
        let mut groups: BTreeMap<Vec<String>, BTreeSet<RunId>> = BTreeMap::new();
        let mut anywhere = BTreeSet::new();
        for run in runs {
            match self.records.get(&run.id) {
                Some(record) if record.outcome.is_result() => {
                    let group = groups.entry(devices(run, &record.environment));
                    group.or_default().insert(run.id.clone());
                }
                _ => drop(anywhere.insert(run.id.clone())),
            }
        }
        let place = match groups.is_empty() {
            true => here(self.store),
            false => elsewhere(),
        };
        match groups.len() {
            0 => drop(groups.insert(Vec::new(), anywhere)),
            1 => groups
                .values_mut()
                .for_each(|ids| ids.append(&mut anywhere)),
            _ if anywhere.is_empty() => {}
            _ => groups.entry(Vec::new()).or_default().append(&mut anywhere),
        }
        let command = |(devices, ids): (&Vec<String>, &BTreeSet<RunId>)| {
            let mut words = vec!["harness".to_string(), "run".into()];
            words.extend(self.suites.iter().map(|suite| shown(&suite.path)));
            for condition in self.conditions(ids, &about) {
                words.extend(["--only".to_string(), condition]);
            }
            words.extend(place.iter().chain(devices).cloned());
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            words.join(" ")
        };
        groups.iter().map(command).collect()
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
