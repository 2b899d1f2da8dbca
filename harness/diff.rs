//! Two result sets side by side: which runs both have, and whether they agree. Pure.
//!
//! Only results are compared: how a run ended, what it observed and what had no value. Wall-clock times never are, and
//! environments are told beside, because they are why results differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::event::{Environment, Outcome, RunRecord};
use crate::plan::RunId;
use crate::suite::TRAINING;

/// How far apart two values may be and still agree: the larger of both bounds. Zero asks for the same bits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tolerance {
    /// As a share of the larger of both sizes.
    pub relative: f64,
    /// In the value's own unit.
    pub absolute: f64,
}

impl Tolerance {
    /// Zeros of both signs are the same number, but not the same bits. No number is the same as no number, whatever its
    /// bits.
    fn allows(self, a: f64, b: f64) -> bool {
        let bound = (self.relative * a.abs().max(b.abs())).max(self.absolute);
        // Nothing is near an infinity.
        let is_close = self != Tolerance::default() && (a - b).abs() <= bound && bound.is_finite();
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || is_close
    }
}

/// What comparing two result sets comes to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Runs that both have.
    pub compared: usize,
    /// Runs of the first set alone.
    pub only_a: Vec<RunId>,
    /// Runs of the second set alone.
    pub only_b: Vec<RunId>,
    /// Runs that differ, and how.
    pub differ: BTreeMap<RunId, RunDiff>,
    /// Runs that a side has and whose files are damaged there, and what is wrong: they are not compared.
    pub damaged: BTreeMap<RunId, String>,
    /// Properties of the environments that are not the same, with the values on both sides.
    pub environments: BTreeMap<&'static str, [BTreeSet<String>; 2]>,
}

/// How one run differs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunDiff {
    /// How it ended on both sides, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<[Outcome; 2]>,
    /// What the first side has measured and the second has not, as portion and metric.
    pub only_a: BTreeSet<(String, String)>,
    /// The reverse.
    pub only_b: BTreeSet<(String, String)>,
    /// What the first side observed and the second did not, of what both have measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alone_a: Vec<Lone>,
    /// The reverse.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alone_b: Vec<Lone>,
    /// How many values differ, those that a side lacks among them.
    pub values: usize,
    /// The value that is furthest apart, as a share of its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest: Option<Apart>,
    /// Where training parts: its first value that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Apart>,
}

/// A value that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Apart {
    /// Updates done when it was measured.
    pub step: u64,
    /// The portion.
    pub on: String,
    /// What was measured.
    pub metric: String,
    /// The values of both sides.
    pub values: [f64; 2],
}

/// An observation that the other side lacks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lone {
    /// Updates done when it was measured.
    pub step: u64,
    /// The portion.
    pub on: String,
    /// What was measured.
    pub metric: String,
    /// Its value.
    pub value: f64,
}

impl Apart {
    /// How far apart, as a share of the larger of both sizes.
    pub fn relative(&self) -> f64 {
        let [a, b] = self.values;
        match a.abs().max(b.abs()) {
            0.0 => 0.0,
            size if a.is_finite() && b.is_finite() => (a - b).abs() / size,
            _ => f64::INFINITY,
        }
    }
}

impl Diff {
    /// Whether both sets have the same runs with the same results.
    pub fn agrees(&self) -> bool {
        let alone = self.only_a.is_empty() && self.only_b.is_empty();
        alone && self.differ.is_empty() && self.damaged.is_empty()
    }
}

/// Compares two sets of records.
pub fn diff(
    a: &BTreeMap<RunId, RunRecord>,
    b: &BTreeMap<RunId, RunRecord>,
    tolerance: Tolerance,
) -> Diff {
    let without = |one: &BTreeMap<RunId, RunRecord>, other: &BTreeMap<RunId, RunRecord>| {
        one.keys()
            .filter(|id| !other.contains_key(*id))
            .cloned()
            .collect()
    };
    let mut found = Diff {
        only_a: without(a, b),
        only_b: without(b, a),
        ..Diff::default()
    };
    for (id, ours) in a {
        let Some(theirs) = b.get(id) else { continue };
        found.compared += 1;
        let run = run(ours, theirs, tolerance);
        if run != RunDiff::default() {
            found.differ.insert(id.clone(), run);
        }
        for (side, record) in [ours, theirs].into_iter().enumerate() {
            for (property, value) in properties(&record.environment) {
                found.environments.entry(property).or_default()[side].insert(value);
            }
        }
    }
    found.environments.retain(|_, [a, b]| a != b);
    found
}

