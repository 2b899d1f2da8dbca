//! Tables of correlations over methods, and what their numbers rest on.

use std::collections::{BTreeMap, BTreeSet};

use super::provenance::{Origin, Origins};
use super::table::Seed;
use crate::judge::{Absent, Cell, Cells, DerivedValue, Rule, derived_value};
use crate::plan::RunId;
use crate::suite::{Column, DerivedRow, DerivedTable, Suite};

/// A table of correlations over methods.
#[derive(Clone, Debug)]
pub struct Derived {
    /// Short name.
    pub id: String,
    /// Caption.
    pub title: String,
    /// Where the reported numbers stand.
    pub place: String,
    /// The table it is computed from and the column everything is correlated with.
    pub from: String,
    /// The rows.
    pub rows: Vec<DerivedLine>,
}

/// A row of a derived table.
#[derive(Clone, Debug)]
pub struct DerivedLine {
    /// First column.
    pub title: String,
    /// Its numbers.
    pub value: DerivedValue,
    /// The methods with a number of ours, and the seeds behind it.
    pub methods: Vec<(String, Vec<Seed>)>,
    /// The planned seeds without one, by method.
    pub absent: Vec<(String, Absent)>,
    /// The runs of all these methods; none without a correlation of ours.
    pub runs: BTreeSet<RunId>,
    /// Where they ran.
    pub origin: Origin,
}

impl Derived {
    /// Computes a derived table on both sides.
    pub fn of(
        suite: &Suite,
        table: &DerivedTable,
        cells: &Cells,
        rule: &Rule,
        origins: &Origins<'_>,
    ) -> Derived {
        let line = |row: &DerivedRow| {
            let (methods, absent) = sources(suite, table, row, cells);
            let value = derived_value(suite, cells, table, row, rule);
            let seeds = methods.iter().flat_map(|(_, seeds)| seeds);
            let runs = match value.ours {
                Some(_) => seeds.flat_map(|seed| seed.runs.clone()).collect(),
                None => BTreeSet::new(),
            };
            DerivedLine {
                title: row.title.clone(),
                value,
                origin: origins.of(&runs),
                methods,
                absent,
                runs,
            }
        };
        Derived {
            id: table.id.clone(),
            title: table.title.clone(),
            place: table.place.clone(),
            from: format!(
                "Pearson's correlation over the methods of {} with {}",
                table.from, table.correlation_with
            ),
            rows: table.rows.iter().map(line).collect(),
        }
    }

    /// Where each number of ours comes from.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.rows.iter().map(|row| &row.origin)
    }
}

/// The methods that a row is over with their seeds, and the seeds that any method lacks.
fn sources(
    suite: &Suite,
    table: &DerivedTable,
    row: &DerivedRow,
    cells: &Cells,
) -> (Vec<(String, Vec<Seed>)>, Vec<(String, Absent)>) {
    let (mut methods, mut absent) = (Vec::new(), Vec::new());
    let Some(from) = suite.table(&table.from) else {
        return (methods, absent);
    };
    let wanted = |column: &Column| {
        column.id() == table.correlation_with || row.columns.iter().any(|id| id == column.id())
    };
    let columns = from.columns.iter().enumerate();
    let columns: Vec<usize> = columns
        .filter(|(_, column)| wanted(column))
        .map(|(c, _)| c)
        .collect();
    for (r, line) in from.rows.iter().enumerate() {
        if table.without.contains(&line.method) {
            continue;
        }
        let cells = columns.iter().filter_map(|&c| cells.at(&from.id, r, c));
        let cells: Vec<&Cell> = cells.collect();
        if cells.iter().all(|cell| cell.estimate.is_some()) {
            methods.push((line.method.clone(), together(&cells)));
        }
        let mut known: BTreeSet<&RunId> = BTreeSet::new();
        for lost in cells.iter().flat_map(|cell| &cell.without) {
            if known.insert(&lost.run) {
                absent.push((line.method.clone(), lost.clone()));
            }
        }
    }
    (methods, absent)
}

/// The seeds of several cells, each once.
fn together(cells: &[&Cell]) -> Vec<Seed> {
    let mut runs: BTreeMap<u64, BTreeSet<RunId>> = BTreeMap::new();
    for seed in cells.iter().flat_map(|cell| Seed::of(cell)) {
        runs.entry(seed.seed).or_default().extend(seed.runs);
    }
    runs.into_iter()
        .map(|(seed, runs)| Seed {
            seed,
            value: None,
            runs,
        })
        .collect()
}
