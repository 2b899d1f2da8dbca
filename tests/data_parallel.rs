//! One run by several processes gives what one process gives.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use harness::event::{Event, Observation, Outcome};
use harness::plan::{Checkpoints, Job, Measurement, Meeting, Member, ModelSpec, RunSpec, expand};
use harness::suite::{self, Length};
use serde_json::{Value, json};
use tch::{Kind, Tensor};
use training::share::SrunTask;

/// A run of `suites/families.yaml` made short, from random weights and without dropout, whose draws differ.
fn job(task: &str, method: Value, length: Length, batch: u64) -> Job {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../suites/families.yaml");
    let suite = suite::read(&path).expect("a suite");
    let plan = expand(std::slice::from_ref(&suite));
    let run = plan
        .runs
        .iter()
        .find(|run| run.task == task && run.spec.training.is_some());
    let run = run.expect("a run of the task").clone();
    let mut spec: RunSpec = run.spec;
    if let ModelSpec::Stage(stage) = spec.model {
        spec.model = stage.model;
    }
    let mut value = serde_json::to_value(&spec).expect("plain data");
    let config = value["model"]["config"]
        .as_object_mut()
        .expect("an architecture");
    let dropouts: &[&str] = match config["model_type"].as_str() {
        Some("gpt2") => &["resid_pdrop", "embd_pdrop", "attn_pdrop"],
        _ => &["hidden_dropout_prob", "attention_probs_dropout_prob"],
    };
    for key in dropouts {
        config.insert((*key).into(), json!(0.0));
    }
    value["training"]["schedule"] = json!({"name": "constant"});
    value["method"] = method;
    let mut spec: RunSpec = serde_json::from_value(value).expect("a specification");
    let training = spec.training.as_mut().expect("training");
    (training.length, training.batch) = (length, batch);
    Job {
        spec,
        measurements: run.measurements,
        folders: suite::locate(&suite).expect("its data"),
        stage: None,
        cache: None,
        device: "cpu".into(),
        threads: 1,
        finished: None,
        checkpoints: None,
        member: None,
    }
}

struct Process {
    child: Child,
    /// Held: the worker takes its end for that of whoever started it.
    _input: ChildStdin,
    events: std::sync::mpsc::Receiver<Event>,
}

fn start(job: &Job, folder: &Path, name: &str) -> Process {
    std::fs::create_dir_all(folder).expect("a folder");
    let path = folder.join(format!("{name}.json"));
    std::fs::write(&path, serde_json::to_string(job).expect("plain data")).expect("a file");
    let log = std::fs::File::create(folder.join(format!("{name}.log"))).expect("a file");
    let mut child = Command::new(env!("CARGO_BIN_EXE_harness-worker"))
        .arg("run")
        .arg(&path)
        .arg(folder)
        .env("OMP_WAIT_POLICY", "passive")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("the worker");
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let (send, events) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let _ = send.send(serde_json::from_str(&line).expect("an event"));
        }
    });
    let _input = child.stdin.take().expect("a pipe");
    Process {
        child,
        _input,
        events,
    }
}

/// Starts `size` processes of one run.
fn start_all(job: &Job, folder: &Path, size: usize) -> Vec<Process> {
    let one = |rank| {
        let member = Member {
            rank,
            size,
            meeting: Meeting::File(folder.join("meeting")),
        };
        let job = Job {
            member: (size > 1).then_some(member),
            ..job.clone()
        };
        start(&job, folder, &format!("process{rank}"))
    };
    (0..size).map(one).collect()
}

/// What the first process observed; the others say nothing at all.
fn observed(processes: Vec<Process>) -> Vec<Observation> {
    let mut first = Vec::new();
    for (rank, mut process) in processes.into_iter().enumerate() {
        let events: Vec<Event> = process.events.iter().collect();
        assert!(process.child.wait().expect("an end").success());
        if rank > 0 {
            assert!(events.is_empty(), "{rank}: {events:?}");
            continue;
        }
        assert!(
            matches!(events.last(), Some(Event::Finished(Outcome::Completed))),
            "{events:?}"
        );
        let seen = events.into_iter().filter_map(|event| match event {
            Event::Observed(seen) => Some(seen),
            _ => None,
        });
        first.extend(seen);
    }
    first
}

