//! Verdicts on single cells.

use super::*;

#[test]
fn the_same_mean_with_a_small_spread_is_reproduced() {
    // sd 0.5 over 5 seeds: margin 1.0. Both standard errors are about 0.2, so the 90% interval is within 0.6.
    let paper = reported(80.0, Some(0.5), Spread::Sd, Some(5));
    let ours = [79.5, 80.5, 80.0, 79.6, 80.4];
    let weighed = judge_cell(&cell(&ours), &paper, &Rule::default());
    assert_eq!(
        (weighed.verdict, weighed.margin, weighed.seeds_to_decide),
        (Verdict::Reproduced, 1.0, None)
    );
}

#[test]
fn a_difference_far_outside_the_margin_deviates() {
    let paper = reported(80.0, Some(0.5), Spread::Sd, Some(5));
    assert_eq!(verdict(&[75.0, 75.5, 74.5], &paper), Verdict::Deviates);
}

#[test]
fn a_significant_difference_within_the_margin_is_still_the_same() {
    let paper = reported(80.0, Some(0.5), Spread::Sd, Some(1000));
    let weighed = judge_cell(&cell(&[80.5, 80.51, 80.49, 80.5]), &paper, &Rule::default());
    assert_eq!(weighed.verdict, Verdict::Reproduced);
    assert!(
        weighed.p.unwrap() < 0.05 && weighed.reason.contains("within the margin"),
        "{}",
        weighed.reason
    );
}

#[test]
fn a_wide_spread_is_inconclusive_and_says_how_many_seeds_would_decide() {
    let paper = reported(80.0, Some(0.5), Spread::Sd, Some(20));
    let weighed = judge_cell(&cell(&[78.0, 82.0, 80.5]), &paper, &Rule::default());
    assert_eq!(weighed.verdict, Verdict::Inconclusive);
    // The reason's number is the smallest: with sd 2.02 and difference 0.17 the 90% interval first fits in ±1 there.
    let seeds = weighed.seeds_to_decide.unwrap();
    assert!(
        (15..25).contains(&seeds)
            && weighed
                .reason
                .contains(&format!("{seeds} seeds would decide"))
    );
}

#[test]
fn one_seed_is_never_reproduced_but_can_deviate() {
    let paper = reported(80.0, Some(0.5), Spread::Sd, Some(20));
    let near = judge_cell(&cell(&[80.0]), &paper, &Rule::default());
    assert_eq!(near.verdict, Verdict::Inconclusive);
    assert!(
        near.seeds_to_decide.unwrap() >= 2 && near.reason.contains("one seed"),
        "{}",
        near.reason
    );
    assert_eq!(verdict(&[10.0], &paper), Verdict::Deviates);
    let bare = judge_cell(
        &cell(&[80.0]),
        &reported(80.0, None, Spread::None, None),
        &Rule::default(),
    );
    assert_eq!(
        (bare.verdict, bare.seeds_to_decide),
        (Verdict::Inconclusive, Some(2))
    );
}

#[test]
fn without_a_printed_spread_the_reason_says_so() {
    let weighed = judge_cell(
        &cell(&[20.9, 21.0, 20.8]),
        &reported(20.9, None, Spread::None, None),
        &Rule::default(),
    );
    assert!(
        weighed.reason.contains("the paper prints no spread"),
        "{}",
        weighed.reason
    );
    // 1% of 20.9; sd 0.1 over 3 seeds: 90% half-width 2.92 x 0.0577 = 0.169.
    assert_eq!(weighed.verdict, Verdict::Reproduced);
    // One seed of the paper's is as uncertain as one of ours: 2.92 x 0.1 x sqrt(1/3 + 1) = 0.34, more than 0.209.
    let single = reported(20.9, None, Spread::None, Some(1));
    assert_eq!(verdict(&[20.9, 21.0, 20.8], &single), Verdict::Inconclusive);
}

#[test]
fn rounding_alone_is_no_difference() {
    // Ours is 20.94 to the last digit and the paper prints 20.9.
    assert_eq!(
        verdict(&[20.94, 20.94], &reported(20.9, None, Spread::None, None)),
        Verdict::Reproduced
    );
}

