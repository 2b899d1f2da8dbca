//! `--only`: which runs of a plan.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::BadInput;
use crate::plan::{Plan, PlannedRun, RunId, with_starts};

/// One condition, `method=SAM,ASAM`.
#[derive(Clone, Debug)]
pub struct Only {
    key: Key,
    /// Values with commas between them, and perhaps within.
    values: String,
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
            values: values.to_string(),
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

    /// The values that it names. A name may hold commas, so the longest piece that is `known` is one value.
    ///
    /// # Errors
    /// The first piece that is not known.
    fn named(&self, known: &BTreeSet<String>) -> Result<BTreeSet<String>, String> {
        let pieces: Vec<&str> = self.values.split(',').collect();
        let mut named = BTreeSet::new();
        let mut at = 0;
        while at < pieces.len() {
            let ends = (at + 1..=pieces.len()).rev();
            let mut values = ends.map(|end| (end, pieces[at..end].join(",")));
            let (end, value) = values
                .find(|(_, value)| known.contains(value))
                .ok_or_else(|| pieces[at].to_string())?;
            named.insert(value);
            at = end;
        }
        Ok(named)
    }
}

/// The runs of `plan` for which every condition holds, and the runs they start from.
///
/// # Errors
/// [`BadInput`] for a value that no run of the plan has.
pub fn select(plan: Plan, only: &[Only]) -> Result<Plan, BadInput> {
    let mut conditions = Vec::new();
    for condition in only {
        let known: BTreeSet<_> = plan.runs.iter().flat_map(|run| condition.of(run)).collect();
        let named = condition.named(&known).map_err(|unknown| {
            let key = format!("{:?}", condition.key).to_lowercase();
            let known: Vec<_> = known.into_iter().collect();
            let known = known.join(", ");
            BadInput(format!("no run has {key} `{unknown}`; there is {known}"))
        })?;
        conditions.push((condition, named));
    }
    let holds = |run: &PlannedRun| {
        let mut each = conditions.iter();
        each.all(|(condition, named)| condition.of(run).iter().any(|value| named.contains(value)))
    };
    let chosen = plan.runs.iter().filter(|run| holds(run));
    let wanted = with_starts(chosen.map(|run| &run.id), &plan.starts());
    let wanted: BTreeSet<RunId> = wanted.into_iter().cloned().collect();
    Ok(Plan {
        runs: plan
            .runs
            .into_iter()
            .filter(|run| wanted.contains(&run.id))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_commas_is_one_value_where_a_run_has_it() {
        let known = BTreeSet::from(["SAM", "ASAM", "a, b", "a", "x,y,z"].map(String::from));
        let named = |text: &str| {
            let only: Only = text.parse().expect("a condition");
            let named = only.named(&known)?;
            Ok::<_, String>(named.into_iter().collect::<Vec<_>>().join("|"))
        };
        assert_eq!(named("method=SAM,ASAM").as_deref(), Ok("ASAM|SAM"));
        assert_eq!(named("method=a, b").as_deref(), Ok("a, b"));
        assert_eq!(named("method=a").as_deref(), Ok("a"));
        assert_eq!(
            named("method=SAM,x,y,z,a, b").as_deref(),
            Ok("SAM|a, b|x,y,z")
        );
        assert_eq!(named("method=SAM,x,y"), Err("x".into()));
    }
}
