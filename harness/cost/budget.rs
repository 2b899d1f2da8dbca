//! Which runs to make of those that a budget does not all pay for.
//!
//! A claim is settled by all runs behind the cells it speaks of. The most claims that fit are chosen, of equals the
//! cheapest, so that more budget never settles fewer. What is left goes to first seeds of other claims, to as many claims
//! as there can be and then to as many seeds, and at last to whole tables, the paper's before other readings of them, the
//! cheapest first. Runs that are done cost nothing, one that several claims need is paid for once, and one
//! whose cost is unknown is never chosen.
//! The choice is exact up to [`STEPS`] of the search, which papers are far from, and else the best one found.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::Estimate;
use crate::plan::{Plan, RunId};
use crate::suite::{Column, Suite, SuiteTable};

/// What a budget pays for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// The runs, with those they start from.
    pub runs: BTreeSet<RunId>,
    /// Device time of those that are to do, in seconds.
    pub seconds: f64,
    /// The claims that they settle, `suite/claim`.
    pub claims: Vec<String>,
    /// The claims that they settle on fewer seeds than the paper has.
    pub in_part: Vec<Part>,
    /// The tables that they fill, `suite/table`.
    pub tables: Vec<String>,
    /// The claims that are not settled in full, with what they would cost alone, in seconds; none where that is unknown.
    pub left_out: Vec<(String, Option<f64>)>,
}

/// A claim on its first seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// `suite/claim`.
    pub claim: String,
    /// How many seeds there will be, at least [`SPREAD`].
    pub seeds: usize,
    /// How many the paper has.
    pub of: usize,
}

/// The fewest seeds that have a spread.
const SPREAD: usize = 2;

/// How far the search goes.
const STEPS: usize = 100_000;

/// Bits of runs of a plan.
type Runs = Vec<u64>;

/// Something that a set of runs pays for.
struct Goal {
    name: String,
    runs: Runs,
    /// Of a claim, its runs of the first seed, of the first two, and so on.
    parts: Vec<Runs>,
    /// Of a table, whether it is another reading of one of the paper's.
    is_reading: bool,
}

