//! What plans cost, and what a budget pays for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use harness::cost::{Basis, Estimate, Knowledge, choose};
use harness::event::{Environment, Outcome, RunRecord};
use harness::plan::{Plan, expand};
use harness::suite::{Suite, read};

fn suites(names: &[&str]) -> Vec<Suite> {
    let path = |name: &&str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("suites")
            .join(name)
    };
    names
        .iter()
        .map(|name| read(&path(name)).expect("a suite"))
        .collect()
}

fn record(seconds: f64) -> RunRecord {
    RunRecord {
        outcome: Outcome::Completed,
        environment: Environment {
            parameters: 1000,
            ..Environment::default()
        },
        seconds,
        observations: Vec::new(),
        no_value: Default::default(),
    }
}

#[test]
fn a_cost_is_worked_out_from_passes_or_taken_from_runs_of_other_seeds() {
    let suites = suites(&["tram/xnli.yaml"]);
    let plan = expand(&suites);
    let of = |method: &str, seed: u64| {
        let mut runs = plan.runs.iter();
        runs.find(|run| run.method == method && run.spec.seed == seed)
            .expect("planned")
            .clone()
    };
    let knowledge = Knowledge::of(&suites, &plan, &BTreeMap::new());
    // 50,000 updates of 32 pairs of 128 tokens, 86e6 parameters, 2 + 4 operations, at 60% of 19.5e12 a second.
    let operation = 128.0 * 86e6 / (0.6 * 19.5e12);
    // 50 evaluations on 2,500 pairs, 15 test sets of 5,000 pairs, 14 measured validation sets of 2,500: Table 8 has none for Chinese.
    let evaluated = 2.0 * (50.0 * 2500.0 + 15.0 * 5000.0 + 14.0 * 2500.0) * operation;
    let adam = 50_000.0 * 32.0 * 6.0 * operation + evaluated;
    let estimate = knowledge.estimate(&of("Adam", 3));
    assert_eq!(estimate.basis, Basis::WorkedOut);
    assert!((estimate.seconds.unwrap() / adam - 1.0).abs() < 1e-12);
    assert_eq!(estimate.bytes, Some(4.0 * 278e6));
    // TRAM-x has three forward and two backward passes: 14 operations for 6.
    let tram = knowledge.estimate(&of("TRAM-x", 0)).seconds.unwrap();
    assert!(((tram - evaluated) / (adam - evaluated) - 14.0 / 6.0).abs() < 1e-12);

    let records = [
        (of("Adam", 0).id, record(100.0)),
        (of("Adam", 1).id, record(140.0)),
    ]
    .into();
    let knowledge = Knowledge::of(&suites, &plan, &records);
    let estimate = knowledge.estimate(&of("Adam", 3));
    assert_eq!(
        (estimate.seconds, estimate.basis, estimate.bytes),
        (Some(120.0), Basis::Measured, Some(4000.0))
    );
    assert_eq!(knowledge.estimate(&of("SAM", 3)).basis, Basis::WorkedOut);

    let smoke = self::suites(&["smoke.yaml"]);
    let plan = expand(&smoke);
    let unknown = Knowledge::of(&smoke, &plan, &BTreeMap::new()).estimate(&plan.runs[0]);
    assert_eq!((unknown.seconds, unknown.basis), (None, Basis::Unknown));
}

fn costs(suites: &[Suite], plan: &Plan) -> Vec<Option<Estimate>> {
    let knowledge = Knowledge::of(suites, plan, &BTreeMap::new());
    plan.runs
        .iter()
        .map(|run| Some(knowledge.estimate(run)))
        .collect()
}

#[test]
fn a_budget_is_kept_and_more_of_it_settles_no_fewer_claims() {
    let suites = suites(&[
        "tram/vision.yaml",
        "tram/m2d2.yaml",
        "tram/gpt2-xl.yaml",
        "tram/xnli.yaml",
    ]);
    let plan = expand(&suites);
    let costs = costs(&suites, &plan);
    let of: BTreeMap<_, _> = plan
        .runs
        .iter()
        .zip(&costs)
        .map(|(run, cost)| (&run.id, cost.unwrap().seconds.unwrap()))
        .collect();
    let claims: usize = suites.iter().map(|suite| suite.claims.len()).sum();
    let mut before = 0;
    for hours in [
        0.0, 100.0, 130.0, 300.0, 700.0, 1500.0, 3000.0, 9000.0, 20_000.0,
    ] {
        let choice = choose(&suites, &plan, &costs, 3600.0 * hours);
        let spent: f64 = choice.runs.iter().map(|id| of[id]).sum();
        assert!(
            (spent - choice.seconds).abs() < 1.0 && spent <= 3600.0 * hours + 1.0,
            "{hours}"
        );
        assert!(choice.claims.len() >= before, "{hours}");
        assert_eq!(choice.claims.len() + choice.left_out.len(), claims);
        before = choice.claims.len();
        for part in &choice.in_part {
            assert!((2..part.of).contains(&part.seeds), "{hours}: {part:?}");
            assert!(
                choice
                    .left_out
                    .iter()
                    .any(|(claim, _)| *claim == part.claim),
                "{hours}: {part:?}"
            );
        }
    }
    assert_eq!(before, claims, "enough pays for all");
}

