//! The worker itself on the cluster, against the same run on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use harness::event::{Event, Observation, Outcome};
use harness::plan::{Checkpoints, Job, Meeting, Member, expand};
use harness::suite::{self, Length};
use serde_json::Value;

use super::{Place, text_of};

fn worker() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_harness")).with_file_name("harness-worker")
}

impl Place {
    /// The suite, with as much training.
    fn length(&self, length: &str) {
        let suite = fs::read_to_string(self.dir.join("suite.yaml")).unwrap();
        let longer = suite.replace("{epochs: 6}", length);
        assert_ne!(longer, suite);
        self.write("suite.yaml", &longer);
    }

    /// The folder of the one run in `store`.
    fn run_in(&self, store: &str) -> PathBuf {
        let suite = suite::read(&self.dir.join("suite.yaml")).unwrap();
        let plan = expand(&[suite]);
        self.dir.join(store).join(&plan.runs[0].id.0)
    }
}

#[test]
fn a_run_that_its_time_limit_interrupts_ends_as_one_left_alone() {
    let Some(place) = Place::new("limit", 1) else {
        return;
    };
    place.length("{epochs: 12}");
    // However fast the machine is, the limit is to come while the worker trains: it rests until it is asked to end.
    place.write(
        "worker.sh",
        &format!(
            r#"#!/bin/bash
[ ! -f {0}/rested ] || exec {1} "$@"
{1} "$@" <&0 &
worker=$!
trap 'kill -CONT $worker' TERM
until ls "$3"/events.out.tfevents.* >/dev/null 2>&1; do sleep 0.02; done
kill -STOP $worker
touch {0}/rested
while again=yes; wait $worker; code=$?; [ -e /proc/$worker ]; do :; done
exit $code
"#,
            place.dir.display(),
            worker().display()
        ),
    );
    let program = place.dir.join("worker.sh");
    let status = Command::new("chmod")
        .arg("+x")
        .arg(&program)
        .status()
        .unwrap();
    assert!(status.success());
    // The shortest limit there is, and a warning as early as it can be.
    place.write(
        "profile.yaml",
        &format!(
            "time: 1\nlead: 58\npoll: 1\nenvironment: {{HARNESS_WORKER: {}}}\n",
            program.display()
        ),
    );
    let head = place.head();
    let alone = place
        .command(env!("CARGO_BIN_EXE_harness"))
        .args(["run", "suite.yaml", "--store", "alone"])
        .args(["--slots", "cpu:1x1", "--no-report"])
        .output()
        .unwrap();
    assert!(alone.status.success(), "{}", text_of(&alone));
    assert_eq!(place.end_of(head), 0, "{}", place.said());
    assert_eq!(place.submissions(), 1, "the same job went on");
    assert!(place.dir.join("reports/smoke/index.html").exists());

    let (found, expected) = (place.run_in("store"), place.run_in("alone"));
    let said = fs::read_to_string(place.dir.join("store/.cluster/1/0.log")).unwrap();
    assert!(
        said.contains("starting again from the checkpoint"),
        "{said}"
    );
    let log = fs::read_to_string(found.join("log.txt")).unwrap();
    assert!(log.contains("resumed at update "), "{log}");
    for file in ["observations.parquet", "model.safetensors", "spec.yaml"] {
        let [found, expected] = [&found, &expected].map(|run| fs::read(run.join(file)).unwrap());
        assert!(found == expected, "{file} differs");
    }
    let metrics = |run: &Path| {
        let text = fs::read(run.join("metrics.json")).unwrap();
        let mut metrics: Value = serde_json::from_slice(&text).unwrap();
        metrics["seconds"].take();
        metrics
    };
    assert_eq!(metrics(&found), metrics(&expected));
}

/// What one of the processes said.
fn events(output: &Output) -> Vec<Event> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no event: {line}")))
        .collect()
}

fn observed(output: &Output) -> Vec<Observation> {
    let events = events(output);
    assert!(output.status.success(), "{}", text_of(output));
    let ends = events
        .iter()
        .filter(|event| matches!(event, Event::Finished(Outcome::Completed)));
    assert_eq!(ends.count(), 1, "one process tells: {events:?}");
    let seen = events.into_iter().filter_map(|event| match event {
        Event::Observed(seen) => Some(seen),
        _ => None,
    });
    seen.collect()
}

