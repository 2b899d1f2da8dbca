//! One point per method in the plane of two columns, with regression lines; the paper's panel and ours.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{
    Area, FAINT, Fallible, PALETTE, Picture, SIZE, SOFT, TEXT, clip, picture, range, tick_decimals,
    width, write,
};
use crate::judge::p_text;
use crate::report::{Comparison, Shown};
use crate::stats::{pearson, regression};
use crate::suite::Scatter;

const PANEL: (i32, i32) = (460, 380);
const TOP: i32 = 24;
const LINE: i32 = 18;

/// A method in the plane.
struct Point {
    method: String,
    at: (f64, f64),
}

pub(super) fn draw(table: &Comparison, drawing: &Scatter) -> Result<Picture, String> {
    let paper = points(table, drawing, |cell| {
        cell.reported.as_ref().map(|reported| reported.value)
    });
    let ours = points(table, drawing, |cell| {
        cell.estimate.map(|estimate| estimate.mean)
    });
    let panels: Vec<(&str, Vec<Point>)> = [("paper", paper), ("ours", ours)]
        .into_iter()
        .filter(|(_, points)| !points.is_empty())
        .collect();
    if panels.is_empty() {
        return Err("no method has both numbers yet".into());
    }
    let foot = LINE * drawing.lines.len() as i32 + 14;
    let size = (PANEL.0 * panels.len() as i32, TOP + PANEL.1 + foot);
    picture(size.0 as u32, size.1 as u32, |root| {
        for (i, (whose, points)) in panels.iter().enumerate() {
            panel(root, table, drawing, whose, points, PANEL.0 * i as i32)?;
        }
        Ok(())
    })
}

/// The methods with both numbers: a column, and the mean of others.
fn points(
    table: &Comparison,
    drawing: &Scatter,
    number: impl Fn(&Shown) -> Option<f64>,
) -> Vec<Point> {
    let find = |id: &String| table.columns.iter().position(|head| head.id == *id);
    let (Some(x), Some(y)) = (
        find(&drawing.x),
        drawing.y.iter().map(find).collect::<Option<Vec<usize>>>(),
    ) else {
        return Vec::new();
    };
    let rows = table
        .rows
        .iter()
        .filter(|row| !drawing.without.contains(&row.method));
    rows.filter_map(|row| {
        let ys: Option<Vec<f64>> = y.iter().map(|c| number(&row.cells[*c])).collect();
        let ys = ys.filter(|ys| !ys.is_empty())?;
        let at = (
            number(&row.cells[x])?,
            ys.iter().sum::<f64>() / ys.len() as f64,
        );
        Some(Point {
            method: row.method.clone(),
            at,
        })
    })
    .collect()
}

