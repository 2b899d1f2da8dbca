//! The cells of our side: what every planned seed of every cell came to, and the estimate over them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::event::{Outcome, RunRecord};
use crate::plan::{ModelSpec, RunId, RunSpec, run_spec};
use crate::stats::{Estimate, pearson, standard_deviation};
use crate::suite::{
    Column, CorrelationColumn, Direction, MethodEntry, Statistic, Suite, SuiteTable,
};

/// One method in one column over its seeds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// The value of each seed that has one.
    pub samples: Vec<Sample>,
    /// How many seeds were planned; 1 for a model evaluated as it is.
    pub planned: usize,
    /// The seeds without a value, and why.
    pub without: Vec<Absent>,
    /// Over the samples; for a deviation or a correlation over seeds its value, without a spread.
    pub estimate: Option<Estimate>,
    /// What the estimate's mean is.
    pub kind: Kind,
    /// Standard deviation over the columns a derived column averages, of their means over seeds.
    pub over_columns: Option<f64>,
    /// Whether nothing in it depends on a seed, so that one value is all there is.
    pub seedless: bool,
    /// Of a correlation, which no seed has a value of: the seeds that it is over, with their runs.
    pub over: BTreeMap<u64, BTreeSet<RunId>>,
}

/// What a number is over seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Their mean.
    #[default]
    Mean,
    /// Their standard deviation.
    Deviation,
    /// Pearson's correlation over them.
    Correlation,
}

/// A seed's value with the runs it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The seed.
    pub seed: u64,
    /// The value in the metric's unit; finite.
    pub value: f64,
    /// The runs it is made of.
    pub runs: BTreeSet<RunId>,
}

/// A seed without a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Absent {
    /// The seed.
    pub seed: u64,
    /// The run that would have given it.
    pub run: RunId,
    /// How that run ended; none when it has not run.
    pub outcome: Option<Outcome>,
}

impl Absent {
    /// Why it has no value: `diverged at step 40`, `not run`.
    pub fn ending(&self) -> String {
        match &self.outcome {
            None => "not run".to_string(),
            Some(Outcome::Completed) => "completed without this measurement".to_string(),
            Some(outcome) => outcome.to_string(),
        }
    }
}

impl Cell {
    /// Seeds whose run diverged.
    pub fn diverged(&self) -> usize {
        self.without
            .iter()
            .filter(|absent| matches!(absent.outcome, Some(Outcome::Diverged { .. })))
            .count()
    }

    /// Seeds with a value or, for a correlation, with all the values it is over.
    pub fn with_value(&self) -> usize {
        let without: BTreeSet<u64> = self.without.iter().map(|absent| absent.seed).collect();
        self.planned.saturating_sub(without.len())
    }

    /// The seeds without a value in words, the same ending counted once: `1 diverged at step 40, 2 not run`.
    pub fn missing(&self) -> Option<String> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for absent in &self.without {
            *counts.entry(absent.ending()).or_default() += 1;
        }
        let words: Vec<String> = counts
            .into_iter()
            .map(|(ending, count)| format!("{count} {ending}"))
            .collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// The value of `seed`.
    pub fn value(&self, seed: u64) -> Option<f64> {
        self.samples
            .iter()
            .find(|sample| sample.seed == seed)
            .map(|sample| sample.value)
    }

    /// The same cell with the deviation over seeds in place of their mean.
    fn deviation(mut self) -> Cell {
        self.kind = Kind::Deviation;
        self.estimate = self.estimate.and_then(|estimate| {
            Some(Estimate {
                mean: estimate.sd?,
                sd: None,
                n: estimate.n,
            })
        });
        self
    }

    fn with_estimate(mut self) -> Cell {
        let values: Vec<f64> = self.samples.iter().map(|sample| sample.value).collect();
        self.estimate = Estimate::of(&values);
        self
    }
}

/// Every cell of a suite's tables, by table, row and column.
#[derive(Clone, Debug, Default)]
pub struct Cells {
    tables: HashMap<String, Vec<Vec<Cell>>>,
}

impl Cells {
    /// Reads the records of the runs that the suite's cells need.
    pub fn collect(suite: &Suite, records: &BTreeMap<RunId, RunRecord>) -> Cells {
        let mut runs = Runs {
            suite,
            records,
            known: HashMap::new(),
        };
        let mut tables = HashMap::new();
        for table in &suite.tables {
            let rows = table
                .rows
                .iter()
                .map(|row| row_cells(&mut runs, table, &row.method))
                .collect();
            tables.insert(table.id.clone(), rows);
        }
        Cells { tables }
    }

