//! How long planning takes: `cargo bench --bench queue`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use harness::plan::{Plan, PlannedRun, RunId, expand};
use harness::schedule::Slot;
use harness::schedule::queue::{Order, Queue, State};
use harness::suite;

const RUNS: usize = 100_000;

/// 100,000 runs that differ as those of the smoke suite do.
fn plan() -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/smoke.yaml");
    let few = expand(&[suite::read(&path).expect("a suite")]).runs;
    let run = |i: usize| PlannedRun {
        id: RunId(format!("{i:016x}")),
        devices: if i % 16 == 5 { 2 } else { 1 },
        needs: (i % 10 == 9).then(|| RunId(format!("{:016x}", i - i % 100))),
        ..few[i % few.len()].clone()
    };
    Plan {
        runs: (0..RUNS).map(run).collect(),
    }
}

/// From nothing to the end, on pretended time.
fn play(plan: &Plan, slots: &[Slot], order: Order, seconds: &[f64]) -> f64 {
    let mut queue = Queue::new(plan, slots, order, seconds);
    let mut ends: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut now = 0.0;
    while !queue.is_over() {
        while let Some(placement) = queue.next(now) {
            queue.begin(&placement, now);
            let end = now + seconds[placement.run];
            ends.push(Reverse((end.to_bits(), placement.run)));
        }
        let Reverse((end, run)) = ends.pop().expect("some run is on a slot");
        now = f64::from_bits(end);
        queue.set(run, State::Done);
    }
    now
}

fn queue(criterion: &mut Criterion) {
    let plan = plan();
    let seconds: Vec<f64> = (0..RUNS).map(|i| 60.0 + (i * 7919 % 1000) as f64).collect();
    let mut group = criterion.benchmark_group("100,000 runs from nothing to the end");
    group.sample_size(10);
    for (name, order) in [("soonest", Order::Soonest), ("tables", Order::Tables)] {
        for devices in [8, 64] {
            let slots = vec![Slot::Cpu { threads: 1 }; devices];
            group.bench_function(format!("{name}, {devices} devices"), |bencher| {
                bencher.iter(|| black_box(play(&plan, &slots, order, &seconds)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, queue);
criterion_main!(benches);