#[test]
fn missing_and_diverged_seeds_are_visible() {
    let paper = reported(80.0, Some(0.5), Spread::Sd, Some(5));
    let judge = |cell: &Cell| judge_cell(cell, &paper, &Rule::default());
    let mut partial = cell(&[79.5, 80.5, 80.0, 79.6, 80.4]);
    partial.planned = 6;
    partial.without = vec![lost(5, None)];
    let weighed = judge(&partial);
    assert_eq!(weighed.verdict, Verdict::Reproduced);
    assert!(
        weighed.reason.contains("5 of 6 seeds: 1 not run"),
        "{}",
        weighed.reason
    );
    partial.without = vec![lost(5, Some(Outcome::Diverged { step: 7 }))];
    assert_eq!(judge(&partial).verdict, Verdict::Inconclusive);
    let all = Cell {
        planned: 1,
        without: partial.without.clone(),
        ..Cell::default()
    };
    assert_eq!(
        (judge(&all).verdict, judge(&all).reason.as_str()),
        (Verdict::Diverged, "1 diverged at step 7")
    );
    let none = Cell {
        planned: 1,
        without: vec![lost(0, Some(Outcome::OutOfMemory))],
        ..Cell::default()
    };
    assert_eq!(
        (judge(&none).verdict, judge(&none).reason.as_str()),
        (Verdict::NotRun, "1 out of memory")
    );
}

#[test]
fn both_questions_have_a_p_value_and_the_interval_between_them() {
    let weighed = judge_cell(
        &cell(&[20.9, 21.0, 20.8]),
        &reported(20.9, None, Spread::None, None),
        &Rule::default(),
    );
    // sd 0.1 over 3 seeds: error 0.1 / sqrt(3), and 2 degrees of freedom, where P(T > t) = 1/2 - t / (2 sqrt(2 + t^2)).
    let t: f64 = 0.209 / (0.1 / 3f64.sqrt());
    let tail = 0.5 - t / (2.0 * (2.0 + t * t).sqrt());
    assert!((weighed.p.unwrap() - 1.0).abs() < 1e-9);
    assert!((weighed.p_equivalent.unwrap() - tail).abs() < 1e-9);
    let [low, high] = weighed.interval.unwrap();
    assert!((high - 2.91999 * 0.1 / 3f64.sqrt()).abs() < 1e-5 && (low + high).abs() < 1e-9);
    assert!(weighed.reason.contains("(1% of the printed value)"));
}

#[test]
fn the_margin_is_the_suites() {
    let ours = cell(&[20.9, 21.0, 20.8]);
    let paper = reported(20.9, None, Spread::None, None);
    // 90% half-width 0.169 against 0.5% of 20.9.
    let narrow = Rule {
        relative: 0.005,
        ..Rule::default()
    };
    assert_eq!(
        judge_cell(&ours, &paper, &narrow).verdict,
        Verdict::Inconclusive
    );
    // P(T > 3.62) = 0.034.
    let strict = Rule {
        level: 0.03,
        ..Rule::default()
    };
    assert_eq!(
        judge_cell(&ours, &paper, &strict).verdict,
        Verdict::Inconclusive
    );
    let text = FRAME.replace("methods:\n", "verdicts: {relative: 0.005}\nmethods:\n")
        + "  SGD: {method: base}
seeds: [1]
tables:
- {id: t, title: T, place: Table, columns: [{id: x, task: a, on: x/test}], rows: [{method: SGD}]}
";
    let suite = parse(Path::new("suites/paper.yaml"), &text).unwrap();
    assert_eq!(suite.verdicts, narrow);
}

#[test]
fn the_reason_says_what_stands_for_a_spread_that_is_not_printed() {
    let reason = |spread, kind, seeds| {
        let paper = reported(20.9, spread, kind, seeds);
        judge_cell(&cell(&[20.9, 21.0, 20.8]), &paper, &Rule::default()).reason
    };
    for (spread, kind, seeds, words) in [
        (
            None,
            Spread::None,
            None,
            "prints no spread over seeds, so its value is taken as exact",
        ),
        (
            None,
            Spread::None,
            Some(5),
            "prints no spread over seeds, so ours is taken for its 5",
        ),
        (
            None,
            Spread::None,
            Some(1),
            "has one seed, hence no spread, so ours is taken for it",
        ),
        (
            Some(0.2),
            Spread::Sd,
            None,
            "does not say over how many seeds its spread is",
        ),
        (
            Some(0.2),
            Spread::SdOverColumns,
            Some(5),
            "is over columns and not over seeds, so ours",
        ),
    ] {
        let reason = reason(spread, kind, seeds);
        assert!(reason.contains(words), "{words}: {reason}");
    }
    // A deviation makes the margin even where its seeds are unknown.
    let paper = reported(20.9, Some(0.2), Spread::Sd, None);
    let weighed = judge_cell(&cell(&[20.9, 21.0, 20.8]), &paper, &Rule::default());
    assert_eq!((weighed.margin, weighed.basis), (0.4, Basis::Spreads(2.0)));
}

