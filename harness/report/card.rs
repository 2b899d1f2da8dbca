//! The reproducibility card: every setting beside where the paper states it, and what each method computes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

use super::{Provenance, Report, Sides, html, markdown};
use crate::event::RunRecord;
use crate::plan::{Plan, RunId};
use crate::suite::{
    Column, MethodEntry, Setting, SizeUnit, Source, Statement, Suite, TRAINING, Task,
};

/// What a reader needs to do a suite's experiments again.
#[derive(Clone, Debug)]
pub struct Card {
    /// Code, hardware and software: what, the paper's, and ours.
    pub facts: Vec<[String; 3]>,
    /// The trained methods in the order of the suite: Tables 1 and 2 of the paper, from the code.
    pub methods: Vec<MethodFacts>,
    /// The portions of the data: task, portion, what for, the paper's size, and the counted one.
    pub splits: Vec<[String; 5]>,
    /// The values that the suite's file sets, in its order.
    pub settings: Vec<Setting>,
    /// The knobs that it leaves at their default: section, entry, key and value.
    pub defaults: Vec<[String; 4]>,
}

/// What a method computes, from its own description in `optim`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodFacts {
    /// The name that the tables print.
    pub name: String,
    /// The name in the suite language, as `harness methods` knows it.
    pub method: &'static str,
    /// Where its trust region lies: `parameters`, `outputs`, both or none.
    pub domain: &'static str,
    /// What is held small, in the paper's notation.
    pub distance: &'static str,
    /// Forward passes of an update.
    pub forward: u32,
    /// Backward passes of an update.
    pub backward: u32,
    /// The passes that the paper prints, forward and backward, where a claim of the suite has them.
    pub printed: Option<[u64; 2]>,
    /// The file that implements it.
    pub file: &'static str,
    /// Where it was published.
    pub origin: &'static str,
}

impl Card {
    /// Collects the card of a suite. Pure.
    pub fn of(
        suite: &Suite,
        plan: &Plan,
        records: &BTreeMap<RunId, RunRecord>,
        provenance: &Provenance,
    ) -> Card {
        let mut printed = BTreeMap::new();
        for claim in &suite.claims {
            passes(&claim.holds, &mut printed);
        }
        let methods = suite.methods.iter().filter_map(|(name, entry)| {
            let MethodEntry::Trained(method) = entry else {
                return None;
            };
            let passes = method.passes();
            Some(MethodFacts {
                name: name.clone(),
                method: method.name(),
                domain: method.domain(),
                distance: method.distance(),
                forward: passes.forward,
                backward: passes.backward,
                printed: printed.get(name.as_str()).copied(),
                file: method.file(),
                origin: method.origin(),
            })
        });
        Card {
            facts: facts(suite, provenance),
            splits: splits(suite, plan, records),
            methods: methods.collect(),
            settings: suite.settings.clone(),
            defaults: defaults(suite),
        }
    }

    /// `12 settings stated in the paper, 8 not stated and chosen, 3 without a word, 20 at their default`.
    pub fn counts(&self) -> String {
        let count = |is: fn(&Source) -> bool| {
            self.settings
                .iter()
                .filter(|setting| is(&setting.source))
                .count()
        };
        format!(
            "{} settings stated in the paper, {} not stated and chosen, {} without a word, {} at their default",
            count(|source| matches!(source, Source::Stated(_))),
            count(|source| matches!(source, Source::Chosen(_))),
            count(|source| matches!(source, Source::Unsaid(_))),
            self.defaults.len()
        )
    }
}

/// The passes that statements give, by method.
fn passes<'a>(statement: &'a Statement, found: &mut BTreeMap<&'a str, [u64; 2]>) {
    match statement {
        Statement::Passes(claim) => {
            found.insert(&claim.method, [claim.forward, claim.backward]);
        }
        Statement::AllOf(parts) | Statement::AnyOf(parts) => {
            parts.iter().for_each(|part| passes(part, found));
        }
        _ => {}
    }
}