    /// The cell of a row and a column of `table`, by position.
    pub fn at(&self, table: &str, row: usize, column: usize) -> Option<&Cell> {
        self.tables.get(table)?.get(row)?.get(column)
    }
}

/// Run identities cost a hash, and one run feeds many cells.
struct Runs<'a> {
    suite: &'a Suite,
    records: &'a BTreeMap<RunId, RunRecord>,
    known: HashMap<(&'a str, &'a str, u64), (RunId, bool)>,
}

impl<'a> Runs<'a> {
    /// The run of a task, a method and a seed, and whether it depends on the seed.
    fn find(&mut self, task: &'a str, method: &'a str, seed: u64) -> (RunId, bool) {
        let suite = self.suite;
        self.known
            .entry((task, method, seed))
            .or_insert_with(|| {
                let spec = run_spec(suite, task, method, seed);
                (spec.id(), depends_on_seed(&spec))
            })
            .clone()
    }
}

/// A model evaluated as it is depends on a seed only where its weights do.
fn depends_on_seed(spec: &RunSpec) -> bool {
    match (&spec.method, &spec.model) {
        (MethodEntry::Trained(_), _) => true,
        (_, ModelSpec::Stage(_) | ModelSpec::Config(_)) => true,
        (_, ModelSpec::Hub(_) | ModelSpec::Folder { .. }) => false,
    }
}

fn row_cells<'a>(runs: &mut Runs<'a>, table: &'a SuiteTable, method: &'a str) -> Vec<Cell> {
    let mut done: HashMap<&str, Cell> = HashMap::new();
    for column in &table.columns {
        // A suite that was read has every derived column after those it rests on.
        let cell = match column {
            Column::Measured(measured) => {
                let metric = runs.suite.metric_of(measured).measure.key();
                measured_cell(runs, table, method, &measured.task, &measured.on, &metric)
            }
            derived => derived_cell(derived, &done).unwrap_or_default(),
        };
        done.insert(column.id(), cell);
    }
    let take = |column: &Column| done.remove(column.id()).unwrap_or_default();
    let cells = table.columns.iter().map(take);
    match table.statistic {
        Statistic::Mean => cells.collect(),
        Statistic::Sd => cells.map(Cell::deviation).collect(),
    }
}

fn measured_cell<'a>(
    runs: &mut Runs<'a>,
    table: &'a SuiteTable,
    method: &'a str,
    task: &'a str,
    on: &str,
    metric: &str,
) -> Cell {
    let mut cell = Cell {
        seedless: true,
        ..Cell::default()
    };
    let mut seen = BTreeSet::new();
    for &seed in &table.seeds {
        let (run, seeded) = runs.find(task, method, seed);
        cell.seedless &= !seeded;
        if !seen.insert(run.clone()) {
            continue;
        }
        cell.planned += 1;
        let record = runs.records.get(&run);
        let completed = record.filter(|record| record.outcome == Outcome::Completed);
        match completed
            .and_then(|record| record.value(on, metric))
            .filter(|value| value.is_finite())
        {
            Some(value) => cell.samples.push(Sample {
                seed,
                value,
                runs: BTreeSet::from([run]),
            }),
            None => cell.without.push(Absent {
                seed,
                run,
                outcome: record.map(|record| record.outcome.clone()),
            }),
        }
    }
    cell.with_estimate()
}

/// None when a column it rests on is not there.
fn derived_cell(column: &Column, done: &HashMap<&str, Cell>) -> Option<Cell> {
    let find = |ids: &[String]| {
        ids.iter()
            .map(|id| done.get(id.as_str()))
            .collect::<Option<Vec<&Cell>>>()
    };
    match column {
        Column::Measured(_) => None,
        Column::Mean(mean) => {
            let sources = find(&mean.mean)?;
            let mut cell = per_seed(&sources, |values| {
                Some(values.iter().sum::<f64>() / values.len() as f64)
            });
            let means: Option<Vec<f64>> = sources
                .iter()
                .map(|source| Some(source.estimate?.mean))
                .collect();
            cell.over_columns = means.and_then(|means| standard_deviation(&means));
            Some(cell)
        }
        Column::Sd(sd) => Some(per_seed(&find(&sd.sd)?, standard_deviation)),
        Column::Correlation(correlation) => correlation_cell(correlation, done),
    }
}