#[test]
fn a_deviation_is_compared_by_its_logarithm() {
    let deviation = |sd: f64, n: usize| Cell {
        planned: n,
        kind: Kind::Deviation,
        estimate: Some(Estimate {
            mean: sd,
            sd: None,
            n,
        }),
        ..Cell::default()
    };
    let paper = Reported {
        decimals: 2,
        ..reported(0.40, None, Spread::None, Some(20))
    };
    let judge = |sd, n| judge_cell(&deviation(sd, n), &paper, &Rule::default());
    // Errors 1 / sqrt(38) each: of the difference 0.229, twice that is the margin of 0.459; 1.645 x 0.229 = 0.377.
    let same = judge(0.40, 20);
    assert_eq!(same.verdict, Verdict::Reproduced);
    assert!((same.margin - 2.0 * (2f64 / 38.0).sqrt()).abs() < 1e-12);
    // ln(0.80 / 0.405) = 0.68, three errors; ln(0.50 / 0.405) = 0.21, less than one.
    assert_eq!(judge(0.80, 20).verdict, Verdict::Deviates);
    let open = judge(0.50, 20);
    assert_eq!(open.verdict, Verdict::Inconclusive);
    // 0.2107 + 1.645 sqrt(1/38 + 1/(2 (n - 1))) <= 0.4588 from n = 21 + ... on never: sqrt(1/38) alone is 0.267.
    assert_eq!(open.seeds_to_decide, None, "{}", open.reason);
    assert_eq!(judge(0.40, 1).verdict, Verdict::Inconclusive);
}

#[test]
fn a_correlation_over_seeds_is_compared_by_fishers_z() {
    let correlation = |r: f64, n: usize| Cell {
        planned: n,
        kind: Kind::Correlation,
        estimate: Some(Estimate {
            mean: r,
            sd: None,
            n,
        }),
        ..Cell::default()
    };
    let paper = Reported {
        decimals: 2,
        ..reported(0.29, Some(0.20), Spread::SdOverColumns, Some(20))
    };
    let judge = |r, n| judge_cell(&correlation(r, n), &paper, &Rule::default());
    assert_eq!(judge(0.29, 20).verdict, Verdict::Reproduced);
    // artanh 0.29 = 0.30, artanh -0.5 = -0.55; the error of the difference is sqrt(2/17) = 0.34.
    assert_eq!(judge(-0.5, 20).verdict, Verdict::Deviates);
    assert_eq!(judge(0.5, 20).verdict, Verdict::Inconclusive);
    let few = judge(0.29, 3);
    assert_eq!(
        (few.verdict, few.seeds_to_decide, few.p),
        (Verdict::Inconclusive, Some(4), None)
    );
}

#[test]
fn a_model_evaluated_as_it_is_needs_no_seeds() {
    let ours = Cell {
        seedless: true,
        ..cell(&[27.25])
    };
    let judge = |value| {
        judge_cell(
            &ours,
            &reported(value, None, Spread::None, Some(1)),
            &Rule::default(),
        )
        .verdict
    };
    assert_eq!(
        (judge(27.2), judge(30.0)),
        (Verdict::Reproduced, Verdict::Deviates)
    );
}

#[test]
fn a_printed_interval_becomes_the_deviation_behind_it() {
    let paper = reported(87.97, Some(0.12), Spread::Ci95, Some(5));
    // 0.12 x sqrt(5) / 2.776.
    assert!((printed_estimate(&paper).unwrap().sd.unwrap() - 0.09664).abs() < 1e-4);
    assert_eq!(
        printed_estimate(&reported(1.0, Some(0.1), Spread::SdOverColumns, Some(5))),
        None
    );
}

#[test]
fn too_few_seeds_for_a_deviation_or_a_correlation_are_inconclusive() {
    let paper = reported(0.4, None, Spread::None, Some(20));
    let judge = |kind, planned, without| {
        let cell = Cell {
            planned,
            without,
            kind,
            ..Cell::default()
        };
        let weighed = judge_cell(&cell, &paper, &Rule::default());
        (weighed.verdict, weighed.reason)
    };
    let missing = || vec![lost(2, None)];
    assert_eq!(
        judge(Kind::Deviation, 2, missing()),
        (
            Verdict::Inconclusive,
            "a standard deviation needs 2 seeds; 1 not run".into()
        )
    );
    assert_eq!(
        judge(Kind::Correlation, 2, vec![]),
        (
            Verdict::Inconclusive,
            "a correlation needs 3 seeds whose values vary".into()
        )
    );
    assert_eq!(
        judge(Kind::Deviation, 1, missing()),
        (Verdict::NotRun, "1 not run".into())
    );
    let diverged = vec![lost(2, Some(Outcome::Diverged { step: 3 }))];
    assert_eq!(
        judge(Kind::Correlation, 1, diverged),
        (Verdict::Diverged, "1 diverged at step 3".into())
    );
}
