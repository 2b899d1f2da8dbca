//! `harness data`: how large the portions are that suites read, counted.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{Exit, fetch, print_json};
use crate::count::{Count, CountRequest, TextToCount, ToCount};
use crate::hub::Reach;
use crate::plan::{DataSpec, Plan, expand};
use crate::schedule::{Control, worker_path};
use crate::suite::{Input, Suite, TRAINING};

/// A portion with the tasks that read it, as rows are printed.
struct Asked {
    task: String,
    portion: ToCount,
}

pub fn data(suites: &[Suite], cache: &Path, reach: Reach, json: bool) -> Result<Exit> {
    let plan = expand(suites);
    let mut folders = super::run::locate(suites)?;
    let control = Control::of_signals()?;
    let runs: Vec<_> = plan.runs.iter().collect();
    match fetch::provide(suites, &runs, reach, &control)? {
        Some(fetched) => folders.extend(fetched),
        None => return Ok(Exit::Interrupted),
    }
    let asked = asked(&plan, &folders)?;
    let request = CountRequest {
        portions: asked.iter().map(|asked| asked.portion.clone()).collect(),
        cache: std::path::absolute(cache)?,
    };
    let counts = count(&request)?;
    if json {
        let row = |(asked, count): (&Asked, &Count)| {
            json!({
                "task": asked.task,
                "portion": asked.portion.portion,
                "examples": count.examples,
                "tokens": count.tokens,
            })
        };
        print_json(&asked.iter().zip(&counts).map(row).collect::<Vec<_>>())?;
    } else {
        print!("{}", table(&asked, &counts));
    }
    Ok(Exit::Success)
}

/// Every portion that runs read, once, in the order of the plan.
fn asked(plan: &Plan, folders: &BTreeMap<String, PathBuf>) -> Result<Vec<Asked>> {
    let mut asked: Vec<Asked> = Vec::new();
    for run in &plan.runs {
        let spec = &run.spec;
        let folder = place(folders, &spec.data)?;
        let text = match &spec.input {
            Input::TextBlocks(input) => Some(TextToCount {
                column: input.text.clone(),
                tokenizer: place(
                    folders,
                    &spec
                        .tokenizer_source()
                        .context("neither the model nor the task names a tokenizer")?,
                )?,
            }),
            _ => None,
        };
        let measured = run.measurements.iter().map(|wanted| &wanted.on);
        let portions = spec.train.iter().chain(&spec.select).chain(measured);
        for portion in portions.filter(|portion| *portion != TRAINING) {
            let portion = ToCount {
                folder: folder.clone(),
                portion: portion.clone(),
                text: text.clone(),
            };
            if !asked.iter().any(|known| known.portion == portion) {
                asked.push(Asked {
                    task: run.task.clone(),
                    portion,
                });
            }
        }
    }
    Ok(asked)
}

fn place(folders: &BTreeMap<String, PathBuf>, data: &DataSpec) -> Result<PathBuf> {
    let key = data.key();
    let found = folders.get(&key).cloned();
    found.with_context(|| format!("{key} is not on this machine"))
}

/// Only the worker reads data, so it is what counts them.
fn count(request: &CountRequest) -> Result<Vec<Count>> {
    let mut worker = Command::new(worker_path()?)
        .arg("count")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = worker.stdin.take().expect("it was asked for");
    input.write_all(&serde_json::to_vec(request)?)?;
    drop(input);
    let output = worker.wait_with_output()?;
    ensure!(output.status.success(), "the data could not be counted");
    serde_json::from_slice(&output.stdout).context("what the worker counted")
}

fn table(asked: &[Asked], counts: &[Count]) -> String {
    let width = |text: fn(&Asked) -> &str, least: usize| {
        asked
            .iter()
            .map(|asked| text(asked).len())
            .max()
            .unwrap_or(0)
            .max(least)
    };
    let task = width(|asked| &asked.task, 4);
    let portion = width(|asked| &asked.portion.portion, 7);
    let mut text = format!(
        "{:<task$}  {:<portion$}  {:>10}  {:>13}\n",
        "task", "portion", "examples", "tokens"
    );
    for (asked, count) in asked.iter().zip(counts) {
        let tokens = count
            .tokens
            .map_or(String::new(), |tokens| tokens.to_string());
        let (of, name) = (&asked.task, &asked.portion.portion);
        text += format!(
            "{of:<task$}  {name:<portion$}  {:>10}  {tokens:>13}",
            count.examples
        )
        .trim_end();
        text.push('\n');
    }
    text
}
