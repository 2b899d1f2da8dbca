//! Everything a schedule tells, as JSON lines for other programs.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::View;
use crate::schedule::{Failure, Told, What};

/// A line for whatever happens, each with `time` in seconds since 1970 and `what`.
pub struct Records {
    out: Box<dyn Write>,
}

impl Records {
    /// Appends to a file, or writes to standard output for `-`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn to(path: &Path) -> io::Result<Records> {
        let out: Box<dyn Write> = match path.to_str() {
            Some("-") => Box::new(io::stdout()),
            _ => Box::new(File::options().create(true).append(true).open(path)?),
        };
        Ok(Records { out })
    }

    /// Something happened to a run.
    pub fn tell(&mut self, told: &Told<'_>, slot: Option<&str>) {
        let mut line = what(&told.what);
        line["run"] = json!(told.run.id);
        line["task"] = json!(told.run.task);
        line["method"] = json!(told.run.method);
        line["seed"] = json!(told.run.spec.seed);
        if let Some(slot) = slot {
            line["slot"] = json!(slot);
        }
        self.write(line);
    }

    /// Something happened that is of no one run.
    pub fn note(&mut self, text: &str) {
        self.write(json!({"what": "note", "text": text}));
    }

    /// How things stand.
    pub fn look(&mut self, view: &View) {
        let mut line = json!(view);
        line["what"] = json!("look");
        self.write(line);
    }

    fn write(&mut self, mut line: Value) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        line["time"] = json!(now.unwrap_or_default().as_secs_f64());
        // In one piece, so that the lines of several supervisors on one file do not mix. A reader that went away is no reason
        // to lose runs.
        let line = format!("{line}\n");
        let _ = self
            .out
            .write_all(line.as_bytes())
            .and_then(|()| self.out.flush());
    }
}

fn what(what: &What) -> Value {
    let failed = |failure: &Failure| json!({"log_end": failure.log_end, "folder": failure.folder, "again": failure.again});
    match what {
        What::Already => json!({"what": "already"}),
        What::Waiting => json!({"what": "elsewhere"}),
        What::Damaged { what } => json!({"what": "damaged", "damage": what}),
        What::Started {
            measured_only,
            slots,
        } => json!({"what": "started", "measured_only": measured_only, "slots": slots.len()}),
        What::Event(event) => json!({"what": "event", "event": event}),
        What::Ended {
            outcome,
            seconds,
            failure,
        } => {
            json!({"what": "ended", "ending": outcome, "seconds": seconds, "failure": failure.as_ref().map(failed)})
        }
        What::Again {
            outcome,
            seconds,
            failure,
            attempts: (count, of),
            rest,
        } => json!({
            "what": "again", "ending": outcome, "seconds": seconds, "failure": failed(failure), "attempt": count,
            "attempts": of, "rest": rest,
        }),
        What::PutBack { why } => json!({"what": "put_back", "why": why}),
        What::SlotsLost { slots } => json!({"what": "slots_lost", "slots": slots.len()}),
        What::Blocked => json!({"what": "blocked"}),
        What::Interrupted => json!({"what": "stopped"}),
    }
}