fn weights(folder: &Path) -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(folder.join("model.safetensors"))
        .expect("weights")
        .into_iter()
        .collect()
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("data-parallel-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn compare(name: &str, job: &Job, size: usize) {
    let (alone, together) = (
        folder(&format!("{name}-alone")),
        folder(&format!("{name}-together")),
    );
    let expected = observed(start_all(job, &alone, 1));
    let found = observed(start_all(job, &together, size));
    assert!(
        expected.iter().any(|seen| seen.on != "training"),
        "{name} measures something"
    );
    assert_eq!(found.len(), expected.len(), "{name}");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(
            (found.step, &found.on, &found.metric),
            (expected.step, &expected.on, &expected.metric)
        );
        // The rounding of single precision, after some updates; sharpness is a difference of losses in percent.
        let tolerance = match expected.metric.starts_with("sharpness") {
            true => 2e-3,
            false => 2e-3 * expected.value.abs().max(1e-3),
        };
        let gap = (found.value - expected.value).abs();
        assert!(gap <= tolerance, "{name}: {found:?} and {expected:?}");
    }
    let (found, expected) = (weights(&together), weights(&alone));
    assert!(found.keys().eq(expected.keys()));
    for (parameter, expected) in &expected {
        let gap = (&found[parameter] - expected)
            .abs()
            .max()
            .to_kind(Kind::Double)
            .double_value(&[]);
        assert!(gap < 2e-4, "{name}: {parameter} by {gap:e}");
    }
    for folder in [alone, together] {
        let _ = std::fs::remove_dir_all(folder);
    }
}

#[test]
fn three_processes_train_a_vit_as_one_does() {
    // 797 images: the last batch of the epoch has one, and three processes share it.
    let job = job(
        "digits",
        json!({"method": "sam", "rho": 0.05}),
        Length::Epochs(1),
        199,
    );
    compare("vit", &job, 3);
}

#[test]
fn two_processes_train_a_language_model_as_one_does() {
    let mut job = job(
        "romance",
        json!({"method": "tram_x", "sigma": 0.1}),
        Length::Steps(6),
        10,
    );
    let training = job.spec.training.as_mut().expect("training");
    training.micro_batches = 3;
    training.evaluate_every = Some(Length::Steps(3));
    compare("gpt2", &job, 2);
}

#[test]
fn two_processes_train_and_measure_an_encoder_as_one_does() {
    let method = json!({"method": "tram_fisher", "sigma": 0.1, "gamma": 0.1, "eta": 0.1});
    let job = job("pairs", method, Length::Steps(5), 9);
    assert!(
        job.measurements
            .iter()
            .any(|wanted: &Measurement| wanted.measure.key().starts_with("cka"))
    );
    compare("xlmr", &job, 2);
}

#[test]
fn micro_batches_of_one_example_are_shared_too() {
    let mut job = job(
        "romance",
        json!({"method": "tram_fisher", "sigma": 0.1}),
        Length::Steps(5),
        4,
    );
    job.spec.training.as_mut().expect("training").micro_batches = 4;
    compare("micro", &job, 2);
}

#[test]
fn a_distance_between_samples_is_one_over_all_processes() {
    let method = json!({"method": "tram_x", "sigma": 0.1, "distance": "mmd"});
    let mut job = job("digits", method, Length::Steps(5), 18);
    job.spec.training.as_mut().expect("training").micro_batches = 2;
    compare("mmd", &job, 2);
}

