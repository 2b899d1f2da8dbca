//! What is asked of Slurm: to submit, and what is in the queue. Needs no accounting.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::script;

/// How long an answer may take where nobody looks on: longer than Slurm's own patience.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A job as the queue shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Number of the job array.
    pub job: String,
    /// Place in the array.
    pub task: usize,
    /// Name of the job.
    pub name: String,
    /// Where it is.
    pub state: State,
}

/// Where a job is. What the queue says besides is of no consequence here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not begun, or is to begin again.
    Pending,
    /// It will not begin by itself: `scontrol release` is needed. With Slurm's reason.
    Held(String),
    /// It runs, or is about to end.
    Running,
    /// It has ended, as Slurm calls it: `FAILED`, `CANCELLED`, ...
    Ended(String),
}

/// Why Slurm did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not answer, or has no room now: ask again later. With its words.
    #[error("{0}")]
    Later(String),
    /// It refuses, and would again. With its words.
    #[error("{command}: {words}")]
    Refused {
        /// What was asked, to be typed again.
        command: String,
        /// The answer.
        words: String,
    },
}

/// Words of Slurm's that mean: not now.
const NOT_NOW: &[&str] = &[
    "unable to contact slurm controller",
    "connection refused",
    "connection timed out",
    "timed out",
    "temporarily",
    "zero bytes were transmitted",
    "communication",
    "try again",
    "slurm backup controller",
    "job violates accounting/qos policy (job submit limit",
    "slurm_receive_msg",
];

/// Submits a job and returns its number. After [`Error::Later`] it may have been submitted all the same.
pub fn submit(words: &[String]) -> Result<String, Error> {
    let answer = ask("sbatch", words, PATIENCE)?;
    number(&answer).ok_or_else(|| Error::Refused {
        command: shown("sbatch", words),
        words: format!("its answer is no number of a job: {}", answer.trim()),
    })
}

/// The number of a job in the answer of `sbatch --parsable`, before the name of a cluster.
fn number(answer: &str) -> Option<String> {
    let number = answer.trim().split(';').next()?;
    let is_one = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_one.then(|| number.to_string())
}

/// A command as it is typed.
fn shown(program: &str, words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|text| script::word(text)).collect();
    format!("{program} {}", words.join(" "))
}

/// Every array task of this user that the queue still knows, ended ones included. An answer that takes longer than
/// `patience` is none.
pub fn queue(patience: Duration) -> Result<Vec<Listed>, Error> {
    // SAFETY: the call has no preconditions.
    let user = unsafe { libc::getuid() };
    let words = [
        "--noheader".to_string(),
        "--array".into(),
        "--states=all".into(),
        format!("--user={user}"),
        "--format=%F|%K|%T|%r|%j".into(),
    ];
    let answer = ask("squeue", &words, patience)?;
    Ok(answer.lines().filter_map(listed).collect())
}

/// How many tasks an array may have; none when the cluster does not say.
pub fn largest_array() -> Result<Option<usize>, Error> {
    let answer = ask("scontrol", &["show".into(), "config".into()], PATIENCE)?;
    let line = answer.lines().find(|line| line.starts_with("MaxArraySize"));
    Ok(line
        .and_then(|line| line.split_once('='))
        .and_then(|(_, value)| value.trim().parse().ok()))
}

/// A line of [`queue`]'s format; none for what is no array task.
pub fn listed(line: &str) -> Option<Listed> {
    let mut parts = line.splitn(5, '|');
    let mut next = || parts.next().map(str::trim);
    let (job, task, state, reason, name) = (next()?, next()?, next()?, next()?, next()?);
    let state = match state {
        "PENDING" | "REQUEUED" | "REQUEUE_FED" | "REQUEUE_HOLD" | "SPECIAL_EXIT"
        | "RESV_DEL_HOLD" => match reason.to_lowercase().contains("held") {
            true => State::Held(reason.to_string()),
            false => State::Pending,
        },
        "BOOT_FAIL" | "CANCELLED" | "COMPLETED" | "DEADLINE" | "FAILED" | "NODE_FAIL"
        | "OUT_OF_MEMORY" | "PREEMPTED" | "REVOKED" | "TIMEOUT" => State::Ended(state.to_string()),
        _ => State::Running,
    };
    Some(Listed {
        job: job.to_string(),
        task: task.parse().ok()?,
        name: name.to_string(),
        state,
    })
}

fn ask(program: &str, words: &[String], patience: Duration) -> Result<String, Error> {
    let broken = |error: std::io::Error| Error::Refused {
        command: program.to_string(),
        words: format!("{error}; is this a login node of a Slurm cluster?"),
    };
    let mut child = Command::new(program)
        .args(words)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(broken)?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (send, answer) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut answer, mut said) = (Vec::new(), Vec::new());
        // What was read before an error is what there is.
        let _ = out.map(|mut out| out.read_to_end(&mut answer));
        let _ = err.map(|mut err| err.read_to_end(&mut said));
        let _ = send.send((answer, said));
    });
    let Ok((answer, said)) = answer.recv_timeout(patience) else {
        let _ = child.kill();
        let _ = child.wait();
        let seconds = patience.as_secs();
        return Err(Error::Later(format!(
            "{program} did not answer within {seconds} seconds"
        )));
    };
    if child.wait().map_err(broken)?.success() {
        return Ok(String::from_utf8_lossy(&answer).into_owned());
    }
    let said = String::from_utf8_lossy(&said).trim().to_string();
    let lower = said.to_lowercase();
    match NOT_NOW.iter().any(|words| lower.contains(words)) {
        true => Err(Error::Later(said)),
        false => Err(Error::Refused {
            command: shown(program, words),
            words: said,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_does_not_come_is_waited_for_no_longer_than_asked() {
        let since = std::time::Instant::now();
        let error = ask("sleep", &["60".into()], Duration::from_millis(100));
        assert!(
            matches!(&error, Err(Error::Later(words)) if words.contains("did not answer")),
            "{error:?}"
        );
        assert!(since.elapsed() < Duration::from_secs(30));
        assert_eq!(ask("echo", &["yes".into()], PATIENCE).unwrap(), "yes\n");
    }

    #[test]
    fn an_answer_without_the_number_of_a_job_is_no_submission() {
        assert_eq!(number("1234\n"), Some("1234".into()));
        assert_eq!(number("1234;cluster\n"), Some("1234".into()));
        for wrong in ["", "\n", "slurm-wlm 22.05.8", "Usage: sbatch", "-1"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_line_of_the_queue_is_read_and_what_is_no_task_is_not() {
        let state = |line: &str| listed(line).map(|listed| listed.state);
        assert_eq!(state("12|3|RUNNING|None|harness-1-2"), Some(State::Running));
        assert_eq!(state("12|3|COMPLETING|None|x"), Some(State::Running));
        assert_eq!(state("12|3|PENDING|BeginTime|x"), Some(State::Pending));
        let held = "launch failed requeued held";
        assert_eq!(
            state(&format!("12|3|PENDING|{held}|x")),
            Some(State::Held(held.into()))
        );
        assert_eq!(
            state("12|3|NODE_FAIL|None|a|b"),
            Some(State::Ended("NODE_FAIL".into()))
        );
        assert_eq!(listed("12|N/A|RUNNING|None|x"), None);
    }
}
