//! `harness fetch`: the models and data of suites, from the hub into the cache.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::select::{Only, select};
use super::{BadInput, Exit, print_json, quoted, shown};
use crate::hub::{Error, Holding, Hub, Kind, Need, Reach, Settings, Told, What, free_space, needs};
use crate::plan::{PlannedRun, expand};
use crate::schedule::{Control, Wish};
use crate::show::{self, Transfer, bytes, causes};
use crate::suite::Suite;

/// What to do about files that are not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Get them.
    Fetch,
    /// Say which, asking the hub for listings alone.
    DryRun,
    /// Say whether a run could do without a network, using none.
    OfflineCheck,
}

pub fn fetch(suites: &[Suite], only: &[Only], mode: Mode, json: bool) -> anyhow::Result<Exit> {
    let plan = select(expand(suites), only)?;
    let hub = hub()?;
    let needs = wanted(&plan.runs)?;
    let command = command(suites);
    if mode == Mode::OfflineCheck || hub.settings().offline {
        let holdings = here(&hub, &needs, &command)?;
        report(&hub, &holdings, &[], json)?;
        return Ok(Exit::Success);
    }
    let control = Control::of_signals()?;
    let holdings = match survey(&hub, &needs, &control)? {
        Some(holdings) => holdings,
        None => return Ok(Exit::Interrupted),
    };
    if mode == Mode::DryRun {
        report(&hub, &holdings, &[], json)?;
        return Ok(Exit::Success);
    }
    if !json {
        report(&hub, &holdings, &[], false)?;
    }
    let Some(failed) = transfer(&hub, &holdings, &control)? else {
        return Ok(Exit::Interrupted);
    };
    if json {
        // What lies here now, from the listings that were just kept.
        let (holdings, _) = look(&hub, &needs);
        report(&hub, &holdings, &failed, true)?;
    }
    if failed.is_empty() {
        return Ok(Exit::Success);
    }
    Err(anyhow::anyhow!(text_of(&failed)))
}

/// The folders of the repositories that `runs` read, by the key a worker knows them by; what is missing is fetched
/// first, or, offline, an error. None when the user stopped it.
pub(super) fn provide(
    suites: &[Suite],
    runs: &[&PlannedRun],
    reach: Reach,
    control: &Control,
) -> anyhow::Result<Option<BTreeMap<String, PathBuf>>> {
    let needs = wanted(runs.iter().copied())?;
    if needs.is_empty() {
        return Ok(Some(BTreeMap::new()));
    }
    let hub = hub()?;
    let offline = reach == Reach::Cache || hub.settings().offline;
    let holdings = if offline {
        here(&hub, &needs, &command(suites))?
    } else {
        let Some(holdings) = survey(&hub, &needs, control)? else {
            return Ok(None);
        };
        if holdings.iter().any(|holding| holding.missing().count() > 0) {
            show::say(table(&hub, &holdings).trim_end());
            let Some(failed) = transfer(&hub, &holdings, control)? else {
                return Ok(None);
            };
            if !failed.is_empty() {
                return Err(anyhow::anyhow!(text_of(&failed)));
            }
        }
        holdings
    };
    let folder = |holding: &Holding| (holding.repository.key(), holding.folder.clone());
    Ok(Some(holdings.iter().map(folder).collect()))
}

/// A line on what `runs` read of the hub, from the cache alone; none when they read nothing of it.
pub(super) fn outlook<'a>(
    runs: impl IntoIterator<Item = &'a PlannedRun>,
) -> anyhow::Result<Option<String>> {
    let needs = wanted(runs)?;
    if needs.is_empty() {
        return Ok(None);
    }
    let hub = hub()?;
    let (holdings, lacks) = look(&hub, &needs);
    let whole = |holding: &&Holding| holding.missing().count() == 0;
    let here = holdings.iter().filter(whole).count();
    let advice = if lacks.is_empty() {
        ""
    } else {
        "; `harness fetch` gets the rest"
    };
    Ok(Some(format!(
        "from the hub: {} repositories, {here} in the cache{advice}",
        needs.len()
    )))
}

fn hub() -> anyhow::Result<Arc<Hub>> {
    let settings = Settings::of_environment().map_err(|error| BadInput(causes(&error)))?;
    Ok(Arc::new(Hub::new(settings)))
}

fn wanted<'a>(runs: impl IntoIterator<Item = &'a PlannedRun>) -> anyhow::Result<Vec<Need>> {
    needs(runs).map_err(|error| BadInput(causes(&error)).into())
}

