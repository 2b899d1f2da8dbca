//! Runs as jobs of a real Slurm cluster of pretended nodes (`virtual.sh`), and the texts that reach it.
//!
//! Where Slurm is not installed, the tests that need it say so and pass; `make slurm` provides it on Debian.

mod real;
mod text;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use harness::schedule::BUILD;

/// How long anything here may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(150);

/// A cluster, a suite of runs that differ by their seeds, a profile, and a stand-in for the worker.
struct Place {
    dir: PathBuf,
}

impl Place {
    /// None where there is no Slurm.
    fn new(name: &str, seeds: u64) -> Option<Place> {
        let has = |program: &str| {
            ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
                .iter()
                .any(|folder| Path::new(folder).join(program).is_file())
        };
        if !["slurmctld", "slurmd", "munged", "sbatch"]
            .into_iter()
            .all(has)
        {
            eprintln!("SKIPPED: {name} needs Slurm; `make slurm` installs it");
            return None;
        }
        // Sockets have short names, and Slurm reads a `%` in a path as its own.
        let dir = std::env::temp_dir().join(format!("harness-slurm-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let place = Place { dir };
        place.write("build", BUILD);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let seeds: Vec<String> = (0..seeds).map(|seed| seed.to_string()).collect();
        let suite = fs::read_to_string(root.join("suites/smoke.yaml")).unwrap();
        let suite: String = suite
            .replace("../data/digits", root.join("data/digits").to_str().unwrap())
            .replace(
                "seeds: [0, 1, 2]",
                &format!("seeds: [{}]", seeds.join(", ")),
            )
            .replace(
                "      - {id: loss, title: Loss, task: digits, on: test, metric: loss}\n",
                "",
            )
            .replace("±0.43 0.23±0.01", "±0.43")
            .replace(
                "methods: [SGD, SAM, TRAM-x, TRAM-theta_prev], ",
                "methods: [SGD], ",
            )
            .lines()
            .filter(|line| {
                !["SAM", "TRAM-x", "TRAM-theta_prev"]
                    .iter()
                    .any(|method| line.contains(&format!("- {{method: {method},")))
            })
            .map(|line| format!("{line}\n"))
            .collect();
        place.write("suite.yaml", &suite);
        place.profile("");
        fs::create_dir(place.dir.join("cluster")).unwrap();
        place.virtually("start", &[&free_ports().to_string()]);
        Some(place)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.join(name), text).unwrap();
    }

    fn profile(&self, more: &str) {
        let worker = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-worker.sh");
        self.write(
            "profile.yaml",
            &format!(
                "time: 5\npoll: 1\nenvironment: {{HARNESS_WORKER: {}}}\n{more}",
                worker.display()
            ),
        );
    }

    fn virtually(&self, action: &str, more: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/virtual.sh");
        let output = Command::new(script)
            .arg(action)
            .arg(self.dir.join("cluster"))
            .args(more)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{action}: {}", text_of(&output));
    }

    fn slurm(&self, program: &str, words: &[&str]) -> String {
        let output = self.command(program).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.dir)
            .env_remove("CARGO")
            .env("SLURM_CONF", self.dir.join("cluster/slurm.conf"));
        command
    }

