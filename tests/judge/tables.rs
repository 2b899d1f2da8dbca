//! Correlations over methods, spreads from other tables, and claims about them.

use super::*;

/// The text of a suite whose table `t` has the columns x and y and five methods, `more` after its rows.
fn five(options: &str, columns: &str, more: &str) -> String {
    let mut text = FRAME.to_string();
    for i in 1..=5 {
        text += &format!("  M{i}: {{method: sam, rho: 0.0{i}}}\n");
    }
    text + &format!(
        "seeds: [1, 2]
tables:
- id: t
  title: T
  place: Table
{options}  columns:
  - {{id: x, task: a, on: x/test}}
{columns}  - {{id: y, task: a, on: y/test}}
  rows:
  - {{method: M1, reported: 1.0 1.1}}
  - {{method: M2, reported: 2.0 1.9}}
  - {{method: M3, reported: 3.0 3.2}}
  - {{method: M4, reported: 4.0 3.9}}
  - {{method: M5, reported: 5.0 5.0}}
{more}"
    )
}

fn read(text: &str) -> Suite {
    parse(Path::new("suites/paper.yaml"), text).unwrap()
}

/// Records of both columns for every method and seed: the value is a function of method, column and seed.
fn records(
    suite: &Suite,
    methods: &[&str],
    value: impl Fn(usize, &str, u64) -> f64,
) -> BTreeMap<RunId, RunRecord> {
    let mut records = BTreeMap::new();
    for (i, method) in methods.iter().enumerate() {
        for seed in [1, 2] {
            let seen = |on: &str| Observation {
                step: 1,
                on: format!("{on}/test"),
                metric: "accuracy".into(),
                value: value(i + 1, on, seed),
            };
            let record = RunRecord {
                outcome: Outcome::Completed,
                environment: Environment::default(),
                seconds: 1.0,
                observations: vec![seen("x"), seen("y")],
                no_value: Default::default(),
            };
            records.insert(run_spec(suite, "a", method, seed).id(), record);
        }
    }
    records
}

const METHODS: [&str; 5] = ["M1", "M2", "M3", "M4", "M5"];

#[test]
fn a_correlation_over_methods_is_judged_by_fishers_z() {
    let derived = "derived_tables:
- id: d
  title: D
  place: Table 9
  from: t
  correlation_with: x
  rows:
  - {title: Y, columns: [y], reported: '0.996', p_below: 0.01}
  - {title: other, columns: [y], reported: '-0.994'}
  - {title: off, columns: [y], reported: '0.9'}
  - {title: unprinted, columns: [y]}
";
    let suite = read(&five("", "", derived));
    let table = &suite.derived_tables[0];
    let rule = Rule::default();
    let of = |records: &BTreeMap<RunId, RunRecord>, row: usize| {
        let cells = Cells::collect(&suite, records);
        derived_value(&suite, &cells, table, &table.rows[row], &rule)
    };
    // Ours as printed: r = 9.8 / sqrt(10 x 9.668) = 0.9967 over five methods, as recomputed from the paper.
    let printed = [1.1, 1.9, 3.2, 3.9, 5.0];
    let all = records(&suite, &METHODS, |i, on, _| match on {
        "x" => i as f64,
        _ => printed[i - 1],
    });
    let same = of(&all, 0);
    assert_eq!(same.recomputed.unwrap().r, same.ours.unwrap().r);
    assert!((same.ours.unwrap().r - 0.9967).abs() < 1e-4);
    // The error is 1 / sqrt(2), the margin twice that.
    let weighed = same.weighed.unwrap();
    assert!((weighed.margin - 2f64.sqrt()).abs() < 1e-12);
    assert_eq!(weighed.verdict, Verdict::Reproduced, "{}", weighed.reason);
    let says = |words: &str| assert!(weighed.reason.contains(words), "{}", weighed.reason);
    says("the paper's own numbers give 0.997");
    says("below the paper's 0.01");
    assert_eq!(of(&all, 1).weighed.unwrap().verdict, Verdict::Deviates);
    assert_eq!(of(&all, 2).weighed.unwrap().verdict, Verdict::Inconclusive);
    assert_eq!(of(&all, 3).weighed, None);
    // A method is missing: another correlation. All are: none.
    let four = records(&suite, &METHODS[..4], |i, _, _| i as f64);
    let partial = of(&four, 0).weighed.unwrap();
    assert_eq!(partial.verdict, Verdict::Inconclusive);
    assert!(
        partial.reason.contains("no number for M5"),
        "{}",
        partial.reason
    );
    assert_eq!(
        of(&BTreeMap::new(), 0).weighed.unwrap().verdict,
        Verdict::NotRun
    );
}

