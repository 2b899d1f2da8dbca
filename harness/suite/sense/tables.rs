//! Tables that make sense, with their printed cells parsed.

use std::collections::HashMap;
use std::ops::Range;

use super::{Problem, Sense, counted, keys};
use crate::suite::*;

impl Sense<'_> {
    pub(super) fn table(&mut self, i: usize, table: &Table) -> SuiteTable {
        let file = self.file;
        let at = format!("/tables/{i}");
        self.ids(
            &format!("{at}/columns"),
            table.columns.iter().map(Column::id),
            "column",
        );
        for (j, column) in table.columns.iter().enumerate() {
            self.column(&format!("{at}/columns/{j}"), &table.columns[..j], column);
        }
        self.cuts(&at, table);
        if let Some(seeds) = &table.seeds {
            let seeds: Vec<_> = seeds.iter().map(u64::to_string).collect();
            self.distinct(&format!("{at}/seeds"), &seeds, "seed");
            if seeds.is_empty() {
                self.problem(&format!("{at}/seeds"), "a table needs at least one seed");
            }
        }
        for (column, methods) in &table.bold {
            let bold_at = format!("{at}/bold/{column}");
            self.columns_of(table, &bold_at, std::slice::from_ref(column), false);
            self.rows_of(table, &bold_at, methods, true);
        }
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let rows = table.rows.iter().enumerate().map(|(j, row)| {
            let row_at = format!("{at}/rows/{j}");
            self.refers(
                &format!("{row_at}/method"),
                "method",
                &row.method,
                keys(&file.methods),
            );
            if let Some(first) = seen.insert(&row.method, j) {
                let first = self.place(&format!("{at}/rows/{first}/method"));
                self.problem(
                    &format!("{row_at}/method"),
                    format!("two rows of `{}` are `{}`", table.id, row.method),
                )
                .also = Some((first, "the first".into()));
            }
            SuiteRow {
                method: row.method.clone(),
                title: row.title.clone().unwrap_or_else(|| row.method.clone()),
                group: row.group.clone(),
                reported: self.reported(&row_at, table, row),
            }
        });
        SuiteTable {
            rows: rows.collect(),
            id: table.id.clone(),
            title: table.title.clone(),
            place: table.place.clone(),
            statistic: table.statistic,
            spread: table.spread,
            repeats: table.repeats.clone(),
            reading_of: table.reading_of.clone(),
            seeds: table.seeds.clone().unwrap_or_else(|| file.seeds.clone()),
            columns: table.columns.clone(),
            bold: table.bold.clone(),
        }
    }

    /// Gives the cells of a table with `spread_from` the spreads that the paper prints elsewhere.
    pub(super) fn spreads(&mut self, tables: &mut [SuiteTable]) {
        let file = self.file;
        for (i, table) in file.tables.iter().enumerate() {
            self.reading(i, table);
            for (key, other) in [
                ("repeats", &table.repeats),
                ("spread_from", &table.spread_from),
            ] {
                let Some(other) = other else { continue };
                let at = format!("/tables/{i}/{key}");
                if *other == table.id {
                    self.problem(&at, "a table cannot be its own");
                    continue;
                }
                self.table_named(&at, other);
                let Some(other) = tables.iter().find(|table| table.id == *other).cloned() else {
                    continue;
                };
                let mut shared = 0;
                for row in &mut tables[i].rows {
                    let cells = row.reported.iter_mut().zip(&table.columns);
                    for (cell, column) in cells {
                        let found = other.reported(&row.method, column.id());
                        let (Some(cell), Some(found)) = (cell, found) else {
                            continue;
                        };
                        shared += 1;
                        if key == "spread_from" && cell.spread.is_none() {
                            (cell.spread, cell.kind) = match other.statistic {
                                Statistic::Sd => (Some(found.value), Spread::Sd),
                                Statistic::Mean => (found.spread, found.kind),
                            };
                            cell.spread_place = Some(other.place.clone());
                            cell.seeds = cell.seeds.or(found.seeds);
                        }
                    }
                }
                if shared == 0 {
                    let message = format!(
                        "tables `{}` and `{}` share no printed cell",
                        table.id, other.id
                    );
                    self.problem(&at, message).help =
                        Some("they share those of the same method and column".into());
                }
            }
        }
    }

    /// A method whose batch cannot be cut is on no task that cuts it.
    fn cuts(&mut self, at: &str, table: &Table) {
        let file = self.file;
        let tasks = table.columns.iter().filter_map(|column| match column {
            Column::Measured(measured) => file.tasks.get(&measured.task),
            _ => None,
        });
        let cut = tasks.into_iter().find_map(|task| {
            let training = file.training.get(&task.training)?;
            match (training.micro_batches > 1, task.devices > 1) {
                (true, _) => Some("micro_batches"),
                (_, true) => Some("devices"),
                _ => None,
            }
        });
        let Some(cut) = cut else { return };
        for (j, row) in table.rows.iter().enumerate() {
            if let Some(MethodEntry::Trained(method)) = file.methods.get(&row.method)
                && !method.can_be_cut()
            {
                let message = format!(
                    "the penalty of `{}` compares every pair of examples (`distance: mmd`), and `{cut}` cuts its batch",
                    row.method
                );
                self.problem(&format!("{at}/rows/{j}/method"), message);
            }
        }
    }

    /// A reading reads a table of the paper, not itself or another reading.
    fn reading(&mut self, i: usize, table: &Table) {
        let Some(other) = &table.reading_of else {
            return;
        };
        let at = format!("/tables/{i}/reading_of");
        let Some(read) = self.table_named(&at, other) else {
            return;
        };
        if read.reading_of.is_some() {
            let message = format!("`{other}` is a reading itself");
            self.problem(&at, message).help = Some("name the table of the paper".into());
        }
    }

    fn column(&mut self, at: &str, before: &[Column], column: &Column) {
        let file = self.file;
        let known: Vec<_> = before.iter().map(Column::id).collect();
        match column {
            Column::Measured(column) => {
                if self.refers(
                    &format!("{at}/task"),
                    "task",
                    &column.task,
                    keys(&file.tasks),
                ) {
                    let (path, metric) = match &column.metric {
                        Some(metric) => (format!("{at}/metric"), metric),
                        None => (format!("{at}/task"), &file.tasks[&column.task].metric),
                    };
                    if self.refers(&path, "metric", metric, keys(&file.metrics))
                        && column.metric.is_some()
                    {
                        self.fits(&path, &file.tasks[&column.task], metric);
                    }
                }
                self.portion(&format!("{at}/on"), &column.on);
                self.measurable(&format!("{at}/on"), column);
            }
            Column::Mean(column) => {
                for (k, id) in column.mean.iter().enumerate() {
                    self.refers(
                        &format!("{at}/mean/{k}"),
                        "column before this one called",
                        id,
                        known.iter().copied(),
                    );
                }
            }
            Column::Sd(column) => {
                for (k, id) in column.sd.iter().enumerate() {
                    self.refers(
                        &format!("{at}/sd/{k}"),
                        "column before this one called",
                        id,
                        known.iter().copied(),
                    );
                }
            }
            Column::Correlation(column) => {
                let at = format!("{at}/correlation");
                self.refers(
                    &format!("{at}/of"),
                    "column before this one called",
                    &column.correlation.of,
                    known.iter().copied(),
                );
                for (k, id) in column.correlation.with.iter().enumerate() {
                    self.refers(
                        &format!("{at}/with/{k}"),
                        "column before this one called",
                        id,
                        known.iter().copied(),
                    );
                }
            }
        }
    }

    /// A row's printed entries, one a column.
    fn reported(&mut self, at: &str, table: &Table, row: &Row) -> Vec<Option<Reported>> {
        let Some(text) = &row.reported else {
            return vec![None; table.columns.len()];
        };
        let path = format!("{at}/reported");
        let entries: Vec<_> = text.split_whitespace().collect();
        let shown = table.columns.iter().filter(|column| !column.hidden());
        let columns: Vec<_> = shown.map(Column::id).collect();
        if entries.len() != columns.len() {
            let message = format!(
                "`{}` reports {} numbers in a table of {}",
                row.method,
                entries.len(),
                counted(columns.len())
            );
            self.problem(&path, message).help = Some(format!(
                "the columns are {}; write `-` for an empty cell",
                columns.join(", ")
            ));
            return vec![None; table.columns.len()];
        }
        let mut cells = Vec::new();
        let mut entries = entries.iter().enumerate();
        for column in &table.columns {
            let Some((i, entry)) = (!column.hidden()).then(|| entries.next()).flatten() else {
                cells.push(None);
                continue;
            };
            let kind = column.spread().unwrap_or(table.spread);
            let parsed = reported::parse(entry).and_then(|cell| match cell {
                Some((_, _, Some(_))) if kind == Spread::None => Err(format!(
                    "`{entry}` has a ±, and neither column nor table says what it is"
                )),
                cell => Ok(cell),
            });
            cells.push(match parsed {
                Ok(cell) => cell.map(|(value, decimals, spread)| Reported {
                    value,
                    decimals,
                    spread,
                    kind,
                    spread_place: None,
                    seeds: table.reported_seeds,
                    place: table.place.clone(),
                }),
                Err(error) => {
                    let place = self.word(&path, i);
                    let problem =
                        Problem::new(place, format!("{error}, in column `{}`", column.id()));
                    let spread = error.contains('±');
                    self.problems.push(if spread {
                        problem.help("add `spread: sd` or `spread: ci95`")
                    } else {
                        problem
                    });
                    None
                }
            });
        }
        cells
    }

    /// The place of the `i`th word of the scalar at `path`.
    fn word(&self, path: &str, i: usize) -> Range<usize> {
        let span = self.place(path);
        let shown = &self.text[span.clone()];
        match shown.trim_matches(['"', '\'']).split_whitespace().nth(i) {
            Some(word) => {
                let start = span.start + (word.as_ptr() as usize - shown.as_ptr() as usize);
                start..start + word.len()
            }
            None => span,
        }
    }

    pub(super) fn derived_tables(&mut self) {
        let file = self.file;
        let ids = file.derived_tables.iter().map(|table| table.id.as_str());
        self.ids("/derived_tables", ids, "derived table");
        for (i, derived) in file.derived_tables.iter().enumerate() {
            let at = format!("/derived_tables/{i}");
            if file.tables.iter().any(|table| table.id == derived.id) {
                self.problem(
                    &format!("{at}/id"),
                    format!("a table is already called `{}`", derived.id),
                );
            }
            let Some(table) = self.table_named(&format!("{at}/from"), &derived.from) else {
                continue;
            };
            self.columns_of(
                table,
                &format!("{at}/correlation_with"),
                std::slice::from_ref(&derived.correlation_with),
                false,
            );
            self.rows_of(table, &format!("{at}/without"), &derived.without, true);
            for (j, row) in derived.rows.iter().enumerate() {
                self.columns_of(table, &format!("{at}/rows/{j}/columns"), &row.columns, true);
                if let Some(error) = row
                    .reported
                    .as_ref()
                    .and_then(|entry| reported::parse(entry).err())
                {
                    self.problem(&format!("{at}/rows/{j}/reported"), error);
                }
            }
        }
    }

    pub(super) fn totals(&mut self) {
        let file = self.file;
        for (i, total) in file.totals.iter().enumerate() {
            let at = format!("/totals/{i}");
            let whole = (format!("{at}/whole"), &total.whole);
            let parts = total
                .parts
                .iter()
                .map(|(name, part)| (format!("{at}/parts/{name}"), part));
            for (path, text) in std::iter::once(whole).chain(parts) {
                if let Err(error) = reported::amount(text) {
                    self.problem(&path, error).help =
                        Some("write a number, with `K`, `M` or `B` where it has one".into());
                }
            }
        }
    }
}
