//! Golden vectors: small trajectories in double precision, computed by another implementation.
//!
//! They lie in `tests/golden/methods`, or where `HARNESS_GOLDEN_METHODS` says; any other set in
//! the same format can be checked. Its README describes the format.

mod functions;
mod manifest;
mod models;
mod run;

use tch::Kind;

use crate::manifest::Manifest;

#[test]
fn every_golden_case_is_reproduced_in_double_precision() {
    check(Kind::Double);
}

#[test]
fn every_golden_case_is_reproduced_in_single_precision() {
    check(Kind::Float);
}

fn check(kind: Kind) {
    let manifest = Manifest::load();
    let mut wrong = Vec::new();
    for case in &manifest.cases {
        if let Err(first) = run::case(&manifest, case, kind) {
            wrong.push(format!("{}: {first}", case.id));
        }
    }
    let (n, all) = (wrong.len(), manifest.cases.len());
    assert!(
        wrong.is_empty(),
        "{n} of {all} cases differ; first difference of each:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn golden_relations_between_cases_hold() {
    let manifest = Manifest::load();
    for relation in &manifest.relations {
        assert_eq!(
            relation.kind, "same_params",
            "a kind of relation this test does not know"
        );
        let [a, b] = [&relation.a, &relation.b].map(|id| {
            let case = manifest
                .cases
                .iter()
                .find(|case| case.id == *id)
                .expect("a listed case");
            run::trajectory(&manifest, case, Kind::Double)
        });
        for &step in &relation.steps {
            for (name, value) in &a[step - 1] {
                let gap = (value - &b[step - 1][name]).abs().max().double_value(&[]);
                assert!(
                    gap <= 1e-12,
                    "{} and {} differ by {gap:e} in {name} at step {step}, but {}",
                    relation.a,
                    relation.b,
                    relation.why
                );
            }
        }
    }
}