/// Chooses within `budget` seconds. `plan` has all runs of the suites, so that a claim needs all of its own; `costs` has an
/// entry for each, none for one that is done, and an unknown cost for one that may not be chosen.
pub fn choose(suites: &[Suite], plan: &Plan, costs: &[Option<Estimate>], budget: f64) -> Choice {
    let seconds: Vec<f64> = costs
        .iter()
        .map(|cost| cost.map_or(0.0, |cost| cost.seconds.unwrap_or(f64::INFINITY)))
        .collect();
    let places: BTreeMap<&RunId, usize> = plan
        .runs
        .iter()
        .enumerate()
        .map(|(i, run)| (&run.id, i))
        .collect();
    let collect = |wanted: &dyn Fn(usize) -> bool| {
        let mut runs = vec![0; plan.runs.len().div_ceil(64)];
        for i in (0..plan.runs.len()).filter(|&i| wanted(i)) {
            let mut next = Some(i);
            while let Some(i) = next {
                runs[i / 64] |= 1 << (i % 64);
                next = plan.runs[i]
                    .needs
                    .as_ref()
                    .and_then(|id| places.get(id).copied());
            }
        }
        runs
    };
    let (mut claims, mut tables) = (Vec::new(), Vec::new());
    for suite in suites {
        for claim in &suite.claims {
            let mut cells = BTreeSet::new();
            spoken_of(
                suite,
                &serde_json::to_value(&claim.holds).unwrap_or_default(),
                &mut cells,
            );
            let speaks = |i: usize| {
                let mut paid = plan.runs[i]
                    .cells
                    .iter()
                    .filter(|cell| cell.suite == suite.name);
                paid.any(|cell| {
                    cells.contains(&(
                        cell.table.as_str(),
                        cell.method.as_str(),
                        cell.column.as_str(),
                    ))
                })
            };
            let seeds: BTreeSet<u64> = (0..plan.runs.len())
                .filter(|&i| plan.runs[i].spec.training.is_some() && speaks(i))
                .map(|i| plan.runs[i].spec.seed)
                .collect();
            let part = |last: &u64| {
                collect(&|i| {
                    let spec = &plan.runs[i].spec;
                    (spec.training.is_none() || spec.seed <= *last) && speaks(i)
                })
            };
            claims.push(Goal {
                name: format!("{}/{}", suite.name, claim.id),
                runs: collect(&speaks),
                parts: seeds.iter().map(part).collect(),
                is_reading: false,
            });
        }
        for table in &suite.tables {
            let fills = |i: usize| {
                let mut paid = plan.runs[i].cells.iter();
                paid.any(|cell| cell.suite == suite.name && cell.table == table.id)
            };
            tables.push(Goal {
                name: format!("{}/{}", suite.name, table.id),
                runs: collect(&fills),
                parts: Vec::new(),
                is_reading: table.reading_of.is_some(),
            });
        }
    }
    let cost = |new: &[u64], paid: &[u64]| -> f64 {
        let mut sum = 0.0;
        each_new(new, paid, |run| sum += seconds[run]);
        sum
    };
    let nothing = vec![0; plan.runs.len().div_ceil(64)];
    // Dear ones first: a branch that cannot be paid for is cut early.
    let mut order: Vec<usize> = (0..claims.len()).collect();
    let alone: Vec<f64> = claims
        .iter()
        .map(|claim| cost(&claim.runs, &nothing))
        .collect();
    order.sort_by(|&a, &b| alone[b].total_cmp(&alone[a]));
    let mut search = Search {
        claims: &claims,
        order: &order,
        seconds: &seconds,
        cost: &cost,
        budget,
        steps: 0,
        best: (Vec::new(), 0.0),
    };
    search.cheapest_first(&nothing);
    search.go(0, &nothing, 0.0, &mut Vec::new());
    let (mut chosen, mut spent) = search.best;
    chosen.sort_unstable();

    let mut paid = nothing.clone();
    let add = |paid: &mut Runs, runs: &Runs| {
        paid.iter_mut()
            .zip(runs)
            .for_each(|(paid, new)| *paid |= new)
    };
    chosen
        .iter()
        .for_each(|&claim| add(&mut paid, &claims[claim].runs));
    let mut choice = Choice {
        claims: chosen
            .iter()
            .map(|&claim| claims[claim].name.clone())
            .collect(),
        left_out: (0..claims.len())
            .filter(|claim| !chosen.contains(claim))
            .map(|claim| {
                (
                    claims[claim].name.clone(),
                    Some(alone[claim]).filter(|cost| cost.is_finite()),
                )
            })
            .collect(),
        ..Choice::default()
    };
    let mut parts: BTreeMap<usize, usize> = BTreeMap::new();
    for seeds in SPREAD
        ..claims
            .iter()
            .map(|claim| claim.parts.len())
            .max()
            .unwrap_or(0)
    {
        loop {
            // With one seed more: the cheapest claim that has all before.
            let costs = (0..claims.len())
                .filter(|claim| !chosen.contains(claim) && claims[*claim].parts.len() > seeds)
                .filter(|claim| match parts.get(claim) {
                    None => seeds == SPREAD,
                    Some(has) => *has == seeds - 1,
                })
                .map(|claim| (claim, cost(&claims[claim].parts[seeds - 1], &paid)))
                .filter(|(_, more)| spent + more <= budget);
            let Some((claim, more)) = costs.min_by(|a, b| a.1.total_cmp(&b.1)) else {
                break;
            };
            spent += more;
            add(&mut paid, &claims[claim].parts[seeds - 1]);
            parts.insert(claim, seeds);
        }
    }
    choice.in_part = parts
        .into_iter()
        .map(|(claim, seeds)| Part {
            claim: claims[claim].name.clone(),
            seeds,
            of: claims[claim].parts.len(),
        })
        .collect();
    let mut waiting: Vec<&Goal> = tables
        .iter()
        .filter(|table| table.runs.iter().any(|word| *word != 0))
        .collect();
    loop {
        let costs = waiting
            .iter()
            .enumerate()
            .map(|(i, table)| (i, cost(&table.runs, &paid)))
            .filter(|(_, more)| spent + more <= budget);
        let sooner = |a: &(usize, f64), b: &(usize, f64)| {
            let reading = |i: usize| waiting[i].is_reading;
            reading(a.0).cmp(&reading(b.0)).then(a.1.total_cmp(&b.1))
        };
        let Some((i, more)) = costs.min_by(sooner) else {
            break;
        };
        spent += more;
        let table = waiting.remove(i);
        add(&mut paid, &table.runs);
        choice.tables.push(table.name.clone());
    }
    let has = |i: &usize| paid[i / 64] & (1 << (i % 64)) != 0;
    choice.runs = (0..plan.runs.len())
        .filter(has)
        .map(|i| plan.runs[i].id.clone())
        .collect();
    choice.seconds = spent;
    choice
}

