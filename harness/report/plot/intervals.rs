//! One point per method with its interval, ours beside the reported, one panel a column.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{
    Area, FAINT, Fallible, OURS, PAPER, Picture, SIZE, SOFT, TEXT, clip, lacking, picture, range,
    tick, tick_decimals, width, write,
};
use crate::report::{Comparison, Line, Shown};
use crate::suite::{Intervals, Spread};

const ROW: i32 = 36;
const TOP: i32 = 38;
const PANEL_TITLE: i32 = 28;
const AXIS: i32 = 34;
const PANEL: i32 = 250;
const ACROSS: usize = 3;

/// A mean with the half-width of its interval.
type Point = (f64, Option<f64>);

pub(super) fn draw(table: &Comparison, drawing: &Intervals) -> Result<Picture, String> {
    let wanted =
        |id: &str| drawing.columns.is_empty() || drawing.columns.iter().any(|column| column == id);
    let columns: Vec<usize> = (0..table.columns.len())
        .filter(|c| wanted(&table.columns[*c].id))
        .collect();
    let drawable = |c: &&usize| {
        table.rows.iter().any(|row| {
            ours(&row.cells[**c], Spread::Ci95).is_some() || paper(&row.cells[**c]).is_some()
        })
    };
    let columns: Vec<usize> = columns.iter().filter(drawable).copied().collect();
    if columns.is_empty() {
        return Err("no cell has a number yet".into());
    }
    let names: Vec<String> = table.rows.iter().map(|row| clip(&row.method, 24)).collect();
    let label = names
        .iter()
        .map(|name| width(name, SIZE))
        .max()
        .unwrap_or(0)
        + 24;
    let across = columns.len().min(ACROSS) as i32;
    // A single panel has the room of two.
    let panel = if across == 1 { 2 * PANEL } else { PANEL };
    let height = PANEL_TITLE + ROW * names.len() as i32 + AXIS + 10;
    let down = columns.len().div_ceil(ACROSS) as i32;
    let size = (label + across * (panel + 16) + 8, TOP + down * height);
    let some = |row: &Line| columns.iter().any(|c| row.cells[*c].estimate.is_some());
    let notes = match table.rows.iter().any(some) {
        true => lacking(table.rows.iter().map(|row| {
            let cells = columns.iter().map(|c| &row.cells[*c]);
            (row.method.as_str(), cells.collect())
        })),
        false => Vec::new(),
    };
    picture(size.0 as u32, size.1 as u32, &notes, |root| {
        legend(root, table, &columns, label)?;
        for (i, &c) in columns.iter().enumerate() {
            let (x, y) = ((i % ACROSS) as i32, (i / ACROSS) as i32);
            let corner = (label + x * (panel + 16), TOP + y * height);
            self::panel(root, table, c, corner, panel)?;
            if x == 0 {
                for (r, name) in names.iter().enumerate() {
                    let at = (
                        label - 12,
                        corner.1 + PANEL_TITLE + ROW * r as i32 + ROW / 2,
                    );
                    write(root, name, at, &TEXT, SIZE, HPos::Right)?;
                }
            }
        }
        Ok(())
    })
}

/// Ours with the interval the column prints, or the confidence interval where it prints none.
fn ours(cell: &Shown, spread: Spread) -> Option<Point> {
    let estimate = cell.estimate?;
    let half = match spread {
        Spread::Sd => estimate.sd,
        Spread::SdOverColumns => cell.ours.and_then(|number| number.spread),
        Spread::Ci95 | Spread::None => estimate.ci95(),
    };
    Some((estimate.mean, half))
}

fn paper(cell: &Shown) -> Option<Point> {
    cell.reported
        .as_ref()
        .map(|reported| (reported.value, reported.spread_beside()))
}

fn legend(root: &Area, table: &Comparison, columns: &[usize], label: i32) -> Fallible {
    let words = match table.columns[columns[0]].spread {
        Spread::Sd => "± standard deviation over seeds",
        Spread::SdOverColumns => "± standard deviation over columns",
        Spread::Ci95 | Spread::None => "± 95% interval of the mean over seeds",
    };
    let any = |side: fn(&Shown) -> bool| {
        table
            .rows
            .iter()
            .any(|row| columns.iter().any(|c| side(&row.cells[*c])))
    };
    let mut x = label;
    let mut entry = |colour: &RGBColor, filled: bool, text: &str| -> Fallible {
        root.draw(&Circle::new((x + 5, 18), 5, style(colour, filled)))?;
        write(root, text, (x + 16, 18), &TEXT, SIZE, HPos::Left)?;
        x += 16 + width(text, SIZE) + 24;
        Ok(())
    };
    if any(|cell| paper(cell).is_some()) {
        entry(&PAPER, false, "paper, as printed")?;
    }
    if any(|cell| cell.estimate.is_some()) {
        entry(&OURS, true, &format!("ours {words}"))?;
    }
    Ok(())
}

fn style(colour: &RGBColor, filled: bool) -> ShapeStyle {
    if filled {
        colour.filled()
    } else {
        colour.stroke_width(2)
    }
}

fn panel(root: &Area, table: &Comparison, c: usize, corner: (i32, i32), panel: i32) -> Fallible {
    let head = &table.columns[c];
    let points: Vec<(Option<Point>, Option<Point>)> = table
        .rows
        .iter()
        .map(|row| (paper(&row.cells[c]), ours(&row.cells[c], head.spread)))
        .collect();
    let both = points
        .iter()
        .flat_map(|(paper, ours)| [paper, ours])
        .flatten();
    let ends =
        both.flat_map(|(mean, half)| [mean - half.unwrap_or(0.0), mean + half.unwrap_or(0.0)]);
    let Some((low, high)) = range(ends) else {
        return Ok(());
    };
    let rows = points.len() as i32;
    write(
        root,
        &clip(&head.text(), 34),
        (corner.0 + 4, corner.1 + 12),
        &TEXT,
        SIZE + 1.0,
        HPos::Left,
    )?;
    let end = (corner.0 + panel, corner.1 + PANEL_TITLE + ROW * rows + AXIS);
    let area = root.clone().shrink(
        (corner.0, corner.1 + PANEL_TITLE),
        (panel, end.1 - corner.1 - PANEL_TITLE),
    );
    let decimals = tick_decimals(low, high);
    let mut chart = ChartBuilder::on(&area)
        .x_label_area_size(AXIS)
        .build_cartesian_2d(low..high, f64::from(rows)..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(4)
        .x_label_formatter(&|x| tick(*x, decimals))
        .x_label_style(("sans-serif", SIZE - 1.0).into_font().color(&SOFT))
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .axis_style(SOFT)
        .draw()?;
    for (r, (paper, ours)) in points.into_iter().enumerate() {
        let middle = r as f64 + 0.5;
        let apart = if paper.is_some() && ours.is_some() {
            0.19
        } else {
            0.0
        };
        for (point, colour, y, filled) in [
            (paper, PAPER, middle - apart, false),
            (ours, OURS, middle + apart, true),
        ] {
            let Some((mean, half)) = point else { continue };
            if let Some(half) = half {
                let ends = vec![(mean - half, y), (mean + half, y)];
                chart.draw_series([PathElement::new(ends, colour.stroke_width(2))])?;
            }
            // A hollow circle hides the line under it.
            chart.draw_series([Circle::new(
                (mean, y),
                5,
                if filled {
                    colour.filled()
                } else {
                    WHITE.filled()
                },
            )])?;
            chart.draw_series([Circle::new((mean, y), 5, style(&colour, filled))])?;
        }
    }
    Ok(())
}
