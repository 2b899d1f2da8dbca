//! Processes that belong to an attempt, or to whatever else has a mark, whoever started them and wherever they went: they
//! carry the mark in their environment.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// The variable that names an attempt's folder.
pub const MARK: &str = "HARNESS_ATTEMPT";

/// Ends every process of this machine that belongs to the attempt in `folder`; those of other users stay.
pub(super) fn end(folder: &Path) {
    end_marked(MARK, folder.as_os_str());
}

/// Ends every process of this machine in whose environment the variable `name` was `value` when it began, but not this one;
/// those of other users stay.
pub fn end_marked(name: &str, value: &OsStr) {
    let mut mark = format!("{name}=").into_bytes();
    mark.extend(value.as_bytes());
    // One that is being started while we look is found by the next look.
    for _ in 0..100 {
        let found = marked(&mark);
        if found.is_empty() {
            return;
        }
        for pid in found {
            // SAFETY: the call touches no memory of ours. A process that is gone is no error.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn marked(mark: &[u8]) -> Vec<libc::pid_t> {
    let us = std::process::id() as libc::pid_t;
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| pid != us && is_marked(pid, mark))
        .collect()
}

fn is_marked(pid: libc::pid_t, mark: &[u8]) -> bool {
    // It may end, or belong to somebody else; one that has ended has no environment.
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|&byte| byte == 0)
        .any(|word| word == mark)
}

/// When a process started, in ticks since boot; none when it has ended.
pub fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything, blanks and brackets too.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // One that ended and is not waited for yet does nothing any more.
    if matches!(fields.first(), Some(&"Z" | &"X")) {
        return None;
    }
    fields.get(19)?.parse().ok()
}
