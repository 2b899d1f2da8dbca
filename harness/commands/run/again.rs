//! The command that does one run again.

use std::path::Path;

use super::super::{quoted, shown};
use super::Wanted;
use crate::plan::PlannedRun;
use crate::schedule::Slot;
use crate::suite::Suite;

/// The command that does one run again, for the folder that we are in.
pub fn again(suites: &[Suite], store: &Path, run: &PlannedRun) -> String {
    let mut words = vec!["harness".to_string(), "run".to_string()];
    words.extend(suites.iter().map(|suite| shown(&suite.path)));
    words.extend(["--store".to_string(), shown(store)]);
    words.extend(["--only".to_string(), format!("run={}", run.id)]);
    typed(&words)
}

/// The command that does one run again as we do it, for any folder.
pub(super) fn again_anywhere(wanted: &Wanted<'_>, slots: &[Slot], run: &PlannedRun) -> String {
    let options = wanted.options;
    let absolute = |path: &Path| shown(&std::path::absolute(path).unwrap_or(path.into()));
    let mut words = vec![program(), "run".to_string()];
    words.extend(wanted.suites.iter().map(|suite| absolute(&suite.path)));
    let mut option = |name: &str, value: String| words.extend([name.to_string(), value]);
    option("--only", format!("run={}", run.id));
    option("--store", absolute(wanted.store));
    option("--cache", absolute(&options.cache));
    match (&options.profile, slots.first()) {
        (Some(profile), _) => {
            option("--executor", "slurm".into());
            option("--profile", absolute(profile));
        }
        // The job that we are in will be gone.
        (None, Some(Slot::Task { gpu: true, .. })) => option("--slots", "cuda".into()),
        (None, Some(Slot::Task { threads, .. })) => {
            option("--slots", format!("cpu:{}x{threads}", run.devices));
        }
        (None, _) => options
            .slots
            .iter()
            .for_each(|slots| option("--slots", slots.clone())),
    }
    for (name, value) in options.unusual() {
        option(name, value);
    }
    match options.no_report {
        true => words.push("--no-report".into()),
        false => words.extend(["--out".into(), absolute(&options.out)]),
    }
    words.extend(options.offline.then(|| "--offline".to_string()));
    typed(&words)
}

/// Words as a user types them.
pub fn typed(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

/// This program: by its name where a shell finds it by that.
fn program() -> String {
    let name = "harness";
    let Ok(here) = std::env::current_exe() else {
        return name.into();
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .and_then(|path| path.canonicalize().ok());
    match found == here.canonicalize().ok() && found.is_some() {
        true => name.into(),
        false => shown(&here),
    }
}
