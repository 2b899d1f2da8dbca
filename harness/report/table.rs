//! Comparison tables without a format: what each cell shows, in the printed order and precision.

use std::collections::BTreeSet;

use super::Sides;
use super::number::Number;
use super::provenance::{Origin, Origins};
use crate::judge::{Absent, Cell, Cells, Rule, Weighed, digits, direction, judge_cell};
use crate::plan::RunId;
use crate::stats::Estimate;
use crate::suite::{
    Column, Direction, MethodEntry, Reported, Spread, Statistic, Suite, SuiteTable,
};

/// A table of the paper with ours beside it.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Short name.
    pub id: String,
    /// Caption.
    pub title: String,
    /// Where the reported numbers stand.
    pub place: String,
    /// Whether it sets printed numbers beside another reading of the methods, and so is none of the paper's tables.
    pub is_reading: bool,
    /// What the numbers are over seeds.
    pub statistic: Statistic,
    /// What stands after a ±, in words; none when no column prints one.
    pub spread: Option<String>,
    /// The columns.
    pub columns: Vec<Head>,
    /// The rows.
    pub rows: Vec<Line>,
    /// Seeds planned for each cell.
    pub seeds: usize,
}

/// A column's header.
#[derive(Clone, Debug)]
pub struct Head {
    /// Short name.
    pub id: String,
    /// Header.
    pub title: String,
    /// Unit, where the metric has one.
    pub unit: Option<String>,
    /// Which way is better, where one is.
    pub better: Option<Direction>,
    /// What stands after the ± of this column.
    pub spread: Spread,
}

impl Head {
    /// `CIFAR-100 (%) ↑`.
    pub fn text(&self) -> String {
        let unit = self
            .unit
            .as_ref()
            .map(|unit| format!(" ({unit})"))
            .unwrap_or_default();
        let arrow = match self.better {
            Some(Direction::Higher) => " ↑",
            Some(Direction::Lower) => " ↓",
            None => "",
        };
        format!("{}{unit}{arrow}", self.title)
    }

    /// `in %; higher is better`; empty where neither is to be said.
    pub fn words(&self) -> String {
        let unit = self.unit.as_ref().map(|unit| format!("in {unit}"));
        let better = match self.better {
            Some(Direction::Higher) => Some("higher is better".to_string()),
            Some(Direction::Lower) => Some("lower is better".to_string()),
            None => None,
        };
        let words: Vec<String> = unit.into_iter().chain(better).collect();
        words.join("; ")
    }
}

/// A row.
#[derive(Clone, Debug)]
pub struct Line {
    /// The method.
    pub method: String,
    /// What the row is called.
    pub title: String,
    /// Whether the model is evaluated without training.
    pub untrained: bool,
    /// The group, on the first row of each.
    pub group: Option<String>,
    /// One a column.
    pub cells: Vec<Shown>,
}

/// What a cell shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// As printed.
    pub paper: Option<Number>,
    /// As measured.
    pub ours: Option<Number>,
    /// Best or worst of the printed ones.
    pub paper_mark: Mark,
    /// Best or worst of ours.
    pub ours_mark: Mark,
    /// Ours as it is, not rounded.
    pub estimate: Option<Estimate>,
    /// As printed, with kind and seeds of its spread.
    pub reported: Option<Reported>,
    /// The verdict; none where nothing is reported.
    pub weighed: Option<Weighed>,
    /// Whether its verdict counts in another table, or as that of a reading nowhere.
    pub repeated: bool,
    /// Seeds with a value.
    pub n: usize,
    /// Seeds planned.
    pub planned: usize,
    /// Why seeds have none.
    pub missing: Option<String>,
    /// Seeds whose run diverged.
    pub diverged: usize,
    /// The seeds it rests on.
    pub seeds: Vec<Seed>,
    /// The planned ones that it lacks.
    pub absent: Vec<Absent>,
    /// The runs it is made of.
    pub runs: BTreeSet<RunId>,
    /// Where they ran.
    pub origin: Origin,
}

/// A seed behind a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Seed {
    /// The seed.
    pub seed: u64,
    /// Its value; none where the number is one of all seeds together, as a correlation is.
    pub value: Option<f64>,
    /// The runs it comes from.
    pub runs: BTreeSet<RunId>,
}

impl Seed {
    /// Those that a cell rests on.
    pub(super) fn of(cell: &Cell) -> Vec<Seed> {
        let valued = cell.samples.iter().map(|sample| Seed {
            seed: sample.seed,
            value: Some(sample.value),
            runs: sample.runs.clone(),
        });
        let over = cell.over.iter().map(|(&seed, runs)| Seed {
            seed,
            value: None,
            runs: runs.clone(),
        });
        valued.chain(over).collect()
    }
}

/// The best and the worst of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Neither.
    None,
    /// None is better.
    Best,
    /// None is worse.
    Worst,
}

