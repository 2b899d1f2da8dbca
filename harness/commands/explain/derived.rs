//! A row of a table of correlations over methods.

use serde_json::json;

use super::again::Again;
use super::seed::{self, SeedRun};
use super::{Exit, columns_under, commands, find, line, look, print_json, shown};
use crate::judge::{Cells, Numbers, Side, derived_value, p_text};
use crate::report::Origins;
use crate::store::Store;
use crate::suite::{DerivedTable, Suite};

/// What the only column is called, also in `cells.csv`.
const COLUMN: &str = "/correlation";

/// The place of a row by its title, also with the word for its number behind it.
pub fn row(table: &DerivedTable, title: &str) -> Option<usize> {
    let place = |title: &str| table.rows.iter().position(|row| row.title == title);
    place(title).or_else(|| place(title.strip_suffix(COLUMN)?))
}

pub fn derived(
    [id, row]: [&str; 2],
    suite: &Suite,
    store: &Store,
    json: bool,
) -> anyhow::Result<Exit> {
    let ids = suite.derived_tables.iter().map(|table| table.id.as_str());
    let t = find("table", id, ids)?;
    let table = &suite.derived_tables[t];
    let r = match self::row(table, row) {
        Some(found) => found,
        None => find("row", row, table.rows.iter().map(|row| row.title.as_str()))?,
    };
    let row = &table.rows[r];
    let from = suite.table(&table.from).expect("a suite that was read");
    let x = std::slice::from_ref(&table.correlation_with);
    let columns = columns_under(from, &[x, &row.columns].concat());
    let methods = from.rows.iter().map(|row| row.method.as_str());
    let methods: Vec<&str> = methods
        .filter(|method| table.without.iter().all(|without| without != method))
        .collect();
    let mut runs: Vec<SeedRun> = methods
        .iter()
        .flat_map(|method| seed::behind(suite, from, method, &columns))
        .collect();
    let (ids, plan, held) = look(suite, &mut runs, store);
    let records = &held.records;

    let cells = Cells::collect(suite, records);
    let value = derived_value(suite, &cells, table, row, &suite.verdicts);
    let origin = Origins::new(&plan, records).of(&ids);
    let again = Again {
        suites: std::slice::from_ref(suite),
        plan: &plan,
        store,
        records,
    };
    let about = [
        format!("table={}", table.from),
        format!("method={}", methods.join(",")),
    ];
    let again = again.commands(&ids, &about);
    let at = suite
        .lines
        .of(&format!("/derived_tables/{t}/rows/{r}/reported"));
    let pairs = |side| Pairs {
        numbers: Numbers {
            suite,
            cells: &cells,
            side,
        },
        table,
        columns: &row.columns,
    };
    let (paper, ours) = (pairs(Side::Paper), pairs(Side::Ours));
    if json {
        let weighed = value.weighed.as_ref();
        let methods = methods.iter().map(|method| {
            json!({ "method": method, "paper": paper.of(method), "ours": ours.of(method) })
        });
        print_json(&json!({
            "suite": suite.name, "table": table.id, "row": row.title, "column": "correlation", "place": table.place,
            "paper": row.reported, "line": at, "recomputed": value.recomputed.map(|found| found.r),
            "ours": value.ours.map(|found| json!({"r": found.r, "p": found.p, "n": found.n})),
            "verdict": weighed.map(|weighed| weighed.verdict.to_string()),
            "reason": weighed.map(|weighed| weighed.reason.clone()),
            "mixed": origin.mixed, "stale": origin.stale, "methods": methods.collect::<Vec<_>>(),
            "runs": runs.iter().map(SeedRun::json).collect::<Vec<_>>(), "again": again,
        }))?;
        return Ok(Exit::Success);
    }
    let mut out = format!(
        "{}, correlation\n{}: {} ({})\n\n",
        row.title, table.place, table.title, suite.title
    );
    let mean = if row.columns.len() > 1 {
        "the mean of "
    } else {
        ""
    };
    let number = format!(
        "Pearson's correlation over methods of {} with {mean}{}, of table {}",
        table.correlation_with,
        row.columns.join(", "),
        table.from
    );
    line(&mut out, "number", &number);
    let printed = match &row.reported {
        Some(reported) => format!("{reported} ({}:{at})", shown(&suite.path)),
        None => "prints nothing here".into(),
    };
    line(&mut out, "paper", &printed);
    if let Some(found) = value.recomputed {
        let text = format!("{} from the numbers that the paper prints", found.r);
        line(&mut out, "printed", &text);
    }
    let text = match value.ours {
        Some(found) => format!(
            "{}, p = {}, over {} methods",
            found.r,
            p_text(found.p),
            found.n
        ),
        None => "none: fewer than three methods have numbers, or they are all the same".into(),
    };
    line(&mut out, "ours", &text);
    if let Some(weighed) = &value.weighed {
        let text = format!("{}: {}", weighed.verdict, weighed.reason);
        line(&mut out, "verdict", &text);
    }
    if let Some(words) = origin.words() {
        line(&mut out, "beware", &words);
    }
    for method in methods {
        let [paper, ours] = [&paper, &ours].map(|side| side.text(method));
        out.push_str(&format!("\n{method}: paper {paper}; ours {ours}\n"));
        for run in runs.iter().filter(|run| run.method == method) {
            out.push_str(&format!("  {}\n", run.text()));
        }
    }
    commands(&mut out, &again);
    print!("{out}");
    Ok(Exit::Success)
}

/// What one side correlates: of every method a number of one column and one of the others.
struct Pairs<'a> {
    numbers: Numbers<'a>,
    table: &'a DerivedTable,
    columns: &'a [String],
}

impl Pairs<'_> {
    fn of(&self, method: &str) -> [Option<f64>; 2] {
        let x = std::slice::from_ref(&self.table.correlation_with);
        [x, self.columns].map(|columns| self.numbers.mean(&self.table.from, method, columns))
    }

    fn text(&self, method: &str) -> String {
        let shown = self
            .of(method)
            .map(|number| number.map_or("none".to_string(), |number| number.to_string()));
        shown.join(" with ")
    }
}