#[test]
fn what_settles_no_claim_makes_its_first_seeds() {
    let suites = suites(&["tram/xnli.yaml"]);
    let plan = expand(&suites);
    let costs = costs(&suites, &plan);
    // Claim 5 takes 256 hours for 20 seeds; two seeds of everything that claims speak of 195.
    let choice = choose(&suites, &plan, &costs, 3600.0 * 200.0);
    assert_eq!(choice.claims.len(), 2, "those on passes need no run");
    let parts = |seeds| {
        choice
            .in_part
            .iter()
            .filter(move |part| part.seeds == seeds)
    };
    assert_eq!(choice.in_part.len(), choice.left_out.len());
    assert!(choice.in_part.iter().all(|part| part.of == 20));
    assert!(
        parts(2).count() > 0 && parts(4).count() > 0,
        "{:?}",
        choice.in_part
    );
    let largest = choice.in_part.iter().map(|part| part.seeds).max();
    for run in plan.runs.iter().filter(|run| choice.runs.contains(&run.id)) {
        assert!(Some(run.spec.seed as usize) < largest, "{run:?}");
    }
    // Nothing is there for other readings of the paper before its own numbers.
    assert!(
        !choice.tables.iter().any(|table| table.contains("code")),
        "{:?}",
        choice.tables
    );
}

#[test]
fn no_choice_of_claims_beats_the_one_that_is_made() {
    // By trying all of them: 6 claims of one suite.
    let suites = suites(&["tram/m2d2.yaml"]);
    let plan = expand(&suites);
    let costs = costs(&suites, &plan);
    let alone: Vec<BTreeSet<_>> = (0..suites[0].claims.len())
        .map(|i| {
            let mut one = suites[0].clone();
            one.claims = vec![one.claims[i].clone()];
            // All that this claim needs, and no more: tables take what is left, so there is none.
            let enough = choose(&[one.clone()], &plan, &costs, 1e12);
            assert_eq!(enough.claims.len(), 1);
            one.tables.truncate(0);
            let mut least = (0.0, 1e12);
            for _ in 0..80 {
                let middle = (least.0 + least.1) / 2.0;
                match choose(&[with_tables(&one, &suites[0])], &plan, &costs, middle)
                    .claims
                    .len()
                {
                    0 => least.0 = middle,
                    _ => least.1 = middle,
                }
            }
            choose(&[with_tables(&one, &suites[0])], &plan, &costs, least.1).runs
        })
        .collect();
    let seconds: BTreeMap<_, _> = plan
        .runs
        .iter()
        .zip(&costs)
        .map(|(run, cost)| (run.id.clone(), cost.unwrap().seconds.unwrap()))
        .collect();
    for hours in [150.0, 250.0, 400.0, 500.0] {
        let best = (0..1_u32 << alone.len())
            .filter(|set| {
                let mut runs = BTreeSet::new();
                for (i, of) in alone
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| set & (1 << i) != 0)
                {
                    let _ = i;
                    runs.extend(of.iter().cloned());
                }
                runs.iter().map(|id| seconds[id]).sum::<f64>() <= 3600.0 * hours
            })
            .map(u32::count_ones)
            .max()
            .unwrap_or(0) as usize;
        let chosen = choose(&suites, &plan, &costs, 3600.0 * hours).claims.len();
        assert!(chosen >= best, "{hours}: {chosen} for {best}");
    }
}

/// The claims of one with the tables of another.
fn with_tables(claims: &Suite, tables: &Suite) -> Suite {
    Suite {
        claims: claims.claims.clone(),
        ..tables.clone()
    }
}

