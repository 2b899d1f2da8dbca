//! What supervisors do right now: the last part of `harness status`, and all of `harness status --watch`.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Exit;
use crate::show::{self, View};
use crate::store::Store;
use crate::time;

/// How often it is said again.
const EVERY: Duration = Duration::from_secs(2);
/// A supervisor says something every second; one that is silent for so long may be gone.
const SILENT: Duration = Duration::from_secs(10);

/// Each supervisor's slots and its progress, a line each.
pub fn show(store: &Store) -> Vec<String> {
    let said = supervisors(store);
    said.iter()
        .flat_map(|(name, view)| lines(name, view, None, (usize::MAX, usize::MAX)))
        .collect()
}

/// Shows it again and again, until nobody works on the store any more.
pub fn watch(store: &Store, json: bool) -> anyhow::Result<Exit> {
    let mut out = io::stdout();
    let in_place = out.is_terminal() && !json;
    // When each was last heard with something new.
    let mut heard: HashMap<String, (u64, Instant)> = HashMap::new();
    loop {
        let said = supervisors(store);
        let now = Instant::now();
        let mut shown = Vec::new();
        // Looked at each time: a window may have been resized.
        let size = show::size(libc::STDOUT_FILENO).filter(|_| in_place);
        let (rows, columns) = size.unwrap_or((usize::MAX, usize::MAX));
        // The totals of all of them stay visible.
        let rows = rows.saturating_sub(1 + said.len()) / said.len().max(1);
        for (name, view) in &said {
            let last = heard.entry(name.clone()).or_insert((view.looks, now));
            if last.0 != view.looks {
                *last = (view.looks, now);
            }
            let silent = Some(now - last.1).filter(|silent| *silent > SILENT);
            shown.extend(lines(name, view, silent, (rows, columns)));
        }
        if in_place {
            // Back to the top, and nothing stays of what was there.
            write!(out, "\x1b[H\x1b[2J")?;
        }
        if json {
            let each: Vec<Value> = said
                .iter()
                .map(|(name, view)| json!({"supervisor": name, "view": view}))
                .collect();
            writeln!(out, "{}", json!({ "supervisors": each }))?;
        } else {
            writeln!(out, "{}", shown.join("\n"))?;
        }
        out.flush()?;
        if said.is_empty() {
            if !json {
                writeln!(out, "nobody works on {}", store.dir().display())?;
            }
            return Ok(Exit::Success);
        }
        std::thread::sleep(EVERY);
    }
}

/// What cannot be read was written by another version of this program, and is left out.
fn supervisors(store: &Store) -> Vec<(String, View)> {
    let said = store.supervisors().into_iter();
    said.filter_map(|(name, text)| Some((name, serde_json::from_str(&text).ok()?)))
        .collect()
}

/// A line for the supervisor, and one for each of its slots as far as there is room: rows for slots, and columns.
fn lines(
    name: &str,
    view: &View,
    silent: Option<Duration>,
    (rows, columns): (usize, usize),
) -> Vec<String> {
    let silent = silent.map_or(String::new(), |silent| {
        format!(" (no word for {})", time::shown(silent.as_secs_f64()))
    });
    let total = format!("{name}{silent}: {}", view.total());
    let mut lines = vec![show::cut(&total, columns)];
    let slots = show::first(view.lines_within(columns.saturating_sub(2)), rows);
    lines.extend(slots.iter().map(|line| format!("  {line}")));
    lines
}
