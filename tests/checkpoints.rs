//! Runs stopped and killed in training, with the real programs: what is saved, and what comes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder of its own with one run of the smoke suite, long enough to be interrupted.
struct Place(PathBuf, Devices);

/// How many devices do the run.
#[derive(Clone, Copy, PartialEq)]
enum Devices {
    One,
    Two,
}

impl Place {
    fn new(name: &str, devices: Devices) -> Place {
        let folder = std::env::temp_dir().join(format!("harness-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let suite = fs::read_to_string(root.join("suites/smoke.yaml")).unwrap();
        let suite = suite
            .replace("../data/digits", root.join("data/digits").to_str().unwrap())
            .replace("length: {epochs: 6}", "length: {epochs: 12}");
        let suite = match devices {
            Devices::One => suite,
            Devices::Two => suite.replace(
                "    training: short\n",
                "    training: short\n    devices: 2\n",
            ),
        };
        fs::write(folder.join("suite.yaml"), suite).unwrap();
        Place(folder, devices)
    }

    fn harness(&self, store: &str) -> Command {
        let mut harness = Command::new(env!("CARGO_BIN_EXE_harness"));
        harness.env_remove("CARGO").current_dir(&self.0);
        harness.args(["run", "suite.yaml", "--store", store, "--cache", "cache"]);
        let slots = match self.1 {
            Devices::One => "cpu:1",
            Devices::Two => "cpu:2",
        };
        harness.args(["--slots", slots, "--checkpoint-every", "1s"]);
        harness.args(["--only", "seed=0", "--only", "method=TRAM-theta_prev"]);
        harness
    }

    /// Begins the run and waits until it has saved itself.
    fn begin(&self, store: &str) -> Child {
        let mut harness = self.harness(store);
        let mut child = harness
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while self.saved(store).is_empty() {
            assert!(
                begun.elapsed() < Duration::from_secs(300),
                "it saves itself"
            );
            assert_eq!(child.try_wait().unwrap(), None, "it is long enough");
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    }

    fn end(&self, store: &str) -> Output {
        self.harness(store).output().unwrap()
    }

    /// The updates of the checkpoints that are whole.
    fn saved(&self, store: &str) -> Vec<u64> {
        let runs = fs::read_dir(self.0.join(store).join(".checkpoints"));
        let files = runs.into_iter().flatten().flatten();
        let files = files
            .filter_map(|run| fs::read_dir(run.path()).ok())
            .flatten()
            .flatten();
        let step = |file: fs::DirEntry| {
            let name = file.file_name().into_string().ok()?;
            name.strip_prefix("update-")?
                .strip_suffix(".json")?
                .parse()
                .ok()
        };
        files.filter_map(step).collect()
    }

    /// The folder of the run that is done.
    fn run(&self, store: &str) -> PathBuf {
        let entries = fs::read_dir(self.0.join(store)).unwrap();
        let mut runs = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'));
        runs.next().expect("a run that is done")
    }

    fn assert_same(&self, store: &str) {
        for file in ["observations.parquet", "model.safetensors"] {
            assert!(
                fs::read(self.run("whole").join(file)).unwrap()
                    == fs::read(self.run(store).join(file)).unwrap(),
                "{file} of {store}"
            );
        }
        assert_eq!(self.saved(store), [0_u64; 0], "nothing is left over");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The worker of a supervisor.
#[cfg(target_os = "linux")]
fn worker(supervisor: &Child) -> libc::pid_t {
    let parent = format!("PPid:\t{}", supervisor.id());
    let mut processes = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|process| {
            let status = fs::read_to_string(process.path().join("status")).ok()?;
            let ours =
                status.lines().any(|line| line == parent) && status.contains("harness-worker");
            ours.then(|| process.file_name().to_str()?.parse().ok())?
        });
    processes.next().expect("it has a worker")
}

fn signal(process: libc::pid_t, signal: libc::c_int) {
    // SAFETY: the call touches no memory of ours; the process is a child that has not been waited for, or its worker.
    assert_eq!(unsafe { libc::kill(process, signal) }, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_stopped_or_killed_run_goes_on_where_it_was_and_ends_with_the_same_bits() {
    let place = Place::new("checkpoints", Devices::One);
    let whole = place.end("whole");
    assert!(whole.status.success(), "{}", text(&whole));
    for (store, number) in [("term", libc::SIGTERM), ("usr1", libc::SIGUSR1)] {
        let mut supervisor = place.begin(store);
        signal(supervisor.id() as libc::pid_t, number);
        assert_eq!(supervisor.wait().unwrap().code(), Some(4));
        assert!(
            !place.0.join(store).join(".failed").exists(),
            "stopping is no failure"
        );
        let saved = place.saved(store).into_iter().max().unwrap();
        let rest = place.end(store);
        assert!(rest.status.success(), "{}", text(&rest));
        let step = match saved {
            0..1000 => saved.to_string(),
            _ => format!("{},{:03}", saved / 1000, saved % 1000),
        };
        assert!(
            text(&rest).contains(&format!("resumed at update {step} of 1,500")),
            "{}",
            text(&rest)
        );
        place.assert_same(store);
    }
    // A killed worker is tried again without being asked.
    let mut supervisor = place.begin("killed");
    signal(worker(&supervisor), libc::SIGKILL);
    assert_eq!(supervisor.wait().unwrap().code(), Some(0));
    let logs = fs::read_dir(place.0.join("killed")).unwrap();
    let mut logs =
        logs.filter_map(|run| fs::read_to_string(run.unwrap().path().join("log.txt")).ok());
    assert!(logs.any(|log| log.contains("resumed at update")));
    place.assert_same("killed");
}

#[cfg(target_os = "linux")]
#[test]
fn two_devices_do_a_run_together_and_when_one_dies_it_goes_on_from_the_checkpoint() {
    let place = Place::new("together", Devices::Two);
    let whole = place.end("whole");
    assert!(whole.status.success(), "{}", text(&whole));
    let environment = fs::read_to_string(place.run("whole").join("environment.json")).unwrap();
    assert!(environment.contains("\"processes\": 2"), "{environment}");
    let mut supervisor = place.begin("killed");
    signal(worker(&supervisor), libc::SIGKILL);
    assert_eq!(supervisor.wait().unwrap().code(), Some(0));
    let log = fs::read_to_string(place.run("killed").join("log.txt")).unwrap();
    assert!(log.contains("resumed at update"), "{log}");
    place.assert_same("killed");
    let mut stopped = place.begin("stopped");
    signal(stopped.id() as libc::pid_t, libc::SIGTERM);
    assert_eq!(stopped.wait().unwrap().code(), Some(4));
    let rest = place.end("stopped");
    assert!(text(&rest).contains("resumed at update"), "{}", text(&rest));
    place.assert_same("stopped");

    let mut few = Command::new(env!("CARGO_BIN_EXE_harness"));
    few.env_remove("CARGO").current_dir(&place.0);
    let few = few.args(["run", "suite.yaml", "--slots", "cpu:1"]).output();
    let few = few.unwrap();
    assert_eq!(few.status.code(), Some(2));
    assert!(text(&few).contains("asks for 2 devices, and the slots have 1"));
}