#[test]
fn spreads_of_another_table_make_the_margin() {
    let other = "- id: sds
  title: S
  place: Table 13
  statistic: sd
  reported_seeds: 20
  columns:
  - {id: y, task: a, on: y/test}
  rows:
  - {method: M2, reported: '0.30'}
";
    let suite = read(&five(
        "  spread_from: sds\n  reported_seeds: 20\n",
        "",
        other,
    ));
    let cell = suite.table("t").unwrap().reported("M2", "y").unwrap();
    assert_eq!(
        (cell.spread, cell.kind, cell.spread_place.as_deref()),
        (Some(0.3), Spread::Sd, Some("Table 13"))
    );
    assert_eq!(cell.spread_beside(), None);
    assert_eq!(
        suite
            .table("t")
            .unwrap()
            .reported("M2", "x")
            .unwrap()
            .spread,
        None
    );
    // The values of seeds 1 and 2 are 1 and 2: their deviation is sqrt(1/2).
    let all = records(&suite, &METHODS, |_, _, seed| seed as f64);
    let cells = Cells::collect(&suite, &all);
    let deviation = cells.at("sds", 0, 0).unwrap();
    assert_eq!(
        (deviation.kind, deviation.samples.len()),
        (Kind::Deviation, 2)
    );
    assert!((deviation.estimate.unwrap().mean - 0.5f64.sqrt()).abs() < 1e-12);
}

#[test]
fn a_hidden_column_has_cells_and_no_printed_entry() {
    let suite = read(&five(
        "",
        "  - {id: z, task: a, on: z/test, hidden: true}\n",
        "",
    ));
    let table = suite.table("t").unwrap();
    let printed: Vec<Option<f64>> = table.rows[1]
        .reported
        .iter()
        .map(|cell| cell.as_ref().map(|cell| cell.value))
        .collect();
    assert_eq!(printed, [Some(2.0), None, Some(1.9)]);
}

#[test]
fn best_in_some_columns_counts_them() {
    let suite = read(&five("", "", ""));
    let claim = |least: u64| {
        format!(
            r#"{{"extreme": {{"table": "t", "columns": ["x", "y"], "method": "M3", "is": "best",
            "among": ["M2", "M3", "M1"], "at_least": {least}}}}}"#
        )
    };
    assert_eq!(on_paper(&suite, &claim(2)).ruling, Ruling::Holds);
    let beaten = claim(1).replace("M1", "M4");
    let finding = on_paper(&suite, &beaten);
    assert_eq!(finding.ruling, Ruling::Refuted);
    assert!(finding.evidence[0].starts_with("in 0 of 2 columns"));
    // M5 has no number of ours: it could still be worse.
    let some = records(&suite, &METHODS[..4], |i, _, _| i as f64);
    let cells = Cells::collect(&suite, &some);
    let open = claim(1).replace("M1", "M5");
    assert_eq!(judged(&suite, &cells, &open).1.ruling, Ruling::Undecided);
}

#[test]
fn a_correlation_that_is_not_significant_decides_no_claim_of_significance() {
    let suite = read(&five("", "", ""));
    let claim = |level: f64| {
        format!(
            r#"{{"correlates": {{"table": "t", "x": "x", "y": ["y"], "at_least": 0.0, "p_below": {level}}}}}"#
        )
    };
    // r = 0.9967 over five: t = 0.9967 sqrt(3 / (1 - 0.9967^2)) = 21.2 on 3 degrees of freedom, p = 0.0002.
    assert_eq!(on_paper(&suite, &claim(0.001)).ruling, Ruling::Holds);
    assert_eq!(on_paper(&suite, &claim(0.0001)).ruling, Ruling::Undecided);
}

/// The same records, with seed 2 of a method diverged.
fn without_a_seed(
    suite: &Suite,
    mut records: BTreeMap<RunId, RunRecord>,
    method: &str,
) -> BTreeMap<RunId, RunRecord> {
    let record = records
        .get_mut(&run_spec(suite, "a", method, 2).id())
        .unwrap();
    record.outcome = Outcome::Diverged { step: 7 };
    record.observations.clear();
    records
}

