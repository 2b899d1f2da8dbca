//! The pure core of the scheduler: what begins when and where, on pretended time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use harness::plan::{CellRef, Plan, PlannedRun, RunId};
use harness::schedule::queue::{Order, Placement, Queue, State};
use harness::schedule::{Gpu, Slot};
use harness::seed::SplitMix;
use proptest::prelude::*;

use crate::schedule::{on_top_of, planned};

fn gpus(count: usize) -> Vec<Slot> {
    let gpu = |index: usize| Gpu {
        index,
        name: index.to_string(),
    };
    (0..count).map(|index| Slot::Gpu(gpu(index))).collect()
}

/// A run of a table, with nothing but what the queue looks at.
fn run(number: usize, table: &str, devices: usize, stage: Option<usize>) -> PlannedRun {
    let id = |number: usize| RunId(format!("{number:016x}"));
    let cell = CellRef {
        suite: "suite".into(),
        table: table.into(),
        method: "SAM".into(),
        column: "accuracy".into(),
    };
    PlannedRun {
        id: id(number),
        cells: [cell].into(),
        needs: stage.map(id),
        devices,
        ..planned(1)
    }
}

/// When each run began and ended, and on which slots.
type History = BTreeMap<usize, (f64, f64, Vec<usize>)>;

/// Runs a plan on pretended time, `seconds` being what is expected and what comes true.
fn play(plan: &Plan, slots: &[Slot], order: Order, seconds: &[f64]) -> History {
    let mut queue = Queue::new(plan, slots, order, seconds);
    let mut ends: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let (mut history, mut now) = (History::new(), 0.0_f64);
    while !queue.is_over() {
        while let Some(placement) = queue.next(now) {
            queue.begin(&placement, now);
            let Placement { run, slots } = placement;
            ends.push(Reverse(((now + seconds[run]).to_bits(), run)));
            history.insert(run, (now, now + seconds[run], slots));
        }
        let Reverse((end, run)) = ends.pop().expect("a run that waits is not alone");
        now = f64::from_bits(end);
        queue.set(run, State::Done);
    }
    history
}

fn makespan(history: &History) -> f64 {
    history.values().map(|(_, end, _)| *end).fold(0.0, f64::max)
}

/// No schedule is shorter: all the work on all devices, and the longest way.
fn lower_bound(plan: &Plan, devices: usize, seconds: &[f64]) -> f64 {
    let runs = plan.runs.iter().zip(seconds);
    let work: f64 = runs
        .map(|(run, seconds)| seconds * run.devices as f64)
        .sum();
    let mut ways: BTreeMap<&RunId, f64> = BTreeMap::new();
    for (run, seconds) in plan.runs.iter().zip(seconds) {
        let before = run.needs.as_ref().map_or(0.0, |stage| ways[stage]);
        ways.insert(&run.id, before + seconds);
    }
    let longest = ways.into_values().fold(0.0, f64::max);
    longest.max(work / devices as f64)
}

/// 500 runs whose times differ as those of a paper do: some methods pass four times, some tasks are ten times larger; every
/// tenth starts from another, and some need several devices.
fn paper(seed: u64, most_devices: usize) -> (Plan, Vec<f64>) {
    let mut random = SplitMix::new(seed);
    let mut uniform = move || (random.next() >> 11) as f64 / (1u64 << 53) as f64;
    let (mut runs, mut seconds) = (Vec::new(), Vec::new());
    for i in 0..500 {
        let task = (uniform() * 6.0).floor();
        let passes = 1.0 + (uniform() * 4.0).floor();
        let stage = (i > 50 && uniform() < 0.1).then(|| (uniform() * 50.0) as usize);
        let devices = if uniform() < 0.1 { most_devices } else { 1 };
        runs.push(run(i, &format!("table{task}"), devices, stage));
        seconds.push(600.0 * 10f64.powf(task / 6.0) * passes * (0.9 + 0.2 * uniform()));
    }
    (Plan { runs }, seconds)
}

#[test]
fn a_plan_of_500_runs_ends_within_5_percent_of_the_lower_bound_on_8_devices() {
    for seed in 0..40 {
        for most_devices in [1, 2, 4] {
            let (plan, seconds) = paper(seed, most_devices);
            let history = play(&plan, &gpus(8), Order::Soonest, &seconds);
            let (got, bound) = (makespan(&history), lower_bound(&plan, 8, &seconds));
            assert!(
                got <= 1.05 * bound,
                "seed {seed}, {most_devices} devices: {got:.0} s where {bound:.0} s is the least"
            );
        }
    }
}

