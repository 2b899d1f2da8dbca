//! What a schedule prints where there is no terminal.

use std::io::Write;
use std::sync::{Arc, Mutex};

use harness::event::Event;
use harness::plan::Plan;
use harness::schedule::{Control, Gpu, Outlook, Slot, Told, Use, What};
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

/// What plain lines tell of a schedule.
fn lines(place: &Place, plan: &Plan) -> String {
    let paper = Paper::default();
    let mut display = Display::plain(plan, Box::new(paper.clone()));
    let view = View::new(plan, &[]);
    place.schedule_telling(plan, &Control::default(), &mut |told| {
        display.tell(&told, &view)
    });
    String::from_utf8(paper.0.lock().expect("no panic").clone()).expect("text")
}

#[test]
fn plain_lines_tell_beginnings_ends_and_how_to_do_a_failed_run_again() {
    let (place, plan) = (Place::new("lines"), plan(2));
    place.write(
        "mode.1",
        "started; echo it hurts >&2; finished failed ',\"message\":\"no such file\"'",
    );
    place.write("mode.2", "sleep 0.5; completed");
    let text = lines(&place, &plan);
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

#[test]
fn a_narrow_terminal_cuts_names_before_numbers_and_time_left_is_what_runs_know() {
    let mut plan = plan(4);
    for run in &mut plan.runs {
        run.task =
            "a task with a name that is longer than any terminal of eighty columns is wide".into();
    }
    let gpu = |index: usize| {
        Slot::Gpu(Gpu {
            index,
            name: index.to_string(),
        })
    };
    let mut view = View::new(&plan, &[gpu(0), gpu(1)]);
    let device = Use {
        busy: 97,
        taken: 30_000_000_000,
        memory: 80_000_000_000,
    };
    let outlook = Outlook {
        waiting: 3,
        devices: vec![Some(device), None],
        ..Outlook::default()
    };
    let tell = |view: &mut View, what| {
        let run = &plan.runs[0];
        view.tell(&Told {
            slot: Some(0),
            run,
            what,
        });
    };
    tell(
        &mut view,
        What::Started {
            measured_only: false,
            slots: vec![0],
        },
    );
    view.look(&outlook);
    assert_eq!(view.left, None);
    for step in [10, 20] {
        let progress = Event::Progress {
            step,
            steps: 100,
            loss: Some(0.5),
            lr: 0.1,
            examples_per_second: None,
            tokens_per_second: None,
        };
        tell(&mut view, What::Event(progress));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    view.look(&outlook);
    let (left, run) = (view.left.unwrap(), view.slots[0].run.as_ref().unwrap());
    // Two rounds of the three that wait, each of 100 updates, after the 80 that are left.
    let one = run.left.unwrap() / 80.0;
    assert!((left - 280.0 * one).abs() < 1e-6 * left, "{left} {one}");
    let lines = view.lines_within(80);
    assert_eq!(lines[0].chars().count(), 80, "{}", lines[0]);
    assert!(lines[0].starts_with("cuda:0 a task with"), "{}", lines[0]);
    assert!(
        lines[0].contains("…  20/100  loss 0.5000  "),
        "{}",
        lines[0]
    );
    assert!(
        lines[0].ends_with("97 %, 30.0 GB of 80.0 GB"),
        "{}",
        lines[0]
    );
    assert_eq!(lines[1], "cuda:1 idle");
    assert!(view.lines()[0].contains("columns is wide sam seed 1  20/100"));
    for (done, total, shown) in [
        (1, 3, "33 %"),
        (u64::MAX, u64::MAX, "100 %"),
        (9, 0, "100 %"),
    ] {
        let what = "test".into();
        let total = Some(total);
        tell(
            &mut view,
            What::Event(Event::Preparing { what, done, total }),
        );
        let line = &view.lines()[0];
        assert!(
            line.contains(&format!("preparing test {shown}  ")),
            "{line}"
        );
    }
}

#[test]
fn a_checkpoint_that_is_passed_over_is_told_and_a_terminal_obeys_no_log() {
    let (place, plan) = (Place::new("escapes"), plan(2));
    place.write(
        "mode.1",
        r#"started; printf '\033[2J' >&2; finished failed ',"message":"no \u001b[1mfile"'"#,
    );
    place.write(
        "mode.2",
        r#"started; echo '{"event":"note","text":"the checkpoint at update 5 is passed over: its JSON file is damaged"}'
           echo '{"event":"note","text":"a note"}'; observed 2 accuracy 90; finished completed"#,
    );
    let text = lines(&place, &plan);
    assert!(!text.contains('\x1b'), "{text:?}");
    assert!(text.contains("failed: no \\u{1b}[1mfile after"), "{text}");
    assert!(text.contains("| \\u{1b}[2J"), "{text}");
    let warning =
        "digits sam seed 2: the checkpoint at update 5 is passed over: its JSON file is damaged";
    assert!(text.contains(warning), "{text}");
    assert!(!text.contains("a note"), "{text}");
}