#[test]
fn a_run_ends_when_one_of_its_processes_dies() {
    let job = job(
        "romance",
        json!({"method": "sam", "rho": 0.05}),
        Length::Steps(100_000),
        8,
    );
    let folder = folder("dies");
    let mut processes = start_all(&job, &folder, 2);
    let mut second = processes.pop().expect("two");
    let first = &processes[0].events;
    while !matches!(first.recv().expect("an event"), Event::Progress { .. }) {}
    second.child.kill().expect("it runs");
    let killed = Instant::now();
    let last = first.iter().last().expect("an outcome");
    assert!(killed.elapsed() < Duration::from_secs(60));
    let Event::Finished(Outcome::Failed { message }) = &last else {
        panic!("{last:?}")
    };
    assert!(message.contains("another process is gone"), "{message}");
    for mut process in processes.into_iter().chain([second]) {
        process.child.wait().expect("an end");
    }
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn a_process_of_srun_takes_the_place_that_slurm_gives_it() {
    let of = |variables: &[(&str, &str)]| {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        SrunTask::of(|name| find(name).map(|(_, value)| value.to_string()))
            .map_err(|error| format!("{error:#}"))
    };
    let (procid, ntasks, localid) = (
        ("SLURM_PROCID", "5"),
        ("SLURM_NTASKS", "8"),
        ("SLURM_LOCALID", "1"),
    );
    let task = of(&[procid, ntasks, localid]).expect("a place");
    for (variables, expected) in [
        (
            &[procid, localid][..],
            "SLURM_NTASKS is not set: --srun is for a process of `srun`",
        ),
        (
            &[("SLURM_PROCID", "first"), ntasks, localid],
            "SLURM_PROCID is `first`, no number: invalid digit found in string",
        ),
        (
            &[procid, ("SLURM_NTASKS", "5"), localid],
            "SLURM_PROCID is 5, and SLURM_NTASKS says that there are 5 processes",
        ),
    ] {
        assert_eq!(of(variables), Err(expected.to_string()));
    }

    let sgd = json!({"method": "base"});
    let mut job = job("digits", sgd, Length::Steps(1), 2);
    let error = task.place(&mut job, || 0).expect_err("the job is for one");
    assert!(error.to_string().contains("`member` is missing"), "{error}");
    let meeting = Meeting::File("meeting".into());
    for (device, accelerators, expected) in [
        ("cpu", 0, "cpu"),
        ("cuda:0", 1, "cuda:0"),
        ("cuda:0", 4, "cuda:1"),
        ("cuda:3", 4, "cuda:3"),
    ] {
        job.device = device.into();
        job.member = Some(Member {
            rank: 0,
            size: 8,
            meeting: meeting.clone(),
        });
        task.place(&mut job, || accelerators).expect("a place");
        let member = job.member.as_ref().expect("as before");
        assert_eq!((member.rank, &member.meeting), (5, &meeting));
        assert_eq!(job.device, expected, "{device} of {accelerators}");
    }
    job.member = Some(Member {
        rank: 0,
        size: 4,
        meeting,
    });
    let error = task.place(&mut job, || 0).expect_err("they are eight");
    assert!(error.to_string().contains("`member.size` is 4"), "{error}");
}

/// Trains until the first process tells of progress, and has both save what they have.
fn stopped(job: &Job, at: &Path) {
    let mut stopped = start_all(job, at, 2);
    while !matches!(
        stopped[0].events.recv().expect("an event"),
        Event::Progress { .. }
    ) {}
    for process in &stopped {
        // SAFETY: touches no memory of ours.
        unsafe { libc::kill(process.child.id() as i32, libc::SIGTERM) };
    }
    for process in &mut stopped {
        let mut events = process.events.iter();
        assert!(!events.any(|event| matches!(event, Event::Finished(_))));
        process.child.wait().expect("an end");
    }
    let saved = std::fs::read_dir(at.join("checkpoints")).expect("a folder");
    assert!(saved.count() >= 2);
    let _ = std::fs::remove_file(at.join("meeting"));
}

#[test]
fn processes_go_on_together_from_what_they_saved() {
    let mut job = job(
        "romance",
        json!({"method": "tram_theta_0"}),
        Length::Steps(40),
        10,
    );
    let expected_at = folder("whole");
    let expected = observed(start_all(&job, &expected_at, 2));
    let at = folder("resumed");
    job.checkpoints = Some(Checkpoints {
        folder: at.join("checkpoints"),
        every: 3600.0,
    });
    stopped(&job, &at);
    let mut found: Vec<Observation> = Vec::new();
    let mut resumed = false;
    for mut process in start_all(&job, &at, 2) {
        for event in process.events.iter() {
            match event {
                Event::Resumed { .. } => resumed = true,
                Event::Observed(seen) => found.push(seen),
                Event::Again { told, .. } => found.extend(match *told {
                    Event::Observed(seen) => Some(seen),
                    _ => None,
                }),
                _ => {}
            }
        }
        assert!(process.child.wait().expect("an end").success());
    }
    assert!(resumed);
    assert_eq!(found, expected);
    let (found, expected) = (weights(&at), weights(&expected_at));
    assert!(
        expected
            .iter()
            .all(|(name, weight)| weight.equal(&found[name]))
    );
    for folder in [at, expected_at] {
        let _ = std::fs::remove_dir_all(folder);
    }
}

#[test]
fn all_begin_anew_when_one_cannot_read_what_was_saved() {
    let method = json!({"method": "sam", "rho": 0.05});
    let mut job = job("romance", method, Length::Steps(30), 10);
    let (expected_at, at) = (folder("uninterrupted"), folder("unreadable"));
    let expected = observed(start_all(&job, &expected_at, 2));
    job.checkpoints = Some(Checkpoints {
        folder: at.join("checkpoints"),
        every: 3600.0,
    });
    stopped(&job, &at);
    // The second one looks where nothing is, as on a node that does not see the store.
    let elsewhere = Checkpoints {
        folder: at.join("elsewhere"),
        every: 3600.0,
    };
    let processes = [job.checkpoints.clone(), Some(elsewhere)].into_iter();
    let processes = processes.enumerate().map(|(rank, checkpoints)| {
        let member = Member {
            rank,
            size: 2,
            meeting: Meeting::File(at.join("meeting")),
        };
        let job = Job {
            member: Some(member),
            checkpoints,
            ..job.clone()
        };
        start(&job, &at, &format!("process{rank}"))
    });
    let mut said = String::new();
    let mut found = Vec::new();
    for mut process in processes.collect::<Vec<_>>() {
        for event in process.events.iter() {
            match event {
                Event::Note { text } => said += &text,
                Event::Observed(seen) => found.push(seen),
                Event::Resumed { .. } => panic!("the other one cannot"),
                _ => {}
            }
        }
        assert!(process.child.wait().expect("an end").success());
    }
    assert!(said.contains("all begin anew"), "{said}");
    assert_eq!(found, expected);
    for folder in [at, expected_at] {
        let _ = std::fs::remove_dir_all(folder);
    }
}
