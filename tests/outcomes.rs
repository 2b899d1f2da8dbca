//! How runs end that give no result, and what becomes of them: with a stand-in for the worker.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use harness::event::Outcome;
use harness::schedule::rules::Rules;
use harness::schedule::{Audience, Control, Monitor, Policy, Slot, Summary, Told, What};

use crate::schedule::{Place, ids, is_alive, plan, wait_until};
use crate::slots::Nvml;

fn rules(words: &[&str]) -> Rules {
    words.iter().fold(Rules::once(), |rules, word| {
        rules.with(&word.parse().expect("a rule"))
    })
}

/// Schedules, and returns every ending by seed, those of attempts that were tried again too.
fn endings(
    place: &Place,
    runs: u64,
    policy: Policy,
    slots: usize,
) -> (Summary, BTreeMap<u64, Vec<Outcome>>) {
    let mut ends: BTreeMap<u64, Vec<Outcome>> = BTreeMap::new();
    let slots = vec![Slot::Cpu { threads: 1 }; slots];
    let mut tell = |told: Told<'_>| {
        if let What::Ended { outcome, .. } | What::Again { outcome, .. } = told.what {
            ends.entry(told.run.spec.seed).or_default().push(outcome);
        }
    };
    let summary = place.schedule_by(
        &plan(runs),
        &Control::default(),
        policy,
        &slots,
        &Monitor::default(),
        &mut tell,
    );
    (summary, ends)
}

#[test]
fn each_outcome_is_tried_again_as_often_as_its_rule_says() {
    let place = Place::new("retries");
    let fails = "n=$(cat \"$dir/tries.$seed\" 2>/dev/null || echo 0); echo $((n+1)) >\"$dir/tries.$seed\"; ";
    place.write(
        "mode.1",
        &format!("{fails} [ $n -ge 2 ] && completed || kill -KILL $$"),
    );
    place.write("mode.2", "started; kill -KILL $$");
    place.write(
        "mode.3",
        "started; finished failed ',\"message\":\"no such file\"'",
    );
    place.write("mode.4", "started; finished out_of_memory");
    let policy = Policy {
        rules: rules(&["killed=3/0", "out_of_memory=2/0"]),
        ..Policy::default()
    };
    let (summary, ends) = endings(&place, 4, policy, 2);
    let killed = Outcome::Killed { signal: 9 };
    assert_eq!(
        ends[&1],
        [killed.clone(), killed.clone(), Outcome::Completed]
    );
    assert_eq!(ends[&2], [killed.clone(), killed.clone(), killed]);
    assert_eq!(ends[&3].len(), 1);
    assert_eq!(ends[&4], [Outcome::OutOfMemory, Outcome::OutOfMemory]);
    assert_eq!((summary.done.len(), summary.failed.len()), (1, 3));
    let failed = place.store().failed(&plan(4).runs[1].id);
    assert_eq!(failed.expect("readable").expect("failed").count, 3);
    assert_eq!(place.running(), 0);
}

#[test]
fn a_worker_that_aborts_for_want_of_memory_is_out_of_memory() {
    let place = Place::new("abort");
    let abort = |words: &str| format!("started; echo \"{words}\" >&2; kill -ABRT $$");
    place.write("mode.1", &abort("what():  std::bad_alloc"));
    place.write("mode.2", &abort("memory allocation of 64 bytes failed"));
    place.write("mode.3", &abort("assertion failed"));
    let (_, ends) = endings(
        &place,
        3,
        Policy {
            rules: Rules::once(),
            ..Policy::default()
        },
        1,
    );
    assert_eq!(ends[&1], [Outcome::OutOfMemory]);
    assert_eq!(ends[&2], [Outcome::OutOfMemory]);
    assert_eq!(ends[&3], [Outcome::Killed { signal: 6 }]);
}

