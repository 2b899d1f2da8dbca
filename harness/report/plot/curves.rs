//! A quantity over training, one line per method: the mean over seeds, in a band of their standard deviation.

use std::collections::BTreeMap;

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{
    FAINT, PALETTE, Picture, SIZE, SOFT, TEXT, clip, dash, picture, range, tick, tick_decimals,
    width, write,
};
use crate::event::{Outcome, RunRecord};
use crate::plan::{RunId, run_spec};
use crate::stats::Estimate;
use crate::suite::{Column, Curves, MethodEntry, Suite};

const PLOT: (i32, i32) = (640, 380);
const TOP: i32 = 16;
/// Room for the tall letters of the vertical axis' title.
const ASIDE: i32 = 8;
/// More points than this a reader cannot see.
const POINTS: usize = 200;

/// A method's line.
struct Curve {
    method: String,
    points: Vec<(f64, f64)>,
    /// Standard deviation over the seeds at each point; 0 of a single one.
    spreads: Vec<f64>,
}

impl Curve {
    /// Both edges of its band.
    fn ends(&self) -> impl Iterator<Item = f64> {
        let both = self.points.iter().zip(&self.spreads);
        both.flat_map(|((_, y), sd)| [y - sd, y + sd])
    }

    fn has_band(&self) -> bool {
        self.spreads.iter().any(|sd| *sd > 0.0)
    }
}

pub(super) fn draw(
    suite: &Suite,
    drawing: &Curves,
    records: &BTreeMap<RunId, RunRecord>,
) -> Result<Picture, String> {
    let curves: Vec<Curve> = suite
        .methods
        .keys()
        .filter_map(|method| curve(suite, drawing, method, records))
        .collect();
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let (Some((_, x1)), Some((y0, y1))) = (
        range(points().map(|point| point.0)),
        range(curves.iter().flat_map(Curve::ends)),
    ) else {
        return Err(format!(
            "no run has observed {} on {} yet",
            drawing.metric, drawing.on
        ));
    };
    let names: Vec<String> = curves.iter().map(|curve| clip(&curve.method, 24)).collect();
    let legend = names
        .iter()
        .map(|name| width(name, SIZE))
        .max()
        .unwrap_or(0)
        + 50;
    let height = (TOP + PLOT.1).max(TOP + 30 + 20 * names.len() as i32);
    let mut notes = Vec::new();
    if curves.iter().any(Curve::has_band) {
        notes.push("Lines: mean over seeds. Bands: ±1 standard deviation over seeds.".to_string());
    }
    notes.extend(lacking(suite, drawing, &curves, records));
    picture((PLOT.0 + legend) as u32, height as u32, &notes, |root| {
        let area = root.clone().shrink((ASIDE, TOP), (PLOT.0 - ASIDE, PLOT.1));
        let decimals = tick_decimals(y0, y1);
        let mut chart = ChartBuilder::on(&area)
            .margin_right(12)
            .x_label_area_size(46)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..x1, y0..y1)?;
        chart
            .configure_mesh()
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&|x| tick(*x, 0))
            .y_label_formatter(&|y| tick(*y, decimals))
            .label_style(("sans-serif", SIZE - 1.0).into_font().color(&SOFT))
            .x_desc("updates")
            .y_desc(clip(&format!("{}, {}", drawing.metric, drawing.on), 40))
            .axis_desc_style(("sans-serif", SIZE).into_font().color(&TEXT))
            .bold_line_style(FAINT)
            .light_line_style(TRANSPARENT)
            .axis_style(SOFT)
            .draw()?;
        for (i, curve) in curves.iter().enumerate() {
            let up = curve
                .points
                .iter()
                .zip(&curve.spreads)
                .map(|((x, y), sd)| (*x, y + sd));
            let down = curve
                .points
                .iter()
                .zip(&curve.spreads)
                .rev()
                .map(|((x, y), sd)| (*x, y - sd));
            let band: Vec<(f64, f64)> = up.chain(down).collect();
            if curve.has_band() {
                chart.draw_series([Polygon::new(band, PALETTE[i % PALETTE.len()].mix(0.13))])?;
            }
        }
        for (i, curve) in curves.iter().enumerate() {
            let style = PALETTE[i % PALETTE.len()].stroke_width(2);
            let y = TOP + 16 + 20 * i as i32;
            let key = vec![(PLOT.0 + 4, y), (PLOT.0 + 26, y)];
            match dash(i) {
                (_, 0) => {
                    chart.draw_series([PathElement::new(curve.points.clone(), style)])?;
                    root.draw(&PathElement::new(key, style))?;
                }
                (line, gap) => {
                    chart.draw_series(DashedLineSeries::new(
                        curve.points.iter().copied(),
                        line,
                        gap,
                        style,
                    ))?;
                    root.draw(&DashedPathElement::new(key.into_iter(), line, gap, style))?;
                }
            }
            write(root, &names[i], (PLOT.0 + 34, y), &TEXT, SIZE, HPos::Left)?;
        }
        Ok(())
    })
}

