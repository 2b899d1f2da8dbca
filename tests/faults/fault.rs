//! What happens to runs.

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use harness::seed::SplitMix;

use crate::clock;
use crate::place::{Place, wait};
use crate::processes::signal;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillWorker,
    KillSupervisor,
    KillEverything,
    StopWorker,
    StopSupervisor,
    Interrupt,
    FullDisk,
    ReadOnlyStore,
    TruncatedCheckpoint,
    FlippedCheckpoint,
    TruncatedParquet,
    FlippedParquet,
    ClockAhead,
    ClockBack,
    TwoSupervisors,
    VanishedSlot,
}

use Fault::*;

impl Fault {
    pub fn all() -> Vec<Fault> {
        vec![
            KillWorker,
            KillSupervisor,
            KillEverything,
            StopWorker,
            StopSupervisor,
            Interrupt,
            FullDisk,
            ReadOnlyStore,
            TruncatedCheckpoint,
            FlippedCheckpoint,
            TruncatedParquet,
            FlippedParquet,
            ClockAhead,
            ClockBack,
            TwoSupervisors,
            VanishedSlot,
        ]
    }

    pub fn name(self) -> &'static str {
        match self {
            KillWorker => "worker killed",
            KillSupervisor => "supervisor killed",
            KillEverything => "supervisor and workers killed",
            StopWorker => "worker stopped for a while",
            StopSupervisor => "supervisor stopped, another one takes over, the first wakes up",
            Interrupt => "asked to end (SIGTERM, SIGINT or SIGUSR1)",
            FullDisk => "disk full for a while",
            ReadOnlyStore => "store read-only for a while",
            TruncatedCheckpoint => "checkpoint truncated",
            FlippedCheckpoint => "checkpoint with a flipped bit",
            TruncatedParquet => "finished run's Parquet truncated",
            FlippedParquet => "finished run's Parquet with a flipped bit",
            ClockAhead => "clock jumps a day ahead",
            ClockBack => "clock jumps a day back",
            TwoSupervisors => "two supervisors, one of them killed",
            VanishedSlot => "slot whose device is gone",
        }
    }

    /// Where it can be injected.
    pub fn place(self, number: usize) -> Result<Place, String> {
        let name = format!("fault{number}");
        match self {
            FullDisk | ReadOnlyStore => Place::small(&name, 6 * 1024),
            ClockAhead | ClockBack => {
                let mut place = Place::new(&name);
                let library = clock::library(place.dir());
                let jump = place.dir().join("jump");
                place.set("HARNESS_FAULTS_CLOCK", &jump.display().to_string());
                place.set("LD_PRELOAD", &library.display().to_string());
                Ok(place)
            }
            _ => Ok(Place::new(&name)),
        }
    }

    /// Lets it happen at a random moment of `length`; says what was found just afterwards. Whatever was started has ended
    /// when this returns, well or not.
    pub fn inject(self, place: &Place, random: &mut SplitMix, length: Duration) -> String {
        let moment = |random: &mut SplitMix| length.mul_f64(random.below(1000) as f64 / 1000.0);
        match self {
            KillWorker | StopWorker => {
                let mut supervisor = place.start("cpu:2");
                std::thread::sleep(moment(random));
                let workers = place.workers();
                let Some(&worker) = workers.get(random.below(workers.len().max(1) as u64) as usize)
                else {
                    return format!("no worker was running; {}", ended(&mut supervisor));
                };
                if self == KillWorker {
                    signal(worker, libc::SIGKILL);
                } else {
                    signal(worker, libc::SIGSTOP);
                    std::thread::sleep(Duration::from_millis(500));
                    signal(worker, libc::SIGCONT);
                }
                ended(&mut supervisor)
            }
            KillSupervisor => {
                let mut supervisor = place.start("cpu:2");
                std::thread::sleep(moment(random));
                signal(supervisor.id() as i32, libc::SIGKILL);
                ended(&mut supervisor)
            }
            KillEverything => {
                let mut supervisor = place.start("cpu:2");
                std::thread::sleep(moment(random));
                signal(supervisor.id() as i32, libc::SIGKILL);
                for worker in place.workers() {
                    signal(worker, libc::SIGKILL);
                }
                ended(&mut supervisor)
            }
            StopSupervisor => {
                let mut first = place.start("cpu:2");
                std::thread::sleep(moment(random));
                signal(first.id() as i32, libc::SIGSTOP);
                let mut second = place.start("cpu:2");
                std::thread::sleep(moment(random));
                signal(first.id() as i32, libc::SIGCONT);
                let (first, second) = (ended(&mut first), ended(&mut second));
                format!("first {first}, second {second}")
            }
            Interrupt => {
                let mut supervisor = place.start("cpu:2");
                // Before the program has said what a signal is to do, it ends as any program does.
                std::thread::sleep(moment(random));
                let signals = [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1];
                signal(supervisor.id() as i32, signals[random.below(3) as usize]);
                ended(&mut supervisor)
            }
            FullDisk => {
                let mut supervisor = place.start("cpu:2");
                std::thread::sleep(moment(random));
                let ballast = place.dir().join("ballast");
                // Fails when nothing is left, which is the point.
                let _ = fs::write(&ballast, vec![1; 8 << 20]);
                std::thread::sleep(moment(random));
                let _ = fs::remove_file(&ballast);
                ended(&mut supervisor)
            }
            ReadOnlyStore => {
                let mut supervisor = place.start("cpu:2");
                std::thread::sleep(moment(random));
                remount(place, "ro");
                std::thread::sleep(moment(random));
                remount(place, "rw");
                ended(&mut supervisor)
            }
            TruncatedCheckpoint | FlippedCheckpoint => {
                let mut supervisor = place.start("cpu:2");
                std::thread::sleep(moment(random));
                signal(supervisor.id() as i32, libc::SIGTERM);
                let found = ended(&mut supervisor);
                let checkpoints = files(place, |path| path.contains("/.checkpoints/"));
                match damage(&checkpoints, self == TruncatedCheckpoint, random) {
                    true => format!("{found}; a checkpoint damaged"),
                    false => format!("{found}; no checkpoint was there"),
                }
            }
            TruncatedParquet | FlippedParquet => {
                let mut supervisor = place.start("cpu:2");
                let found = ended(&mut supervisor);
                let tables = files(place, |path| path.ends_with("/observations.parquet"));
                assert!(damage(&tables, self == TruncatedParquet, random));
                found
            }
            ClockAhead | ClockBack => {
                let mut supervisor = place.start("cpu:2");
                std::thread::sleep(moment(random));
                let seconds = if self == ClockAhead { 86_400 } else { -86_400 };
                fs::write(place.dir().join("jump"), seconds.to_string()).expect("a file");
                ended(&mut supervisor)
            }
            TwoSupervisors => {
                let mut first = place.start("cpu:1");
                let mut second = place.start("cpu:1");
                std::thread::sleep(moment(random));
                signal(first.id() as i32, libc::SIGKILL);
                let (_, second) = (ended(&mut first), ended(&mut second));
                format!("the other {second}")
            }
            VanishedSlot => ended(&mut place.start("cpu:1+cuda:7")),
        }
    }
}

