//! What a well-formed file may still say that makes no sense: names that do not exist, ragged rows, knobs out of
//! range. A file that passes becomes a [`Suite`].

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::problem::Problem;
use super::yaml::{Kind, Node};
use super::*;

/// The suite that a file means, or everything in it that makes no sense.
pub fn check(path: &Path, text: &str, tree: &Node, file: SuiteFile) -> Result<Suite, Vec<Problem>> {
    let mut sense = Sense {
        text,
        tree,
        file: &file,
        problems: Vec::new(),
    };
    sense.name("/suite", &file.suite);
    sense.models();
    sense.tasks();
    sense.training();
    sense.methods();
    sense.distinct(
        "/seeds",
        &file.seeds.iter().map(u64::to_string).collect::<Vec<_>>(),
        "seed",
    );
    let mut tables: Vec<_> = file
        .tables
        .iter()
        .enumerate()
        .map(|(i, table)| sense.table(i, table))
        .collect();
    sense.ids(
        "/tables",
        file.tables.iter().map(|table| table.id.as_str()),
        "table",
    );
    sense.spreads(&mut tables);
    sense.verdicts();
    sense.derived_tables();
    sense.totals();
    sense.figures();
    sense.claims();
    if !sense.problems.is_empty() {
        return Err(sense.problems);
    }
    Ok(Suite {
        path: path.into(),
        sha256: Sha256::digest(text.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        name: file.suite,
        title: file.title,
        citation: file.citation,
        models: file.models,
        metrics: file.metrics,
        training: file.training,
        tasks: file.tasks,
        methods: file.methods,
        verdicts: file.verdicts,
        tables,
        derived_tables: file.derived_tables,
        totals: file.totals,
        figures: file.figures,
        claims: file.claims,
        lines: Lines::new(text, tree.clone()),
    })
}

struct Sense<'a> {
    text: &'a str,
    tree: &'a Node,
    file: &'a SuiteFile,
    problems: Vec<Problem>,
}

impl<'a> Sense<'a> {
    /// The place of the value at `path`: the scalar itself, or the key that holds a collection.
    fn place(&self, path: &str) -> Range<usize> {
        match self.tree.at(path) {
            Some(node) if matches!(node.kind, Kind::Scalar { .. }) && !node.span.is_empty() => {
                node.span.clone()
            }
            _ => self.tree.place(path),
        }
    }

    fn problem(&mut self, path: &str, message: impl Into<String>) -> &mut Problem {
        self.problems.push(Problem::new(self.place(path), message));
        self.problems.last_mut().expect("just pushed")
    }

    /// Whether `name` is one of `known`; a problem at `path` otherwise.
    fn refers<'k>(
        &mut self,
        path: &str,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> bool {
        let known: Vec<_> = known.into_iter().collect();
        if known.contains(&name) {
            return true;
        }
        let problem = Problem::new(self.place(path), format!("there is no {what} `{name}`"))
            .suggest(name, known.clone());
        self.problems.push(match problem.help {
            None if !known.is_empty() => problem.help(format!("there is {}", known.join(", "))),
            _ => problem,
        });
        false
    }

    /// A name that becomes part of a file name.
    fn name(&mut self, path: &str, name: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(plain) || name.starts_with('.') || name.len() > 64 {
            self.problem(path, format!("`{name}` cannot name a file"))
                .help = Some("use letters, digits, `-`, `_` and `.`, at most 64 of them".into());
        }
    }

    fn distinct(&mut self, path: &str, values: &[String], what: &str) {
        for (i, value) in values.iter().enumerate() {
            if let Some(first) = values[..i].iter().position(|other| other == value) {
                let first = self.place(&format!("{path}/{first}"));
                self.problem(
                    &format!("{path}/{i}"),
                    format!("{what} `{value}` stands here twice"),
                )
                .also = Some((first, "first given here".into()));
            }
        }
    }