/// The methods without a curve, and those of which seeds are not in it to the end.
fn lacking(
    suite: &Suite,
    drawing: &Curves,
    curves: &[Curve],
    records: &BTreeMap<RunId, RunRecord>,
) -> Vec<String> {
    let (mut without, mut partly) = (Vec::new(), Vec::new());
    for (method, entry) in &suite.methods {
        if !observes(entry, &drawing.metric) {
            continue;
        }
        let mut lost: BTreeMap<String, usize> = BTreeMap::new();
        for run in runs(suite, &drawing.task, method) {
            let ending = match records.get(&run).map(|record| &record.outcome) {
                Some(Outcome::Completed) => continue,
                Some(outcome) => outcome.to_string(),
                None => "not run".into(),
            };
            *lost.entry(ending).or_default() += 1;
        }
        if lost.is_empty() {
            continue;
        }
        let words = lost
            .iter()
            .map(|(ending, count)| format!("{count} {ending}"));
        let words: Vec<String> = words.collect();
        let text = format!("{} ({})", clip(method, 24), words.join(", "));
        match curves.iter().any(|curve| curve.method == *method) {
            true => partly.push(text),
            false => without.push(text),
        }
    }
    let note = |what: &str, methods: Vec<String>| {
        (!methods.is_empty()).then(|| format!("{what}: {}.", methods.join(", ")))
    };
    let notes = [
        note("No line for", without),
        note("Not every seed to the end", partly),
    ];
    notes.into_iter().flatten().collect()
}

/// Whether training by a method can tell a quantity: a model evaluated as it is tells none, and only where outputs are
/// compared is there a distance.
fn observes(entry: &MethodEntry, metric: &str) -> bool {
    match entry {
        MethodEntry::Untrained(_) => false,
        MethodEntry::Trained(method) => metric != "distance" || method.distance().contains("KL("),
    }
}

/// The mean over the seeds that observed a step, thinned to what a reader can see.
fn curve(
    suite: &Suite,
    drawing: &Curves,
    method: &str,
    records: &BTreeMap<RunId, RunRecord>,
) -> Option<Curve> {
    let mut sums: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for run in runs(suite, &drawing.task, method) {
        let observations = records
            .get(&run)
            .map_or(&[][..], |record| &record.observations);
        let wanted = observations
            .iter()
            .filter(|seen| seen.metric == drawing.metric && seen.on == drawing.on);
        for seen in wanted.filter(|seen| seen.value.is_finite()) {
            sums.entry(seen.step).or_default().push(seen.value);
        }
    }
    let all: Vec<(f64, f64, f64)> = sums
        .into_iter()
        .filter_map(|(step, values)| {
            let estimate = Estimate::of(&values)?;
            Some((step as f64, estimate.mean, estimate.sd.unwrap_or(0.0)))
        })
        .collect();
    let size = all.len().div_ceil(POINTS).max(1);
    let mean = |chunk: &[(f64, f64, f64)], of: fn(&(f64, f64, f64)) -> f64| {
        chunk.iter().map(of).sum::<f64>() / chunk.len() as f64
    };
    let point = |chunk| (mean(chunk, |point| point.0), mean(chunk, |point| point.1));
    (!all.is_empty()).then(|| Curve {
        method: method.to_string(),
        points: all.chunks(size).map(point).collect(),
        spreads: all
            .chunks(size)
            .map(|chunk| mean(chunk, |point| point.2))
            .collect(),
    })
}

/// The runs of a method on a task, over the seeds of the tables that show it.
fn runs(suite: &Suite, task: &str, method: &str) -> Vec<RunId> {
    let mut seeds: Vec<u64> = Vec::new();
    for table in &suite.tables {
        let shows_task = table
            .columns
            .iter()
            .any(|column| matches!(column, Column::Measured(measured) if measured.task == task));
        if shows_task && table.rows.iter().any(|row| row.method == method) {
            seeds.extend(&table.seeds);
        }
    }
    seeds.sort_unstable();
    seeds.dedup();
    let mut runs: Vec<RunId> = seeds
        .into_iter()
        .map(|seed| run_spec(suite, task, method, seed).id())
        .collect();
    runs.dedup();
    runs
}