#[test]
fn a_store_that_cannot_be_written_fails_no_run() {
    let place = Place::new("unusable");
    let policy = || Policy {
        rules: Rules::once(),
        patience: Duration::from_secs(2),
        ..Policy::default()
    };
    struct Listener(Vec<String>, Place);
    impl Audience for Listener {
        fn tell(&mut self, told: Told<'_>) {
            let What::Ended { failure, .. } = told.what else {
                return;
            };
            assert!(failure.is_none());
            if told.run.spec.seed == 1 {
                let leases = self.1.0.join("store/.leases");
                fs::rename(&leases, self.1.0.join("away")).expect("a folder");
                fs::write(&leases, "no folder").expect("room");
            }
        }
        fn note(&mut self, text: &str) {
            self.0.push(text.into());
            let leases = self.1.0.join("store/.leases");
            if self.0.len() == 2 {
                fs::remove_file(&leases).expect("a file");
                fs::rename(self.1.0.join("away"), leases).expect("a folder");
            }
        }
    }
    let mut listener = Listener(Vec::new(), Place(place.0.clone()));
    let slots = [Slot::Cpu { threads: 1 }];
    let none = Monitor::default();
    let control = Control::default();
    let summary = place.schedule_by(&plan(3), &control, policy(), &slots, &none, &mut listener);
    assert_eq!(summary.done, ids(&plan(3)));
    assert!(
        listener.0[0].starts_with("nothing can begin: "),
        "{:?}",
        listener.0
    );
    // For ever, it ends with one error.
    let leases = place.0.join("store/.leases");
    fs::remove_dir_all(&leases).expect("a folder");
    fs::write(&leases, "").expect("room");
    let error = place
        .try_schedule(
            &plan(5),
            &control,
            policy(),
            &slots,
            &none,
            &mut |_: Told<'_>| {},
        )
        .expect_err("no leases");
    let error = format!("{error:#}");
    assert!(
        error.starts_with("2 runs are not done, because nothing can be kept: "),
        "{error}"
    );
    assert_eq!(place.numbers("starts"), [1, 2, 3]);
}

#[test]
fn a_disk_that_a_worker_found_full_fails_no_run() {
    let (place, plan) = (Place::new("full"), plan(1));
    place.write(
        "mode",
        r#"if [ -e "$dir/room" ]; then completed; else
               : >"$dir/room"; started
               finished failed ',"message":"write: No space left on device (os error 28)"'
           fi"#,
    );
    let mut put_back = 0;
    let summary = place.schedule_telling(&plan, &Control::default(), &mut |told| {
        put_back += usize::from(matches!(told.what, What::PutBack { .. }));
    });
    assert_eq!((summary.done, put_back), (ids(&plan), 1));
    assert_eq!(place.numbers("starts"), [1, 1]);
}

#[test]
fn a_rest_grows_with_every_attempt() {
    let killed = Outcome::Killed { signal: 9 };
    let rules = Rules::default();
    let rests: Vec<_> = (0..3).map(|before| rules.rest(&killed, before)).collect();
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(rests, [seconds(10), seconds(20), None]);
    assert_eq!(rules.rest(&Outcome::Completed, 0), None);
    let often = Rules::default().with(&"killed=1000".parse().unwrap());
    assert_eq!(often.rest(&killed, 900), seconds(3600));
    for wrong in [
        "",
        "killed",
        "killed=0",
        "lost=3",
        "killed=3/",
        "killed=3/10",
        "killed=-1",
        "all",
    ] {
        let word = wrong.parse::<harness::schedule::rules::Word>();
        assert!(word.is_err(), "{wrong}");
    }
}