#[test]
fn a_run_comes_with_the_run_it_starts_from_and_done_ones_are_free() {
    let suites = suites(&["families.yaml"]);
    let plan = expand(&suites);
    let one = Estimate {
        seconds: Some(10.0),
        bytes: None,
        basis: Basis::Measured,
    };
    let costs: Vec<Option<Estimate>> = vec![Some(one); plan.runs.len()];
    let table = choose(&suites, &plan, &costs, 75.0);
    assert!(!table.runs.is_empty());
    for run in plan.runs.iter().filter(|run| table.runs.contains(&run.id)) {
        assert!(
            run.needs
                .as_ref()
                .is_none_or(|stage| table.runs.contains(stage))
        );
    }
    let done = vec![None; plan.runs.len()];
    assert_eq!(
        choose(&suites, &plan, &done, 0.0).runs.len(),
        plan.runs.len()
    );
    let unknown = Estimate {
        seconds: None,
        bytes: None,
        basis: Basis::Unknown,
    };
    assert!(
        choose(&suites, &plan, &vec![Some(unknown); plan.runs.len()], 1e12)
            .runs
            .is_empty()
    );
}

#[test]
fn the_paper_needs_477_trainings_and_its_other_readings_103_more() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/tram");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_harness"))
        .arg("plan")
        .args(["vision", "m2d2", "gpt2-xl", "xnli"].map(|name| folder.join(format!("{name}.yaml"))))
        .args(["--store", "/nowhere/at/all"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains(
            "the paper's tables need 477 trainings, 2 evaluations of models as they are; other readings of its \
             methods need 103 trainings besides\n"
        ),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A suite of `count` methods with a claim on each, and the methods of the claims.
fn disjoint(count: usize) -> Suite {
    let each = |line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let text = format!(
        "suite: disjoint
title: Disjoint
citation: {{title: T, authors: A, venue: V, year: 2024}}
models: {{m: {{config: {{model_type: vit}}}}}}
metrics: {{accuracy: {{measure: accuracy, better: higher}}}}
training:
  t: {{base: {{name: sgd, lr: 0.1}}, schedule: {{name: constant}}, length: {{steps: 10}}, batch: 2}}
tasks:
  a: {{model: m, data: {{folder: d, sha256: '{}'}}, input: {{images: {{}}}}, train: [train], training: t, metric: accuracy}}
methods:
{}seeds: [0]
tables:
- id: t
  title: T
  place: P
  columns: [{{id: x, task: a, on: x/test}}]
  rows:
{}claims:
{}",
        "0".repeat(64),
        each(&|i| format!("  M{i}: {{method: sam, rho: 0.{:03}}}\n", i + 1)),
        each(&|i| format!("  - {{method: M{i}}}\n")),
        each(&|i| format!(
            "- {{id: c{i}, says: S, place: P, holds: {{bound: {{table: t, columns: [x], methods: [M{i}], at_least: 0}}}}}}\n"
        )),
    );
    harness::suite::parse(Path::new("suites/disjoint.yaml"), &text).unwrap()
}

#[test]
fn many_claims_that_share_nothing_are_chosen_among_at_once() {
    let suites = [disjoint(60)];
    let plan = expand(&suites);
    let costs = |seconds: &dyn Fn(usize) -> f64| -> Vec<Option<Estimate>> {
        (0..plan.runs.len())
            .map(|i| {
                Some(Estimate {
                    seconds: Some(seconds(i)),
                    bytes: None,
                    basis: Basis::Measured,
                })
            })
            .collect()
    };
    assert_eq!(
        choose(&suites, &plan, &costs(&|_| 10.0), 305.0)
            .claims
            .len(),
        30
    );
    // The cheapest ones: 1 + 2 + ... + 24 = 300.
    let chosen = choose(&suites, &plan, &costs(&|i| (i + 1) as f64), 305.0);
    assert_eq!((chosen.claims.len(), chosen.seconds), (24, 300.0));
}

#[test]
fn the_best_of_all_rows_needs_all_rows() {
    let suites = suites(&["tram/xnli.yaml"]);
    let plan = expand(&suites);
    let costs = costs(&suites, &plan);
    let enough = choose(&suites, &plan, &costs, 1e12);
    assert!(enough.claims.contains(&"tram-xnli/claim-7".to_string()));
    let few = choose(&suites, &plan, &costs, 3600.0 * 300.0);
    assert!(
        !few.claims.contains(&"tram-xnli/claim-7".to_string()),
        "Table 6 has 220 runs"
    );
}

#[test]
fn what_conditions_leave_out_settles_no_claim() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/tram");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_harness"))
        .args([
            "plan",
            "--budget",
            "100000h",
            "--only",
            "method=SAM",
            "--store",
            "/nowhere/at/all",
        ])
        .arg(folder.join("xnli.yaml"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    // Passes need no run.
    assert!(
        text.contains("they settle 2 claims: tram-xnli/claim-13, tram-xnli/claim-13-fisher\n"),
        "{text}"
    );
    assert!(
        text.contains("20 distinct runs") || text.contains("0 distinct runs"),
        "{text}"
    );
    assert!(
        !text.contains("and fill"),
        "no table is filled by SAM alone: {text}"
    );
}