/// Whose numbers a method has in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// The paper's above ours.
    Both,
    /// The paper's.
    Paper,
    /// Ours, for a table that the paper does not have.
    Ours,
}

impl Comparison {
    /// Sets a table beside its cells.
    pub fn of(
        suite: &Suite,
        table: &SuiteTable,
        cells: &Cells,
        rule: &Rule,
        origins: &Origins<'_>,
    ) -> Comparison {
        let mut columns: Vec<Head> = table
            .columns
            .iter()
            .map(|column| head(suite, table, column))
            .collect();
        let mut rows = Vec::new();
        let mut group = None;
        for (r, row) in table.rows.iter().enumerate() {
            let starts = row.group.is_some() && row.group != group;
            group = row.group.clone();
            let shown = columns.iter().enumerate().map(|(c, head)| {
                let decimals =
                    printed_decimals(table, r, c).unwrap_or_else(|| own_decimals(table, cells, c));
                let spread_decimals = spread_decimals(table, c).max(decimals);
                let empty = Cell::default();
                let mut shown = show(
                    cells.at(&table.id, r, c).unwrap_or(&empty),
                    row.reported.get(c).cloned().flatten(),
                    head,
                    [decimals, spread_decimals],
                    rule,
                );
                let first = table.repeats.as_ref().and_then(|id| suite.table(id));
                shown.repeated = table.reading_of.is_some()
                    || first.is_some_and(|first| first.reported(&row.method, &head.id).is_some());
                shown.origin = origins.of(&shown.runs);
                shown
            });
            rows.push(Line {
                method: row.method.clone(),
                title: row.title.clone(),
                untrained: matches!(suite.methods[&row.method], MethodEntry::Untrained(_)),
                group: if starts { row.group.clone() } else { None },
                cells: shown.collect(),
            });
        }
        for (c, head) in columns.iter().enumerate() {
            let Some(better) = head.better else { continue };
            mark(&mut rows, c, better, |cell| {
                (&cell.paper, &mut cell.paper_mark)
            });
            mark(&mut rows, c, better, |cell| {
                (&cell.ours, &mut cell.ours_mark)
            });
        }
        let mut hidden = table.columns.iter().map(Column::hidden).cycle();
        let mut shown = || !hidden.next().unwrap_or_default();
        for row in &mut rows {
            row.cells.retain(|_| shown());
        }
        columns.retain(|_| shown());
        Comparison {
            id: table.id.clone(),
            title: table.title.clone(),
            place: table.place.clone(),
            is_reading: table.reading_of.is_some(),
            statistic: table.statistic,
            spread: spread_words(&columns),
            columns,
            rows,
            seeds: table.seeds.len(),
        }
    }

    /// All cells.
    pub fn cells(&self) -> impl Iterator<Item = &Shown> {
        self.rows.iter().flat_map(|row| &row.cells)
    }

