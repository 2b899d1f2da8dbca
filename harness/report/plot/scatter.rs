//! One point per method in the plane of two columns, with regression lines; the paper's panel and ours.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{
    Area, FAINT, Fallible, PALETTE, Picture, SIZE, SOFT, TEXT, clip, lacking, picture, range, tick,
    tick_decimals, width, write,
};
use crate::judge::p_text;
use crate::report::number::fixed;
use crate::report::{Comparison, Head, Line, Shown};
use crate::stats::{pearson, regression};
use crate::suite::{self, Scatter};

const PANEL: (i32, i32) = (460, 380);
const TOP: i32 = 24;
const LINE: i32 = 18;
/// Room for the tall letters of the vertical axis' title.
const ASIDE: i32 = 8;

/// A method in the plane.
struct Point {
    method: String,
    at: (f64, f64),
}

/// `mean`: what the paper calls the mean of several columns `y`.
pub(super) fn draw(
    table: &Comparison,
    drawing: &Scatter,
    mean: Option<String>,
) -> Result<Picture, String> {
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
    let shown = |whose: &str| panels.iter().any(|(panel, _)| *panel == whose);
    let mut notes = Vec::new();
    if shown("paper") {
        notes.extend(unprinted(table, drawing));
    }
    if shown("ours") {
        let rows = rows(table, drawing).map(|row| {
            let cells = columns(table, drawing).into_iter().flatten();
            (row.method.as_str(), cells.map(|c| &row.cells[c]).collect())
        });
        notes.extend(lacking(rows));
    }
    let titles = titles(table, drawing, mean);
    let foot = LINE * drawing.lines.len() as i32 + 14;
    let size = (PANEL.0 * panels.len() as i32, TOP + PANEL.1 + foot);
    picture(size.0 as u32, size.1 as u32, &notes, |root| {
        for (i, (whose, points)) in panels.iter().enumerate() {
            panel(root, &titles, drawing, whose, points, PANEL.0 * i as i32)?;
        }
        Ok(())
    })
}

/// The rows that are drawn.
fn rows<'a>(table: &'a Comparison, drawing: &'a Scatter) -> impl Iterator<Item = &'a Line> {
    let rows = table.rows.iter();
    rows.filter(|row| !drawing.without.contains(&row.method))
}

/// The columns that a point is made of, the horizontal one first; none where one is not there.
fn columns(table: &Comparison, drawing: &Scatter) -> Option<Vec<usize>> {
    let find = |id: &String| table.columns.iter().position(|head| head.id == *id);
    std::iter::once(&drawing.x)
        .chain(&drawing.y)
        .map(find)
        .collect()
}

/// The methods with both numbers: a column, and the mean of others.
fn points(
    table: &Comparison,
    drawing: &Scatter,
    number: impl Fn(&Shown) -> Option<f64>,
) -> Vec<Point> {
    let Some(columns) = columns(table, drawing).filter(|columns| columns.len() > 1) else {
        return Vec::new();
    };
    let point = |row: &Line| {
        let numbers = columns.iter().map(|c| number(&row.cells[*c]));
        let numbers: Vec<f64> = numbers.collect::<Option<_>>()?;
        let (x, ys) = numbers.split_first()?;
        Some(Point {
            method: row.method.clone(),
            at: (*x, ys.iter().sum::<f64>() / ys.len() as f64),
        })
    };
    rows(table, drawing).filter_map(point).collect()
}

/// Which methods the paper's panel lacks.
fn unprinted(table: &Comparison, drawing: &Scatter) -> Option<String> {
    let columns = columns(table, drawing)?;
    let lacks = |row: &&Line| columns.iter().any(|c| row.cells[*c].reported.is_none());
    let methods = rows(table, drawing).filter(lacks);
    let methods: Vec<String> = methods.map(|row| clip(&row.method, 24)).collect();
    let note = format!("The paper prints no number for {}.", methods.join(", "));
    (!methods.is_empty()).then_some(note)
}

/// What the axes are called.
fn titles(table: &Comparison, drawing: &Scatter, mean: Option<String>) -> [String; 2] {
    let head = |id: &String| table.columns.iter().find(|head| head.id == *id);
    let title = |id: &String| head(id).map(|head| head.text()).unwrap_or_default();
    let y = match &drawing.y[..] {
        [one] => title(one),
        many => {
            let heads: Vec<&Head> = many.iter().filter_map(head).collect();
            let names = heads.iter().map(|head| head.title.as_str());
            let mean = mean.unwrap_or_else(|| {
                let names: Vec<&str> = names.collect();
                format!("mean of {}", names.join(", "))
            });
            match heads.first() {
                Some(first) => Head {
                    title: mean,
                    ..(*first).clone()
                }
                .text(),
                None => mean,
            }
        }
    };
    [title(&drawing.x), y]
}

/// A regression line with its ends, and what the legend says of it.
struct Fit {
    ends: Option<[(f64, f64); 2]>,
    text: String,
}

