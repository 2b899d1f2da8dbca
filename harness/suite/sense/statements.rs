//! Figures and claims that make sense.

use std::collections::BTreeSet;
use std::slice::from_ref;

use super::{Sense, counted, keys};
use crate::suite::*;

impl Sense<'_> {
    pub(super) fn figures(&mut self) {
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

    pub(super) fn claims(&mut self) {
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
                vec![
                    ("method", one(&s.method)),
                    ("or", s.or.clone()),
                    ("among", s.among.clone()),
                ],
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
        let bounds = match statement {
            Statement::Correlates(s) => Some((s.at_least, s.at_most, s.p_below.is_some())),
            Statement::Gap(s) => Some((s.at_least, s.at_most, false)),
            Statement::Bound(s) => Some((s.at_least, s.at_most, false)),
            _ => None,
        };
        match bounds {
            Some((None, None, false)) => {
                self.problem(&at, format!("`{key}` needs `at_least`, `at_most` or both"));
            }
            Some((Some(least), Some(most), _)) if least > most => {
                let text = "that is more than `at_most`: nothing lies between";
                self.problem(&format!("{at}/at_least"), text);
            }
            _ => {}
        }
        let (key, one, other) = match statement {
            Statement::Order(s) => ("than", &s.better[..], &s.than[..]),
            Statement::NotDifferent(s) => ("from", from_ref(&s.method), from_ref(&s.from)),
            Statement::Gap(s) => ("from", from_ref(&s.method), from_ref(&s.from)),
            _ => ("", &[][..], &[][..]),
        };
        for same in other.iter().filter(|method| one.contains(method)) {
            let text = format!("`{same}` is compared with itself");
            self.problem(&format!("{at}/{key}"), text);
        }
        if let Statement::Order(s) = statement {
            self.one_direction(&at, table, s);
        }
        if let Statement::Extreme(s) = statement {
            let columns = s.columns.len();
            if s.at_least.is_some_and(|least| least > columns as u64) {
                self.problem(
                    &format!("{at}/at_least"),
                    format!("that is more than the {} named", counted(columns)),
                );
            }
        }
    }

    /// A test over columns takes them together, so one way has to be better in all.
    fn one_direction(&mut self, at: &str, table: &Table, order: &Order) {
        if order.test.is_none_or(|test| test.over != Samples::Columns) {
            return;
        }
        let directions: BTreeSet<bool> = order
            .columns
            .iter()
            .filter_map(|id| self.direction(table, id))
            .map(|better| better == Direction::Higher)
            .collect();
        if directions.len() > 1 {
            self.problem(
                &format!("{at}/columns"),
                "a test over columns needs columns in which the same way is better",
            );
        }
    }

    /// Which way is better in a column; that of the first one a derived column rests on.
    fn direction(&self, table: &Table, id: &str) -> Option<Direction> {
        match table.columns.iter().find(|column| column.id() == id)? {
            Column::Measured(measured) => {
                let task = self.file.tasks.get(&measured.task)?;
                let metric = measured.metric.as_ref().unwrap_or(&task.metric);
                Some(self.file.metrics.get(metric)?.better)
            }
            Column::Mean(mean) => {
                let source = mean.mean.iter().find(|source| *source != id)?;
                self.direction(table, source)
            }
            Column::Correlation(_) => Some(Direction::Higher),
            Column::Sd(_) => None,
        }
    }
}