#[test]
fn a_run_that_takes_or_tells_nothing_for_too_long_is_ended_with_what_it_started() {
    let place = Place::new("limits");
    let ignores = "trap '' TERM; setsid sleep 600 & echo $! >>\"$dir/pids\"; ";
    place.write(
        "mode.1",
        &format!("{ignores} started; while :; do echo '{{\"event\":\"note\",\"text\":\"\"}}'; sleep 0.2; done"),
    );
    let limits = |timeout, stall| Policy {
        rules: Rules::once(),
        timeout,
        stall,
        ..Policy::default()
    };
    let begun = Instant::now();
    let second = Duration::from_secs(1);
    let (summary, ends) = endings(&place, 1, limits(Some(second), None), 1);
    assert_eq!(ends[&1], [Outcome::TimedOut { seconds: 1 }]);
    assert_eq!(summary.failed, ids(&plan(1)));
    place.write("mode.1", &format!("{ignores} started; sleep 600"));
    let (summary, ends) = endings(&place, 1, limits(None, Some(second)), 1);
    assert_eq!(ends[&1], [Outcome::Stalled { seconds: 1 }]);
    assert_eq!(summary.failed, ids(&plan(1)));
    assert!(begun.elapsed() < Duration::from_secs(60));
    // Those that left the worker's process group, too.
    let left: Vec<u64> = place
        .numbers("pids")
        .into_iter()
        .filter(|&pid| is_alive(pid))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_stopped_worker_stalls_and_is_killed() {
    let place = Place::new("stopped");
    place.write("mode.1", "started; kill -STOP $$; completed");
    let policy = Policy {
        rules: Rules::once(),
        stall: Some(Duration::from_secs(1)),
        ..Policy::default()
    };
    let (_, ends) = endings(&place, 1, policy, 1);
    assert_eq!(ends[&1], [Outcome::Stalled { seconds: 1 }]);
    place.assert_workers_are_gone();
}

#[test]
fn after_so_many_failures_nothing_more_is_begun() {
    let place = Place::new("max-fail");
    place.write("mode", "started; finished failed ',\"message\":\"no\"'");
    let policy = Policy {
        rules: Rules::once(),
        most_failures: Some(2),
        ..Policy::default()
    };
    let (summary, _) = endings(&place, 6, policy, 1);
    assert_eq!((summary.failed.len(), summary.interrupted.len()), (2, 4));
    assert_eq!(place.numbers("starts"), [1, 2]);
}

#[test]
fn a_worker_that_prints_without_end_and_without_a_line_break_costs_no_memory() {
    let place = Place::new("endless");
    place.write(
        "mode",
        "started; head -c 50000000 /dev/zero | tr '\\0' x; completed",
    );
    let (summary, _) = endings(&place, 1, Policy::default(), 1);
    assert_eq!(summary.done.len(), 1);
}

#[test]
fn several_processes_do_a_run_together_and_the_first_tells() {
    let place = Place::new("several");
    place.write(
        "mode",
        "cp \"$job\" \"$dir/$(basename \"$job\")\"; case \"$job\" in *job.json) completed;; *) echo 'of a library';; esac",
    );
    let mut plan = plan(2);
    plan.runs[0].devices = 3;
    let slots = vec![Slot::Cpu { threads: 1 }; 3];
    let mut begun = Vec::new();
    let mut tell = |told: Told<'_>| {
        if let What::Started { slots, .. } = told.what {
            begun.push((told.run.spec.seed, slots));
        }
    };
    let summary = place.schedule_by(
        &plan,
        &Control::default(),
        Policy::default(),
        &slots,
        &Monitor::default(),
        &mut tell,
    );
    assert_eq!(summary.done.len(), 2);
    assert_eq!(begun[0], (1, vec![0, 1, 2]));
    let mut members = Vec::new();
    for name in ["job.json", "job-1.json", "job-2.json"] {
        if name == "job.json" {
            continue; // The second run's job has taken its place.
        }
        let text = fs::read_to_string(place.0.join(name)).expect("a job");
        let job: serde_json::Value = serde_json::from_str(&text).expect("a job");
        members.push(job["member"].clone());
    }
    assert_eq!(members[0]["rank"], 1);
    assert_eq!(members[1]["size"], 3);
    assert_eq!(members[0]["meeting"], members[1]["meeting"]);
    let folder = place.store().folder(&plan.runs[0].id);
    let log = fs::read_to_string(folder.join("log.txt")).expect("a log");
    assert_eq!(log.matches("of a library").count(), 2);
    assert!(!folder.join("job-1.json").exists() && !folder.join("meeting").exists());
}