/// What is here of every need, asking the hub for listings that are not; none when the user stopped it.
fn survey(hub: &Hub, needs: &[Need], control: &Control) -> anyhow::Result<Option<Vec<Holding>>> {
    let stop = || control.wish() != Wish::GoOn;
    let mut holdings = Vec::new();
    for need in needs {
        let waiting = |reason: &str, wait: Duration| {
            let (repository, wait) = (&need.repository, wait.as_secs_f64());
            show::say(format!("{repository}: {reason}; again in {wait:.0} s"));
        };
        match hub.survey(need, Reach::Network, &stop, &waiting) {
            Ok(holding) => holdings.push(holding),
            Err(Error::Stopped) => return Ok(None),
            Err(error @ (Error::NoPortion { .. } | Error::NoModelFile { .. })) => {
                return Err(BadInput(causes(&error)).into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(holdings))
}

/// What is in the cache, and what of the needs is not, in words.
fn look(hub: &Hub, needs: &[Need]) -> (Vec<Holding>, Vec<String>) {
    let (mut holdings, mut lacks) = (Vec::new(), Vec::new());
    for need in needs {
        match hub.survey(need, Reach::Cache, &|| false, &|_, _| {}) {
            Ok(holding) => {
                let repository = &holding.repository;
                let lack = |file: &crate::hub::File| {
                    let (here, size) = (bytes(file.here), bytes(file.size));
                    format!("`{}` of {repository}: {here} of {size}", file.path)
                };
                lacks.extend(holding.missing().map(lack));
                holdings.push(holding);
            }
            Err(error) => lacks.push(causes(&error)),
        }
    }
    (holdings, lacks)
}

/// What is in the cache, which must be all.
fn here(hub: &Hub, needs: &[Need], command: &str) -> anyhow::Result<Vec<Holding>> {
    let (holdings, lacks) = look(hub, needs);
    if lacks.is_empty() {
        return Ok(holdings);
    }
    Err(BadInput(format!(
        "offline, and not in the cache {}:\n  {}\nwith a network, `{command}` gets them",
        hub.settings().cache.display(),
        lacks.join("\n  ")
    ))
    .into())
}

/// Fetches what is missing and returns what could not be had; none when the user stopped it.
fn transfer(
    hub: &Arc<Hub>,
    holdings: &[Holding],
    control: &Control,
) -> anyhow::Result<Option<Vec<String>>> {
    let stop = || control.wish() != Wish::GoOn;
    let mut display = Transfer::new(holdings);
    let mut failed: Vec<String> = Vec::new();
    let ended = hub.fetch(holdings, &stop, &mut |told: Told<'_>| {
        display.tell(&told);
        if let What::Failed(error) = &told.what {
            let text = causes(error);
            if !failed.contains(&text) {
                failed.push(text);
            }
        }
    });
    display.close();
    match ended {
        Ok(_) => Ok(Some(failed)),
        Err(Error::Stopped) => {
            show::say(Error::Stopped);
            Ok(None)
        }
        Err(Error::Space {
            folder,
            needed,
            free,
        }) => Err(anyhow::anyhow!(
            "{} are to come, and {} are free in {}",
            bytes(needed),
            bytes(free),
            folder.display()
        )),
        Err(error) => Err(error.into()),
    }
}

fn text_of(failed: &[String]) -> String {
    format!(
        "not everything could be fetched:\n  {}",
        failed.join("\n  ")
    )
}

/// The command that gets what the suites need.
fn command(suites: &[Suite]) -> String {
    let words = ["harness".to_string(), "fetch".to_string()];
    let paths = suites.iter().map(|suite| shown(&suite.path));
    let quoted: Vec<_> = words
        .into_iter()
        .chain(paths)
        .map(|word| quoted(&word))
        .collect();
    quoted.join(" ")
}

fn report(hub: &Hub, holdings: &[Holding], failed: &[String], json: bool) -> anyhow::Result<()> {
    if !json {
        print!("{}", table(hub, holdings));
        return Ok(());
    }
    let file = |file: &crate::hub::File| json!({ "path": file.path, "size": file.size, "here": file.here, "whole": file.whole });
    let repository = |holding: &Holding| -> Value {
        json!({
            "kind": holding.repository.kind,
            "name": holding.repository.name,
            "revision": holding.repository.revision,
            "folder": holding.folder,
            "size": holding.size(),
            "to_come": holding.to_come(),
            "files": holding.files.iter().map(file).collect::<Vec<_>>(),
        })
    };
    let settings = hub.settings();
    print_json(&json!({
        "endpoint": settings.endpoint,
        "cache": settings.cache,
        "free": free_space(&settings.cache).ok(),
        "repositories": holdings.iter().map(repository).collect::<Vec<_>>(),
        "failed": failed,
    }))
}

/// A line per repository, and the sum.
fn table(hub: &Hub, holdings: &[Holding]) -> String {
    if holdings.is_empty() {
        return "nothing of the hub is needed\n".into();
    }
    let mut text = format!(
        "{:<7} {:<44} {:<12} {:>5} {:>9} {:>9}\n",
        "kind", "repository", "revision", "files", "here", "to come"
    );
    for holding in holdings {
        let kind = match holding.repository.kind {
            Kind::Model => "model",
            Kind::Tokenizer => "words",
            Kind::Dataset => "data",
        };
        let (name, revision) = (&holding.repository.name, &holding.repository.revision[..12]);
        let (files, to_come) = (holding.files.len(), holding.to_come());
        text += &format!(
            "{kind:<7} {name:<44} {revision} {files:>5} {:>9} {:>9}\n",
            bytes(holding.size() - to_come),
            bytes(to_come)
        );
    }
    let files = || holdings.iter().flat_map(|holding| &holding.files);
    let missing: usize = holdings
        .iter()
        .map(|holding| holding.missing().count())
        .sum();
    let to_come = holdings.iter().map(Holding::to_come).sum();
    let cache = &hub.settings().cache;
    let free = free_space(cache).map_or("unknown".into(), bytes);
    text += &format!(
        "{} files of {} repositories, {missing} to fetch, {} to come; {free} free in {}\n",
        files().count(),
        holdings.len(),
        bytes(to_come),
        cache.display()
    );
    text
}
