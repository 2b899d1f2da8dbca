//! Cost against quality: a point a method, the time its runs took across, their number in the first column up.

use std::collections::BTreeMap;

use super::{Picture, scatter};
use crate::event::RunRecord;
use crate::plan::RunId;
use crate::report::{Comparison, Head, Shown};
use crate::stats::Estimate;
use crate::suite::{Direction, Scatter, Spread};

/// Fewer methods than this make no comparison.
const METHODS: usize = 2;

/// None for a table of which fewer than two methods have run.
pub(super) fn draw(
    table: &Comparison,
    records: &BTreeMap<RunId, RunRecord>,
) -> Option<Result<Picture, String>> {
    let head = table.columns.first()?;
    let mut plane = table.clone();
    plane.columns = vec![
        Head {
            id: "a run's time".into(),
            title: "mean time of a run".into(),
            unit: Some("s".into()),
            better: Some(Direction::Lower),
            spread: Spread::None,
        },
        head.clone(),
    ];
    // A model that is evaluated as it is has no training to pay for.
    plane.rows.retain(|row| !row.untrained);
    for row in &mut plane.rows {
        let cell = ours_alone(row.cells.remove(0));
        let seconds: Vec<f64> = cell
            .runs
            .iter()
            .filter_map(|id| records.get(id))
            .map(|record| record.seconds)
            .collect();
        let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
        let estimate = (!seconds.is_empty()).then_some(Estimate {
            mean,
            sd: None,
            n: seconds.len(),
        });
        row.cells = vec![
            Shown {
                estimate,
                ..cell.clone()
            },
            cell,
        ];
    }
    let known = plane
        .rows
        .iter()
        .filter(|row| row.cells.iter().all(|cell| cell.estimate.is_some()))
        .count();
    let drawing = Scatter {
        table: table.id.clone(),
        x: plane.columns[0].id.clone(),
        y: vec![head.id.clone()],
        without: Vec::new(),
        lines: Vec::new(),
    };
    (known >= METHODS).then(|| scatter::draw(&plane, &drawing, None))
}

fn ours_alone(cell: Shown) -> Shown {
    Shown {
        reported: None,
        ..cell
    }
}
