//! What a well-formed file may still say that makes no sense: names that do not exist, ragged rows, knobs out of
//! range. A file that passes becomes a [`Suite`].

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use sha2::{Digest, Sha256};

mod experiments;
mod statements;
mod tables;

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
    sense.citation();
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
        settings: super::settings::of(text, tree),
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

    /// The methods of which it prints something are there.
    fn citation(&mut self) {
        let file = self.file;
        for method in file
            .citation
            .passes
            .iter()
            .flat_map(|passes| passes.of.keys())
        {
            let path = format!("/citation/passes/of/{method}");
            self.refers(
                &path,
                "method",
                method,
                file.methods.keys().map(String::as_str),
            );
        }
    }

    fn distinct(&mut self, path: &str, values: &[String], what: &str) {
        let mut seen: HashMap<&String, usize> = HashMap::new();
        for (i, value) in values.iter().enumerate() {
            let first = *seen.entry(value).or_insert(i);
            if first < i {
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

    fn verdicts(&mut self) {
        let rule = self.file.verdicts;
        if rule.level <= 0.0 || rule.level >= 0.5 {
            self.problem("/verdicts/level", "`level` must lie between 0 and 0.5");
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

/// `1 column`, `3 columns`.
fn counted(columns: usize) -> String {
    match columns {
        1 => "1 column".into(),
        many => format!("{many} columns"),
    }
}
