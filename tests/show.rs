//! What a schedule prints where there is no terminal.

use std::io::Write;
use std::sync::{Arc, Mutex};

use harness::schedule::Control;
use harness::show::{Display, View};

use crate::schedule::{Place, plan};

/// Bytes that the test reads after the display wrote them.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn plain_lines_tell_beginnings_ends_and_how_to_do_a_failed_run_again() {
    let (place, plan) = (Place::new("lines"), plan(2));
    place.write(
        "mode.1",
        "started; echo it hurts >&2; finished failed ',\"message\":\"no such file\"'",
    );
    place.write("mode.2", "sleep 0.5; completed");
    let paper = Paper::default();
    let mut display = Display::plain(&plan, Box::new(paper.clone()));
    let view = View::new(&plan, &[]);
    place.schedule_telling(&plan, &Control::default(), &mut |told| {
        display.tell(&told, &view)
    });
    let text = String::from_utf8(paper.0.lock().expect("no panic").clone()).expect("text");
    let seconds = regex::Regex::new(r"\d+(\.\d)? s\b").expect("a pattern");
    let id = &plan.runs[0].id;
    let log = place
        .store()
        .failed_folder(id)
        .join("log.txt")
        .display()
        .to_string();
    assert_eq!(
        seconds
            .replace_all(&text, "N s")
            .replace(&log, "LOG")
            .replace(&id.0, "ID"),
        "digits sam seed 1: started\n\
         digits sam seed 2: started\n\
         [1/2] digits sam seed 1: failed: no such file after N s\n    \
             | it hurts\n    \
             log: LOG\n    \
             again: harness run --only ID\n\
         [2/2] digits sam seed 2: completed in N s\n"
    );
}