fn run(a: &RunRecord, b: &RunRecord, tolerance: Tolerance) -> RunDiff {
    let mut found = RunDiff::default();
    if a.outcome != b.outcome {
        found.outcomes = Some([a.outcome.clone(), b.outcome.clone()]);
    }
    let measured = |record: &RunRecord| -> BTreeSet<(String, String)> {
        let seen = record
            .observations
            .iter()
            .map(|seen| (seen.on.clone(), seen.metric.clone()));
        seen.chain(record.no_value.iter().cloned()).collect()
    };
    let (of_a, of_b) = (measured(a), measured(b));
    found.only_a = of_a.difference(&of_b).cloned().collect();
    found.only_b = of_b.difference(&of_a).cloned().collect();

    let (a, b) = (values(a), values(b));
    for (key, of_a) in &a {
        let Some(of_b) = b.get(key) else { continue };
        for (&a, &b) in of_a.iter().zip(of_b) {
            if tolerance.allows(a, b) {
                continue;
            }
            let (step, on, metric) = *key;
            let apart = Apart {
                step,
                on: on.into(),
                metric: metric.into(),
                values: [a, b],
            };
            found.values += 1;
            if on == TRAINING && found.first.as_ref().is_none_or(|first| step < first.step) {
                found.first = Some(apart.clone());
            }
            if found
                .largest
                .as_ref()
                .is_none_or(|largest| apart.relative() > largest.relative())
            {
                found.largest = Some(apart);
            }
        }
    }
    found.alone_a = alone(&a, &b, &found.only_a);
    found.alone_b = alone(&b, &a, &found.only_b);
    found.values += found.alone_a.len() + found.alone_b.len();
    found
}

/// What `one` has observed, or observed more often, than `other`, but for what `other` has not measured at all.
fn alone(one: &Values, other: &Values, unmeasured: &BTreeSet<(String, String)>) -> Vec<Lone> {
    let mut found = Vec::new();
    for ((step, on, metric), values) in one {
        if unmeasured.contains(&(on.to_string(), metric.to_string())) {
            continue;
        }
        let both = other.get(&(*step, on, metric)).map_or(0, Vec::len);
        found.extend(values.iter().skip(both).map(|&value| Lone {
            step: *step,
            on: on.to_string(),
            metric: metric.to_string(),
            value,
        }));
    }
    found
}

/// Everything observed, by step, portion and metric.
type Values<'a> = BTreeMap<(u64, &'a str, &'a str), Vec<f64>>;

fn values(record: &RunRecord) -> Values<'_> {
    let mut values = Values::new();
    for seen in &record.observations {
        let key = (seen.step, seen.on.as_str(), seen.metric.as_str());
        values.entry(key).or_default().push(seen.value);
    }
    values
}

fn properties(environment: &Environment) -> [(&'static str, String); 9] {
    [
        ("harness", environment.harness.clone()),
        ("build", environment.build.clone()),
        ("revision", environment.revision.clone()),
        ("libtorch", environment.libtorch.clone()),
        (
            "device",
            format!("{} ({})", environment.device, environment.device_name),
        ),
        ("threads", environment.threads.to_string()),
        ("processes", environment.processes.to_string()),
        ("instruction set", environment.cpu_capability.clone()),
        ("MKL_CBWR", environment.mkl_cbwr.clone().unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_tolerance_the_bits_count() {
        let exact = Tolerance::default();
        let some = Tolerance {
            relative: 0.0,
            absolute: 1e-9,
        };
        assert!(!exact.allows(0.0, -0.0) && some.allows(0.0, -0.0));
        assert!(!exact.allows(1.0, 1.0 + f64::EPSILON) && some.allows(1.0, 1.0 + f64::EPSILON));
        let other = f64::from_bits(f64::NAN.to_bits() ^ 1);
        assert!(exact.allows(f64::NAN, other) && some.allows(f64::NAN, -f64::NAN));
        let relative = Tolerance {
            relative: 1e-9,
            absolute: 0.0,
        };
        for tolerance in [exact, some, relative] {
            assert!(!tolerance.allows(f64::INFINITY, f64::NEG_INFINITY));
            assert!(!tolerance.allows(f64::NAN, 0.0) && !tolerance.allows(f64::INFINITY, 1.0));
            assert!(tolerance.allows(f64::INFINITY, f64::INFINITY));
        }
    }
}