#[test]
fn two_processes_that_srun_starts_do_a_run_as_one_does_and_save_themselves_when_asked() {
    let Some(place) = Place::new("srun", 1) else {
        return;
    };
    place.length("{steps: 12}");
    let suite = fs::read_to_string(place.dir.join("suite.yaml")).unwrap();
    place.write("suite.yaml", &suite.replace("warmup: 40", "warmup: 4"));
    let suite = suite::read(&place.dir.join("suite.yaml")).unwrap();
    let folders: BTreeMap<String, PathBuf> = suite::locate(&suite).unwrap();
    let run = expand(&[suite]).runs.remove(0);
    let job = |name: &str, processes: Option<usize>, change: &dyn Fn(&mut Job)| {
        fs::create_dir(place.dir.join(name)).unwrap();
        let mut job = Job {
            spec: run.spec.clone(),
            measurements: run.measurements.clone(),
            folders: folders.clone(),
            stage: None,
            cache: None,
            device: "cpu".into(),
            threads: 1,
            finished: None,
            checkpoints: None,
            member: processes.map(|size| Member {
                rank: 0,
                size,
                meeting: Meeting::File(place.dir.join(name).join("meeting")),
            }),
        };
        change(&mut job);
        place.write(
            &format!("{name}.json"),
            &serde_json::to_string(&job).unwrap(),
        );
    };
    // The worker takes the end of its input for that of whoever started it, so it is held until the end.
    let start = |mut command: Command, name: &str, more: &[&str]| -> Child {
        command
            .args(["run", &format!("{name}.json"), name])
            .args(more)
            .env("OMP_WAIT_POLICY", "passive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let work = |command: Command, name: &str, more: &[&str]| {
        let mut child = start(command, name, more);
        let input = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        drop(input);
        output
    };
    let srun = |tasks: &str| {
        let mut srun = place.command("srun");
        srun.args([&format!("--ntasks={tasks}"), "--time=2"])
            .arg(worker());
        srun
    };
    job("alone", None, &|_| {});
    let expected = observed(&work(
        place.command(worker().to_str().unwrap()),
        "alone",
        &[],
    ));
    job("together", Some(2), &|_| {});
    let output = work(srun("2"), "together", &["--srun"]);
    let found = observed(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("process 1: completed"), "{said}");
    assert!(expected.iter().any(|seen| seen.on == "test"));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(
            (found.step, &found.on, &found.metric),
            (expected.step, &expected.on, &expected.metric)
        );
        // The rounding of single precision, after some updates.
        let gap = (found.value - expected.value).abs();
        let tolerance = 2e-3 * expected.value.abs().max(1e-3);
        assert!(gap <= tolerance, "{found:?} and {expected:?}");
    }

    job("three", Some(3), &|_| {});
    let output = work(srun("2"), "three", &["--srun"]);
    let told = events(&output);
    let [Event::Finished(Outcome::Failed { message })] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        message,
        "three.json: `member.size` is 3, and SLURM_NTASKS says that there are 2 processes"
    );
    assert_eq!(output.status.code(), Some(1));
    let output = work(
        place.command(worker().to_str().unwrap()),
        "three",
        &["--srun"],
    );
    assert!(output.stdout.is_empty());
    assert!(
        text_of(&output).contains("SLURM_PROCID is not set: --srun is for a process of `srun`"),
        "{}",
        text_of(&output)
    );

    let folder = place.dir.join("checkpoints");
    job("asked", Some(2), &|job| {
        let training = job.spec.training.as_mut().unwrap();
        training.length = Length::Steps(1_000_000);
        job.checkpoints = Some(Checkpoints {
            folder: folder.clone(),
            every: 3600.0,
        });
    });
    let mut asked = start(srun("2"), "asked", &["--srun"]);
    let mut said = BufReader::new(asked.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"progress\"") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended early");
    }
    // SAFETY: the call touches no memory, and the child is not waited for yet.
    unsafe { libc::kill(asked.id() as libc::pid_t, libc::SIGUSR1) };
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("checkpoint at update ") && !rest.contains("\"finished\""));
    let ended = asked.wait().unwrap();
    assert_eq!(ended.code(), Some(128 + libc::SIGUSR1), "as its processes");
    assert!(fs::read_dir(folder).unwrap().count() >= 2);
}

#[test]
fn a_job_of_two_tasks_does_a_run_by_srun() {
    let Some(place) = Place::new("tasks", 1) else {
        return;
    };
    place.length("{steps: 60}");
    let suite = fs::read_to_string(place.dir.join("suite.yaml")).unwrap();
    let together = suite.replace(
        "    training: short\n",
        "    training: short\n    devices: 2\n",
    );
    place.write("suite.yaml", &together);
    let profile = |tasks| {
        format!(
            "time: 5\npoll: 1\ntasks: {tasks}\nenvironment: {{HARNESS_WORKER: {}}}\n",
            worker().display()
        )
    };
    place.write("profile.yaml", &profile(1));
    assert_eq!(place.end_of(place.head()), 2, "{}", place.said());
    assert!(
        place.said().contains("asks for 2 devices, and a job has 1"),
        "{}",
        place.said()
    );
    place.write("profile.yaml", &profile(2));
    assert_eq!(place.end_of(place.head()), 0, "{}", place.said());
    let run = place.run_in("store");
    let environment = fs::read_to_string(run.join("environment.json")).unwrap();
    assert!(environment.contains("\"processes\": 2"), "{environment}");
    let log = fs::read_to_string(run.join("log.txt")).unwrap();
    assert!(log.contains("process 1: completed"), "{log}");
}
