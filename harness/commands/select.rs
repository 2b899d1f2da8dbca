//! `--only`: which runs of a plan.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::BadInput;
use crate::plan::{Plan, PlannedRun, RunId};

/// One condition, `method=SAM,ASAM`.
#[derive(Clone, Debug)]
pub struct Only {
    key: Key,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Method,
    Task,
    Seed,
    Table,
    Run,
}

impl FromStr for Only {
    type Err = String;

    fn from_str(text: &str) -> Result<Only, String> {
        let (key, values) = text
            .split_once('=')
            .ok_or("write KEY=VALUE, such as method=SAM")?;
        let key = match key {
            "method" => Key::Method,
            "task" => Key::Task,
            "seed" => Key::Seed,
            "table" => Key::Table,
            "run" => Key::Run,
            _ => {
                return Err(format!(
                    "there is no `{key}`; it is one of method, task, seed, table, run"
                ));
            }
        };
        Ok(Only {
            key,
            values: values.split(',').map(str::to_string).collect(),
        })
    }
}

impl Only {
    fn of(&self, run: &PlannedRun) -> Vec<String> {
        match self.key {
            Key::Method => run
                .cells
                .iter()
                .map(|cell| cell.method.clone())
                .chain([run.method.clone()])
                .collect(),
            Key::Task => vec![run.task.clone()],
            Key::Seed => vec![run.spec.seed.to_string()],
            Key::Table => run.cells.iter().map(|cell| cell.table.clone()).collect(),
            Key::Run => vec![run.id.0.clone()],
        }
    }

    fn holds(&self, run: &PlannedRun) -> bool {
        self.of(run).iter().any(|value| self.values.contains(value))
    }
}

/// The runs of `plan` for which every condition holds, and the runs they start from.
///
/// # Errors
/// [`BadInput`] for a value that no run of the plan has.
pub fn select(plan: Plan, only: &[Only]) -> Result<Plan, BadInput> {
    for condition in only {
        let known: BTreeSet<_> = plan.runs.iter().flat_map(|run| condition.of(run)).collect();
        if let Some(unknown) = condition
            .values
            .iter()
            .find(|value| !known.contains(*value))
        {
            let key = format!("{:?}", condition.key).to_lowercase();
            let known: Vec<_> = known.into_iter().collect();
            return Err(BadInput(format!(
                "no run has {key} `{unknown}`; there is {}",
                known.join(", ")
            )));
        }
    }
    let mut wanted: BTreeSet<RunId> = BTreeSet::new();
    // A run stands after the run it needs, so going backwards meets every needed run after its users.
    for run in plan.runs.iter().rev() {
        if wanted.contains(&run.id) || only.iter().all(|condition| condition.holds(run)) {
            wanted.insert(run.id.clone());
            wanted.extend(run.needs.clone());
        }
    }
    Ok(Plan {
        runs: plan
            .runs
            .into_iter()
            .filter(|run| wanted.contains(&run.id))
            .collect(),
    })
}
