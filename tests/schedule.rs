//! Schedules with a stand-in for the worker: what is run, how often, and what stays when things go wrong.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::cost::Forecast;
use harness::event::Outcome;
use harness::plan::{Measurement, ModelSpec, Plan, PlannedRun, RunId, RunSpec};
use harness::schedule::rules::Rules;
use harness::schedule::{
    self, Audience, BUILD, Control, Monitor, Policy, Setting, Slot, Summary, Told, What,
};
use harness::store::Store;
use serde_json::json;

/// A run that differs from the others by its seed.
pub fn planned(seed: u64) -> PlannedRun {
    let spec = json!({
        "model": {"config": {"model_type": "vit", "hidden_size": 16, "layer_norm_eps": 1e-12}},
        "data": {"folder": {"sha256": "00"}}, "input": {"images": {}}, "train": [], "select": null,
        "training": null, "method": {"method": "untrained"}, "seed": seed,
    });
    run_of(serde_json::from_value(spec).expect("a specification"))
}

/// The run that starts from `stage`.
pub fn on_top_of(stage: &PlannedRun, seed: u64) -> PlannedRun {
    let spec = RunSpec {
        model: ModelSpec::Stage(Box::new(stage.spec.clone())),
        seed,
        ..stage.spec.clone()
    };
    PlannedRun {
        needs: Some(stage.id.clone()),
        ..run_of(spec)
    }
}

fn run_of(spec: RunSpec) -> PlannedRun {
    PlannedRun {
        id: spec.id(),
        spec,
        task: "digits".into(),
        method: "sam".into(),
        measurements: vec![measurement("accuracy")],
        cells: Default::default(),
        needs: None,
        devices: 1,
    }
}

pub fn measurement(name: &str) -> Measurement {
    Measurement {
        on: "test".into(),
        measure: serde_json::from_value(json!(name)).expect("a measure"),
    }
}

pub fn plan(runs: u64) -> Plan {
    Plan {
        runs: (1..=runs).map(planned).collect(),
    }
}

