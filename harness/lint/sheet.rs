//! A table as the paper prints it, with the places of its rows.

use crate::plan::{RunId, run_spec};
use crate::suite::{Column, Reported, Statistic, Suite, SuiteTable};

use super::Place;

/// A table of a suite that prints numbers of the paper.
pub(super) struct Sheet<'a> {
    pub suite: &'a Suite,
    pub table: &'a SuiteTable,
    /// Its path in the file.
    pub at: String,
}

impl<'a> Sheet<'a> {
    /// Every table of `suite` in which something is printed.
    pub fn all(suite: &'a Suite) -> Vec<Sheet<'a>> {
        let tables = suite.tables.iter().enumerate();
        tables
            .filter(|(_, table)| {
                table
                    .rows
                    .iter()
                    .any(|row| row.reported.iter().any(Option::is_some))
            })
            .map(|(i, table)| Sheet {
                suite,
                table,
                at: format!("/tables/{i}"),
            })
            .collect()
    }

    /// The place of a row, by position.
    pub fn row(&self, row: usize) -> Place {
        place(
            self.suite,
            &format!("{}/rows/{row}", self.at),
            &self.table.place,
        )
    }

    /// `SAM, ZS Avg.`: a cell in the words of the table.
    pub fn subject(&self, row: usize, column: usize) -> String {
        format!(
            "{}, {}",
            self.table.rows[row].method,
            self.table.columns[column].title()
        )
    }

    /// What is printed in a cell, by position.
    pub fn cell(&self, row: usize, column: usize) -> Option<&'a Reported> {
        self.table.rows[row].reported.get(column)?.as_ref()
    }

    /// What is printed in a row under several columns, all of it or none.
    pub fn cells(&self, row: usize, ids: &[String]) -> Option<Vec<&'a Reported>> {
        ids.iter()
            .map(|id| self.cell(row, self.column(id)?))
            .collect()
    }

    fn column(&self, id: &str) -> Option<usize> {
        let columns = &self.table.columns;
        columns.iter().position(|column| column.id() == id)
    }

    /// What is measured in a cell, so that equal text is one quantity in all tables and suites: the run without its
    /// seed, the portion and the measure.
    pub fn quantity(&self, row: usize, column: &Column) -> Option<String> {
        let all = |ids: &[String]| {
            let mut parts: Vec<String> = ids
                .iter()
                .map(|id| self.quantity(row, &self.table.columns[self.column(id)?]))
                .collect::<Option<_>>()?;
            parts.sort();
            Some(parts.join(" "))
        };
        let over_seeds = match self.table.statistic {
            Statistic::Mean => "",
            Statistic::Sd => "deviation over seeds of ",
        };
        Some(match column {
            Column::Measured(measured) => format!(
                "{over_seeds}{}:{}:{}",
                self.run(row, &measured.task),
                measured.on,
                self.suite.metric_of(measured).measure.key()
            ),
            Column::Mean(mean) => format!("mean({})", all(&mean.mean)?),
            Column::Sd(sd) => format!("sd({})", all(&sd.sd)?),
            Column::Correlation(column) => {
                let of = all(std::slice::from_ref(&column.correlation.of))?;
                format!("correlation({of} with {})", all(&column.correlation.with)?)
            }
        })
    }

    /// The run behind a cell, for the first seed.
    pub fn run(&self, row: usize, task: &str) -> RunId {
        run_spec(self.suite, task, &self.table.rows[row].method, 0).id()
    }
}

/// The place at `path` of a suite's file.
pub(super) fn place(suite: &Suite, path: &str, paper: &str) -> Place {
    Place {
        file: suite.path.clone(),
        line: suite.lines.of(path),
        paper: paper.into(),
    }
}

/// A number as the paper prints it.
pub(super) fn printed(reported: &Reported) -> String {
    format!("{:.*}", reported.decimals as usize, reported.value)
}