fn fit(line: &suite::Line, points: &[Point]) -> Fit {
    let fitted = points
        .iter()
        .filter(|point| line.methods.contains(&point.method));
    let (xs, ys): (Vec<f64>, Vec<f64>) = fitted.map(|point| point.at).unzip();
    let ends = regression(&xs, &ys).map(|fit| {
        let low = xs.iter().copied().fold(f64::INFINITY, f64::min);
        let high = xs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        [low, high].map(|x| (x, fit.intercept + fit.slope * x))
    });
    let found = match pearson(&xs, &ys).filter(|found| found.n > 2) {
        Some(found) => format!(
            "ρ = {}, {}, {} methods",
            fixed(found.r, 2),
            p_equation(found.p),
            found.n
        ),
        None => format!("{} methods", xs.len()),
    };
    Fit {
        ends,
        text: format!("{}: {found}", clip(&line.title, 30)),
    }
}

/// `p = 0.034`, `p < 1e-12`.
fn p_equation(p: f64) -> String {
    let text = p_text(p).replace("e-", "e−");
    match text.starts_with('<') {
        true => format!("p {text}"),
        false => format!("p = {text}"),
    }
}

fn panel(
    root: &Area,
    titles: &[String; 2],
    drawing: &Scatter,
    whose: &str,
    points: &[Point],
    left: i32,
) -> Fallible {
    let fits: Vec<Fit> = drawing.lines.iter().map(|line| fit(line, points)).collect();
    let ends = || fits.iter().filter_map(|fit| fit.ends).flatten();
    let all = || points.iter().map(|point| point.at).chain(ends());
    let (Some((x0, x1)), Some((y0, y1))) =
        (range(all().map(|at| at.0)), range(all().map(|at| at.1)))
    else {
        return Ok(());
    };
    let corner = left + ASIDE;
    write(
        root,
        whose,
        (corner + 60, 14),
        &TEXT,
        SIZE + 1.0,
        HPos::Left,
    )?;
    let size = (PANEL.0 - ASIDE, PANEL.1);
    let area = root.clone().shrink((corner, TOP), size);
    let (xd, yd) = (tick_decimals(x0, x1), tick_decimals(y0, y1));
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
        .x_label_formatter(&|x| tick(*x, xd))
        .y_label_formatter(&|y| tick(*y, yd))
        .label_style(text.color(&SOFT))
        .x_desc(clip(&titles[0], 50))
        .y_desc(clip(&titles[1], 50))
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
    for (i, fit) in fits.iter().enumerate() {
        let colour = PALETTE[i % PALETTE.len()];
        if let Some(ends) = fit.ends {
            let line = PathElement::new(ends.to_vec(), colour.mix(0.7).stroke_width(2));
            chart.draw_series([line])?;
        }
        let y = TOP + PANEL.1 + LINE * i as i32 + 14;
        let key = vec![(corner + 60, y), (corner + 80, y)];
        root.draw(&PathElement::new(key, colour.stroke_width(3)))?;
        write(root, &fit.text, (corner + 88, y), &TEXT, SIZE, HPos::Left)?;
    }
    let mut taken: Vec<[i32; 4]> = Vec::new();
    for point in points {
        let colour = line_of(&point.method).map_or(SOFT, |i| PALETTE[i % PALETTE.len()]);
        chart.draw_series([Circle::new(point.at, 4, colour.filled())])?;
        let (x, y) = chart.backend_coord(&point.at);
        taken.push([x - 5, y - 5, x + 5, y + 5]);
    }
    let bounds = [corner + 60, TOP, left + PANEL.0, TOP + PANEL.1 - 46];
    let lines: Vec<[i32; 4]> = fits
        .iter()
        .filter_map(|fit| fit.ends)
        .flat_map(|ends| along(ends.map(|end| chart.backend_coord(&end))))
        .collect();
    for point in points {
        let at = chart.backend_coord(&point.at);
        let name = clip(&point.method, 24);
        let wide = width(&name, SIZE - 2.0);
        // Better across a line than not at all.
        let place =
            room(at, wide, bounds, &taken, &lines).or_else(|| room(at, wide, bounds, &taken, &[]));
        if let Some((x, y)) = place {
            taken.push([x, y - 6, x + wide, y + 6]);
            if (y - at.1).abs() > 20 {
                let end = if x > at.0 { x - 2 } else { x + wide + 2 };
                let lead = vec![at, (end, y)];
                root.draw(&PathElement::new(lead, SOFT.mix(0.5).stroke_width(1)))?;
            }
            write(root, &name, (x, y), &SOFT, SIZE - 2.0, HPos::Left)?;
        }
    }
    Ok(())
}

/// The boxes that a straight line passes.
fn along([from, to]: [(i32, i32); 2]) -> Vec<[i32; 4]> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let steps = (dx.abs().max(dy.abs()) / 4).max(1);
    (0..=steps)
        .map(|i| (from.0 + dx * i / steps, from.1 + dy * i / steps))
        .map(|(x, y)| [x - 2, y - 2, x + 2, y + 2])
        .collect()
}

/// Where a label of this width fits beside a point without covering another one or a line; none when it fits nowhere near.
fn room(
    at: (i32, i32),
    width: i32,
    bounds: [i32; 4],
    taken: &[[i32; 4]],
    lines: &[[i32; 4]],
) -> Option<(i32, i32)> {
    let shifts = [
        0, -12, 12, -24, 24, -36, 36, -48, 48, -60, 60, -72, 72, -84, 84, -96, 96,
    ];
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
            if inside && taken.iter().chain(lines).all(free) {
                return Some((x, y));
            }
        }
    }
    None
}