    /// Where each number of ours comes from.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.cells().map(|cell| &cell.origin)
    }

    /// Whose numbers each method has here.
    pub fn lines(&self, sides: Sides) -> Lines {
        match (sides, self.has_reported()) {
            (Sides::Paper, _) => Lines::Paper,
            (Sides::Both, true) => Lines::Both,
            (Sides::Both, false) => Lines::Ours,
        }
    }

    /// A head whose unit and direction all columns share; none when they differ.
    pub fn common(&self) -> Option<&Head> {
        let first = self.columns.first()?;
        let same = |head: &Head| head.unit == first.unit && head.better == first.better;
        self.columns.iter().all(same).then_some(first)
    }

    /// `best in bold, worst in italics`, of the marks that it has.
    pub fn marks_words(&self, best: &str, worst: &str) -> String {
        let has = |wanted: Mark| {
            let mut marks = self
                .cells()
                .flat_map(|cell| [cell.paper_mark, cell.ours_mark]);
            marks.any(|mark| mark == wanted)
        };
        let words = [
            has(Mark::Best).then(|| format!("best {best}")),
            has(Mark::Worst).then(|| format!("worst {worst}")),
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Whether the paper reports anything in this table.
    pub fn has_reported(&self) -> bool {
        self.cells().any(|cell| cell.paper.is_some())
    }
}

fn head(suite: &Suite, table: &SuiteTable, column: &Column) -> Head {
    Head {
        id: column.id().to_string(),
        title: column.title().to_string(),
        unit: unit(suite, table, column),
        better: direction(suite, table, column),
        spread: column.spread().unwrap_or(table.spread),
    }
}

/// The metric's, and that of the columns a mean or a deviation is over.
fn unit(suite: &Suite, table: &SuiteTable, column: &Column) -> Option<String> {
    let over = match column {
        Column::Measured(measured) => return suite.metric_of(measured).unit.clone(),
        Column::Mean(mean) => &mean.mean,
        Column::Sd(sd) => &sd.sd,
        Column::Correlation(_) => return None,
    };
    let source = table
        .columns
        .iter()
        .find(|other| over.iter().any(|id| id == other.id()))?;
    (source.id() != column.id()).then(|| unit(suite, table, source))?
}

/// The cell's printed digits, else the most of its column.
fn printed_decimals(table: &SuiteTable, row: usize, column: usize) -> Option<usize> {
    let printed = |row: &crate::suite::SuiteRow| {
        row.reported
            .get(column)?
            .as_ref()
            .map(|reported| reported.decimals)
    };
    let own = printed(&table.rows[row]);
    let decimals = own.or_else(|| table.rows.iter().filter_map(printed).max());
    decimals.map(|decimals| decimals as usize)
}

/// As many as tell our numbers of a column apart in which none is printed.
fn own_decimals(table: &SuiteTable, cells: &Cells, column: usize) -> usize {
    let rows = 0..table.rows.len();
    rows.filter_map(|row| cells.at(&table.id, row, column)?.estimate)
        .map(|estimate| digits(estimate.mean))
        .max()
        .unwrap_or(2)
}

/// The most digits of the column's printed spreads, which a paper may print finer than the means. A spread is kept as a
/// number, without the zeros it may end in, so one alone does not tell.
fn spread_decimals(table: &SuiteTable, column: usize) -> usize {
    let spreads = table
        .rows
        .iter()
        .filter_map(|row| row.reported.get(column)?.as_ref()?.spread);
    spreads
        .map(|spread| spread.to_string())
        .filter_map(|text| text.split_once('.').map(|(_, digits)| digits.len()))
        .max()
        .unwrap_or(0)
}

fn show(
    cell: &Cell,
    reported: Option<Reported>,
    head: &Head,
    [decimals, spread_decimals]: [usize; 2],
    rule: &Rule,
) -> Shown {
    let spread = cell.estimate.and_then(|estimate| match head.spread {
        Spread::None => None,
        Spread::Sd => estimate.sd,
        Spread::Ci95 => estimate.ci95(),
        Spread::SdOverColumns => cell.over_columns,
    });
    let seeds = Seed::of(cell);
    Shown {
        paper: reported.as_ref().map(|reported| Number {
            mean: reported.value,
            spread: reported.spread_beside(),
            decimals,
            spread_decimals,
        }),
        ours: cell.estimate.map(|estimate| Number {
            mean: estimate.mean,
            spread,
            decimals,
            spread_decimals,
        }),
        paper_mark: Mark::None,
        ours_mark: Mark::None,
        estimate: cell.estimate,
        repeated: false,
        weighed: reported
            .as_ref()
            .map(|reported| judge_cell(cell, reported, rule)),
        reported,
        n: cell.estimate.map_or(0, |estimate| estimate.n),
        planned: cell.planned,
        missing: cell.missing(),
        diverged: cell.diverged(),
        runs: seeds.iter().flat_map(|seed| seed.runs.clone()).collect(),
        seeds,
        absent: cell.without.clone(),
        origin: Origin::default(),
    }
}

/// Marks the best and the worst method of a column as far as the printed digits tell them apart; a model evaluated as it
/// is takes no part, and of fewer than three there is nothing to point out.
fn mark(
    rows: &mut [Line],
    column: usize,
    better: Direction,
    side: impl for<'a> Fn(&'a mut Shown) -> (&'a Option<Number>, &'a mut Mark),
) {
    let rounded = |number: &Number| {
        let scale = 10f64.powi(number.decimals as i32);
        let value = (number.mean * scale).round() / scale;
        if better == Direction::Higher {
            value
        } else {
            -value
        }
    };
    let values: Vec<f64> = rows
        .iter_mut()
        .filter(|row| !row.untrained)
        .filter_map(|row| side(&mut row.cells[column]).0.as_ref().map(rounded))
        .collect();
    let best = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let worst = values.iter().copied().fold(f64::INFINITY, f64::min);
    if values.len() < 3 || best == worst {
        return;
    }
    for row in rows.iter_mut().filter(|row| !row.untrained) {
        let (number, mark) = side(&mut row.cells[column]);
        *mark = match number.as_ref().map(rounded) {
            Some(value) if value == best => Mark::Best,
            Some(value) if value == worst => Mark::Worst,
            _ => Mark::None,
        };
    }
}

fn spread_words(columns: &[Head]) -> Option<String> {
    let mut words: Vec<&str> = Vec::new();
    for head in columns {
        let word = match head.spread {
            Spread::None => continue,
            Spread::Sd => "standard deviation over seeds",
            Spread::Ci95 => "95% confidence interval of the mean over seeds",
            Spread::SdOverColumns => "standard deviation over the averaged columns",
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    (!words.is_empty()).then(|| words.join(", or "))
}
