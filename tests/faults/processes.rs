//! The processes of a campaign: every one carries a mark in its environment, so that none escapes.

use std::fs;
use std::time::{Duration, Instant};

/// The name of the mark.
pub const MARK: &str = "HARNESS_FAULTS_PLACE";

/// A process that carries a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub worker: bool,
}

/// All living processes with the mark `place`; zombies are not living.
pub fn marked(place: &str) -> Vec<Process> {
    let mark = format!("{MARK}={place}");
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let mut found = Vec::new();
    for pid in entries.flatten().filter_map(pid) {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environment
            .split(|&byte| byte == 0)
            .any(|part| part == mark.as_bytes())
        {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let program = command
                .split(|&byte| byte == 0)
                .next()
                .unwrap_or_default()
                .to_vec();
            let worker = String::from_utf8_lossy(&program).ends_with("harness-worker");
            found.push(Process { pid, worker });
        }
    }
    found
}

pub fn signal(pid: i32, signal: i32) {
    // SAFETY: touches no memory of ours; a process that is gone is no error.
    unsafe { libc::kill(pid, signal) };
}

/// Waits until no process has the mark; says who still has it after `patience`.
pub fn none_left(place: &str, patience: Duration) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let left = marked(place);
        if left.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > patience {
            for process in &left {
                signal(process.pid, libc::SIGKILL);
            }
            return Err(format!("processes left over: {left:?}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
