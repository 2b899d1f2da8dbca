//! What a supervisor survives, and what does not survive it: the program itself, with a stand-in for the worker.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::audience::{harness, place, wait_until};
use crate::schedule::is_alive;

/// `harness run` on two slots, with two runs.
fn run(folder: &Path) -> Command {
    let mut run = harness(folder);
    run.args(["run", "suite.yaml", "--store", "store", "--no-report"])
        .args([
            "--slots",
            "cpu:2",
            "--only",
            "method=SGD",
            "--only",
            "seed=0,1",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    run
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}

fn numbers(folder: &Path, name: &str) -> Vec<u64> {
    let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[test]
fn readers_that_go_away_end_no_run() {
    let folder = place("readers");
    write(&folder, "mode", "sleep 0.3; completed");
    let fifo = folder.join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let mut supervisor = run(&folder)
        .args(["--events", "fifo", "--notify", "exit 0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(supervisor.stdout.take());
    let mut byte = [0];
    let mut errors = supervisor.stderr.take().unwrap();
    let mut events = fs::File::open(&fifo).unwrap();
    events.read_exact(&mut byte).unwrap();
    drop(events);
    errors.read_exact(&mut byte).unwrap();
    drop(errors);
    assert_eq!(supervisor.wait().unwrap().code(), Some(0));
    assert_eq!(numbers(&folder, "starts").len(), 2);
}

#[test]
fn a_parent_that_ignores_its_childrens_ends_costs_no_run() {
    let folder = place("children");
    write(
        &folder,
        "mode",
        "grep SigIgn /proc/self/status >\"$dir/ignored\"; completed",
    );
    let mut command = run(&folder);
    // SAFETY: between fork and exec only an async-signal-safe call is made.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            Ok(())
        });
    }
    assert_eq!(command.status().unwrap().code(), Some(0));
    let ignored = fs::read_to_string(folder.join("ignored")).unwrap();
    let ignored = ignored.trim().trim_start_matches("SigIgn:").trim();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    let is_ignored = |signal: i32| ignored & (1 << (signal - 1)) != 0;
    assert!(!is_ignored(libc::SIGPIPE) && !is_ignored(libc::SIGCHLD));
}

#[test]
fn nothing_that_a_worker_started_outlives_a_supervisor_that_is_killed() {
    let folder = place("orphans");
    write(
        &folder,
        "mode",
        "started; trap '' TERM INT HUP; note='echo $$ >>\"$0\"; exec sleep 600'
         sh -c \"$note\" \"$dir/kids\" & setsid sh -c \"$note\" \"$dir/kids\" &
         (env -i /usr/bin/setsid /bin/sh -c \"$note\" \"$dir/kids\" </dev/null >/dev/null 2>&1 &)
         sleep 600",
    );
    let mut supervisor = run(&folder).spawn().unwrap();
    wait_until("processes", || numbers(&folder, "kids").len() == 6);
    // The guard looks every two seconds.
    std::thread::sleep(std::time::Duration::from_secs(4));
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    let kids = numbers(&folder, "kids");
    wait_until("end of all of them", || {
        kids.iter().all(|&pid| !is_alive(pid))
    });
}

#[test]
fn what_a_worker_left_is_gone_when_the_supervisor_ends_and_what_was_there_before_is_not() {
    let folder = place("left");
    write(
        &folder,
        "mode",
        "(env -i /usr/bin/setsid /bin/sh -c 'echo $$ >>\"$0\"; exec sleep 600' \"$dir/kids\" </dev/null >/dev/null 2>&1 &)
         until [ -s \"$dir/kids\" ]; do sleep 0.05; done; sleep 1; completed",
    );
    // The shell becomes the supervisor, whose child it has started.
    let mut shell = Command::new("sh");
    shell.args(["-c", "sleep 600 & echo $! >before; exec \"$0\" \"$@\""]);
    let program = run(&folder);
    shell.arg(program.get_program()).args(program.get_args());
    let variables = program
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    shell
        .envs(variables)
        .env_remove("CARGO")
        .current_dir(&folder);
    shell.stdout(Stdio::null()).stderr(Stdio::null());
    assert_eq!(shell.status().unwrap().code(), Some(0));
    let alive = |name: &str| {
        let pids = numbers(&folder, name).into_iter();
        pids.filter(|&pid| is_alive(pid)).collect::<Vec<_>>()
    };
    assert!(alive("kids").is_empty());
    let before = alive("before");
    assert_eq!(before.len(), 1);
    // SAFETY: the call touches no memory of ours.
    unsafe { libc::kill(before[0] as i32, libc::SIGKILL) };
}

#[test]
fn a_failed_run_is_done_again_by_its_command_from_anywhere() {
    let folder = place("again");
    let away = folder.join("the cache's");
    write(
        &folder,
        "mode",
        "started; finished failed ',\"message\":\"no\"'",
    );
    let again = [
        "--cache",
        "the cache's",
        "--retry",
        "killed=2/5s",
        "--timeout",
        "10m",
    ];
    let status = run(&folder).args(again).status().unwrap();
    assert_eq!(status.code(), Some(3));
    let failed = fs::read_dir(folder.join("store/.failed")).unwrap();
    let text =
        fs::read_to_string(failed.last().unwrap().unwrap().path().join("again.txt")).unwrap();
    for part in [
        "--retry killed=2/5s",
        "--timeout 600s",
        "--slots cpu:2",
        "--no-report",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let quoted = format!(
        "--cache '{}'",
        away.display().to_string().replace('\'', r"'\''")
    );
    assert!(text.contains(&quoted), "{text}");
    fs::remove_file(folder.join("mode")).unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &text])
        .current_dir("/")
        .env_remove("CARGO");
    let program = run(&folder);
    shell.envs(
        program
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{text} {output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("runs: 1 done\n"),
        "{output:?}"
    );
}

#[test]
fn the_users_command_is_called_at_an_error_too_and_the_dead_are_forgotten() {
    let folder = place("notified");
    let live = folder.join("store/.live");
    fs::create_dir_all(&live).unwrap();
    write(&folder, "mode", "started; sleep 600");
    let mut dead = run(&folder).spawn().unwrap();
    wait_until("word", || fs::read_dir(&live).unwrap().count() > 0);
    dead.kill().unwrap();
    dead.wait().unwrap();
    fs::remove_file(folder.join("mode")).unwrap();
    write(&folder, "no folder", "");
    let notify = "echo $HARNESS_EXIT $HARNESS_DONE >said; echo \"$HARNESS_ERROR\" >>said";
    let mut reports = harness(&folder);
    reports.args([
        "run",
        "suite.yaml",
        "--store",
        "store",
        "--out",
        "no folder",
    ]);
    reports.args([
        "--slots",
        "cpu:2",
        "--only",
        "method=SGD",
        "--notify",
        notify,
    ]);
    let output = reports.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = fs::read_to_string(folder.join("said")).unwrap();
    assert!(
        said.starts_with("1 3\n") && said.contains("no folder"),
        "{said}"
    );
    assert_eq!(fs::read_dir(&live).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_is_refused_before_anything_begins() {
    let folder = place("refused");
    write(&folder, "worker", "no program");
    write(&folder, "profile.yaml", "time: 10\n");
    let slurm = ["--executor", "slurm", "--profile", "profile.yaml"];
    let cases: [(&[&str], &str); 3] = [
        (&["--slots", "cpu:1"], "worker, which cannot be executed"),
        (&["--max-fail", "1"], "--max-fail: "),
        (&["--order", "tables"], "--order: "),
    ];
    for (i, (options, words)) in cases.into_iter().enumerate() {
        let mut command = harness(&folder);
        command
            .args(["run", "suite.yaml", "--store", "store"])
            .args(options);
        if i > 0 {
            command.args(slurm);
        }
        let output = command.env("HARNESS_WORKER", "worker").output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(words), "{text}");
    }
    assert!(!folder.join("store").exists());
}

#[test]
fn several_supervisors_write_whole_lines_into_one_file_of_events() {
    let folder = place("one-file");
    write(
        &folder,
        "mode",
        "started; for i in 1 2 3 4 5 6 7 8 9; do echo \"{\\\"event\\\":\\\"note\\\",\\\"text\\\":\\\"$(seq -s ' ' 500)\\\"}\"; done; completed",
    );
    let mut all: Vec<_> = ["a", "b", "c"]
        .map(|store| {
            let mut command = harness(&folder);
            command.args([
                "run",
                "suite.yaml",
                "--store",
                store,
                "--no-report",
                "--slots",
                "cpu:2",
            ]);
            command.args(["--events", "events", "--only", "method=SGD"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        })
        .into();
    for one in &mut all {
        assert!(one.wait().unwrap().success());
    }
    let text = fs::read_to_string(folder.join("events")).unwrap();
    let notes = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line alone"))
        .filter(|line| line["event"]["event"] == "note");
    assert!(notes.count() > 0);
}
