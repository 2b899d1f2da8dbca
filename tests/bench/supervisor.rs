//! What a supervisor costs beside its workers: `cargo bench --bench supervisor`.
//!
//! Eight slots are busy with stand-ins for the worker that only tell, as often as a worker does that trains a small model.
//! Printed are the supervisor's share of one core, its largest memory, and the time from one run's end to the next run's
//! start on the same slot. This program is also the stand-in.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::BUILD;
use serde_json::json;

const SLOTS: usize = 8;
const RUNS: usize = 24;
/// Seconds of a run, and how often it tells of its progress in that time: the worker does so 500 times in a run, however
/// long that is.
const SECONDS: f64 = 20.0;
const EVENTS: u32 = 40;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("run") => work(Path::new(&arguments[3])),
        // How a test run of all targets asks whether there is something to test.
        Some("--test") => {}
        _ => measure(),
    }
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

/// The stand-in.
fn work(out: &Path) {
    let begun = now();
    let tell = |event: serde_json::Value| {
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{event}")
            .and_then(|()| stdout.flush())
            .unwrap();
    };
    tell(json!({
        "event": "started", "harness": "0", "build": BUILD, "revision": "", "libtorch": "2", "device": "cpu",
        "device_name": "none", "threads": 1, "cpu_capability": "none", "mkl_cbwr": null, "parameters": 1,
    }));
    for step in 1..=EVENTS {
        std::thread::sleep(Duration::from_secs_f64(SECONDS / f64::from(EVENTS)));
        tell(json!({"event": "progress", "step": step, "steps": EVENTS, "loss": 0.5, "lr": 0.1}));
    }
    for metric in ["accuracy", "loss"] {
        tell(
            json!({"event": "observed", "step": EVENTS, "on": "test", "metric": metric, "value": 0.5}),
        );
    }
    tell(json!({"event": "finished", "outcome": "completed"}));
    let notes = out.ancestors().nth(3).unwrap().join("notes");
    let mut notes = OpenOptions::new()
        .create(true)
        .append(true)
        .open(notes)
        .unwrap();
    writeln!(notes, "{begun} {}", now()).unwrap();
}

fn measure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("supervisor");
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).unwrap();
    let seeds: Vec<String> = (0..RUNS / 4).map(|seed| seed.to_string()).collect();
    let suite = fs::read_to_string(root.join("suites/smoke.yaml"))
        .unwrap()
        .replace("../data/digits", root.join("data/digits").to_str().unwrap())
        .replace(
            "seeds: [0, 1, 2]",
            &format!("seeds: [{}]", seeds.join(", ")),
        );
    fs::write(place.join("suite.yaml"), suite).unwrap();
    let mut supervisor = Command::new(env!("CARGO_BIN_EXE_harness"))
        .current_dir(&place)
        .args(["run", "suite.yaml", "--store", "store", "--no-report"])
        .args(["--slots", &format!("cpu:{SLOTS}"), "--events", "events"])
        .env("HARNESS_WORKER", std::env::current_exe().unwrap())
        .env_remove("CARGO")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let (mut cpu, mut memory) = (0.0, 0);
    // Between the first runs' beginnings and their ends.
    let steady = [0.2, 0.9].map(|share| Duration::from_secs_f64(share * SECONDS));
    let mut at: Vec<f64> = Vec::new();
    // What a process used is known as long as it is there.
    while supervisor.try_wait().unwrap().is_none() {
        if let Some((seconds, bytes)) = used(supervisor.id()) {
            (cpu, memory) = (seconds, bytes);
        }
        if steady
            .get(at.len())
            .is_some_and(|then| begun.elapsed() > *then)
        {
            at.push(cpu);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let share = (at[1] - at[0]) / (steady[1] - steady[0]).as_secs_f64();
    let rest = (cpu - share * begun.elapsed().as_secs_f64()) / RUNS as f64;
    let notes = fs::read_to_string(place.join("notes")).unwrap();
    let mut times: Vec<(f64, f64)> = notes
        .lines()
        .map(|line| {
            let (begin, end) = line.split_once(' ').unwrap();
            (begin.parse().unwrap(), end.parse().unwrap())
        })
        .collect();
    assert_eq!(times.len(), RUNS, "every run was done once");
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    // The first eight begin at once; each later one begins on the slot that was free first.
    let mut ends: Vec<f64> = times.iter().map(|(_, end)| *end).collect();
    ends.sort_by(f64::total_cmp);
    let mut gaps: Vec<f64> = times[SLOTS..]
        .iter()
        .zip(&ends)
        .map(|((begin, _), end)| 1000.0 * (begin - end))
        .collect();
    gaps.sort_by(f64::total_cmp);
    println!(
        "{SLOTS} busy slots, {RUNS} runs of {SECONDS} s, {} events a second:",
        SLOTS as f64 * f64::from(EVENTS) / SECONDS
    );
    println!(
        "  processor {:.2} % of one core while all are busy, and {:.0} ms for a run's beginning and end",
        100.0 * share,
        1000.0 * rest
    );
    println!("  memory    {:.0} MB at most", memory as f64 / 1e6);
    println!(
        "  from one run's end to the next run's first word: {:.0} ms in the middle, {:.0} ms at most",
        gaps[gaps.len() / 2],
        gaps[gaps.len() - 1]
    );
}

/// Processor seconds of a process itself, and its largest resident memory in bytes.
fn used(pid: u32) -> Option<(f64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().ok()?;
    // SAFETY: a constant of the system.
    let rate = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Some((ticks as f64 / rate, 1024 * kilobytes))
}
