//! Figures as SVG and PNG, the only user of plotters. Colours are those of Okabe and Ito (2008), which stay apart for
//! colour-blind readers; shape and line style tell the same difference once more.

mod canvas;
mod cost;
mod curves;
mod differences;
mod intervals;
mod scatter;

use std::collections::BTreeMap;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use self::canvas::Canvas;
use super::number::fixed;
use super::{Comparison, Drawn, Shown, steers};
use crate::event::RunRecord;
use crate::plan::RunId;
use crate::suite::{Column, Drawing, Figure, Suite};

/// Draws a figure from the tables or, for curves, from what the runs observed.
pub fn draw(
    suite: &Suite,
    figure: &Figure,
    tables: &[Comparison],
    records: &BTreeMap<RunId, RunRecord>,
) -> Drawn {
    let table = |id: &str| {
        tables
            .iter()
            .find(|table| table.id == id)
            .ok_or_else(|| format!("no table {id}"))
    };
    let picture = match &figure.draw {
        Drawing::Intervals(drawing) => {
            table(&drawing.table).and_then(|table| intervals::draw(table, drawing))
        }
        Drawing::Scatter(drawing) => {
            let mean = mean_title(suite, &drawing.table, &drawing.y);
            table(&drawing.table).and_then(|table| scatter::draw(table, drawing, mean))
        }
        Drawing::Curves(drawing) => curves::draw(suite, drawing, records),
    };
    drawn(
        &figure.id,
        figure.title.clone(),
        figure.place.clone(),
        picture,
    )
}

/// What the paper calls the mean of some columns of a table: the title of a column of means, or that of a row
/// of correlations.
fn mean_title(suite: &Suite, table: &str, columns: &[String]) -> Option<String> {
    let means = suite.table(table)?.columns.iter();
    let mean = means
        .filter(|column| matches!(column, Column::Mean(mean) if mean.mean == columns))
        .map(|column| column.title().to_string());
    let derived = suite.derived_tables.iter();
    let rows = derived
        .filter(|derived| derived.from == table)
        .flat_map(|derived| &derived.rows);
    let rows = rows.filter(|row| row.columns == columns);
    mean.chain(rows.map(|row| row.title.clone())).next()
}

/// The forest plot of every table with a number to compare, as `TABLE-differences`.
pub fn differences(tables: &[Comparison]) -> Vec<Drawn> {
    let plot = |table: &Comparison| {
        let picture = differences::draw(table)?;
        let title = format!("{}: ours minus the paper's", table.title);
        let id = format!("{}-differences", table.id);
        Some(drawn(&id, title, None, picture))
    };
    tables.iter().filter_map(plot).collect()
}

/// Cost against quality of every table of which methods have run, as `TABLE-cost`.
pub fn costs(tables: &[Comparison], records: &BTreeMap<RunId, RunRecord>) -> Vec<Drawn> {
    let plot = |table: &Comparison| {
        let picture = cost::draw(table, records)?;
        let title = format!("{}: cost against quality", table.title);
        Some(drawn(&format!("{}-cost", table.id), title, None, picture))
    };
    tables.iter().filter_map(plot).collect()
}

fn drawn(
    id: &str,
    title: String,
    place: Option<String>,
    picture: Result<Picture, String>,
) -> Drawn {
    let letters = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let (svg, png) = match picture {
        Ok(picture) => (Ok(picture.svg), Some(picture.png)),
        Err(why) => (Err(why), None),
    };
    Drawn {
        file: id.chars().map(letters).collect(),
        title,
        place,
        svg,
        png,
    }
}

type Area<'a> = DrawingArea<Canvas<'a>, Shift>;
type Fallible = Result<(), Box<dyn std::error::Error>>;

const TEXT: RGBColor = RGBColor(27, 31, 36);
const SOFT: RGBColor = RGBColor(89, 99, 110);
const FAINT: RGBColor = RGBColor(226, 230, 234);
const OURS: RGBColor = RGBColor(0, 114, 178);
const PAPER: RGBColor = RGBColor(213, 94, 0);
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];
/// Of plotters, whose SVG divides it by 1.24: these are 13 pixels.
const SIZE: f64 = 16.0;

/// Of notes: from the left, and from one line to the next.
const NOTE_LEFT: i32 = 12;
const NOTE_LINE: u32 = 18;

/// A figure in both formats.
pub(super) struct Picture {
    /// The text of the SVG.
    pub svg: String,
    /// The bytes of the PNG, at twice the size.
    pub png: Vec<u8>,
}