/// The search for the most claims, and of as many the cheapest.
struct Search<'a> {
    claims: &'a [Goal],
    order: &'a [usize],
    seconds: &'a [f64],
    cost: &'a dyn Fn(&[u64], &[u64]) -> f64,
    budget: f64,
    steps: usize,
    best: (Vec<usize>, f64),
}

impl Search<'_> {
    /// What to beat: always the claim that costs the least beside those that are paid for.
    fn cheapest_first(&mut self, nothing: &Runs) {
        let (mut paid, mut left) = (nothing.clone(), self.order.to_vec());
        loop {
            let costs = left
                .iter()
                .map(|&claim| (claim, (self.cost)(&self.claims[claim].runs, &paid)));
            let Some((claim, more)) = costs.min_by(|a, b| a.1.total_cmp(&b.1)) else {
                return;
            };
            if self.best.1 + more > self.budget {
                return;
            }
            self.best.1 += more;
            self.best.0.push(claim);
            left.retain(|other| *other != claim);
            paid = with(&paid, &self.claims[claim].runs);
        }
    }

    fn go(&mut self, at: usize, paid: &Runs, spent: f64, chosen: &mut Vec<usize>) {
        self.steps += 1;
        let (best, cheapest) = (self.best.0.len(), self.best.1);
        if chosen.len() > best || (chosen.len() == best && spent < cheapest) {
            self.best = (chosen.clone(), spent);
        }
        if at == self.order.len() || self.steps > STEPS || !self.may_win(at, paid, spent, chosen) {
            return;
        }
        let claim = self.order[at];
        let runs = &self.claims[claim].runs;
        let more = (self.cost)(runs, paid);
        if spent + more <= self.budget {
            chosen.push(claim);
            self.go(at + 1, &with(paid, runs), spent + more, chosen);
            chosen.pop();
        }
        // What costs nothing more is never left out.
        if more > 0.0 {
            self.go(at + 1, paid, spent, chosen);
        }
    }

    /// Whether claims from `at` on may give more than the best, or as many for less. A run that several of them need is
    /// counted in each with its share, so that any number of them costs no less than so many of the smallest sums.
    fn may_win(&self, at: usize, paid: &Runs, spent: f64, chosen: &[usize]) -> bool {
        let left: Vec<&Runs> = self.order[at..]
            .iter()
            .map(|&claim| &self.claims[claim].runs)
            .collect();
        let mut shared = vec![0_u32; self.seconds.len()];
        for runs in &left {
            each_new(runs, paid, |run| shared[run] += 1);
        }
        let mut shares: Vec<f64> = left
            .iter()
            .map(|runs| {
                let mut sum = 0.0;
                each_new(runs, paid, |run| {
                    sum += self.seconds[run] / f64::from(shared[run]);
                });
                sum
            })
            .collect();
        shares.sort_by(f64::total_cmp);
        let (mut reach, mut least) = (chosen.len(), spent);
        for share in shares {
            // Sums in another order differ in their last digits.
            if least + share > self.budget * (1.0 + 1e-9) {
                break;
            }
            reach += 1;
            if reach <= self.best.0.len() {
                least += share;
            }
        }
        reach > self.best.0.len()
            || (reach == self.best.0.len() && least < self.best.1 * (1.0 - 1e-9))
    }
}