    /// The head process.
    fn head(&self) -> Child {
        let out = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("head.txt"))
            .unwrap();
        self.command(env!("CARGO_BIN_EXE_harness"))
            .args(["run", "suite.yaml", "--store", "store"])
            .args(["--executor", "slurm", "--profile", "profile.yaml"])
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.join("head.txt")).unwrap_or_default()
    }

    /// The exit code of a head process.
    fn end_of(&self, mut head: Child) -> i32 {
        let since = Instant::now();
        loop {
            if let Some(status) = head.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            if since.elapsed() > PATIENCE {
                let _ = head.kill();
                panic!(
                    "stuck: {}\n{}",
                    self.said(),
                    self.slurm("squeue", &["--states=all", "--array"])
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn wait_for(&self, what: &str, holds: impl Fn() -> bool) {
        let since = Instant::now();
        while !holds() {
            assert!(since.elapsed() < PATIENCE, "no {what}: {}", self.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// How often the worker was started, by seed.
    fn starts(&self) -> Vec<u64> {
        let text = fs::read_to_string(self.dir.join("starts")).unwrap_or_default();
        let mut starts: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
        starts.sort();
        starts
    }

    fn runs(&self) -> usize {
        let entries = fs::read_dir(self.dir.join("store")).into_iter().flatten();
        entries
            .filter(|entry| {
                !entry
                    .as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with('.')
            })
            .count()
    }

    fn submissions(&self) -> usize {
        let entries = fs::read_dir(self.dir.join("store/.cluster"))
            .into_iter()
            .flatten();
        entries
            .filter(|entry| entry.as_ref().unwrap().path().is_dir())
            .count()
    }

    fn running(&self) -> Vec<String> {
        let list = self.slurm(
            "squeue",
            &[
                "--noheader",
                "--array",
                "--states=RUNNING",
                "--format=%i %N",
            ],
        );
        list.lines().map(str::to_string).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.virtually("stop", &[]);
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// The first of four ports in a row that nobody listens on.
fn free_ports() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    // Clusters of this program are started at the same time.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let first = 20_000 + (std::process::id() % 2000) as u16 * 4 + step * 4;
        if (first..first + 4).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
}

fn text_of(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn interrupt(child: &Child) {
    // SAFETY: the call touches no memory, and the child is not waited for yet.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
}

#[test]
fn fifty_runs_go_as_two_arrays_and_each_is_done_once() {
    let Some(place) = Place::new("fifty", 50) else {
        return;
    };
    place.profile("gres: gpu:fake:1\n");
    assert_eq!(place.end_of(place.head()), 0, "{}", place.said());
    assert_eq!(place.starts(), (0..50).collect::<Vec<u64>>());
    assert_eq!(
        (place.runs(), place.submissions()),
        (50, 2),
        "an array has 41 tasks at most here"
    );
    assert_eq!(place.end_of(place.head()), 0);
    assert!(place.said().contains("nothing to do"), "{}", place.said());
    assert_eq!(place.submissions(), 2);
}

#[test]
fn a_head_that_leaves_and_comes_back_finds_its_jobs_even_where_the_controller_was_away() {
    let Some(place) = Place::new("back", 2) else {
        return;
    };
    place.write(
        "mode",
        "while [ ! -f $dir/go ]; do sleep 0.1; done; completed",
    );
    let head = place.head();
    place.wait_for("job that runs", || place.starts().len() == 2);
    place.wait_for("word of it", || {
        place.said().matches("started").count() == 2
    });
    interrupt(&head);
    assert_eq!(place.end_of(head), 4);
    assert!(place.said().contains("scancel "), "{}", place.said());
    place.virtually("crash", &["controller"]);
    let head = place.head();
    place.wait_for("word of the controller", || {
        place.said().contains("Slurm does not answer")
    });
    place.virtually("revive", &["controller"]);
    place.write("go", "");
    assert_eq!(place.end_of(head), 0, "{}", place.said());
    assert_eq!((place.starts(), place.submissions()), (vec![0, 1], 1));
}

#[test]
fn a_submission_that_the_controller_forgot_is_made_again() {
    let Some(place) = Place::new("forgotten", 2) else {
        return;
    };
    place.write("mode", "completed");
    // Nothing begins while all nodes are away, so the jobs stay in the queue.
    for node in ["n1", "n2", "n3"] {
        place.slurm(
            "scontrol",
            &[
                "update",
                &format!("nodename={node}"),
                "state=drain",
                "reason=test",
            ],
        );
    }
    let head = place.head();
    place.wait_for("submission", || place.said().contains("submitted 2 runs"));
    place.virtually("crash", &["controller"]);
    let _ = fs::remove_dir_all(place.dir.join("cluster/state"));
    fs::create_dir(place.dir.join("cluster/state")).unwrap();
    place.virtually("revive", &["controller"]);
    assert_eq!(place.end_of(head), 0, "{}", place.said());
    assert_eq!((place.runs(), place.submissions()), (2, 2));
}

#[test]
fn a_run_whose_node_dies_is_done_on_another() {
    let Some(place) = Place::new("node", 1) else {
        return;
    };
    place.write(
        "mode.0",
        "if [ -f $dir/go ]; then completed; else : >$dir/asleep; sleep 600; fi",
    );
    let head = place.head();
    place.wait_for("worker", || place.dir.join("asleep").exists());
    let running = place.running();
    let node = running[0].split(' ').next_back().unwrap().to_string();
    place.write("go", "");
    place.virtually("crash", &[&node]);
    assert_eq!(place.end_of(head), 0, "{}", place.said());
    assert_eq!(
        (place.starts(), place.submissions()),
        (vec![0, 0], 1),
        "Slurm itself starts it again"
    );
}

#[test]
fn a_cancelled_run_is_not_submitted_again_and_the_others_go_on() {
    let Some(place) = Place::new("cancelled", 3) else {
        return;
    };
    place.write("mode.1", "sleep 600");
    place.write("mode", "completed");
    let head = place.head();
    // A task whose result is in the store may still be on its way out of the queue.
    place.wait_for("others", || {
        place.runs() == 2 && place.starts().len() == 3 && place.running().len() == 1
    });
    let running = place.running();
    place.slurm("scancel", &[running[0].split(' ').next().unwrap()]);
    assert_eq!(place.end_of(head), 4, "{}", place.said());
    assert!(place.said().contains("seed 1: stopped"), "{}", place.said());
    assert_eq!((place.starts(), place.submissions()), (vec![0, 1, 2], 1));
    place.write("mode.1", "completed");
    assert_eq!(
        place.end_of(place.head()),
        0,
        "asked again, it is done: {}",
        place.said()
    );
}

#[test]
fn a_failed_run_fails_once_and_a_job_without_a_result_is_tried_as_often_as_the_profile_says() {
    let Some(place) = Place::new("failed", 2) else {
        return;
    };
    place.write(
        "mode.0",
        "started; finished failed ',\"message\":\"a broken file\"'",
    );
    assert_eq!(place.end_of(place.head()), 3, "{}", place.said());
    assert!(place.said().contains("a broken file"), "{}", place.said());
    assert_eq!((place.starts(), place.submissions()), (vec![0, 1], 1));
    place.profile("program: /bin/false\nattempts: 2\n");
    assert_eq!(place.end_of(place.head()), 3);
    assert!(
        place
            .said()
            .contains("2 jobs left no result in the store, the last one ended as FAILED"),
        "{}",
        place.said()
    );
    assert_eq!(place.submissions(), 3);
    place.profile("partition: nowhere\n");
    assert_eq!(place.end_of(place.head()), 1);
    assert!(
        place.said().contains("invalid partition"),
        "{}",
        place.said()
    );
}

#[test]
fn two_heads_at_once_submit_every_run_once_and_both_see_it_done() {
    let Some(place) = Place::new("two", 4) else {
        return;
    };
    let heads = [place.head(), place.head()];
    for head in heads {
        assert_eq!(place.end_of(head), 0, "{}", place.said());
    }
    assert_eq!((place.starts(), place.submissions()), (vec![0, 1, 2, 3], 1));
}

#[test]
fn a_head_after_one_that_died_goes_on_counting_and_a_user_who_asks_again_begins_anew() {
    let Some(place) = Place::new("counting", 1) else {
        return;
    };
    place.profile("program: /bin/false\nattempts: 2\n");
    let mut head = place.head();
    place.wait_for("submission", || place.said().contains("submitted 1 run"));
    head.kill().unwrap();
    head.wait().unwrap();
    let gave_up = || {
        let text = "2 jobs left no result in the store, the last one ended as FAILED";
        place.said().matches(text).count()
    };
    assert_eq!(place.end_of(place.head()), 3, "{}", place.said());
    assert_eq!((place.submissions(), gave_up()), (2, 1));
    // Two that wait for the same run count together.
    let heads = [place.head(), place.head()];
    for head in heads {
        assert_eq!(place.end_of(head), 3, "{}", place.said());
    }
    assert_eq!((place.submissions(), gave_up()), (4, 3), "{}", place.said());
}

#[test]
fn status_tells_what_is_in_the_queue_and_does_without_slurm() {
    let Some(place) = Place::new("status", 3) else {
        return;
    };
    let asked = |mut command: Command| {
        let words = ["status", "suite.yaml", "--store", "store"];
        let output = command.args(words).output().unwrap();
        assert!(output.status.success(), "{}", text_of(&output));
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    };
    let program = || place.command(env!("CARGO_BIN_EXE_harness"));
    let status = || asked(program());
    let (before, note) = status();
    assert_eq!(note, "", "nobody is asked where nothing was submitted");
    place.profile("array: {size: 10, at_once: 1}\n");
    place.write(
        "mode",
        "while [ ! -f $dir/go ]; do sleep 0.1; done; completed",
    );
    let head = place.head();
    place.wait_for("job that runs", || place.starts().len() == 1);
    let job = place.running()[0].split('_').next().unwrap().to_string();
    place.slurm("scontrol", &["uhold", &format!("{job}_2")]);
    let (text, note) = status();
    assert_eq!(note, "");
    assert!(
        text.contains("in the queue: 1 waiting, 1 running, 1 held\n"),
        "{text}"
    );
    let held = format!("digits SGD seed 2: held (JobHeldUser) until `scontrol release {job}_2`\n");
    assert!(text.contains(&held), "{text}");
    let output = program()
        .args(["status", "suite.yaml", "--store", "store", "--json"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let runs: serde_json::Value = serde_json::from_str(&text).unwrap();
    let queue = |seed: usize| runs[seed]["queue"].clone();
    let is = |state: &str, task: usize| serde_json::json!({"job": format!("{job}_{task}"), "state": state});
    assert_eq!((queue(0), queue(1)), (is("running", 0), is("waiting", 1)));
    assert_eq!(queue(2)["reason"], "JobHeldUser");

    let mut elsewhere = program();
    elsewhere.env("PATH", place.dir.join("nothing"));
    let (text, note) = asked(elsewhere);
    assert!(!text.contains("in the queue"), "{text}");
    assert!(
        note.contains("is this a login node of a Slurm cluster?") && note.lines().count() == 1,
        "{note}"
    );
    place.slurm("scontrol", &["release", &format!("{job}_2")]);
    place.write("go", "");
    assert_eq!(place.end_of(head), 0, "{}", place.said());
    let (after, note) = status();
    assert_eq!(note, "");
    assert_eq!(
        after.lines().count(),
        before.lines().count(),
        "nothing of the queue is left: {after}"
    );
    place.virtually("crash", &["controller"]);
    let since = Instant::now();
    let (text, note) = status();
    assert!(since.elapsed() < Duration::from_secs(30), "{note}");
    assert!(!text.contains("in the queue"), "{text}");
    assert!(
        note.starts_with("note: ") && note.lines().count() == 1,
        "{note}"
    );
}
