//! How long runs are expected to take, learning from those that end.

use std::collections::HashMap;

use super::{Knowledge, work};
use crate::plan::{Plan, RunId};
use crate::suite::Suite;

/// Expected seconds of a plan's runs on their devices.
///
/// Runs that differ by their seed alone take what the finished ones of them took on average. Other runs of a task take as
/// much longer or shorter as their floating-point operations are more or fewer; where nothing of a task has run, what the
/// operations take by the suite's stated scale, or none.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    /// Runs that differ by their seed alone, and their task.
    class: Vec<usize>,
    task_of: Vec<usize>,
    /// Operations of each class, on a scale of its task.
    work: Vec<f64>,
    /// Seconds by the stated scale; none where it states none.
    stated: Vec<Option<f64>>,
    /// Sum and count of measured seconds by class.
    measured: Vec<(f64, f64)>,
    /// What was last asked for, by class.
    told: Vec<f64>,
}

/// What is expected to be off by so much changes nobody's order.
const TOLERANCE: f64 = 0.1;

impl Forecast {
    /// From the suites, and `measured`, the seconds of a run that completed.
    pub fn new(
        suites: &[Suite],
        plan: &Plan,
        measured: impl Fn(&RunId) -> Option<f64>,
    ) -> Forecast {
        let knowledge = Knowledge::stated(suites);
        let mut forecast = Forecast::default();
        let (mut classes, mut tasks) = (HashMap::new(), HashMap::new());
        for run in &plan.runs {
            // A name of a suite means one thing in it.
            let suite = run.cells.first().map_or("", |cell| cell.suite.as_str());
            let next = tasks.len();
            let task = *tasks.entry((suite, run.task.as_str())).or_insert(next);
            let next = classes.len();
            let class = *classes
                .entry((task, run.method.as_str()))
                .or_insert_with(|| {
                    let stated = knowledge.estimate(run);
                    forecast.task_of.push(task);
                    forecast.work.push(work(&run.spec));
                    forecast
                        .stated
                        .push(stated.seconds.map(|seconds| seconds / run.devices as f64));
                    forecast.measured.push((0.0, 0.0));
                    next
                });
            forecast.class.push(class);
        }
        for (i, run) in plan.runs.iter().enumerate() {
            if let Some(seconds) = measured(&run.id) {
                forecast.count(i, seconds);
            }
        }
        forecast.told = forecast.by_class();
        forecast
    }

    fn count(&mut self, run: usize, seconds: f64) {
        let (sum, count) = &mut self.measured[self.class[run]];
        (*sum, *count) = (*sum + seconds, *count + 1.0);
    }

    fn by_class(&self) -> Vec<f64> {
        // Seconds for a unit of work, by task.
        let mut speeds: HashMap<usize, (f64, f64)> = HashMap::new();
        for (class, (sum, count)) in self.measured.iter().enumerate() {
            if *count > 0.0 && self.work[class] > 0.0 {
                let (seconds, work) = speeds.entry(self.task_of[class]).or_default();
                (*seconds, *work) = (*seconds + sum / count, *work + self.work[class]);
            }
        }
        let expected = |class: usize| match (self.measured[class], speeds.get(&self.task_of[class]))
        {
            ((sum, count), _) if count > 0.0 => sum / count,
            (_, Some((seconds, work))) => self.work[class] * seconds / work,
            _ => self.stated[class].unwrap_or(0.0),
        };
        (0..self.measured.len()).map(expected).collect()
    }

    /// What each run is expected to take, in the plan's order; zero where nothing is known.
    pub fn seconds(&self) -> Vec<f64> {
        self.class.iter().map(|&class| self.told[class]).collect()
    }

    /// The runs that differ from `run` by their seed alone, itself among them.
    pub fn alike(&self, run: usize) -> impl Iterator<Item = usize> {
        let class = self.class[run];
        let runs = self.class.iter().enumerate();
        runs.filter_map(move |(i, of)| (*of == class).then_some(i))
    }

    /// A run of the plan took so long. Says whether other runs are now expected to take clearly longer or shorter.
    pub fn learn(&mut self, run: usize, seconds: f64) -> bool {
        self.count(run, seconds);
        let now = self.by_class();
        let pairs = now.iter().zip(&self.told);
        let is_news = pairs.fold(false, |news, (now, told)| {
            news || (now - told).abs() > TOLERANCE * told
        });
        if is_news {
            self.told = now;
        }
        is_news
    }
}