    fn ids<'k>(&mut self, path: &str, ids: impl Iterator<Item = &'k str>, what: &str) {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (i, id) in ids.enumerate() {
            let at = format!("{path}/{i}/id");
            self.name(&at, id);
            if let Some(first) = seen.insert(id, i) {
                let first = self.place(&format!("{path}/{first}/id"));
                self.problem(&at, format!("two {what}s are called `{id}`"))
                    .also = Some((first, "the first".into()));
            }
        }
    }

    fn models(&mut self) {
        let file = self.file;
        for (name, model) in &file.models {
            let Model::Stage(model) = model else { continue };
            let at = format!("/models/{name}/stage");
            self.refers(
                &format!("{at}/task"),
                "task",
                &model.stage.task,
                keys(&file.tasks),
            );
            if self.refers(
                &format!("{at}/method"),
                "method",
                &model.stage.method,
                keys(&file.methods),
            ) && matches!(file.methods[&model.stage.method], MethodEntry::Untrained(_))
            {
                self.problem(
                    &format!("{at}/method"),
                    "a stage must train, and this method does not",
                );
            }
            let (mut seen, mut next) = (
                BTreeSet::from([name.as_str()]),
                Some(model.stage.task.as_str()),
            );
            while let Some(Model::Stage(model)) = next.and_then(|task| {
                file.models
                    .get(&file.tasks.get(task)?.model)
                    .filter(|_| seen.len() < 100)
            }) {
                let name = &file.tasks[next.expect("a task")].model;
                if !seen.insert(name) {
                    self.problem(
                        &at,
                        format!("the stages go round in a circle through `{name}`"),
                    );
                    break;
                }
                next = Some(&model.stage.task);
            }
        }
    }

    fn tasks(&mut self) {
        let file = self.file;
        for (name, task) in &file.tasks {
            let at = format!("/tasks/{name}");
            self.refers(
                &format!("{at}/model"),
                "model",
                &task.model,
                keys(&file.models),
            );
            self.refers(
                &format!("{at}/training"),
                "training",
                &task.training,
                keys(&file.training),
            );
            self.refers(
                &format!("{at}/metric"),
                "metric",
                &task.metric,
                keys(&file.metrics),
            );
            self.fits(&format!("{at}/metric"), task, &task.metric);
            self.distinct(&format!("{at}/train"), &task.train, "portion");
            if let Some(training) = file.training.get(&task.training) {
                if training.selection == Selection::Best && task.select.is_none() {
                    self.problem(
                        &at,
                        format!(
                            "training `{}` selects the best model, and this task has no `select`",
                            task.training
                        ),
                    );
                }
            }
            for portion in task.train.iter().chain(&task.select) {
                self.portion(&at, portion);
            }
        }
    }

    /// Whether a portion is `split` or `config/split`.
    fn portion(&mut self, path: &str, portion: &str) {
        let part = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0'])
        };
        if !portion.split('/').all(part) || portion.matches('/').count() > 1 {
            self.problem(path, format!("`{portion}` is not a portion of a data set"))
                .help =
                Some("write a split, `test`, or a domain or language with one, `ar/test`".into());
        }
    }

    /// Whether a metric makes sense for a task's input.
    fn fits(&mut self, path: &str, task: &Task, metric: &str) {
        let Some(metric) = self.file.metrics.get(metric) else {
            return;
        };
        let wrong = match (&metric.measure, &task.input) {
            (Measure::Accuracy, Input::TextBlocks(_)) => {
                "accuracy needs labels, and text blocks have none"
            }
            (Measure::Perplexity(_), Input::Images(_) | Input::SentencePairs(_)) => {
                "perplexity is of text blocks"
            }
            _ => return,
        };
        self.problem(path, wrong);
    }

    /// The distance is of training itself; everything else is of a portion of the data.
    fn measurable(&mut self, path: &str, column: &MeasuredColumn) {
        let Some(task) = self.file.tasks.get(&column.task) else {
            return;
        };
        let metric = column.metric.as_ref().unwrap_or(&task.metric);
        let Some(metric) = self.file.metrics.get(metric) else {
            return;
        };
        let wrong = match (&metric.measure, column.on == TRAINING) {
            (Measure::Distance, false) => {
                "the distance is measured while training: write `training`"
            }
            (Measure::Distance, true) | (_, false) => return,
            (_, true) => "`training` is no portion of the data",
        };
        self.problem(path, wrong);
    }

    fn training(&mut self) {
        for (name, training) in &self.file.training {
            let at = format!("/training/{name}");
            if training.clip_norm.is_some_and(|norm| norm <= 0.0) {
                self.problem(
                    &format!("{at}/clip_norm"),
                    "`clip_norm` must be more than 0",
                );
            }
            if training.micro_batches > training.batch {
                self.problem(
                    &format!("{at}/micro_batches"),
                    "there are more micro-batches than examples in a batch",
                );
            }
            if let Err(error) = training.base.check() {
                self.problem(&format!("{at}/base"), error.to_string());
            }
            // How many updates an epoch has is known when the data are; until then any warm-up fits.
            let updates = match training.length {
                Length::Steps(steps) => steps,
                Length::Epochs(_) => u64::MAX,
            };
            if let Err(error) = training
                .schedule
                .check(methods::Length { updates, epoch: 1 })
            {
                self.problem(&format!("{at}/schedule"), error.to_string());
            }
            if training.no_decay.iter().any(String::is_empty) {
                self.problem(
                    &format!("{at}/no_decay"),
                    "an empty fragment exempts every parameter",
                );
            }
        }
    }

    fn methods(&mut self) {
        for (name, method) in &self.file.methods {
            if let MethodEntry::Trained(method) = method {
                if let Err(error) = method.check() {
                    let knob = match &error {
                        methods::Error::Knob { name: knob, .. } => {
                            format!("/methods/{name}/{knob}")
                        }
                        _ => format!("/methods/{name}"),
                    };
                    self.problem(&knob, error.to_string());
                }
            }
        }
    }

    fn table(&mut self, i: usize, table: &Table) -> SuiteTable {
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
            seeds: table.seeds.clone().unwrap_or_else(|| file.seeds.clone()),
            columns: table.columns.clone(),
            bold: table.bold.clone(),
        }
    }

    /// Gives the cells of a table with `spread_from` the spreads that the paper prints elsewhere.
    fn spreads(&mut self, tables: &mut [SuiteTable]) {
        let file = self.file;
        for (i, table) in file.tables.iter().enumerate() {
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

    fn verdicts(&mut self) {
        let rule = self.file.verdicts;
        if rule.level <= 0.0 || rule.level >= 0.5 {
            self.problem("/verdicts/level", "`level` must lie between 0 and 0.5");
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
                "`{}` reports {} numbers in a table of {} columns",
                row.method,
                entries.len(),
                columns.len()
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

    fn derived_tables(&mut self) {
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

    fn totals(&mut self) {
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

    fn figures(&mut self) {
        let file = self.file;
        self.ids(
            "/figures",
            file.figures.iter().map(|figure| figure.id.as_str()),
            "figure",
        );
        for (i, figure) in file.figures.iter().enumerate() {
            let at = format!("/figures/{i}/draw");
            match &figure.draw {
                Drawing::Intervals(draw) => {
                    if let Some(table) =
                        self.table_named(&format!("{at}/intervals/table"), &draw.table)
                    {
                        self.columns_of(
                            table,
                            &format!("{at}/intervals/columns"),
                            &draw.columns,
                            true,
                        );
                    }
                }
                Drawing::Scatter(draw) => {
                    let at = format!("{at}/scatter");
                    let Some(table) = self.table_named(&format!("{at}/table"), &draw.table) else {
                        continue;
                    };
                    self.columns_of(
                        table,
                        &format!("{at}/x"),
                        std::slice::from_ref(&draw.x),
                        false,
                    );
                    self.columns_of(table, &format!("{at}/y"), &draw.y, true);
                    self.rows_of(table, &format!("{at}/without"), &draw.without, true);
                    for (j, line) in draw.lines.iter().enumerate() {
                        self.rows_of(
                            table,
                            &format!("{at}/lines/{j}/methods"),
                            &line.methods,
                            true,
                        );
                    }
                }
                Drawing::Curves(draw) => {
                    self.refers(
                        &format!("{at}/curves/task"),
                        "task",
                        &draw.task,
                        keys(&file.tasks),
                    );
                }
            }
        }
    }

    fn claims(&mut self) {
        let file = self.file;
        self.ids(
            "/claims",
            file.claims.iter().map(|claim| claim.id.as_str()),
            "claim",
        );
        for (i, claim) in file.claims.iter().enumerate() {
            self.statement(&format!("/claims/{i}/holds"), &claim.holds);
        }
    }

    fn statement(&mut self, at: &str, statement: &Statement) {
        let one = |name: &String| vec![name.clone()];
        // Table, columns and rows of a statement, each with the key that holds it.
        let (key, table, columns, rows): (
            &str,
            &str,
            Vec<(&str, Vec<String>)>,
            Vec<(&str, Vec<String>)>,
        ) = match statement {
            Statement::Order(s) => (
                "order",
                &s.table,
                vec![("columns", s.columns.clone())],
                vec![("better", s.better.clone()), ("than", s.than.clone())],
            ),
            Statement::Extreme(s) => (
                "extreme",
                &s.table,
                vec![("columns", s.columns.clone())],
                vec![("method", one(&s.method)), ("among", s.among.clone())],
            ),
            Statement::NotDifferent(s) => (
                "not_different",
                &s.table,
                vec![("columns", s.columns.clone())],
                vec![("method", one(&s.method)), ("from", one(&s.from))],
            ),
            Statement::Correlates(s) => (
                "correlates",
                &s.table,
                vec![("x", one(&s.x)), ("y", s.y.clone())],
                vec![("without", s.without.clone())],
            ),
            Statement::Gap(s) => (
                "gap",
                &s.table,
                vec![("columns", s.columns.clone())],
                vec![("method", one(&s.method)), ("from", one(&s.from))],
            ),
            Statement::Bound(s) => (
                "bound",
                &s.table,
                vec![("columns", s.columns.clone())],
                vec![("methods", s.methods.clone())],
            ),
            Statement::Passes(s) => {
                self.refers(
                    &format!("{at}/passes/method"),
                    "method",
                    &s.method,
                    keys(&self.file.methods),
                );
                return;
            }
            Statement::AllOf(parts) | Statement::AnyOf(parts) => {
                let key = if matches!(statement, Statement::AllOf(_)) {
                    "all_of"
                } else {
                    "any_of"
                };
                if parts.is_empty() {
                    self.problem(at, format!("`{key}` of nothing decides nothing"));
                }
                for (i, part) in parts.iter().enumerate() {
                    self.statement(&format!("{at}/{key}/{i}"), part);
                }
                return;
            }
        };
        let at = format!("{at}/{key}");
        let Some(table) = self.table_named(&format!("{at}/table"), table) else {
            return;
        };
        for (key, columns) in columns {
            self.columns_of(
                table,
                &format!("{at}/{key}"),
                &columns,
                matches!(key, "columns" | "y"),
            );
        }
        for (key, rows) in rows {
            self.rows_of(
                table,
                &format!("{at}/{key}"),
                &rows,
                !matches!(key, "method" | "from"),
            );
        }
        let open = match statement {
            Statement::Correlates(s) => {
                s.at_least.is_none() && s.at_most.is_none() && s.p_below.is_none()
            }
            Statement::Gap(s) => s.at_least.is_none() && s.at_most.is_none(),
            Statement::Bound(s) => s.at_least.is_none() && s.at_most.is_none(),
            _ => false,
        };
        if open {
            self.problem(&at, format!("`{key}` needs `at_least`, `at_most` or both"));
        }
        if let Statement::Extreme(s) = statement {
            let columns = s.columns.len();
            if s.at_least.is_some_and(|least| least > columns as u64) {
                self.problem(
                    &format!("{at}/at_least"),
                    format!("there are {columns} columns, fewer than that"),
                );
            }
        }
    }

    fn table_named(&mut self, path: &str, id: &str) -> Option<&'a Table> {
        let file = self.file;
        self.refers(
            path,
            "table",
            id,
            file.tables.iter().map(|table| table.id.as_str()),
        );
        file.tables.iter().find(|table| table.id == id)
    }

    /// `listed` says whether `path` holds a list, whose entries then have places of their own.
    fn columns_of(&mut self, table: &Table, path: &str, columns: &[String], listed: bool) {
        for (i, column) in columns.iter().enumerate() {
            let at = if listed {
                format!("{path}/{i}")
            } else {
                path.to_string()
            };
            let what = format!("column of table `{}` called", table.id);
            self.refers(&at, &what, column, table.columns.iter().map(Column::id));
        }
    }

    fn rows_of(&mut self, table: &Table, path: &str, methods: &[String], listed: bool) {
        for (i, method) in methods.iter().enumerate() {
            let at = if listed {
                format!("{path}/{i}")
            } else {
                path.to_string()
            };
            let what = format!("row of table `{}` called", table.id);
            self.refers(
                &at,
                &what,
                method,
                table.rows.iter().map(|row| row.method.as_str()),
            );
        }
    }
}

fn keys<V>(map: &IndexMap<String, V>) -> impl Iterator<Item = &str> {
    map.keys().map(String::as_str)
}
