//! Models, tasks, trainings and methods that make sense.

use std::collections::BTreeSet;

use super::{Sense, keys};
use crate::suite::*;

impl Sense<'_> {
    pub(super) fn models(&mut self) {
        let file = self.file;
        for (name, model) in &file.models {
            let Model::Stage(model) = model else { continue };
            let at = format!("/models/{name}/stage");
            self.refers(
                &format!("{at}/task"),
                "task",
                &model.stage.task,
                keys(&file.tasks),
            );
            if self.refers(
                &format!("{at}/method"),
                "method",
                &model.stage.method,
                keys(&file.methods),
            ) && matches!(file.methods[&model.stage.method], MethodEntry::Untrained(_))
            {
                self.problem(
                    &format!("{at}/method"),
                    "a stage must train, and this method does not",
                );
            }
            let (mut seen, mut next) = (
                BTreeSet::from([name.as_str()]),
                Some(model.stage.task.as_str()),
            );
            while let Some(Model::Stage(model)) = next.and_then(|task| {
                file.models
                    .get(&file.tasks.get(task)?.model)
                    .filter(|_| seen.len() < 100)
            }) {
                let name = &file.tasks[next.expect("a task")].model;
                if !seen.insert(name) {
                    self.problem(
                        &at,
                        format!("the stages go round in a circle through `{name}`"),
                    );
                    break;
                }
                next = Some(&model.stage.task);
            }
        }
    }

    pub(super) fn tasks(&mut self) {
        let file = self.file;
        for (name, task) in &file.tasks {
            let at = format!("/tasks/{name}");
            self.refers(
                &format!("{at}/model"),
                "model",
                &task.model,
                keys(&file.models),
            );
            self.refers(
                &format!("{at}/training"),
                "training",
                &task.training,
                keys(&file.training),
            );
            self.refers(
                &format!("{at}/metric"),
                "metric",
                &task.metric,
                keys(&file.metrics),
            );
            self.fits(&format!("{at}/metric"), task, &task.metric);
            self.distinct(&format!("{at}/train"), &task.train, "portion");
            for (portion, size) in task.sizes.iter().flat_map(|sizes| &sizes.portions) {
                if let Err(error) = super::super::reported::amount(size) {
                    self.problem(&format!("{at}/sizes/portions/{portion}"), error);
                }
            }
            if let Some(training) = file.training.get(&task.training) {
                if training.selection == Selection::Best && task.select.is_none() {
                    self.problem(
                        &at,
                        format!(
                            "training `{}` selects the best model, and this task has no `select`",
                            task.training
                        ),
                    );
                }
            }
            for portion in task.train.iter().chain(&task.select) {
                self.portion(&at, portion);
            }
        }
    }

    /// Whether a portion is `split` or `config/split`.
    pub(super) fn portion(&mut self, path: &str, portion: &str) {
        let part = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0'])
        };
        if !portion.split('/').all(part) || portion.matches('/').count() > 1 {
            self.problem(path, format!("`{portion}` is not a portion of a data set"))
                .help =
                Some("write a split, `test`, or a domain or language with one, `ar/test`".into());
        }
    }

    /// Whether a metric makes sense for a task's input.
    pub(super) fn fits(&mut self, path: &str, task: &Task, metric: &str) {
        let Some(metric) = self.file.metrics.get(metric) else {
            return;
        };
        let wrong = match (&metric.measure, &task.input) {
            (Measure::Accuracy, Input::TextBlocks(_)) => {
                "accuracy needs labels, and text blocks have none"
            }
            (Measure::Perplexity(_), Input::Images(_) | Input::SentencePairs(_)) => {
                "perplexity is of text blocks"
            }
            _ => return,
        };
        self.problem(path, wrong);
    }

    /// The distance is of training itself; everything else is of a portion of the data.
    pub(super) fn measurable(&mut self, path: &str, column: &MeasuredColumn) {
        let Some(task) = self.file.tasks.get(&column.task) else {
            return;
        };
        let metric = column.metric.as_ref().unwrap_or(&task.metric);
        let Some(metric) = self.file.metrics.get(metric) else {
            return;
        };
        let wrong = match (metric.measure.is_of_training(), column.on == TRAINING) {
            (true, false) => "the distance is measured while training: write `training`",
            (true, true) | (false, false) => return,
            (false, true) => "`training` is no portion of the data",
        };
        self.problem(path, wrong);
    }

    pub(super) fn training(&mut self) {
        for (name, training) in &self.file.training {
            let at = format!("/training/{name}");
            if training.clip_norm.is_some_and(|norm| norm <= 0.0) {
                self.problem(
                    &format!("{at}/clip_norm"),
                    "`clip_norm` must be more than 0",
                );
            }
            if training.micro_batches > training.batch {
                self.problem(
                    &format!("{at}/micro_batches"),
                    "there are more micro-batches than examples in a batch",
                );
            }
            if let Err(error) = training.base.check() {
                self.problem(&format!("{at}/base"), error.to_string());
            }
            // How many updates an epoch has is known when the data are; until then any warm-up fits.
            let updates = match training.length {
                Length::Steps(steps) => steps,
                Length::Epochs(_) => u64::MAX,
            };
            if let Err(error) = training
                .schedule
                .check(methods::Length { updates, epoch: 1 })
            {
                self.problem(&format!("{at}/schedule"), error.to_string());
            }
            if training.no_decay.iter().any(String::is_empty) {
                self.problem(
                    &format!("{at}/no_decay"),
                    "an empty fragment exempts every parameter",
                );
            }
        }
    }

    pub(super) fn methods(&mut self) {
        for (name, method) in &self.file.methods {
            if let MethodEntry::Trained(method) = method {
                if let Err(error) = method.check() {
                    let knob = match &error {
                        methods::Error::Knob { name: knob, .. } => {
                            format!("/methods/{name}/{knob}")
                        }
                        _ => format!("/methods/{name}"),
                    };
                    self.problem(&knob, error.to_string());
                }
            }
        }
    }
}