/// One value per seed that every source has, so that the spread is over seeds and not over columns.
fn per_seed(sources: &[&Cell], derive: impl Fn(&[f64]) -> Option<f64>) -> Cell {
    let mut cell = shared(sources);
    for sample in &sources[0].samples {
        let values: Option<Vec<f64>> = sources
            .iter()
            .map(|source| source.value(sample.seed))
            .collect();
        if let Some(value) = values.and_then(|values| derive(&values)) {
            cell.samples.push(Sample {
                seed: sample.seed,
                value,
                runs: runs_of(sources, sample.seed),
            });
        }
    }
    cell.with_estimate()
}

/// Correlations over seeds, averaged over the columns on the other side.
fn correlation_cell(column: &CorrelationColumn, done: &HashMap<&str, Cell>) -> Option<Cell> {
    let of = done.get(column.correlation.of.as_str())?;
    let with: Vec<&Cell> = column
        .correlation
        .with
        .iter()
        .map(|id| done.get(id.as_str()))
        .collect::<Option<_>>()?;
    let mut sources = vec![of];
    sources.extend(&with);
    let mut cell = shared(&sources);
    cell.kind = Kind::Correlation;
    let complete = |seed: u64| sources.iter().all(|source| source.value(seed).is_some());
    let seeds: Vec<u64> = of
        .samples
        .iter()
        .map(|sample| sample.seed)
        .filter(|seed| complete(*seed))
        .collect();
    let values = |cell: &Cell| {
        seeds
            .iter()
            .filter_map(|seed| cell.value(*seed))
            .collect::<Vec<f64>>()
    };
    // Two seeds correlate perfectly whatever they are.
    let correlations: Option<Vec<f64>> = match seeds.len() {
        0..=2 => None,
        _ => with
            .iter()
            .map(|other| Some(pearson(&values(of), &values(other))?.r))
            .collect(),
    };
    cell.over = seeds
        .iter()
        .map(|&seed| (seed, runs_of(&sources, seed)))
        .collect();
    if let Some(correlations) = correlations {
        let mean = correlations.iter().sum::<f64>() / correlations.len() as f64;
        cell.estimate = Some(Estimate {
            mean,
            sd: None,
            n: seeds.len(),
        });
        cell.over_columns = standard_deviation(&correlations);
    }
    Some(cell)
}

/// What a derived cell has in common with its sources: the plan, and every seed that one of them lacks.
fn shared(sources: &[&Cell]) -> Cell {
    let mut without: BTreeMap<(u64, RunId), Absent> = BTreeMap::new();
    for absent in sources.iter().flat_map(|source| &source.without) {
        without
            .entry((absent.seed, absent.run.clone()))
            .or_insert_with(|| absent.clone());
    }
    Cell {
        planned: sources
            .iter()
            .map(|source| source.planned)
            .max()
            .unwrap_or(0),
        without: without.into_values().collect(),
        seedless: sources.iter().all(|source| source.seedless),
        ..Cell::default()
    }
}

fn runs_of(sources: &[&Cell], seed: u64) -> BTreeSet<RunId> {
    let samples = sources
        .iter()
        .flat_map(|source| &source.samples)
        .filter(|sample| sample.seed == seed);
    samples
        .flat_map(|sample| sample.runs.iter().cloned())
        .collect()
}

/// Which way is better in a column of `table`: the metric's; that of the columns it averages; higher for a
/// correlation; neither for a standard deviation.
pub fn direction(suite: &Suite, table: &SuiteTable, column: &Column) -> Option<Direction> {
    if table.statistic == Statistic::Sd {
        return None;
    }
    match column {
        Column::Measured(measured) => Some(suite.metric_of(measured).better),
        Column::Mean(mean) => {
            let source = table
                .columns
                .iter()
                .find(|other| mean.mean.iter().any(|id| id == other.id()))?;
            // A column that averages itself has no direction; the reader of suites refuses it anyway.
            (source.id() != mean.id).then(|| direction(suite, table, source))?
        }
        Column::Correlation(_) => Some(Direction::Higher),
        Column::Sd(_) => None,
    }
}
