//! Evidence that the host had no memory left: the kernel counts the processes that it killed for that.

use std::fs;

use crate::event::Outcome;

/// How many processes the kernel has killed for want of memory, in our control group or else on the machine; none where
/// it does not say.
pub(super) fn kills() -> Option<u64> {
    counted().map(|(_, count)| count)
}

/// What shows that the kernel has killed one since it had killed `before`.
pub(super) fn evidence(before: Option<u64>) -> Option<String> {
    let (place, now) = counted()?;
    (now > before?).then(|| {
        format!(
            "the kernel killed a process for want of memory: `oom_kill` in {place} went up to {now}"
        )
    })
}

/// Whether a worker that ended like this aborted because it was given no memory, as the last lines of its log say in the words
/// of C++ or of Rust.
pub(super) fn ended_without(outcome: &Outcome, log_end: &[String]) -> bool {
    let says_so = |line: &String| {
        line.contains("bad_alloc")
            || (line.contains("memory allocation of ") && line.contains(" bytes failed"))
    };
    let aborted = Outcome::Killed {
        signal: libc::SIGABRT,
    };
    *outcome == aborted && log_end.iter().any(says_so)
}

fn counted() -> Option<(String, u64)> {
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_group = group.lines().find_map(|line| {
        let place = format!("/sys/fs/cgroup{}/memory.events", line.strip_prefix("0::")?);
        Some((read(&fs::read_to_string(&place).ok()?)?, place))
    });
    let (count, place) = of_group.or_else(|| {
        let place = "/proc/vmstat";
        Some((read(&fs::read_to_string(place).ok()?)?, place.to_string()))
    })?;
    Some((place, count))
}

fn read(text: &str) -> Option<u64> {
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn kills_are_counted_in_the_kernels_two_forms() {
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(read(events), Some(2));
        assert_eq!(read("pgfault 7\noom_kill 1\nswap_ra 0\n"), Some(1));
        assert_eq!(read("nothing\n"), None);
    }
}
