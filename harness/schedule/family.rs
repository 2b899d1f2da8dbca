//! Processes that descend from others, wherever they went: who leaves a process group, begins a session and clears its
//! environment is still somebody's child.

use std::collections::BTreeMap;
use std::fs;

use crate::store::started;

/// Descendants, as far as they were seen. A process is known by its number and its start: numbers are used again.
#[derive(Debug, Default)]
pub(super) struct Family {
    roots: Vec<libc::pid_t>,
    seen: BTreeMap<libc::pid_t, u64>,
    /// Not of the family, with all that they start.
    others: Vec<libc::pid_t>,
}

impl Family {
    /// What descends from `roots` from now on, but not from `others`.
    pub(super) fn of(roots: Vec<libc::pid_t>, others: Vec<libc::pid_t>) -> Family {
        let start = |pid: &libc::pid_t| Some((*pid, started(*pid as u32)?));
        Family {
            seen: roots.iter().filter_map(start).collect(),
            roots,
            others,
        }
    }

    /// Looks for new ones, and forgets those that have ended.
    pub(super) fn look(&mut self) {
        let mut next: Vec<(libc::pid_t, u64)> = self.seen.iter().map(|(p, s)| (*p, *s)).collect();
        while let Some((pid, start)) = next.pop() {
            if started(pid as u32) != Some(start) {
                self.seen.remove(&pid);
                continue;
            }
            for child in children(pid) {
                if !self.seen.contains_key(&child)
                    && !self.others.contains(&child)
                    && let Some(start) = started(child as u32)
                {
                    self.seen.insert(child, start);
                    next.push((child, start));
                }
            }
        }
    }

    /// Kills those that are there, but not the roots; says whether there were any.
    pub(super) fn end(&self) -> bool {
        let mut any = false;
        for (&pid, &start) in &self.seen {
            if !self.roots.contains(&pid) && started(pid as u32) == Some(start) {
                any = true;
                // SAFETY: the call touches no memory of ours. A process that is gone is no error.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        any
    }
}

/// The children of a process; none where the kernel does not list them.
pub(super) fn children(pid: libc::pid_t) -> Vec<libc::pid_t> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let listed = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let numbers = |text: String| -> Vec<libc::pid_t> {
        text.split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect()
    };
    listed.flat_map(numbers).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_descendant_is_found_and_ended_whatever_it_did_to_hide() {
        let script = "env -i setsid sh -c 'echo $$; exec sleep 600' & wait";
        let mut parent = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(parent.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        let hidden: u32 = line.trim().parse().unwrap();
        let mut family = Family::of(vec![parent.id() as libc::pid_t], Vec::new());
        family.look();
        parent.kill().unwrap();
        parent.wait().unwrap();
        assert!(started(hidden).is_some(), "it outlives its parent");
        let begun = Instant::now();
        while family.end() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(started(hidden).is_none());
    }
}
