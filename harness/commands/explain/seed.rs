//! The values of single runs behind a number.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::event::{Outcome, RunRecord};
use crate::plan::{RunId, run_spec};
use crate::suite::{MeasuredColumn, Suite, SuiteTable};

/// A value behind a cell, and the run that it comes from.
pub struct SeedRun {
    pub method: String,
    pub seed: u64,
    pub run: RunId,
    on: String,
    metric: String,
    /// Step and value, if the run has one.
    value: Option<(u64, f64)>,
    /// What became of the run, where it has none.
    instead: String,
}

/// What a method's cells rest on, each value once: a model evaluated as it is has the same run for every seed.
pub fn behind(
    suite: &Suite,
    table: &SuiteTable,
    method: &str,
    columns: &[&MeasuredColumn],
) -> Vec<SeedRun> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for &seed in &table.seeds {
        let mut ids: BTreeMap<&str, RunId> = BTreeMap::new();
        for column in columns {
            let id = ids
                .entry(&column.task)
                .or_insert_with(|| run_spec(suite, &column.task, method, seed).id());
            if seen.insert((id.clone(), &column.id)) {
                found.push(SeedRun {
                    method: method.into(),
                    seed,
                    run: id.clone(),
                    on: column.on.clone(),
                    metric: suite.metric_of(column).measure.key(),
                    value: None,
                    instead: String::new(),
                });
            }
        }
    }
    found
}

impl SeedRun {
    /// Takes its value from the record of its run.
    pub fn look(&mut self, records: &BTreeMap<RunId, RunRecord>) {
        let record = records.get(&self.run);
        let completed = record.filter(|record| record.outcome == Outcome::Completed);
        self.value = completed.and_then(|record| {
            let mut latest = record.observations.iter().rev();
            let seen = latest.find(|seen| seen.on == self.on && seen.metric == self.metric)?;
            Some((seen.step, seen.value))
        });
        let key = (self.on.clone(), self.metric.clone());
        self.instead = match record {
            None => "not run".into(),
            Some(record) if record.no_value.contains(&key) => "no finite value".into(),
            Some(record) if record.outcome == Outcome::Completed => "not measured".into(),
            Some(record) => record.outcome.to_string(),
        };
    }

    pub fn has_value(&self) -> bool {
        self.value.is_some()
    }

    /// `seed 0     run 76bee849e2bf1e39  accuracy on test: 94.1 at update 30`.
    pub fn text(&self) -> String {
        let value = match self.value {
            Some((step, value)) => format!("{value} at update {step}"),
            None => self.instead.clone(),
        };
        let (metric, on) = (&self.metric, &self.on);
        format!(
            "seed {:<5} run {}  {metric} on {on}: {value}",
            self.seed, self.run
        )
    }

    pub fn json(&self) -> serde_json::Value {
        json!({
            "method": self.method, "seed": self.seed, "run": self.run, "on": self.on, "metric": self.metric,
            "step": self.value.map(|value| value.0), "value": self.value.map(|value| value.1),
            "instead": self.value.is_none().then_some(&self.instead),
        })
    }
}
