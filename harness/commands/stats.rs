//! `harness stats`, hidden: answers statistical questions, a line of JSON each, so that other programs can check them.

use std::io::BufRead;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{BadInput, Exit};
use crate::stats::{
    Continuity, Estimate, MeanDifference, Tested, holm, kolmogorov_limit, kolmogorov_smirnov,
    pearson, student, welch, wilcoxon, wilcoxon_exact, wilcoxon_normal,
};

/// A question. `margin` is that of equivalence.
#[derive(Debug, Deserialize)]
#[serde(tag = "test", rename_all = "snake_case", deny_unknown_fields)]
enum Question {
    Mean {
        x: Vec<f64>,
    },
    Student {
        x: Vec<f64>,
        value: f64,
        margin: f64,
    },
    Paired {
        x: Vec<f64>,
        y: Vec<f64>,
        margin: f64,
    },
    Welch {
        x: Vec<f64>,
        y: Vec<f64>,
        margin: f64,
    },
    Wilcoxon {
        x: Vec<f64>,
    },
    WilcoxonExact {
        x: Vec<f64>,
    },
    WilcoxonNormal {
        x: Vec<f64>,
        corrected: bool,
    },
    KolmogorovSmirnov {
        x: Vec<f64>,
        y: Vec<f64>,
    },
    KolmogorovLimit {
        x: f64,
    },
    Pearson {
        x: Vec<f64>,
        y: Vec<f64>,
    },
    Holm {
        p: Vec<f64>,
    },
}

/// Answers the questions on standard input in their order; `null` where the data do not support the test.
pub fn stats() -> anyhow::Result<Exit> {
    for (i, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.context("cannot read standard input")?;
        let question: Question = serde_json::from_str(&line)
            .map_err(|error| BadInput(format!("line {}: {error}", i + 1)))?;
        println!("{}", answer(&question));
    }
    Ok(Exit::Success)
}

fn answer(question: &Question) -> Value {
    let difference = |found: Option<MeanDifference>, margin: f64| {
        found.map(|found| {
            json!({
                "difference": found.difference, "t": found.t(), "df": found.df, "p": found.p(),
                "half_width": found.half_width(0.95), "p_equivalent": found.p_equivalent(margin),
            })
        })
    };
    let tested = |found: Option<Tested>| {
        found.map(|found| json!({ "statistic": found.statistic, "p": found.p }))
    };
    let found = match question {
        Question::Mean { x } => Estimate::of(x).map(|found| {
            json!({ "mean": found.mean, "sd": found.sd, "ci95": found.ci95(), "n": found.n })
        }),
        Question::Student { x, value, margin } => difference(
            Estimate::of(x).and_then(|found| student(&found, *value)),
            *margin,
        ),
        Question::Paired { x, y, margin } => {
            let differences: Vec<f64> = x.iter().zip(y).map(|(x, y)| x - y).collect();
            difference(
                Estimate::of(&differences).and_then(|found| student(&found, 0.0)),
                *margin,
            )
        }
        Question::Welch { x, y, margin } => difference(
            Estimate::of(x).zip(Estimate::of(y)).and_then(|(x, y)| welch(&x, &y)),
            *margin,
        ),
        Question::Wilcoxon { x } => tested(wilcoxon(x)),
        Question::WilcoxonExact { x } => tested(wilcoxon_exact(x)),
        Question::WilcoxonNormal { x, corrected } => tested(wilcoxon_normal(
            x,
            match corrected {
                true => Continuity::Corrected,
                false => Continuity::Plain,
            },
        )),
        Question::KolmogorovSmirnov { x, y } => tested(kolmogorov_smirnov(x, y)),
        Question::KolmogorovLimit { x } => Some(json!({ "p": kolmogorov_limit(*x) })),
        Question::Pearson { x, y } => pearson(x, y).map(
            |found| json!({ "r": found.r, "p": found.p, "n": found.n, "ci95": found.interval(0.95) }),
        ),
        Question::Holm { p } => Some(json!({ "p": holm(p) })),
    };
    found.unwrap_or(Value::Null)
}