/// How a supervisor ended.
fn ended(supervisor: &mut Child) -> String {
    match wait(supervisor) {
        Ok(Some(0)) => "completed all the same".into(),
        Ok(Some(code)) => format!("exit code {code}"),
        Ok(None) => "killed".into(),
        Err(error) => error,
    }
}

fn remount(place: &Place, how: &str) {
    // Busy files may refuse the one way; the other must work.
    let _ = std::process::Command::new("mount")
        .args(["-o", &format!("remount,{how}")])
        .arg(place.dir())
        .stderr(std::process::Stdio::null())
        .status();
}

/// The files of the store whose path is `wanted`, in order.
fn files(place: &Place, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![place.store()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => folders.push(path),
                false if wanted(&path.display().to_string()) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// Cuts one of the files short, or flips one of its bits; false when there is none.
fn damage(files: &[PathBuf], truncate: bool, random: &mut SplitMix) -> bool {
    let files: Vec<&PathBuf> = files
        .iter()
        .filter(|path| fs::metadata(path).is_ok_and(|found| found.len() > 0))
        .collect();
    if files.is_empty() {
        return false;
    }
    let path = files[random.below(files.len() as u64) as usize];
    let mut bytes = fs::read(path).expect("a file");
    let at = random.below(bytes.len() as u64) as usize;
    match truncate {
        true => bytes.truncate(at),
        false => bytes[at] ^= 1 << random.below(8),
    }
    fs::write(path, bytes).expect("a file");
    true
}
