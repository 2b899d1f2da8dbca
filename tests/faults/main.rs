//! A campaign of faults: runs are disturbed in every way that happens to runs, and then finished; what they leave must be,
//! byte for byte, what undisturbed runs leave, with no process and no file left over.
//!
//! `cargo test --test faults` makes a short one, a fault of every kind. Longer ones and other moments:
//! `HARNESS_FAULTS=200 HARNESS_FAULTS_SEED=7 cargo test --test faults`. A seed gives the same faults at the same planned
//! moments; what a process is doing just then is up to the machine. Two kinds need permission to mount a file system, and
//! say so where they do not have it.

mod clock;
mod fault;
mod place;
mod processes;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use harness::seed::SplitMix;

use fault::Fault;
use place::Place;

/// What became of the faults of one kind.
#[derive(Default)]
struct Tally {
    injected: usize,
    recovered: usize,
    not_possible: usize,
    /// What was found just after the fault, and how often.
    found: BTreeMap<String, usize>,
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
        Err(_) => default,
    }
}

fn main() -> ExitCode {
    // Asked by `cargo test -- --list` and its like, there is nothing to tell.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let kinds = Fault::all();
    let count = number("HARNESS_FAULTS", kinds.len() as u64) as usize;
    let seed = number("HARNESS_FAULTS_SEED", 1);
    let begun = Instant::now();

    let undisturbed = Place::new("undisturbed");
    let first = Instant::now();
    undisturbed.finish().expect("an undisturbed run completes");
    let length = first.elapsed();
    let expected = undisturbed.results().expect("results");
    println!(
        "undisturbed: {} files in {:.1} s",
        expected.len(),
        length.as_secs_f64()
    );

    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut failures = Vec::new();
    for i in 0..count {
        let fault = kinds[i % kinds.len()];
        let mut random = SplitMix::new(seed.wrapping_mul(1_000_003).wrapping_add(i as u64));
        let tally = tallies.entry(fault.name()).or_default();
        let place = match fault.place(i) {
            Ok(place) => place,
            Err(why) => {
                tally.not_possible += 1;
                println!("{i:>4} {}: not possible here: {why}", fault.name());
                continue;
            }
        };
        let found = fault.inject(&place, &mut random, length);
        tally.injected += 1;
        *tally.found.entry(found.clone()).or_default() += 1;
        let checked = place.finish().and_then(|()| place.check(&expected));
        match checked {
            Ok(()) => {
                tally.recovered += 1;
                println!("{i:>4} {}: {found}; recovered", fault.name());
            }
            Err(why) => {
                println!("{i:>4} {}: {found}; FAILED: {why}", fault.name());
                failures.push(format!(
                    "{i} {}: {why} (kept: {})",
                    fault.name(),
                    place.keep()
                ));
            }
        }
    }

    println!("\n| fault | injected | recovered | found just after it |\n|---|---|---|---|");
    for (name, tally) in &tallies {
        let found: Vec<String> = tally
            .found
            .iter()
            .map(|(what, n)| format!("{what} ({n})"))
            .collect();
        println!(
            "| {name} | {} | {} | {} |",
            tally.injected,
            tally.recovered,
            found.join(", ")
        );
    }
    let injected: usize = tallies.values().map(|tally| tally.injected).sum();
    let recovered: usize = tallies.values().map(|tally| tally.recovered).sum();
    let not_possible: usize = tallies.values().map(|tally| tally.not_possible).sum();
    println!(
        "\n{injected} faults, {recovered} recovered, {not_possible} not possible here; seed {seed}, {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    for failure in &failures {
        println!("failed: {failure}");
    }
    match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