#[test]
fn when_one_of_several_processes_dies_the_run_ends_with_its_outcome() {
    let place = Place::new("one-dies");
    place.write(
        "mode",
        "case \"$job\" in *job-1.json) sleep 0.3; kill -KILL $$;; *job.json) started; sleep 1; \
         finished failed ',\"message\":\"a process of this run is gone\"';; *) sleep 600;; esac",
    );
    let mut plan = plan(1);
    plan.runs[0].devices = 3;
    let policy = Policy {
        rules: Rules::once(),
        ..Policy::default()
    };
    let mut ends = Vec::new();
    let mut tell = |told: Told<'_>| {
        if let What::Ended { outcome, .. } = told.what {
            ends.push(outcome);
        }
    };
    let slots = vec![Slot::Cpu { threads: 1 }; 3];
    let begun = Instant::now();
    place.schedule_by(
        &plan,
        &Control::default(),
        policy,
        &slots,
        &Monitor::default(),
        &mut tell,
    );
    assert_eq!(ends, [Outcome::Killed { signal: 9 }]);
    assert!(begun.elapsed() < Duration::from_secs(60));
    place.assert_workers_are_gone();
}

#[test]
fn a_slot_whose_device_is_gone_is_used_no_more_and_its_run_is_done_elsewhere() {
    let place = Place::new("vanished");
    let nvml = Nvml::new("vanished", "GPU-aa 80 0 0 0 0\nGPU-bb 80 0 0 0 0\n");
    let monitor = nvml.monitor();
    let slots = "cuda".parse::<harness::schedule::Slots>().unwrap();
    let slots = slots.find(None, &monitor).unwrap();
    // The one on the second device dies when that goes.
    place.write(
        "mode",
        "if [ \"$CUDA_VISIBLE_DEVICES\" = GPU-bb ]; then echo 1 >>\"$dir/there\"; until [ -f \"$dir/gone\" ]; \
         do sleep 0.05; done; kill -KILL $$; fi; sleep 0.1; completed",
    );
    let plan = plan(6);
    let (mut lost, mut ended) = (Vec::new(), 0);
    let mut tell = |told: Told<'_>| match told.what {
        What::SlotsLost { slots } => lost.push((told.run.spec.seed, slots)),
        What::Ended { failure, .. } => {
            assert!(failure.is_none());
            ended += 1;
            wait_until("the other has begun", || !place.numbers("there").is_empty());
            nvml.has("GPU-aa 80 0 0 0 0\n");
            place.write("gone", "");
        }
        _ => {}
    };
    let policy = Policy {
        rules: Rules::once(),
        ..Policy::default()
    };
    let summary = place.schedule_by(
        &plan,
        &Control::default(),
        policy,
        &slots,
        &monitor,
        &mut tell,
    );
    assert_eq!(summary.done.len(), 6);
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(lost[0].1, [1]);
    assert_eq!(place.numbers("there").len(), 1, "nothing began there again");
}

#[test]
fn runs_share_a_device_only_as_far_as_those_like_them_were_seen_to_fit() {
    let place = Place::new("memory");
    let nvml = Nvml::new("memory", "GPU-aa 100 0 0 0 0\n");
    let monitor = nvml.monitor();
    let slots = "cuda/2".parse::<harness::schedule::Slots>().unwrap();
    let slots = slots.find(None, &monitor).unwrap();
    // Of the first two the first takes 60 of 100, which is seen within a second.
    place.write("mode", "echo $seed >>\"$dir/begun\"; sleep 3; completed");
    let plan = plan(4);
    let mut overlaps = Vec::new();
    let mut running = 0;
    let mut tell = |told: Told<'_>| match told.what {
        What::Started { .. } => {
            running += 1;
            overlaps.push(running);
            if overlaps.len() == 2 {
                wait_until("the first has begun", || !place.numbers("pids").is_empty());
                let pids = fs::read_to_string(place.0.join("pids")).unwrap();
                nvml.has(&format!(
                    "GPU-aa 100 60 50 {} 60\n",
                    pids.lines().next().unwrap()
                ));
            }
        }
        What::Ended { .. } => running -= 1,
        _ => {}
    };
    let summary = place.schedule_by(
        &plan,
        &Control::default(),
        Policy::default(),
        &slots,
        &monitor,
        &mut tell,
    );
    assert_eq!(summary.done.len(), 4);
    // The others have the device to themselves, one after the other.
    assert_eq!(overlaps, [1, 2, 1, 1]);
}
