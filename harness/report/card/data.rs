//! Data sets with their revisions and files, their portions, and what is measured on them over which seeds.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::RunRecord;
use crate::plan::{Plan, RunId};
use crate::suite::{
    Column, Data, Model, Selection, SizeUnit, Spread, Suite, SuiteTable, TRAINING, Task,
};

/// Every repository and folder once, with what it is used for.
pub(super) fn sources(
    suite: &Suite,
    plan: &Plan,
    records: &BTreeMap<RunId, RunRecord>,
) -> Vec<[String; 4]> {
    let mut used: Vec<(String, String, Vec<String>)> = Vec::new();
    let mut add = |from: &str, pin: &str, what: String| match used
        .iter_mut()
        .find(|(name, at, _)| name == from && at == pin)
    {
        Some((_, _, uses)) => uses.push(what),
        None => used.push((from.into(), pin.into(), vec![what])),
    };
    for (name, model) in &suite.models {
        let what = format!("model {name}");
        match model {
            Model::Hub(hub) => add(&hub.hub, &hub.revision, what),
            Model::Folder(folder) => add(&folder.folder, &folder.sha256, what),
            Model::Config(_) | Model::Stage(_) => {}
        }
    }
    for (name, task) in &suite.tasks {
        let data = (Some(&task.data), format!("data of {name}"));
        let tokenizer = (task.tokenizer.as_ref(), format!("tokenizer of {name}"));
        for (source, what) in [data, tokenizer] {
            match source {
                Some(Data::Hub(hub)) => add(&hub.hub, &hub.revision, what),
                Some(Data::Folder(folder)) => add(&folder.folder, &folder.sha256, what),
                None => {}
            }
        }
    }
    let ours = plan.runs.iter().filter_map(|run| records.get(&run.id));
    let files: BTreeMap<&String, &String> =
        ours.flat_map(|record| &record.environment.files).collect();
    used.into_iter()
        .map(|(from, pin, uses)| {
            let inside = format!("{from}/");
            let read: Vec<String> = files
                .iter()
                .filter_map(|(path, hash)| Some(read(path.strip_prefix(&inside)?, hash)))
                .collect();
            let pin = match pin.len() {
                64 => format!("SHA-256 of its content {pin}"),
                _ => format!("revision {pin}"),
            };
            let read = match read.is_empty() {
                true => "none known".to_string(),
                false => read.join("; "),
            };
            [uses.join(", "), from, pin, read]
        })
        .collect()
}

/// A file with its hash.
fn read(name: &str, hash: &str) -> String {
    match hash.len() {
        64 => format!("{name} (SHA-256 {hash})"),
        _ => format!("{name} (Git {hash})"),
    }
}

/// Every portion that a task reads, once a task.
pub(super) fn splits(
    suite: &Suite,
    plan: &Plan,
    records: &BTreeMap<RunId, RunRecord>,
) -> Vec<[String; 5]> {
    let mut found = Vec::new();
    for (name, task) in &suite.tasks {
        let of_task: Vec<&RunRecord> = plan
            .runs
            .iter()
            .filter(|run| run.task == *name)
            .filter_map(|run| records.get(&run.id))
            .collect();
        for (portion, purposes) in portions(suite, name, task) {
            let sizes = task.sizes.as_ref();
            let theirs = sizes.and_then(|sizes| {
                let size = sizes.portions.get(&portion)?;
                Some(format!("{size} {} ({})", sizes.unit.metric(), sizes.place))
            });
            let units = match sizes {
                Some(sizes) => vec![sizes.unit],
                None => vec![SizeUnit::Examples, SizeUnit::Tokens],
            };
            let counted: BTreeSet<String> = units
                .into_iter()
                .flat_map(|unit| counts(&of_task, &portion, unit))
                .collect();
            let counted = match counted.is_empty() {
                true => "not counted".to_string(),
                false => counted.into_iter().collect::<Vec<_>>().join(", "),
            };
            found.push([
                name.clone(),
                portion,
                purposes.join(" and "),
                theirs.unwrap_or_else(|| "–".into()),
                counted,
            ]);
        }
    }
    found
}

