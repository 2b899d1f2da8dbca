//! A forest plot: ours minus the paper's with the interval that verdicts use, in the margin of equivalence, one panel a
//! column.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{
    Area, FAINT, Fallible, OURS, PAPER, Picture, SIZE, SOFT, TEXT, clip, picture, range, tick,
    tick_decimals, width, write,
};
use crate::judge::{Basis, Verdict, Weighed};
use crate::report::{Comparison, Shown};

const ROW: i32 = 22;
const TOP: i32 = 38;
const PANEL_TITLE: i32 = 28;
const AXIS: i32 = 40;
const PANEL: i32 = 250;
const ACROSS: usize = 3;
const MARGIN: RGBColor = RGBColor(218, 226, 233);

/// What a cell shows: a difference, its interval where there is one, and its verdict.
struct Difference<'a> {
    value: f64,
    weighed: &'a Weighed,
}

/// None where no cell of the table is compared.
pub(super) fn draw(table: &Comparison) -> Option<Result<Picture, String>> {
    let columns: Vec<usize> = (0..table.columns.len())
        .filter(|c| {
            table
                .rows
                .iter()
                .any(|row| difference(&row.cells[*c]).is_some())
        })
        .collect();
    // Rows without a difference say why in its place.
    let rows: Vec<usize> = (0..table.rows.len())
        .filter(|r| {
            columns
                .iter()
                .any(|c| table.rows[*r].cells[*c].weighed.is_some())
        })
        .collect();
    if columns.is_empty() {
        return None;
    }
    let names: Vec<String> = rows
        .iter()
        .map(|r| clip(&table.rows[*r].title, 24))
        .collect();
    let label = 24
        + names
            .iter()
            .map(|name| width(name, SIZE))
            .max()
            .unwrap_or(0);
    let across = columns.len().min(ACROSS) as i32;
    // A single panel has the room of two and a half: the legend stands above it.
    let panel = if across == 1 { 5 * PANEL / 2 } else { PANEL };
    let height = PANEL_TITLE + ROW * names.len() as i32 + AXIS + 10;
    let down = columns.len().div_ceil(ACROSS) as i32;
    let key = key_width() + 16;
    let size = (
        (label + across * (panel + 16) + 8).max(key),
        TOP + down * height,
    );
    let without = (0..table.columns.len()).filter(|c| {
        !columns.contains(c) && table.rows.iter().any(|row| row.cells[*c].weighed.is_some())
    });
    let without: Vec<&str> = without.map(|c| table.columns[c].title.as_str()).collect();
    let notes = match without.is_empty() {
        true => Vec::new(),
        false => vec![format!(
            "Without a panel, because ours has no number there: {}.",
            without.join(", ")
        )],
    };
    Some(picture(size.0 as u32, size.1 as u32, &notes, |root| {
        legend(root)?;
        for (i, &c) in columns.iter().enumerate() {
            let (x, y) = ((i % ACROSS) as i32, (i / ACROSS) as i32);
            let corner = (label + x * (panel + 16), TOP + y * height);
            self::panel(root, table, c, &rows, corner, panel)?;
            if x == 0 {
                for (r, name) in names.iter().enumerate() {
                    let middle = corner.1 + PANEL_TITLE + ROW * r as i32 + ROW / 2;
                    write(root, name, (label - 12, middle), &TEXT, SIZE, HPos::Right)?;
                }
            }
        }
        Ok(())
    }))
}

fn difference(cell: &Shown) -> Option<Difference<'_>> {
    let weighed = cell.weighed.as_ref()?;
    let value = weighed.difference.filter(|value| value.is_finite())?;
    Some(Difference { value, weighed })
}

/// The margin on the axis of the difference; that of a correlation or a deviation is on a scale of its own.
fn margin(weighed: &Weighed) -> Option<f64> {
    (!matches!(weighed.basis, Basis::Errors(_))).then_some(weighed.margin)
}

const KEY: [(Option<Verdict>, &str); 4] = [
    (Some(Verdict::Reproduced), "reproduced"),
    (Some(Verdict::Deviates), "deviates"),
    (Some(Verdict::Inconclusive), "inconclusive"),
    (None, "margin of equivalence"),
];

fn key_width() -> i32 {
    let entry = |text: &str| 16 + width(text, SIZE) + 24;
    12 + KEY.iter().map(|(_, text)| entry(text)).sum::<i32>()
}

