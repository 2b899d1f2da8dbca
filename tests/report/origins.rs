//! What numbers rest on: their seeds, their runs and where these ran, also of numbers that are over several.

use super::*;

/// A correlation over seeds as a column, and records in which every method has a number.
fn correlated() -> (Suite, BTreeMap<RunId, RunRecord>) {
    let mean = "  - {id: mean, title: Mean, mean: [acc, far]}\n";
    let text = SUITE
        .replace(
            mean,
            &format!("{mean}  - {{id: pearson, correlation: {{of: acc, with: [far]}}}}\n"),
        )
        .replace("'- 2.30 - -'", "'- 2.30 - - -'")
        .replace("±0.5'}", "±0.5 0.9'}");
    let suite = parse(Path::new("suites/hand-made.yaml"), &text).unwrap();
    let mut records = records(&suite);
    for seed in [1, 2, 3] {
        let id = |method: &str| run_spec(&suite, "digits", method, seed).id();
        let mut record = records[&id("SGD")].clone();
        let last = record.observations.len() - 3;
        for seen in &mut record.observations[last..] {
            seen.value += 0.1 * seed as f64;
        }
        records.insert(id("$(ASAM)"), record);
    }
    (suite, records)
}

#[test]
fn correlations_carry_the_signs_of_the_runs_they_are_made_of() {
    let (suite, records) = correlated();
    let report = Report::of(&suite, &expand(std::slice::from_ref(&suite)), &records);
    let table = &report.tables[0];
    let column = table
        .columns
        .iter()
        .position(|head| head.id == "pearson")
        .unwrap();
    let of_seeds = &table.rows[1].cells[column];
    assert!(of_seeds.estimate.is_some() && of_seeds.origin.signs() == "†°");
    assert_eq!(of_seeds.runs.len(), 3);
    // Over SGD with three runs, SAM with two and ASAM with three.
    let of_methods = &report.derived[0].rows[0];
    assert!(of_methods.value.ours.is_some() && of_methods.origin.signs() == "†°");
    assert_eq!((of_methods.runs.len(), of_methods.absent.len()), (8, 1));

    let page = html::page(&report);
    let hover =
        "SGD: seed 1 (76bee849e2bf1e39), seed 2 (8e49f0e3d24d452d), seed 3 (c826fe100409ac4c)";
    assert!(page.contains(hover), "{page}");
    assert!(page.contains("SAM`: seed 3: diverged at step 40 (194bca70ce73338c)"));
    let cells = csv::cells(&report);
    for start in [
        "hand-made,digits,trained,SGD,pearson,",
        "hand-made,corr,,Far,",
    ] {
        let line = cells.lines().find(|line| line.starts_with(start)).unwrap();
        assert!(
            line.contains("76bee849e2bf1e39") && line.ends_with(",build threads,yes"),
            "{line}"
        );
    }
    let plain = Style {
        colours: false,
        width: 100,
    };
    for text in [markdown::page(&report), terminal::page(&report, plain)] {
        let line = text
            .lines()
            .rfind(|line| line.contains("Far") && line.contains("0.950"));
        assert!(line.unwrap_or_default().contains("†°"), "{text}");
    }
    assert!(latex::tables(&report).contains("\\dagger\\circ"));
}

#[test]
fn a_name_is_no_formula_and_turns_no_text() {
    let mut report = report();
    report.tables[0].rows[1].method = "=SUM(A1:A9)".into();
    report.tables[0].rows[1].title = "user\u{202e}gpj".into();
    let cells = csv::cells(&report);
    assert!(
        cells.contains(",'=SUM(A1:A9),acc,") && cells.contains(",-6.1"),
        "{cells}"
    );
    assert!(html::page(&report).contains("user gpj"));
    assert_eq!(terminal::plain("user\u{202e}gpj"), "user gpj");
}

#[test]
fn a_table_is_sorted_by_our_numbers_and_a_cell_without_one_has_nothing_to_sort_by() {
    let page = html::page(&report());
    assert!(page.contains("data-value=\"90.09999999999998\"") && page.contains("data-value=\"\""));
    assert!(
        !page.contains("data-value=\"91\""),
        "the paper's number of ASAM"
    );
}

#[test]
fn a_figure_says_what_it_leaves_out() {
    let report = report();
    let svg = |file: &str| {
        let mut figures = report.figures.iter();
        let figure = figures.find(|figure| figure.file == file).unwrap();
        // plotters puts each text on a line of its own.
        figure.svg.clone().unwrap().replace('\n', "")
    };
    let gone = "(1 diverged at step 12, 2 not run)";
    assert!(svg("scatter").contains(gone), "{}", svg("scatter"));
    assert!(svg("curves").contains("Bands: ±1 standard deviation over seeds."));
    assert!(svg("curves").contains("Not every seed to the end"));
    assert!(svg("digits-differences").contains("diverged"));
}