fn with(paid: &[u64], runs: &[u64]) -> Runs {
    paid.iter().zip(runs).map(|(a, b)| a | b).collect()
}

/// Every run of `runs` that is not in `paid`.
fn each_new(runs: &[u64], paid: &[u64], mut visit: impl FnMut(usize)) {
    for (word, (new, paid)) in runs.iter().zip(paid).enumerate() {
        let mut bits = new & !paid;
        while bits != 0 {
            visit(64 * word + bits.trailing_zeros() as usize);
            bits &= bits - 1;
        }
    }
}

/// The cells that a statement speaks of, as table, method and measured column. Every statement about cells names its
/// table, and the methods and columns of it; where it names none, all are meant.
fn spoken_of<'a>(
    suite: &'a Suite,
    statement: &Value,
    found: &mut BTreeSet<(&'a str, &'a str, &'a str)>,
) {
    if let Some(table) = statement
        .get("table")
        .and_then(Value::as_str)
        .and_then(|id| suite.table(id))
    {
        let mut words = BTreeSet::new();
        words_in(statement, &mut words);
        let mut without = BTreeSet::new();
        words_in(&statement["without"], &mut without);
        // An extreme among nobody in particular is one among all.
        let among_all = statement.get("is").is_some()
            && statement["among"].as_array().is_none_or(Vec::is_empty);
        let named: Vec<&str> = table
            .rows
            .iter()
            .map(|row| row.method.as_str())
            .filter(|name| words.contains(name) && !without.contains(name) && !among_all)
            .collect();
        let columns: Vec<&Column> = table
            .columns
            .iter()
            .filter(|column| words.contains(column.id()))
            .collect();
        for row in table.rows.iter().map(|row| row.method.as_str()) {
            if without.contains(row) || !(named.is_empty() || named.contains(&row)) {
                continue;
            }
            for column in table.columns.iter() {
                if columns.is_empty() || columns.iter().any(|wanted| wanted.id() == column.id()) {
                    measured(table, column, &mut |id| {
                        found.insert((&table.id, row, id));
                    });
                }
            }
        }
        return;
    }
    match statement {
        Value::Array(parts) => parts.iter().for_each(|part| spoken_of(suite, part, found)),
        Value::Object(parts) => parts
            .values()
            .for_each(|part| spoken_of(suite, part, found)),
        _ => {}
    }
}

fn words_in<'a>(value: &'a Value, words: &mut BTreeSet<&'a str>) {
    match value {
        Value::String(word) => drop(words.insert(word)),
        Value::Array(parts) => parts.iter().for_each(|part| words_in(part, words)),
        Value::Object(parts) => parts.values().for_each(|part| words_in(part, words)),
        _ => {}
    }
}

/// The measured columns under a column.
fn measured<'a>(table: &'a SuiteTable, column: &'a Column, found: &mut dyn FnMut(&'a str)) {
    let over: &[String] = match column {
        Column::Measured(_) => return found(column.id()),
        Column::Mean(mean) => &mean.mean,
        Column::Sd(sd) => &sd.sd,
        // Over all columns of the table.
        Column::Correlation(_) => {
            for other in table
                .columns
                .iter()
                .filter(|other| matches!(other, Column::Measured(_)))
            {
                found(other.id());
            }
            return;
        }
    };
    for other in table
        .columns
        .iter()
        .filter(|other| over.iter().any(|id| id == other.id()))
    {
        measured(table, other, found);
    }
}