/// An empty folder with a store, the stand-in's modes, and its notes.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new(name: &str) -> Place {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("schedule")
            .join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a folder");
        let place = Place(dir);
        place.write("build", BUILD);
        place
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("a file");
    }

    /// The numbers in one of the stand-in's notes.
    pub fn numbers(&self, name: &str) -> Vec<u64> {
        let text = fs::read_to_string(self.0.join(name)).unwrap_or_default();
        let mut numbers: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        numbers.sort();
        numbers
    }

    pub fn store(&self) -> Store {
        let store = Store::open(self.0.join("store")).expect("a store");
        // Where a test waits for a supervisor that is asleep.
        match fs::read_to_string(self.0.join("patience")) {
            Ok(millis) => store.with_patience(Duration::from_millis(millis.parse().expect("ms"))),
            Err(_) => store,
        }
    }

    fn schedule(&self, plan: &Plan) -> Summary {
        self.schedule_telling(plan, &Control::default(), &mut |_| {})
    }

    pub fn schedule_telling(
        &self,
        plan: &Plan,
        control: &Control,
        mut tell: &mut dyn FnMut(Told<'_>),
    ) -> Summary {
        let policy = Policy {
            rules: Rules::once(),
            ..Policy::default()
        };
        let slots = [Slot::Cpu { threads: 1 }, Slot::Cpu { threads: 1 }];
        self.schedule_by(
            plan,
            control,
            policy,
            &slots,
            &Monitor::default(),
            &mut tell,
        )
    }

    pub fn schedule_by(
        &self,
        plan: &Plan,
        control: &Control,
        policy: Policy,
        slots: &[Slot],
        monitor: &Monitor,
        audience: &mut dyn Audience,
    ) -> Summary {
        self.try_schedule(plan, control, policy, slots, monitor, audience)
            .expect("a usable store")
    }

    pub fn try_schedule(
        &self,
        plan: &Plan,
        control: &Control,
        policy: Policy,
        slots: &[Slot],
        monitor: &Monitor,
        audience: &mut dyn Audience,
    ) -> anyhow::Result<Summary> {
        let setting = Setting {
            store: &self.store(),
            slots,
            worker: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-worker.sh"),
            folders: BTreeMap::new(),
            cache: None,
            checkpoint_every: (self.0.join("saving").exists()).then_some(Duration::from_secs(600)),
            policy,
            forecast: Forecast::new(&[], plan, |_| None),
            monitor,
            guard: None,
            again: &|run| format!("harness run --only {}", run.id),
        };
        schedule::schedule(plan, &setting, control, audience)
    }

    /// Another process that schedules `runs` runs here, by way of [`a_supervisor`].
    fn supervisor(&self, runs: u64) -> Child {
        self.supervisor_hearing(runs, true)
    }

    /// The same, from a parent that ignores SIGHUP or not, whatever our own does.
    fn supervisor_hearing(&self, runs: u64, hangup: bool) -> Child {
        let disposition = if hangup { libc::SIG_DFL } else { libc::SIG_IGN };
        let (_, path) = module_path!()
            .split_once("::")
            .expect("a module of the test program");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        // SAFETY: between fork and exec only an async-signal-safe call is made.
        unsafe {
            command.pre_exec(move || {
                libc::signal(libc::SIGHUP, disposition);
                Ok(())
            });
        }
        command
            .args(["--exact", &format!("{path}::a_supervisor"), "--nocapture"])
            .env("SUPERVISE", &self.0)
            .env("SUPERVISE_RUNS", runs.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a supervisor")
    }

    fn summary(&self, supervisor: u32) -> Summary {
        let text =
            fs::read_to_string(self.0.join(format!("summary.{supervisor}"))).expect("a summary");
        serde_json::from_str(&text).expect("a summary")
    }

    pub fn running(&self) -> usize {
        fs::read_dir(self.0.join("store/.running")).map_or(0, |entries| entries.count())
    }

    pub fn assert_workers_are_gone(&self) {
        let pids = self.numbers("pids");
        wait_until("every worker is gone", || {
            pids.iter().all(|&pid| !is_alive(pid))
        });
    }
}

/// Not a test by itself: the tests run it as a process of its own.
#[test]
fn a_supervisor() {
    let Ok(dir) = std::env::var("SUPERVISE") else {
        return;
    };
    let runs = std::env::var("SUPERVISE_RUNS")
        .expect("a count")
        .parse()
        .expect("a number");
    let place = Place(dir.into());
    let control = Control::of_signals().expect("signals");
    let summary = place.schedule_telling(&plan(runs), &control, &mut |_| {});
    let name = format!("summary.{}", std::process::id());
    place.write(&name, &serde_json::to_string(&summary).expect("plain data"));
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "waited too long until {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn is_alive(pid: u64) -> bool {
    // A process that ended and is not waited for yet runs no more.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

fn signal(process: &Child, signal: i32) {
    // SAFETY: the call touches no memory of ours; the process is our child and not waited for yet.
    assert_eq!(unsafe { libc::kill(process.id() as i32, signal) }, 0);
}

pub fn ids(plan: &Plan) -> Vec<RunId> {
    plan.runs.iter().map(|run| run.id.clone()).collect()
}

#[test]
fn a_plan_that_is_done_leaves_nothing_to_do() {
    let (place, plan) = (Place::new("done"), plan(3));
    assert_eq!(
        place.schedule(&plan),
        Summary {
            done: ids(&plan),
            ..Summary::default()
        }
    );
    let begun = Instant::now();
    assert_eq!(
        place.schedule(&plan),
        Summary {
            already: ids(&plan),
            ..Summary::default()
        }
    );
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(place.numbers("starts"), [1, 2, 3]);
    let record = place
        .store()
        .record(&plan.runs[1].id)
        .expect("readable")
        .expect("done");
    assert_eq!(record.value("test", "accuracy"), Some(92.1));
    assert_eq!(record.environment.threads, 1);
    assert!(
        !place
            .0
            .join("store")
            .join(&plan.runs[0].id.0)
            .join("job.json")
            .exists()
    );
    assert_eq!(place.running(), 0);
}

#[test]
fn a_run_that_fails_is_lost_alone_and_recorded() {
    let (place, plan) = (Place::new("failures"), plan(8));
    place.write("mode.2", "started; echo it hurts >&2; kill -SEGV $$");
    place.write("mode.3", "started; kill -KILL $$");
    place.write("mode.4", "echo not an event; echo gibberish >&2; exit 3");
    place.write(
        "mode.5",
        "echo '{\"event\":\"what\"}'; observed 1 loss NaN; observed 1 loss 1e999; completed",
    );
    place.write("mode.6", "started; finished diverged ',\"step\":7'");
    place.write(
        "mode.7",
        "started; finished failed ',\"message\":\"no such file\"'",
    );
    place.write("mode.8", "started; finished completed");
    let mut ended = BTreeMap::new();
    let summary = place.schedule_telling(&plan, &Control::default(), &mut |told| {
        if let What::Ended {
            outcome, failure, ..
        } = told.what
        {
            ended.insert(told.run.spec.seed, (outcome, failure));
        }
    });
    let id = |seed: usize| plan.runs[seed - 1].id.clone();
    assert_eq!(summary.done, [id(1), id(5), id(6)]);
    assert_eq!(summary.failed, [id(2), id(3), id(4), id(7), id(8)]);
    let failed = |message: &str| Outcome::Failed {
        message: message.into(),
    };
    assert_eq!(ended[&2].0, Outcome::Killed { signal: 11 });
    assert_eq!(ended[&3].0, Outcome::Killed { signal: 9 });
    assert_eq!(
        ended[&4].0,
        failed("the worker told no outcome and ended with exit status: 3")
    );
    assert_eq!(ended[&6].0, Outcome::Diverged { step: 7 });
    assert_eq!(ended[&7].0, failed("no such file"));
    assert_eq!(
        ended[&8].0,
        failed("the worker completed without measuring accuracy on test")
    );
    assert_eq!(
        ended[&2].1.as_ref().expect("a failure").log_end,
        ["it hurts"]
    );

    let store = place.store();
    let log = |folder: PathBuf| fs::read_to_string(folder.join("log.txt")).expect("a log");
    // Two pipes have no order between them.
    let text = log(store.failed_folder(&id(4)));
    assert!(
        text.contains("not an event\n") && text.contains("gibberish\n"),
        "{text}"
    );
    let kept = store.failed(&id(2)).expect("readable").expect("failed");
    assert_eq!(kept.outcome, Outcome::Killed { signal: 11 });
    assert_eq!(kept.again, format!("harness run --only {}", id(2)));
    // What is no event is in the log, and no number that is not finite is kept.
    assert!(log(store.folder(&id(5))).contains("\"value\":NaN"));
    let record = store.record(&id(5)).expect("readable").expect("done");
    assert_eq!(record.observations.len(), 1);

    (2..=8).for_each(|seed| fs::remove_file(place.0.join(format!("mode.{seed}"))).expect("a mode"));
    let summary = place.schedule(&plan);
    assert_eq!(summary.done, [id(2), id(3), id(4), id(7), id(8)]);
    assert_eq!(summary.already, [id(1), id(5), id(6)]);
    assert_eq!(store.failed(&id(2)).expect("readable"), None);
    assert_eq!(
        place.numbers("starts"),
        [1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 7, 8, 8]
    );
}

#[test]
fn a_worker_of_other_sources_is_refused() {
    let (place, plan) = (Place::new("build"), plan(1));
    place.write("build", "elsewhere");
    place.write("mode", "started; sleep 600");
    assert_eq!(place.schedule(&plan).failed, ids(&plan));
    let failed = place
        .store()
        .failed(&plan.runs[0].id)
        .expect("readable")
        .expect("failed");
    assert!(
        failed.outcome.to_string().contains("run `cargo build`"),
        "{}",
        failed.outcome
    );
}

#[test]
fn what_a_killed_supervisor_finished_is_kept_and_the_rest_is_done_once() {
    let (place, plan) = (Place::new("kill"), plan(6));
    place.write("mode", "sleep 0.4; completed");
    let mut supervisor = place.supervisor(6);
    let store = place.store();
    let finished = || {
        ids(&plan)
            .into_iter()
            .filter(|id| store.folder(id).exists())
            .collect::<Vec<_>>()
    };
    wait_until("two runs are done and more begun", || {
        finished().len() >= 2 && place.running() > 0
    });
    signal(&supervisor, libc::SIGKILL);
    supervisor.wait().expect("its end");
    place.assert_workers_are_gone();
    let kept = finished();
    assert!(kept.len() < 6);

    let summary = place.schedule(&plan);
    assert_eq!(summary.already, kept);
    assert_eq!(summary.done.len() + kept.len(), 6);
    assert_eq!(place.running(), 0);
    let starts = place.numbers("starts");
    for run in &plan.runs {
        let count = starts.iter().filter(|&&seed| seed == run.spec.seed).count();
        assert!(
            count == 1 || !kept.contains(&run.id),
            "a finished run began again"
        );
    }
    assert_eq!(store.held(&ids(&plan)).records.len(), 6);
}

#[test]
fn two_supervisors_share_the_work_and_do_each_run_once() {
    let (place, plan) = (Place::new("two"), plan(8));
    place.write("mode", "sleep 0.2; completed");
    place.write("mode.8", "sleep 0.2; exit 1");
    let supervisors = [place.supervisor(8), place.supervisor(8)];
    let summaries = supervisors.map(|mut supervisor| {
        assert!(supervisor.wait().expect("its end").success());
        place.summary(supervisor.id())
    });
    assert_eq!(place.numbers("starts"), [1, 2, 3, 4, 5, 6, 7, 8]);
    for (ours, theirs) in [
        (&summaries[0], &summaries[1]),
        (&summaries[1], &summaries[0]),
    ] {
        assert!(!ours.done.is_empty(), "one did it all");
        assert_eq!(ours.done, theirs.already);
        assert_eq!(ours.failed, [plan.runs[7].id.clone()]);
    }
    assert_eq!(
        fs::read_dir(place.0.join("store/.leases"))
            .expect("a folder")
            .count(),
        0
    );
}

/// A supervisor that is stopped, and whose one run another has done meanwhile.
fn overtaken(place: &Place, plan: &Plan) -> Child {
    place.write("patience", "1500");
    let supervisor = place.supervisor(1);
    wait_until("the run has begun", || place.numbers("starts") == [1]);
    signal(&supervisor, libc::SIGSTOP);
    place.write("mode.1", "completed");
    assert_eq!(place.schedule(plan).done, ids(plan));
    supervisor
}

#[test]
fn a_supervisor_that_wakes_up_finds_its_run_taken_and_lets_it_go() {
    let (place, plan) = (Place::new("asleep"), plan(1));
    place.write(
        "mode",
        "until [ -f \"$dir/go\" ]; do sleep 0.05; done; seed=8; completed",
    );
    let mut supervisor = overtaken(&place, &plan);
    place.write("go", "");
    signal(&supervisor, libc::SIGCONT);
    assert!(supervisor.wait().expect("its end").success());
    assert_eq!(place.summary(supervisor.id()).already, ids(&plan));
    assert_eq!(place.numbers("starts"), [1, 1]);
    let id = &plan.runs[0].id;
    let record = place.store().record(id).expect("readable").expect("done");
    assert_eq!(record.value("test", "accuracy"), Some(91.1));
    assert!(!place.store().is_leased(id));
    assert!(!place.0.join("store/.failed").join(&id.0).exists());
    assert_eq!(place.running(), 0);
}

#[test]
fn a_worker_is_ended_as_soon_as_its_run_is_another_supervisors() {
    let (place, plan) = (Place::new("taken"), plan(1));
    place.write("saving", "");
    place.write(
        "mode",
        "trap 'echo 1 >>\"$dir/saved\"; exit' TERM; sleep 600 & wait",
    );
    let mut supervisor = overtaken(&place, &plan);
    signal(&supervisor, libc::SIGCONT);
    assert!(supervisor.wait().expect("its end").success());
    assert_eq!(place.summary(supervisor.id()).already, ids(&plan));
    assert!(
        place.numbers("saved").is_empty(),
        "the checkpoints are another's"
    );
    place.assert_workers_are_gone();
    assert_eq!(place.running(), 0);
}

#[test]
fn the_end_of_the_terminal_asks_to_stop_unless_it_means_nothing() {
    for (name, hears, mode, done) in [
        ("hangup", true, "sleep 600", 0),
        ("nohup", false, "sleep 1; completed", 2),
    ] {
        let place = Place::new(name);
        place.write("saving", "");
        place.write("mode", mode);
        let mut supervisor = place.supervisor_hearing(2, hears);
        wait_until("two runs have begun", || place.numbers("starts").len() == 2);
        signal(&supervisor, libc::SIGHUP);
        assert!(supervisor.wait().expect("its end").success(), "{name}");
        let summary = place.summary(supervisor.id());
        assert_eq!(summary.done.len(), done, "{name}");
        assert_eq!(summary.interrupted.len(), 2 - done, "{name}");
    }
}

#[test]
fn the_first_interrupt_lets_what_runs_finish() {
    let place = Place::new("interrupt");
    place.write("mode", "sleep 1; completed");
    let mut supervisor = place.supervisor(5);
    wait_until("two runs have begun", || place.numbers("starts").len() == 2);
    signal(&supervisor, libc::SIGINT);
    assert!(supervisor.wait().expect("its end").success());
    let summary = place.summary(supervisor.id());
    assert_eq!((summary.done.len(), summary.interrupted.len()), (2, 3));
    assert_eq!(place.numbers("starts").len(), 2);
}

#[test]
fn the_second_interrupt_ends_what_runs_and_what_that_started() {
    let place = Place::new("interrupts");
    place.write(
        "mode",
        "trap '' TERM; sleep 600 & echo $! >>\"$dir/pids\"; wait; wait; wait; sleep 600",
    );
    let mut supervisor = place.supervisor(5);
    wait_until("two runs have begun", || place.numbers("pids").len() == 4);
    signal(&supervisor, libc::SIGINT);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(supervisor.try_wait().expect("its state"), None);
    let begun = Instant::now();
    signal(&supervisor, libc::SIGTERM);
    assert!(supervisor.wait().expect("its end").success());
    assert!(begun.elapsed() < Duration::from_secs(10));
    place.assert_workers_are_gone();
    let summary = place.summary(supervisor.id());
    assert_eq!(
        summary,
        Summary {
            interrupted: ids(&plan(5)),
            ..Summary::default()
        }
    );
    assert_eq!(place.running(), 0);
    assert!(!place.0.join("store/.failed").exists());
}

#[test]
fn a_run_that_saves_itself_has_the_time_for_it_unless_interrupted_again() {
    for (name, more, saved) in [("saves", None, 2), ("no-time", Some(libc::SIGINT), 0)] {
        let place = Place::new(name);
        place.write("saving", "");
        place.write(
            "mode",
            "trap 'sleep 3; echo 1 >>\"$dir/saved\"; exit' TERM; echo 1 >>\"$dir/ready\"; sleep 600 & wait",
        );
        let mut supervisor = place.supervisor(5);
        wait_until("two runs have begun", || place.numbers("ready").len() == 2);
        // A batch system sends one and then the other.
        signal(&supervisor, libc::SIGUSR1);
        std::thread::sleep(Duration::from_millis(300));
        signal(&supervisor, more.unwrap_or(libc::SIGTERM));
        assert!(supervisor.wait().expect("its end").success());
        assert_eq!(place.numbers("saved").len(), saved, "{name}");
        let summary = place.summary(supervisor.id());
        assert_eq!(summary.interrupted, ids(&plan(5)), "{name}");
        assert!(!place.0.join("store/.failed").exists(), "{name}");
    }
}

#[test]
fn the_record_of_a_resumed_run_holds_what_earlier_attempts_told_and_their_time() {
    let place = Place::new("resumed");
    place.write(
        "mode",
        r#"started
           echo '{"event":"resumed","step":1,"steps":2,"seconds":1000.0}'
           echo '{"event":"again","seconds":7.0,"told":{"event":"observed","step":1,"on":"training","metric":"loss","value":0.5}}'
           observed 2 accuracy 90.0; finished completed"#,
    );
    let plan = plan(1);
    let checkpoints = place.store().checkpoints(&plan.runs[0].id);
    fs::create_dir_all(&checkpoints).expect("a folder");
    let summary = place.schedule(&plan);
    assert_eq!(summary.done.len(), 1);
    let record = place.store().record(&plan.runs[0].id).expect("whole");
    let record = record.expect("done");
    assert_eq!(record.value("training", "loss"), Some(0.5));
    assert_eq!(record.observations.len(), 2);
    assert!(
        (1000.0..1060.0).contains(&record.seconds),
        "{}",
        record.seconds
    );
    assert!(!checkpoints.exists(), "a run that is done needs none");
    // As after a supervisor that ended before it removed them.
    fs::create_dir_all(&checkpoints).expect("a folder");
    place.schedule(&plan);
    assert!(!checkpoints.exists());
}

#[test]
fn a_run_starts_from_the_weights_of_its_stage_and_is_blocked_without_them() {
    let place = Place::new("stage");
    let (good, bad, empty) = (planned(1), planned(2), planned(3));
    let runs = [
        on_top_of(&good, 4),
        on_top_of(&bad, 5),
        on_top_of(&empty, 6),
    ];
    let last = on_top_of(&runs[1], 7);
    // The order of a plan puts stages first; the queue does not depend on it.
    let [a, b, c] = runs;
    let plan = Plan {
        runs: vec![
            a.clone(),
            good.clone(),
            bad.clone(),
            b.clone(),
            last.clone(),
            empty.clone(),
            c.clone(),
        ],
    };
    place.write("mode.2", "exit 1");
    place.write("mode.3", "started; finished diverged ',\"step\":1'");
    place.write("mode.4", "cp \"$job\" \"$dir/job.4\"; completed");
    let summary = place.schedule(&plan);
    assert_eq!(summary.done, [a.id.clone(), good.id.clone(), empty.id]);
    assert_eq!(summary.failed, [bad.id]);
    assert_eq!(summary.blocked, [b.id, last.id, c.id]);
    let job = fs::read_to_string(place.0.join("job.4")).expect("a job");
    let job: serde_json::Value = serde_json::from_str(&job).expect("a job");
    assert_eq!(job["stage"], json!(place.store().weights(&good.id)));
}

#[test]
fn a_finished_run_is_measured_again_without_training_it_again() {
    let (place, mut plan) = (Place::new("measure"), plan(1));
    let id = plan.runs[0].id.clone();
    assert_eq!(place.schedule(&plan).done.len(), 1);
    plan.runs[0].measurements.push(measurement("loss"));
    place.write("mode", "cp \"$job\" \"$dir/job\"; started; observed 2 accuracy 1; observed 2 loss 0.25; finished completed");
    assert!(!place.store().is_done(&plan.runs[0]).expect("readable"));
    assert_eq!(place.schedule(&plan).done, ids(&plan));
    let job: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(place.0.join("job")).expect("a job"))
            .expect("a job");
    assert_eq!(job["measurements"].as_array().map(Vec::len), Some(1));
    assert_eq!(job["finished"], json!(place.store().weights(&id)));
    let record = place.store().record(&id).expect("readable").expect("done");
    assert_eq!(record.value("test", "accuracy"), Some(91.1));
    assert_eq!(record.value("test", "loss"), Some(0.25));
    assert_eq!(place.schedule(&plan).already, ids(&plan));
    assert_eq!(place.running(), 0);
}

#[test]
fn a_number_comes_out_of_the_store_with_the_bits_the_worker_gave_it() {
    let (place, plan) = (Place::new("bits"), plan(1));
    // Digits that a parser without care gets wrong in the last bit are among many.
    let mut state = 1u64;
    let values: Vec<f64> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        f64::from_bits(state ^ (state >> 29))
    })
    .filter(|value| value.is_finite())
    .take(2000)
    .chain([0.0, -0.0, 5e-324, f64::MAX, 0.1 + 0.2])
    .collect();
    let lines: String = values
        .iter()
        .map(|value| {
            format!(
                "observed 1 loss {}\n",
                serde_json::to_string(value).expect("finite")
            )
        })
        .collect();
    place.write(
        "mode",
        &format!("started\n{lines}observed 1 accuracy 1\nfinished completed"),
    );
    assert_eq!(place.schedule(&plan).done.len(), 1);
    let record = place
        .store()
        .record(&plan.runs[0].id)
        .expect("readable")
        .expect("done");
    let seen: Vec<u64> = record.observations[..values.len()]
        .iter()
        .map(|seen| seen.value.to_bits())
        .collect();
    assert_eq!(
        seen,
        values
            .iter()
            .map(|value| value.to_bits())
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_worker_that_told_its_outcome_and_does_not_end_is_ended() {
    let (place, plan) = (Place::new("lingers"), plan(1));
    place.write("mode", "completed; exec sleep 600");
    let begun = Instant::now();
    assert_eq!(place.schedule(&plan).done, ids(&plan));
    assert!(begun.elapsed() < Duration::from_secs(60));
    place.assert_workers_are_gone();
}

#[test]
fn a_measurement_without_a_finite_value_costs_no_run_and_is_not_made_again() {
    let place = Place::new("no-value");
    place.write(
        "mode",
        r#"started; echo '{"event":"no_value","on":"test","metric":"accuracy"}'; finished completed"#,
    );
    let plan = plan(1);
    let summary = place.schedule(&plan);
    assert_eq!(summary.done, [plan.runs[0].id.clone()]);
    let record = place.store().record(&plan.runs[0].id).unwrap().unwrap();
    assert_eq!(record.outcome, Outcome::Completed);
    assert_eq!(record.value("test", "accuracy"), None);
    let again = place.schedule(&plan);
    assert_eq!(again.already, [plan.runs[0].id.clone()]);
}

#[test]
fn a_damaged_run_is_done_again() {
    let (place, plan) = (Place::new("damaged"), plan(2));
    place.schedule(&plan);
    let id = &plan.runs[0].id;
    let path = place.store().folder(id).join("observations.parquet");
    let whole = fs::read(&path).expect("a file");
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, bytes).expect("room");
    let mut named = Vec::new();
    let summary = place.schedule_telling(&plan, &Control::default(), &mut |told| {
        if let What::Damaged { what } = told.what {
            named.push(what);
        }
    });
    assert_eq!((summary.done, summary.already.len()), (vec![id.clone()], 1));
    assert!(
        named.len() == 1 && named[0].contains("observations.parquet"),
        "{named:?}"
    );
    assert_eq!(fs::read(&path).expect("a file"), whole);
}
