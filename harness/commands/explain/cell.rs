//! A cell of a table.

use serde_json::json;

use super::again::Again;
use super::seed::{self, SeedRun};
use super::{BadInput, Exit, column, columns_under, commands, find, line, look, print_json, shown};
use crate::judge::Cells;
use crate::report::{Comparison, Origins, Shown};
use crate::store::Store;
use crate::suite::{Column, Statistic, Suite, SuiteTable};

pub fn cell(
    [table, row, id]: [&str; 3],
    suite: &Suite,
    store: &Store,
    json: bool,
) -> anyhow::Result<Exit> {
    let t = find(
        "table",
        table,
        suite.tables.iter().map(|table| table.id.as_str()),
    )?;
    let planned = &suite.tables[t];
    let methods = planned.rows.iter().map(|row| row.method.as_str());
    let r = find("row", row, methods)?;
    find("column", id, planned.columns.iter().map(Column::id))?;
    let columns = columns_under(planned, &[id.to_string()]);
    let mut runs = seed::behind(suite, planned, row, &columns);
    let (ids, plan, held) = look(suite, &mut runs, store);
    let records = &held.records;

    let cells = Cells::collect(suite, records);
    let origins = Origins::new(&plan, records);
    let comparison = Comparison::of(suite, planned, &cells, &suite.verdicts, &origins);
    let mut heads = comparison.columns.iter();
    let head = heads.position(|head| head.id == id).ok_or_else(|| {
        BadInput(format!(
            "column `{id}` of `{table}` is not shown; the columns made of it are"
        ))
    })?;
    let cell = &comparison.rows[r].cells[head];
    let origin = origins.of(&ids);
    let about = [format!("table={table}"), format!("method={row}")];
    let again = Again {
        suites: std::slice::from_ref(suite),
        plan: &plan,
        store,
        records,
    };
    let again = again.commands(&ids, &about);
    let at = suite.lines.of(&format!("/tables/{t}/rows/{r}/reported"));
    if json {
        let weighed = cell.weighed.as_ref();
        print_json(&json!({
            "suite": suite.name, "table": table, "row": row, "column": id, "place": comparison.place,
            "paper": cell.paper.as_ref().map(ToString::to_string), "line": at,
            "ours": cell.estimate.map(|estimate| json!({"mean": estimate.mean, "sd": estimate.sd, "n": estimate.n, "ci95": estimate.ci95()})),
            "verdict": weighed.map(|weighed| weighed.verdict.to_string()),
            "reason": weighed.map(|weighed| weighed.reason.clone()),
            "mixed": origin.mixed, "stale": origin.stale,
            "runs": runs.iter().map(SeedRun::json).collect::<Vec<_>>(), "again": again,
        }))?;
        return Ok(Exit::Success);
    }
    let title = &comparison.columns[head].title;
    let mut out = format!(
        "{row}, {title}\n{}: {} ({})\n\n",
        comparison.place, comparison.title, suite.title
    );
    if let Some(text) = column(planned, id).and_then(|column| made_of(planned, column)) {
        line(&mut out, "number", &text);
    }
    let none = match runs.iter().any(SeedRun::has_value) {
        true => "none from the seeds that have values".into(),
        false => format!("none of {} seeds has a value", cell.planned),
    };
    let place = format!("{}:{at}", shown(&suite.path));
    out.push_str(&sides(cell, &place, &none));
    if let Some(words) = origin.words() {
        line(&mut out, "beware", &words);
    }
    out.push('\n');
    for run in &runs {
        out.push_str(&format!("{}\n", run.text()));
    }
    commands(&mut out, &again);
    print!("{out}");
    Ok(Exit::Success)
}

/// How the number follows from what was measured, where it is not a mean of values that were.
fn made_of(table: &SuiteTable, column: &Column) -> Option<String> {
    let own = match column {
        Column::Measured(_) => None,
        Column::Mean(mean) => Some(format!("the mean of {}", mean.mean.join(", "))),
        Column::Sd(sd) => Some(format!("the standard deviation over {}", sd.sd.join(", "))),
        Column::Correlation(over) => {
            let (of, with) = (&over.correlation.of, &over.correlation.with);
            let averaged = if with.len() > 1 { ", averaged" } else { "" };
            let with = with.join(", ");
            Some(format!(
                "Pearson's correlation over seeds of {of} with {with}{averaged}"
            ))
        }
    };
    match (table.statistic, own) {
        (Statistic::Mean, own) => own,
        (Statistic::Sd, None) => Some("the standard deviation over seeds".into()),
        (Statistic::Sd, Some(own)) => Some(format!("the standard deviation over seeds of {own}")),
    }
}

/// The paper's number, ours and the verdict. `place`: where the printed one stands in the suite; `none`: what there is in
/// place of ours.
fn sides(cell: &Shown, place: &str, none: &str) -> String {
    let mut out = String::new();
    match (&cell.paper, &cell.reported) {
        (Some(number), Some(reported)) => {
            let seeds = match reported.seeds {
                Some(n) => format!("over {n} seeds"),
                None => "over an unstated number of seeds".into(),
            };
            line(&mut out, "paper", &format!("{number}, {seeds} ({place})"));
        }
        _ => line(&mut out, "paper", "prints nothing here"),
    }
    match cell.estimate {
        Some(estimate) => {
            let sd = estimate.sd.map(|sd| format!(", standard deviation {sd}"));
            let interval = estimate
                .ci95()
                .map(|half| format!(", 95% interval ±{half}"));
            let text = format!(
                "{} from {} of {} seeds{}{}",
                estimate.mean,
                cell.n,
                cell.planned,
                sd.unwrap_or_default(),
                interval.unwrap_or_default()
            );
            line(&mut out, "ours", &text);
        }
        None => line(&mut out, "ours", none),
    }
    if let Some(weighed) = &cell.weighed {
        let text = format!("{}: {}", weighed.verdict, weighed.reason);
        line(&mut out, "verdict", &text);
    }
    out
}