fn panel(
    root: &Area,
    table: &Comparison,
    drawing: &Scatter,
    whose: &str,
    points: &[Point],
    left: i32,
) -> Fallible {
    let (Some((x0, x1)), Some((y0, y1))) = (
        range(points.iter().map(|point| point.at.0)),
        range(points.iter().map(|point| point.at.1)),
    ) else {
        return Ok(());
    };
    write(root, whose, (left + 64, 14), &TEXT, SIZE + 1.0, HPos::Left)?;
    let area = root.clone().shrink((left, TOP), PANEL);
    let (xd, yd) = (tick_decimals(x0, x1), tick_decimals(y0, y1));
    let title = |id: &String| {
        table
            .columns
            .iter()
            .find(|head| head.id == *id)
            .map(|head| head.text())
    };
    let y_title = match &drawing.y[..] {
        [one] => title(one).unwrap_or_default(),
        many => format!("mean of {} columns", many.len()),
    };
    let mut chart = ChartBuilder::on(&area)
        .margin_right(16)
        .x_label_area_size(46)
        .y_label_area_size(60)
        .build_cartesian_2d(x0..x1, y0..y1)?;
    let text = ("sans-serif", SIZE - 1.0).into_font();
    chart
        .configure_mesh()
        .x_labels(5)
        .y_labels(5)
        .x_label_formatter(&|x| format!("{x:.xd$}"))
        .y_label_formatter(&|y| format!("{y:.yd$}"))
        .label_style(text.color(&SOFT))
        .x_desc(clip(&title(&drawing.x).unwrap_or_default(), 50))
        .y_desc(clip(&y_title, 50))
        .axis_desc_style(("sans-serif", SIZE).into_font().color(&TEXT))
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .axis_style(SOFT)
        .draw()?;
    let line_of = |method: &str| {
        drawing
            .lines
            .iter()
            .position(|line| line.methods.iter().any(|other| other == method))
    };
    for (i, line) in drawing.lines.iter().enumerate() {
        let colour = PALETTE[i % PALETTE.len()];
        let fitted: Vec<&Point> = points
            .iter()
            .filter(|point| line.methods.contains(&point.method))
            .collect();
        let (xs, ys): (Vec<f64>, Vec<f64>) = fitted.iter().map(|point| point.at).unzip();
        if let Some(fit) = regression(&xs, &ys) {
            let low = xs.iter().copied().fold(f64::INFINITY, f64::min);
            let high = xs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let ends = [low, high].map(|x| (x, fit.intercept + fit.slope * x));
            chart.draw_series([PathElement::new(
                ends.to_vec(),
                colour.mix(0.7).stroke_width(2),
            )])?;
        }
        let found = match pearson(&xs, &ys).filter(|found| found.n > 2) {
            Some(found) => format!(
                "ρ = {:.2}, p = {}, {} methods",
                found.r,
                p_text(found.p),
                found.n
            ),
            None => format!("{} methods", xs.len()),
        };
        let y = TOP + PANEL.1 + LINE * i as i32 + 14;
        root.draw(&PathElement::new(
            vec![(left + 64, y), (left + 84, y)],
            colour.stroke_width(3),
        ))?;
        write(
            root,
            &format!("{}: {found}", clip(&line.title, 30)),
            (left + 92, y),
            &TEXT,
            SIZE,
            HPos::Left,
        )?;
    }
    let mut taken: Vec<[i32; 4]> = Vec::new();
    for point in points {
        let colour = line_of(&point.method).map_or(SOFT, |i| PALETTE[i % PALETTE.len()]);
        chart.draw_series([Circle::new(point.at, 4, colour.filled())])?;
        let (x, y) = chart.backend_coord(&point.at);
        taken.push([x - 5, y - 5, x + 5, y + 5]);
    }
    let bounds = [left + 60, TOP, left + PANEL.0, TOP + PANEL.1 - 46];
    for point in points {
        let at = chart.backend_coord(&point.at);
        let name = clip(&point.method, 24);
        if let Some(at) = room(at, width(&name, SIZE - 2.0), bounds, &mut taken) {
            write(root, &name, at, &SOFT, SIZE - 2.0, HPos::Left)?;
        }
    }
    Ok(())
}

/// Where a label of this width fits beside a point without covering another; none when it fits nowhere near.
fn room(
    at: (i32, i32),
    width: i32,
    bounds: [i32; 4],
    taken: &mut Vec<[i32; 4]>,
) -> Option<(i32, i32)> {
    let shifts = [0, -12, 12, -24, 24, -36, 36, -48, 48, -60, 60];
    for shift in shifts {
        for x in [at.0 + 9, at.0 - 9 - width] {
            let y = at.1 + shift;
            let own = [x, y - 6, x + width, y + 6];
            let inside = own[0] >= bounds[0]
                && own[2] <= bounds[2]
                && own[1] >= bounds[1]
                && own[3] <= bounds[3];
            let free = |other: &[i32; 4]| {
                own[2] <= other[0] || own[0] >= other[2] || own[3] <= other[1] || own[1] >= other[3]
            };
            if inside && taken.iter().all(free) {
                taken.push(own);
                return Some((x, y));
            }
        }
    }
    None
}