#[test]
fn by_tables_the_small_ones_are_complete_first_and_the_plan_takes_little_longer() {
    let (plan, seconds) = paper(1, 1);
    let table_ends = |order| {
        let history = play(&plan, &gpus(8), order, &seconds);
        let mut ends: BTreeMap<&str, f64> = BTreeMap::new();
        for (run, (_, end, _)) in &history {
            let table = plan.runs[*run].cells.first().unwrap().table.as_str();
            let latest = ends.entry(table).or_default();
            *latest = latest.max(*end);
        }
        (makespan(&history), ends)
    };
    let (soonest, by_length) = table_ends(Order::Soonest);
    let (tables, by_table) = table_ends(Order::Tables);
    let mean = |ends: &BTreeMap<&str, f64>| ends.values().sum::<f64>() / ends.len() as f64;
    assert!(mean(&by_table) < 0.8 * mean(&by_length));
    assert!(tables < 1.1 * soonest, "{tables} {soonest}");
    assert!(by_table["table0"] < 0.3 * tables, "{by_table:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Whatever the plan, every run has its devices for itself and begins after its stage.
    #[test]
    fn no_two_runs_share_a_slot_and_none_begins_before_its_stage(
        runs in prop::collection::vec((0u32..1000, 1usize..5, prop::option::of(0usize..40), 0u8..3), 1..40),
        by_tables: bool,
    ) {
        let mut plan = Plan::default();
        let mut seconds = Vec::new();
        for (i, (time, devices, stage, table)) in runs.into_iter().enumerate() {
            let stage = stage.filter(|&stage| stage < i);
            plan.runs.push(run(i, &format!("table{table}"), devices, stage));
            seconds.push(f64::from(time));
        }
        let order = if by_tables { Order::Tables } else { Order::Soonest };
        let history = play(&plan, &gpus(4), order, &seconds);
        prop_assert_eq!(history.len(), plan.runs.len());
        for (a, (begin, end, slots)) in &history {
            prop_assert_eq!(slots.len(), plan.runs[*a].devices);
            if let Some(stage) = &plan.runs[*a].needs {
                let stage = plan.runs.iter().position(|run| run.id == *stage).unwrap();
                prop_assert!(history[&stage].1 <= *begin);
            }
            for (b, (other, until, on)) in &history {
                let overlap = begin < until && other < end;
                prop_assert!(a == b || !overlap || slots.iter().all(|slot| !on.contains(slot)));
            }
        }
    }
}

#[test]
fn what_needs_several_devices_is_not_starved_by_what_needs_one() {
    // Four of a long run's devices never come free at once unless they are kept for it.
    let mut runs: Vec<_> = (0..200).map(|i| run(i, "small", 1, None)).collect();
    runs.push(run(200, "large", 4, None));
    let mut seconds: Vec<f64> = (0..200).map(|i| 10.0 + (i * 7 % 13) as f64).collect();
    seconds.push(50.0);
    let (begin, ..) = &play(&Plan { runs }, &gpus(4), Order::Soonest, &seconds)[&200];
    assert_eq!(*begin, 0.0);
    // And when something is at work already, it is next.
    let mut runs: Vec<_> = (0..200).map(|i| run(i, "small", 1, None)).collect();
    runs.push(run(200, "small", 1, None));
    runs.push(run(201, "large", 4, Some(200)));
    let mut seconds: Vec<f64> = (0..200).map(|i| 10.0 + (i * 7 % 13) as f64).collect();
    seconds.extend([5.0, 50.0]);
    let (begin, ..) = &play(&Plan { runs }, &gpus(4), Order::Soonest, &seconds)[&201];
    assert!(*begin <= 5.0 + 22.0, "{begin}");
}

#[test]
fn the_queue_keeps_the_plans_order_of_equals_and_blocks_what_cannot_begin() {
    let stage = planned(1);
    let plan = Plan {
        runs: vec![stage.clone(), on_top_of(&stage, 2), planned(3)],
    };
    let mut queue = Queue::new(&plan, &gpus(3), Order::Soonest, &[0.0; 3]);
    let next = |queue: &mut Queue| queue.next(0.0).map(|placement| placement.run);
    let first = queue.next(0.0).unwrap();
    assert_eq!(first.run, 0);
    queue.begin(&first, 0.0);
    assert_eq!(next(&mut queue), Some(2));
    queue.set(2, State::Elsewhere);
    assert_eq!(next(&mut queue), None);
    let mut failed = queue.clone();
    assert_eq!(failed.set(0, State::Failed), [1]);
    assert!(!failed.is_over());
    queue.set(0, State::Done);
    assert_eq!(next(&mut queue), Some(1));
}

#[test]
fn a_run_rests_before_it_is_tried_again_and_others_go_on() {
    let plan = Plan {
        runs: vec![planned(1), planned(2)],
    };
    let mut queue = Queue::new(&plan, &gpus(1), Order::Soonest, &[9.0, 1.0]);
    let first = queue.next(0.0).unwrap();
    queue.begin(&first, 0.0);
    queue.again(0, 10.0, false);
    let second = queue.next(1.0).unwrap();
    assert_eq!(second.run, 1);
    queue.begin(&second, 1.0);
    queue.set(1, State::Done);
    assert_eq!(queue.next(9.9), None);
    assert_eq!(queue.next(10.0).unwrap().run, 0);
}

#[test]
fn slots_of_one_device_are_shared_as_far_as_its_memory_goes() {
    let plan = Plan {
        runs: (1..=4).map(planned).collect(),
    };
    let gpu = gpus(1).remove(0);
    let slots = [gpu.clone(), gpu.clone(), gpu];
    let mut queue = Queue::new(&plan, &slots, Order::Soonest, &[1.0; 4]);
    queue.has_memory(0, 90);
    queue.takes_memory(1, 50);
    queue.takes_memory(2, 20);
    queue.takes_memory(3, 100);
    let mut begun = Vec::new();
    while let Some(placement) = queue.next(0.0) {
        queue.begin(&placement, 0.0);
        begun.push(placement.run);
    }
    // The first was never seen and counts for a third; 30 and 50 leave no room for 20.
    assert_eq!(begun, [0, 1]);
    queue.set(1, State::Done);
    let third = queue.next(0.0).unwrap();
    assert_eq!(third.run, 2);
    queue.begin(&third, 0.0);
    assert_eq!(queue.next(0.0), None);
    queue.set(0, State::Done);
    queue.set(2, State::Done);
    assert_eq!(queue.next(0.0).unwrap().run, 3, "alone it may try");
}

#[test]
fn a_run_without_memory_is_tried_again_with_a_device_to_itself() {
    let plan = Plan {
        runs: (1..=3).map(planned).collect(),
    };
    let gpu = gpus(1).remove(0);
    let slots = [gpu.clone(), gpu];
    let mut queue = Queue::new(&plan, &slots, Order::Soonest, &[4.0, 3.0, 2.0]);
    for _ in 0..2 {
        let placement = queue.next(0.0).unwrap();
        queue.begin(&placement, 0.0);
    }
    queue.again(0, 2.0, true);
    // The third would end after the second, and so keep the first waiting.
    assert_eq!(queue.next(2.0), None);
    queue.set(1, State::Done);
    let placement = queue.next(3.0).unwrap();
    assert_eq!(placement.run, 0);
    queue.begin(&placement, 3.0);
    assert_eq!(queue.next(3.0), None, "nobody beside it");
}

#[test]
fn a_device_that_is_gone_takes_no_run_and_what_needs_too_many_is_told() {
    let runs = vec![run(0, "t", 1, None), run(1, "t", 2, None)];
    let mut queue = Queue::new(&Plan { runs }, &gpus(2), Order::Soonest, &[9.0, 1.0]);
    let placement = queue.next(0.0).unwrap();
    queue.begin(&placement, 0.0);
    assert_eq!(queue.retire(placement.slots[0]), (vec![0], vec![1]));
    queue.again(0, 0.0, false);
    assert_eq!(queue.next(0.0).unwrap().slots, [1]);
}

#[test]
fn a_run_on_processors_takes_slots_of_one_kind() {
    let slots: Vec<Slot> = [1, 4, 4, 1].map(|threads| Slot::Cpu { threads }).into();
    let plan = Plan {
        runs: vec![run(0, "t", 2, None)],
    };
    let mut queue = Queue::new(&plan, &slots, Order::Soonest, &[1.0]);
    assert_eq!(queue.next(0.0).unwrap().slots, [0, 3]);
}

#[test]
fn measured_times_change_what_comes_first() {
    let plan = Plan {
        runs: (1..=3).map(planned).collect(),
    };
    let mut queue = Queue::new(&plan, &gpus(1), Order::Soonest, &[3.0, 2.0, 1.0]);
    assert_eq!(queue.next(0.0).unwrap().run, 0);
    queue.expect(&[1.0, 2.0, 30.0]);
    assert_eq!(queue.next(0.0).unwrap().run, 2);
    assert_eq!(queue.left(0.0), 33.0);
}
