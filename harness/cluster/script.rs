//! The text of a job: a batch script and the words that submit it. Pure.
//!
//! Nothing a user writes becomes syntax. Options go to `sbatch` as words of a command, never as `#SBATCH` lines, and stop
//! being read at the script's first command; in the script, values stand between single quotes.

use std::path::{Path, PathBuf};

use super::profile::{Argument, ExtraOption, Profile, Word};

/// What a task of a job array runs.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program on the nodes.
    pub program: PathBuf,
    /// `run SUITES --store S ...`, without what a task adds: the run, its slots.
    pub arguments: Vec<String>,
}

/// A word as `bash` reads it back, whatever is in it.
pub fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn words(texts: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let words: Vec<String> = texts.into_iter().map(|text| word(text.as_ref())).collect();
    words.join(" ")
}

/// The batch script of a submission whose runs are listed in the file `runs`, one a line.
pub fn script(profile: &Profile, command: &Command, runs: &Path) -> String {
    let mut lines = vec![
        "#!/bin/bash".to_string(),
        "set -u".into(),
        "# One task of a job array does one run. `sbatch` is given its options by the submission beside this file.".into(),
    ];
    if !profile.modules.is_empty() {
        lines.push("type module >/dev/null 2>&1 || . /etc/profile".into());
    }
    for Argument(module) in &profile.modules {
        lines.push(format!("module load {} || exit", word(module)));
    }
    for (name, Argument(value)) in &profile.environment {
        lines.push(format!("export {name}={}", word(value)));
    }
    // After the user's variables, which may have the same names.
    lines.push(format!(
        "mapfile -t runs < {}",
        word(&runs.display().to_string())
    ));
    lines.push("run=${runs[SLURM_ARRAY_TASK_ID]}".into());
    if profile.has_gpu() {
        lines.push(": \"${CUDA_VISIBLE_DEVICES:?the job was given no accelerator}\"".into());
    }
    let slots = match (profile.tasks, profile.has_gpu()) {
        (1, true) => "cuda".to_string(),
        (1, false) => format!("cpu:1x{}", profile.cpus),
        (_, true) => "srun:cuda".into(),
        (_, false) => "srun:cpu".into(),
    };
    let container = profile.container.iter().map(|Argument(part)| part.as_str());
    let program = command.program.display().to_string();
    let prefix = words(container.chain([program.as_str()]));
    lines.push(format!(
        "{prefix} {} --only \"run=$run\" --slots {slots} &",
        words(&command.arguments)
    ));
    lines.push(
        r#"child=$!
told=
pass_on() { told=$1; again=yes; kill -s "$1" "$child" 2>/dev/null; }
trap 'pass_on USR1' USR1
trap 'pass_on TERM' TERM
trap 'pass_on INT' INT
# A signal ends `wait` early; what it waits for is still there.
while again=; wait "$child"; code=$?; [ -n "$again" ]; do :; done"#
            .into(),
    );
    lines.push(format!(
        r#"# Code 4 after USR1: the time is nearly over and a checkpoint is written. The same task goes on from it.
if [ "$told" = USR1 ] && [ "$code" -eq 4 ]; then
    if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {} ]; then
        echo "the time limit is near: starting again from the checkpoint"
        for pause in 1 2 4 8 16; do
            scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}" && exit "$code"
            sleep "$pause"
        done
    fi
    echo "not started again: this was restart ${{SLURM_RESTART_COUNT:-0}} of {}"
fi
exit "$code""#,
        profile.restarts, profile.restarts
    ));
    lines.join("\n") + "\n"
}

/// The words behind `sbatch` that submit `tasks` tasks of the script in `folder` under the name `name`.
pub fn submission(profile: &Profile, name: &str, folder: &Path, tasks: usize) -> Vec<String> {
    let at_once = profile
        .array
        .at_once
        .map(|count| format!("%{count}"))
        .unwrap_or_default();
    let mut words = vec![
        "--parsable".to_string(),
        format!("--job-name={name}"),
        format!("--array=0-{}{at_once}", tasks - 1),
        format!("--chdir={}", folder.display()),
        format!("--output={}", folder.join("%a.log").display()),
        "--open-mode=append".into(),
        format!("--ntasks={}", profile.tasks),
        "--requeue".into(),
        format!("--signal=B:USR1@{}", profile.lead),
        format!("--time={}", profile.time),
        format!("--cpus-per-task={}", profile.cpus),
    ];
    let asked = [
        ("partition", &profile.partition),
        ("account", &profile.account),
        ("qos", &profile.qos),
        ("gres", &profile.gres),
        ("constraint", &profile.constraint),
    ];
    for (option, value) in asked {
        words.extend(
            value
                .as_ref()
                .map(|Word(value)| format!("--{option}={value}")),
        );
    }
    words.extend(
        profile
            .memory
            .as_ref()
            .map(|memory| format!("--mem={memory}")),
    );
    words.extend(
        profile
            .options
            .iter()
            .map(|ExtraOption(option)| option.clone()),
    );
    words.push(folder.join("script.sh").display().to_string());
    words
}