fn facts(suite: &Suite, provenance: &Provenance) -> Vec<[String; 3]> {
    let ours = |wanted: &[&str]| {
        let properties = provenance
            .properties
            .iter()
            .filter(|(name, _)| wanted.contains(name));
        let words: Vec<String> = properties
            .map(|(name, values)| {
                let values: Vec<&str> = values.keys().map(String::as_str).collect();
                format!("{name} {}", values.join(" and "))
            })
            .collect();
        match words.is_empty() {
            true => "nothing has run".to_string(),
            false => words.join(", "),
        }
    };
    let citation = &suite.citation;
    let theirs = |said: &Option<String>| {
        said.clone()
            .unwrap_or_else(|| "the suite does not say".into())
    };
    vec![
        [
            "code".into(),
            theirs(&citation.code),
            ours(&["revision", "build"]),
        ],
        [
            "hardware".into(),
            theirs(&citation.hardware),
            ours(&["device", "threads", "processes", "instruction set"]),
        ],
        [
            "software".into(),
            theirs(&citation.software),
            ours(&["harness", "libtorch", "MKL_CBWR"]),
        ],
    ]
}

/// Every portion that a task reads, once a task.
fn splits(suite: &Suite, plan: &Plan, records: &BTreeMap<RunId, RunRecord>) -> Vec<[String; 5]> {
    let mut found = Vec::new();
    for (name, task) in &suite.tasks {
        let of_task: Vec<&RunRecord> = plan
            .runs
            .iter()
            .filter(|run| run.task == *name)
            .filter_map(|run| records.get(&run.id))
            .collect();
        for (portion, purpose) in portions(suite, name, task) {
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
                purpose.into(),
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

fn portions(suite: &Suite, name: &str, task: &Task) -> Vec<(String, &'static str)> {
    let mut found = vec![(task.train.join("+"), "training")];
    found.extend(task.select.clone().map(|portion| (portion, "selection")));
    for column in suite.tables.iter().flat_map(|table| &table.columns) {
        if let Column::Measured(measured) = column
            && measured.task == name
            && measured.on != TRAINING
            && !found.iter().any(|(portion, _)| *portion == measured.on)
        {
            found.push((measured.on.clone(), "measurement"));
        }
    }
    found
}

/// What the suite has without its file saying so.
fn defaults(suite: &Suite) -> Vec<[String; 4]> {
    let json = |value: serde_json::Result<Value>| value.expect("a suite is plain data");
    let sections = [
        ("models", json(serde_json::to_value(&suite.models))),
        ("metrics", json(serde_json::to_value(&suite.metrics))),
        ("training", json(serde_json::to_value(&suite.training))),
        ("tasks", json(serde_json::to_value(&suite.tasks))),
        ("methods", json(serde_json::to_value(&suite.methods))),
    ];
    let written: BTreeSet<(&str, &str, &str)> = suite
        .settings
        .iter()
        .map(|setting| {
            (
                setting.section,
                setting.entry.as_str(),
                setting.key.as_str(),
            )
        })
        .collect();
    let mut found = Vec::new();
    for (section, entries) in &sections {
        for (entry, value) in entries.as_object().into_iter().flatten() {
            let mut leaves = Vec::new();
            flatten("", value, &mut leaves);
            let unwritten = leaves
                .into_iter()
                .filter(|(key, _)| !written.contains(&(*section, entry.as_str(), key.as_str())));
            found.extend(
                unwritten.map(|(key, value)| [section.to_string(), entry.clone(), key, value]),
            );
        }
    }
    found
}

/// The values in a tree by their keys, `base.lr`; one that is absent has none.
fn flatten(key: &str, value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(children) => {
            let dot = if key.is_empty() { "" } else { "." };
            for (child, value) in children {
                flatten(&format!("{key}{dot}{child}"), value, found);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (i, item) in items.iter().enumerate() {
                flatten(&format!("{key}[{i}]"), item, found);
            }
        }
        Value::String(word) => found.push((key.into(), word.clone())),
        other => found.push((key.into(), other.to_string())),
    }
}

/// Every setting as a line of words: entry, key, value, kind of source, and the source.
fn rows(card: &Card) -> Vec<[String; 5]> {
    let said = card.settings.iter().map(|setting| {
        let (kind, words) = match &setting.source {
            Source::Stated(words) => ("stated", words),
            Source::Chosen(words) => ("chosen", words),
            Source::Unsaid(words) => ("without a word", words),
        };
        [
            format!("{} {}", setting.section, setting.entry),
            setting.key.clone(),
            setting.value.clone(),
            kind.into(),
            words.clone(),
        ]
    });
    let defaults = card.defaults.iter().map(|[section, entry, key, value]| {
        [
            format!("{section} {entry}"),
            key.clone(),
            value.clone(),
            "default".into(),
            String::new(),
        ]
    });
    said.chain(defaults).collect()
}

const FACT_HEADS: [&str; 3] = ["", "the paper's", "ours"];
const SPLIT_HEADS: [&str; 5] = ["task", "portion", "for", "the paper's size", "counted"];
const METHOD_HEADS: [&str; 7] = [
    "method",
    "trust region",
    "held small",
    "passes, forward and backward",
    "the paper's",
    "published",
    "implemented in",
];
const SETTING_HEADS: [&str; 5] = ["of", "setting", "value", "source", "in the suite's words"];

fn method_rows(card: &Card) -> Vec<[String; 7]> {
    let row = |facts: &MethodFacts| {
        let printed = facts
            .printed
            .map(|[forward, backward]| format!("{forward} and {backward}"));
        [
            facts.name.clone(),
            facts.domain.into(),
            facts.distance.into(),
            format!("{} and {}", facts.forward, facts.backward),
            printed.unwrap_or_else(|| "–".into()),
            facts.origin.into(),
            format!("harness/optim/src/{}", facts.file),
        ]
    };
    card.methods.iter().map(row).collect()
}

/// The tables of the card: title, heads and rows.
fn tables(report: &Report) -> Vec<(&'static str, Vec<&'static str>, Vec<Vec<String>>)> {
    fn words<const N: usize>(rows: Vec<[String; N]>) -> Vec<Vec<String>> {
        rows.into_iter().map(Vec::from).collect()
    }
    let card = &report.card;
    // Of the paper alone there is nothing of ours, which stands last.
    let shown = |mut heads: Vec<&'static str>, mut rows: Vec<Vec<String>>| {
        if report.sides == Sides::Paper {
            heads.pop();
            rows.iter_mut().for_each(|row| drop(row.pop()));
        }
        (heads, rows)
    };
    let facts = shown(FACT_HEADS.into(), words(card.facts.clone()));
    let splits = shown(SPLIT_HEADS.into(), words(card.splits.clone()));
    vec![
        ("Code, hardware, software", facts.0, facts.1),
        (
            "Methods, from the code",
            METHOD_HEADS.into(),
            words(method_rows(card)),
        ),
        ("Data", splits.0, splits.1),
        ("Settings", SETTING_HEADS.into(), words(rows(card))),
    ]
}

/// The card as a file of its own.
pub fn markdown(report: &Report) -> String {
    let mut out = format!(
        "# Reproducibility card: {}\n\nThe paper: {}.\n\n{}.\n",
        markdown::escape(&report.title),
        markdown::escape(&report.citation),
        report.card.counts()
    );
    for (title, heads, rows) in tables(report) {
        let _ = writeln!(out, "\n## {title}\n\n| {} |", heads.join(" | "));
        let _ = writeln!(out, "|{}", "---|".repeat(heads.len()));
        for row in rows {
            let cells: Vec<String> = row.iter().map(|cell| markdown::escape(cell)).collect();
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
    }
    out
}

/// The card as a section of the page.
pub(super) fn html(out: &mut String, report: &Report) {
    let _ = writeln!(
        out,
        "<h2>Reproducibility card</h2>\n<p>{}.</p>",
        report.card.counts()
    );
    for (title, heads, rows) in tables(report) {
        let _ = write!(
            out,
            "<details><summary>{title}</summary>\n<div class=\"wide\"><table class=\"long\">\n<thead><tr>"
        );
        for head in heads {
            let _ = write!(out, "<th scope=\"col\">{}</th>", html::escape(head));
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for row in rows {
            out.push_str("<tr>");
            for cell in row {
                let _ = write!(out, "<td>{}</td>", html::escape(&cell));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table></div></details>\n");
    }
}