fn legend(root: &Area) -> Fallible {
    let mut x = 12;
    for (verdict, text) in KEY {
        match verdict {
            Some(verdict) => mark(root, (x + 5, 18), verdict)?,
            None => root.draw(&Rectangle::new(
                [(x - 2, 11), (x + 12, 25)],
                MARGIN.filled(),
            ))?,
        }
        write(root, text, (x + 16, 18), &TEXT, SIZE, HPos::Left)?;
        x += 16 + width(text, SIZE) + 24;
    }
    Ok(())
}

/// A disc, a square or a ring: the shape tells what the colour does.
fn mark(root: &Area, (x, y): (i32, i32), verdict: Verdict) -> Fallible {
    match verdict {
        Verdict::Reproduced => root.draw(&Circle::new((x, y), 5, OURS.filled()))?,
        Verdict::Deviates => root.draw(&Rectangle::new(
            [(x - 5, y - 5), (x + 5, y + 5)],
            PAPER.filled(),
        ))?,
        _ => {
            root.draw(&Circle::new((x, y), 5, WHITE.filled()))?;
            root.draw(&Circle::new((x, y), 5, SOFT.stroke_width(2)))?;
        }
    }
    Ok(())
}

fn panel(
    root: &Area,
    table: &Comparison,
    c: usize,
    rows: &[usize],
    corner: (i32, i32),
    panel: i32,
) -> Fallible {
    let head = &table.columns[c];
    let cells: Vec<Option<Difference>> = rows
        .iter()
        .map(|r| difference(&table.rows[*r].cells[c]))
        .collect();
    let ends = cells.iter().flatten().flat_map(|shown| {
        let [low, high] = shown.weighed.interval.unwrap_or([shown.value; 2]);
        let margin = margin(shown.weighed).unwrap_or(0.0);
        [low, high, shown.value, -margin, margin]
    });
    let Some((low, high)) = range(ends) else {
        return Ok(());
    };
    let at = (corner.0 + 4, corner.1 + 12);
    write(
        root,
        &clip(&head.text(), 34),
        at,
        &TEXT,
        SIZE + 1.0,
        HPos::Left,
    )?;
    let tall = ROW * rows.len() as i32 + AXIS;
    let area = root
        .clone()
        .shrink((corner.0, corner.1 + PANEL_TITLE), (panel, tall));
    let decimals = tick_decimals(low, high);
    let mut chart = ChartBuilder::on(&area)
        .x_label_area_size(AXIS)
        .build_cartesian_2d(low..high, rows.len() as f64..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(4)
        .x_label_formatter(&|x| tick(*x, decimals))
        .x_label_style(("sans-serif", SIZE - 1.0).into_font().color(&SOFT))
        .x_desc("ours − paper")
        .axis_desc_style(("sans-serif", SIZE - 1.0).into_font().color(&SOFT))
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .axis_style(SOFT)
        .draw()?;
    for (r, shown) in cells.iter().enumerate() {
        let Some(margin) = shown.as_ref().and_then(|shown| margin(shown.weighed)) else {
            continue;
        };
        let (top, bottom) = (r as f64 + 0.08, r as f64 + 0.92);
        let corners = [(-margin, top), (margin, bottom)];
        chart.draw_series([Rectangle::new(corners, MARGIN.filled())])?;
    }
    let zero = vec![(0.0, 0.0), (0.0, rows.len() as f64)];
    chart.draw_series([PathElement::new(zero, SOFT.stroke_width(1))])?;
    for (r, shown) in cells.iter().enumerate() {
        let y = r as f64 + 0.5;
        let Some(shown) = shown else {
            if let Some(weighed) = &table.rows[rows[r]].cells[c].weighed {
                let (zero, y) = chart.backend_coord(&(0.0, y));
                // On the side where the line at zero is not.
                let (x, side) = match zero - corner.0 > panel / 2 {
                    true => (corner.0 + 6, HPos::Left),
                    false => (corner.0 + panel - 6, HPos::Right),
                };
                let word = weighed.verdict.to_string();
                write(root, &word, (x, y), &SOFT, SIZE - 2.0, side)?;
            }
            continue;
        };
        if let Some([low, high]) = shown.weighed.interval {
            let line = vec![(low, y), (high, y)];
            chart.draw_series([PathElement::new(line, TEXT.stroke_width(2))])?;
        }
        mark(
            root,
            chart.backend_coord(&(shown.value, y)),
            shown.weighed.verdict,
        )?;
    }
    Ok(())
}