#[test]
fn a_seed_that_diverged_counts_against_its_method_alone_and_is_named() {
    let suite = read(&five("", "", ""));
    let methods = ["M1", "M2", "M3", "M4", "M5"];
    let all = || records(&suite, &methods, |m, _, seed| 10.0 * m as f64 + seed as f64);
    let ours = |records: BTreeMap<RunId, RunRecord>, claim: &str| {
        judged(&suite, &Cells::collect(&suite, &records), claim).1
    };
    let order = |better: &str, than: &str| {
        format!(
            r#"{{"order": {{"table": "t", "columns": ["x"], "better": ["{better}"], "than": ["{than}"]}}}}"#
        )
    };
    let best = r#"{"extreme": {"table": "t", "columns": ["x"], "method": "M5", "is": "best"}}"#;
    let gap = r#"{"gap": {"table": "t", "columns": ["x"], "method": "M5", "from": "M4", "at_least": 0.0}}"#;
    let bound =
        r#"{"bound": {"table": "t", "columns": ["x"], "methods": ["M5"], "at_least": 0.0}}"#;
    let correlates = r#"{"correlates": {"table": "t", "x": "x", "y": ["y"], "at_least": 0.5}}"#;
    for claim in [&order("M5", "M4"), best, gap, bound, correlates] {
        assert_eq!(ours(all(), claim).ruling, Ruling::Holds, "{claim}");
        let lost = ours(without_a_seed(&suite, all(), "M5"), claim);
        assert_eq!(lost.ruling, Ruling::Undecided, "{claim}");
        assert!(
            lost.evidence[0].ends_with("; M5: 1 of 2 seeds: 1 diverged at step 7"),
            "{:?}",
            lost.evidence
        );
    }
    // What the seeds that are left say against the method stands.
    let refuted = ours(without_a_seed(&suite, all(), "M4"), &order("M4", "M5"));
    assert_eq!(refuted.ruling, Ruling::Refuted);
    let spared = ours(without_a_seed(&suite, all(), "M4"), &order("M5", "M4"));
    assert_eq!(spared.ruling, Ruling::Holds);
    assert!(spared.evidence[0].contains("M4: 1 of 2 seeds"));
    // Of the winner's survivors nothing is known.
    let unknown = ours(without_a_seed(&suite, all(), "M5"), &order("M4", "M5"));
    assert_eq!(unknown.ruling, Ruling::Undecided);
}

#[test]
fn a_number_of_one_seed_says_so_in_claims_and_reproduces_no_correlation() {
    let text = five(
        "",
        "",
        "derived_tables:
- {id: d, title: D, place: P, from: t, correlation_with: x, rows: [{title: y, columns: [y], reported: '1.0'}]}
",
    )
    .replace("seeds: [1, 2]", "seeds: [1]");
    let suite = read(&text);
    let methods = ["M1", "M2", "M3", "M4", "M5"];
    let cells = Cells::collect(&suite, &records(&suite, &methods, |m, _, _| m as f64));
    let claim =
        r#"{"bound": {"table": "t", "columns": ["x"], "methods": ["M1"], "at_least": 0.0}}"#;
    let (_, ours) = judged(&suite, &cells, claim);
    assert_eq!(ours.evidence, ["x: M1 1.00; M1: one seed"]);
    let table = &suite.derived_tables[0];
    let weighed = derived_value(&suite, &cells, table, &table.rows[0], &Rule::default())
        .weighed
        .unwrap();
    assert_eq!(weighed.verdict, Verdict::Inconclusive);
    assert!(
        weighed.reason.ends_with("; M1, M2, M3, M4, M5: one seed"),
        "{}",
        weighed.reason
    );
}

#[test]
fn one_of_several_methods_may_be_the_best_in_each_column() {
    let suite = read(&five("", "", ""));
    let claim = |more: &str| {
        format!(
            r#"{{"extreme": {{"table": "t", "columns": ["x", "y"], "method": "M1", {more} "is": "best"}}}}"#
        )
    };
    let cells = Cells::collect(&suite, &BTreeMap::new());
    let paper = |more: &str| judged(&suite, &cells, &claim(more)).0;
    assert_eq!(paper("").ruling, Ruling::Refuted);
    let found = paper(r#""or": ["M5"],"#);
    assert_eq!(found.ruling, Ruling::Holds);
    assert_eq!(found.evidence[0], "x: M5 5.0, next M4 4.0");
}

#[test]
fn our_numbers_are_equal_only_where_they_are_the_same() {
    let suite = read(&five("", "", ""));
    let methods = ["M1", "M2", "M3", "M4", "M5"];
    let cells = Cells::collect(
        &suite,
        &records(&suite, &methods, |m, _, _| m as f64 * 1e-11),
    );
    let claim = r#"{"order": {"table": "t", "columns": ["x"], "better": ["M2"], "than": ["M1"]}}"#;
    let (_, ours) = judged(&suite, &cells, claim);
    assert_eq!(ours.ruling, Ruling::Holds, "{:?}", ours.evidence);
}
