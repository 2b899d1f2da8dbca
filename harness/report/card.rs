//! The reproducibility card: every setting beside where the paper states it, and what each method computes.

mod data;
mod defaults;
mod facts;

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Provenance, Report, Sides, html, markdown};
use crate::event::RunRecord;
use crate::plan::{Plan, RunId};
use crate::suite::{MethodEntry, Setting, Source, Statement, Suite};

/// What a reader needs to do a suite's experiments again.
#[derive(Clone, Debug)]
pub struct Card {
    /// Code, hardware and software: what, the paper's, and ours.
    pub facts: Vec<[String; 3]>,
    /// The trained methods in the order of the suite: Tables 1 and 2 of the paper, from the code.
    pub methods: Vec<MethodFacts>,
    /// Data sets, models and tokenizers: what for, where from, revision or hash, and the files that runs read.
    pub sources: Vec<[String; 4]>,
    /// The portions of the data: task, portion, what for, the paper's size, and the counted one.
    pub splits: Vec<[String; 5]>,
    /// The tables: what is measured, on how much, of which model, over which seeds of the paper, with which spread, and
    /// over which of ours.
    pub evaluation: Vec<[String; 7]>,
    /// The values that the suite's file sets, in its order.
    pub settings: Vec<Setting>,
    /// The knobs that it leaves at their default: section, entry, key, value, and what the language says of them.
    pub defaults: Vec<[String; 5]>,
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
    /// The passes that the paper prints, forward and backward, and where.
    pub printed: Option<(u64, u64, String)>,
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
        if let Some(printing) = &suite.citation.passes {
            for (method, [forward, backward]) in &printing.of {
                let passes = (
                    u64::from(*forward),
                    u64::from(*backward),
                    printing.place.clone(),
                );
                printed.insert(method.as_str(), passes);
            }
        }
        for claim in &suite.claims {
            passes(&claim.holds, &claim.place, &mut printed);
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
                printed: printed.get(name.as_str()).cloned(),
                file: method.file(),
                origin: method.origin(),
            })
        });
        Card {
            facts: facts::facts(suite, provenance),
            sources: data::sources(suite, plan, records),
            splits: data::splits(suite, plan, records),
            evaluation: data::evaluation(suite),
            methods: methods.collect(),
            settings: suite.settings.clone(),
            defaults: defaults::of(suite),
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
fn passes<'a>(
    statement: &'a Statement,
    place: &str,
    found: &mut BTreeMap<&'a str, (u64, u64, String)>,
) {
    match statement {
        Statement::Passes(claim) => {
            found.insert(&claim.method, (claim.forward, claim.backward, place.into()));
        }
        Statement::AllOf(parts) | Statement::AnyOf(parts) => {
            parts.iter().for_each(|part| passes(part, place, found));
        }
        _ => {}
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
    let defaults = card
        .defaults
        .iter()
        .map(|[section, entry, key, value, words]| {
            [
                format!("{section} {entry}"),
                key.clone(),
                value.clone(),
                "default".into(),
                words.clone(),
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
const SETTING_HEADS: [&str; 5] = [
    "of",
    "setting",
    "value",
    "source",
    "in the words of the suite, or of the default",
];
const SOURCE_HEADS: [&str; 4] = [
    "what",
    "from",
    "revision or hash",
    "files that runs read, by their hash",
];
const EVALUATION_HEADS: [&str; 7] = [
    "table",
    "measured",
    "on",
    "model",
    "the paper's seeds",
    "spread",
    "our seeds",
];

fn method_rows(card: &Card) -> Vec<[String; 7]> {
    let row = |facts: &MethodFacts| {
        let printed = facts
            .printed
            .as_ref()
            .map(|(forward, backward, place)| format!("{forward} and {backward} ({place})"));
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
    let sources = shown(SOURCE_HEADS.into(), words(card.sources.clone()));
    let splits = shown(SPLIT_HEADS.into(), words(card.splits.clone()));
    let evaluation = shown(EVALUATION_HEADS.into(), words(card.evaluation.clone()));
    vec![
        ("Code, hardware, software", facts.0, facts.1),
        (
            "Methods, from the code",
            METHOD_HEADS.into(),
            words(method_rows(card)),
        ),
        ("Data sets, models, tokenizers", sources.0, sources.1),
        ("Portions", splits.0, splits.1),
        ("Seeds and evaluation", evaluation.0, evaluation.1),
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
                let _ = write!(out, "<td>{}</td>", html::prose(&cell));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table></div></details>\n");
    }
}