/// A white picture of this size, filled by `paint`, with notes under it.
fn picture(
    width: u32,
    height: u32,
    notes: &[String],
    paint: impl FnOnce(&Area) -> Fallible,
) -> Result<Picture, String> {
    let notes = wrapped(notes, width as i32 - 2 * NOTE_LEFT);
    let room = match notes.len() as u32 {
        0 => 0,
        lines => lines * NOTE_LINE + 10,
    };
    let size = (width, height + room);
    let (mut svg, mut pixels) = (String::new(), canvas::pixels(size));
    {
        let root = Canvas::new(&mut svg, &mut pixels, size).into_drawing_area();
        let painted = root
            .fill(&WHITE)
            .map_err(Into::into)
            .and_then(|()| paint(&root))
            .and_then(|()| {
                for (i, line) in notes.iter().enumerate() {
                    let y = (height + 4 + NOTE_LINE * i as u32 + NOTE_LINE / 2) as i32;
                    write(&root, line, (NOTE_LEFT, y), &SOFT, SIZE - 1.0, HPos::Left)?;
                }
                Ok(())
            });
        painted
            .and_then(|()| Ok(root.present()?))
            .map_err(|error| error.to_string())?;
    }
    let png = canvas::encode(&pixels, size).map_err(|error| error.to_string())?;
    Ok(Picture { svg, png })
}

/// Every note broken at blanks into lines of so many pixels.
fn wrapped(notes: &[String], room: i32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for note in notes {
        let mut line = String::new();
        for word in note.split_whitespace() {
            let longer = match line.is_empty() {
                true => word.to_string(),
                false => format!("{line} {word}"),
            };
            if !line.is_empty() && width(&longer, SIZE - 1.0) > room {
                lines.push(std::mem::replace(&mut line, word.to_string()));
            } else {
                line = longer;
            }
        }
        lines.push(line);
    }
    lines
}

/// Why methods have no number of ours in a figure, or one of fewer seeds than planned: one note each.
fn lacking<'a>(cells: impl Iterator<Item = (&'a str, Vec<&'a Shown>)>) -> Vec<String> {
    let (mut without, mut partly) = (Vec::new(), Vec::new());
    for (method, cells) in cells {
        let none = cells.iter().find(|cell| cell.estimate.is_none());
        let partial = cells.iter().find(|cell| cell.missing.is_some());
        let why = |cell: &Shown| cell.missing.clone().unwrap_or_else(|| "no number".into());
        match (none, partial) {
            (Some(cell), _) => without.push(format!("{} ({})", clip(method, 24), why(cell))),
            (None, Some(cell)) => partly.push(format!("{} ({})", clip(method, 24), why(cell))),
            (None, None) => {}
        }
    }
    let note = |text: &str, methods: Vec<String>| {
        (!methods.is_empty()).then(|| format!("{text}: {}.", methods.join(", ")))
    };
    let notes = [
        note("Ours has no number for", without),
        note("Ours lacks seeds of", partly),
    ];
    notes.into_iter().flatten().collect()
}

/// Text in pixels of the whole picture.
fn write(
    area: &Area,
    text: &str,
    at: (i32, i32),
    colour: &RGBColor,
    size: f64,
    side: HPos,
) -> Fallible {
    let style = ("sans-serif", size)
        .into_font()
        .color(colour)
        .pos(Pos::new(side, VPos::Center));
    let text: String = text.chars().filter(|c| !steers(*c)).collect();
    Ok(area.draw(&Text::new(text, at, style))?)
}

/// How wide a text is, in pixels, in the font of the PNG; that of a reader's SVG is seldom wider.
fn width(text: &str, size: f64) -> i32 {
    canvas::width(text, size).ceil() as i32
}

/// A text no longer than so many letters.
fn clip(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        text.into()
    } else {
        text.chars().take(letters - 1).chain(['…']).collect()
    }
}

/// The range of some values with a margin on both sides; none without a finite value.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let mut bounds: Option<(f64, f64)> = None;
    for value in values.filter(|value| value.is_finite()) {
        let (low, high) = bounds.unwrap_or((value, value));
        bounds = Some((low.min(value), high.max(value)));
    }
    let (low, high) = bounds?;
    let margin = if high > low {
        0.06 * (high - low)
    } else {
        (0.01 * low.abs()).max(1e-6)
    };
    Some((low - margin, high + margin))
}

/// Digits that tell the ticks of an axis of this length apart.
fn tick_decimals(low: f64, high: f64) -> usize {
    (1.0 - ((high - low) / 4.0).log10().floor()).clamp(0.0, 9.0) as usize
        - usize::from((high - low) / 4.0 < 10.0)
}

/// The dash pattern of the `i`-th of many lines: colours repeat, patterns then differ.
fn dash(i: usize) -> (i32, i32) {
    match i / PALETTE.len() {
        0 => (1, 0),
        1 => (7, 4),
        2 => (2, 3),
        more => (5 + 6 * (more as i32 - 2), 2),
    }
}

/// A number of an axis, with the minus of the tables.
fn tick(value: f64, decimals: usize) -> String {
    fixed(value, decimals)
}