/// What runs have counted in a portion.
fn counts<'a>(
    records: &'a [&RunRecord],
    portion: &'a str,
    unit: SizeUnit,
) -> impl Iterator<Item = String> + 'a {
    let values = records
        .iter()
        .filter_map(move |record| record.value(portion, unit.metric()));
    values.map(move |value| format!("{value} {}", unit.metric()))
}

/// The portions that a task reads, and what for.
fn portions(suite: &Suite, name: &str, task: &Task) -> Vec<(String, Vec<&'static str>)> {
    let mut found: Vec<(String, Vec<&'static str>)> = Vec::new();
    let mut add = |portion: &str, purpose: &'static str| match found
        .iter_mut()
        .find(|(known, _)| known == portion)
    {
        Some((_, purposes)) if purposes.contains(&purpose) => {}
        Some((_, purposes)) => purposes.push(purpose),
        None => found.push((portion.into(), vec![purpose])),
    };
    add(&task.train.join("+"), "training");
    if let Some(select) = &task.select {
        add(select, "selection");
    }
    for column in suite.tables.iter().flat_map(|table| &table.columns) {
        if let Column::Measured(measured) = column
            && measured.task == name
            && measured.on != TRAINING
        {
            add(&measured.on, "measurement");
        }
    }
    found
}

/// What each table measures, and over which seeds.
pub(super) fn evaluation(suite: &Suite) -> Vec<[String; 7]> {
    let row = |table: &SuiteTable| {
        let measured: Vec<_> = table
            .columns
            .iter()
            .filter_map(|column| match column {
                Column::Measured(measured) => Some(measured),
                _ => None,
            })
            .collect();
        let metrics = measured.iter().map(|column| {
            let own = column.metric.as_ref();
            own.unwrap_or(&suite.tasks[&column.task].metric).as_str()
        });
        let portions = measured.iter().map(|column| (&column.task, &column.on));
        let portions: BTreeSet<_> = portions.collect();
        let on = match portions.len() {
            0..=3 => distinct(portions.iter().map(|(_, on)| on.as_str())),
            many => format!("{many} portions"),
        };
        let models = measured.iter().map(|column| {
            let training = &suite.training[&suite.tasks[&column.task].training];
            match training.selection {
                Selection::Last => "the one after the last update",
                Selection::Best => "the one of the lowest loss on the selection portion",
            }
        });
        let reported = table.rows.iter().flat_map(|row| &row.reported).flatten();
        let theirs: BTreeSet<Option<u64>> = reported.map(|reported| reported.seeds).collect();
        let theirs = theirs.into_iter().map(|seeds| match seeds {
            Some(seeds) => seeds.to_string(),
            None => "not known".into(),
        });
        let theirs: Vec<String> = theirs.collect();
        let seeds: Vec<String> = table.seeds.iter().map(u64::to_string).collect();
        [
            format!("{} ({})", table.id, table.place),
            distinct(metrics),
            on,
            distinct(models),
            match theirs.is_empty() {
                true => "nothing printed".into(),
                false => theirs.join(" and "),
            },
            spread(table.spread).into(),
            format!("{}: {}", seeds.len(), seeds.join(", ")),
        ]
    };
    suite.tables.iter().map(row).collect()
}

fn distinct<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut found: Vec<&str> = Vec::new();
    for word in words {
        if !found.contains(&word) {
            found.push(word);
        }
    }
    found.join(", ")
}

fn spread(spread: Spread) -> &'static str {
    match spread {
        Spread::None => "none",
        Spread::Sd => "standard deviation over seeds",
        Spread::Ci95 => "95% confidence interval of the mean over seeds",
        Spread::SdOverColumns => "standard deviation over the averaged columns",
    }
}
