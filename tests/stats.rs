//! Statistics against scipy's values in `tests/golden/metrics`.

use harness::stats::{
    Continuity, Estimate, holm, kolmogorov_smirnov, pearson, regression, sd_from_ci95,
    student_t_cdf, student_t_quantile, welch, wilcoxon, wilcoxon_exact, wilcoxon_normal,
};
use serde_json::Value;

fn golden(name: &str) -> Value {
    let path = format!(
        "{}/tests/golden/metrics/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn cases(name: &str) -> Vec<Value> {
    golden(name)["cases"].as_array().unwrap().clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

#[track_caller]
fn close(ours: f64, theirs: &Value) {
    let theirs = theirs.as_f64().unwrap();
    assert!(
        (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1e-3),
        "{ours} is not {theirs}"
    );
}

#[test]
fn mean_deviation_and_interval_agree_with_scipy() {
    for case in cases("mean_ci") {
        let estimate = Estimate::of(&numbers(&case["x"])).unwrap();
        close(estimate.mean, &case["mean"]);
        close(estimate.sd.unwrap(), &case["sd_ddof1"]);
        close(estimate.standard_error().unwrap(), &case["sem"]);
        close(estimate.ci95().unwrap(), &case["half_width_95"]);
        let back = sd_from_ci95(estimate.ci95().unwrap(), estimate.n as u64).unwrap();
        close(back, &case["sd_ddof1"]);
    }
}

#[test]
fn one_value_has_a_mean_and_no_spread() {
    let estimate = Estimate::of(&[3.5]).unwrap();
    assert_eq!(
        (estimate.mean, estimate.sd, estimate.ci95(), estimate.n),
        (3.5, None, None, 1)
    );
    assert_eq!(Estimate::of(&[]), None);
    assert_eq!(Estimate::of(&[1.0, f64::NAN]), None);
    assert_eq!(sd_from_ci95(0.1, 1), None);
}

#[test]
fn student_t_agrees_with_scipy() {
    let golden = golden("special");
    for case in golden["student_t_cdf"].as_array().unwrap() {
        close(
            student_t_cdf(case["t"].as_f64().unwrap(), case["df"].as_f64().unwrap()),
            &case["cdf"],
        );
    }
    for case in golden["student_t_ppf_975"].as_array().unwrap() {
        close(
            student_t_quantile(0.975, case["df"].as_f64().unwrap()),
            &case["t"],
        );
    }
}

#[test]
fn welch_agrees_with_scipy() {
    for case in cases("welch") {
        let side = |key: &str| Estimate::of(&numbers(&case[key])).unwrap();
        let compared = welch(&side("x"), &side("y")).unwrap();
        close(compared.t(), &case["t"]);
        close(compared.df, &case["df"]);
        close(compared.p(), &case["p_two_sided"]);
        let interval = numbers(&case["ci95_of_mean_difference"]);
        close(
            compared.difference - compared.half_width(0.95),
            &Value::from(interval[0]),
        );
        close(
            compared.difference + compared.half_width(0.95),
            &Value::from(interval[1]),
        );
    }
}

#[test]
fn wilcoxon_agrees_with_scipy_by_enumeration_and_by_the_normal() {
    for case in cases("wilcoxon") {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        let differences: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x - y).collect();
        let tied = case["name"].as_str().unwrap().contains("ties")
            && !case["name"].as_str().unwrap().contains("no_ties");
        for result in case["results"].as_array().unwrap() {
            if result["zero_method"] != "wilcox" {
                continue;
            }
            let corrected = result["continuity_correction"].as_bool().unwrap();
            let ours = match result["method"].as_str().unwrap() {
                // scipy reads the distribution of untied ranks even for tied ones; we enumerate the tied ranks.
                "exact" if tied => continue,
                "exact" => wilcoxon_exact(&differences),
                _ if corrected => wilcoxon_normal(&differences, Continuity::Corrected),
                _ => wilcoxon_normal(&differences, Continuity::Plain),
            };
            let ours = ours.unwrap();
            close(ours.statistic, &result["statistic"]);
            close(ours.p, &result["p"]);
        }
        if let Some(enumerated) = case.get("all_sign_patterns") {
            close(wilcoxon(&differences).unwrap().p, &enumerated["p"]);
        }
    }
}

#[test]
fn wilcoxon_of_five_gains_is_one_in_sixteen() {
    // Only the two patterns of all plus and all minus are as extreme: 2 / 2^5.
    assert_eq!(wilcoxon(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap().p, 0.0625);
    assert_eq!(wilcoxon(&[0.0, 0.0]), None);
}

#[test]
fn kolmogorov_smirnov_agrees_with_scipy_exactly() {
    for case in cases("ks") {
        let ours = kolmogorov_smirnov(&numbers(&case["x"]), &numbers(&case["y"])).unwrap();
        for result in case["results"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|result| result["method"] == "exact")
        {
            close(ours.statistic, &result["statistic"]);
            close(ours.p, &result["p"]);
        }
    }
}

#[test]
fn kolmogorov_smirnov_of_many_values_is_close_to_its_limit() {
    let x: Vec<f64> = (0..4000).map(f64::from).collect();
    let y: Vec<f64> = (0..4000).map(|i| f64::from(i) + 120.5).collect();
    let p = kolmogorov_smirnov(&x, &y).unwrap().p;
    // D = 121/4000, sqrt(2000) D = 1.353; P(K >= 1.353) = 0.0514 by 2 exp(-2 x^2) - 2 exp(-8 x^2).
    assert!((p - 0.0514).abs() < 2e-4, "{p}");
}

#[test]
fn pearson_agrees_with_scipy() {
    for case in cases("pearson") {
        let ours = pearson(&numbers(&case["x"]), &numbers(&case["y"])).unwrap();
        close(ours.r, &case["r"]);
        close(ours.p, &case["p_two_sided"]);
    }
    assert_eq!(pearson(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
}

#[test]
fn a_line_through_points_of_a_line_is_that_line() {
    let line = regression(&[0.0, 1.0, 2.0], &[1.0, 3.0, 5.0]).unwrap();
    assert_eq!((line.intercept, line.slope), (1.0, 2.0));
}

#[test]
fn holm_agrees_with_statsmodels() {
    for case in cases("holm") {
        let adjusted = holm(&numbers(&case["p"]));
        for (ours, theirs) in adjusted.iter().zip(case["adjusted"].as_array().unwrap()) {
            close(*ours, theirs);
        }
    }
}

#[test]
fn numbers_of_any_size_have_the_statistics_of_their_shape() {
    let (x, y) = ([1.0, 2.0, 4.0], [1.5, 1.7, 3.0, 9.0]);
    let of = |values: &[f64], unit: f64| {
        let scaled: Vec<f64> = values.iter().map(|value| value * unit).collect();
        Estimate::of(&scaled).unwrap()
    };
    let plain = welch(&of(&x, 1.0), &of(&y, 1.0)).unwrap();
    // Powers of two change no digit.
    for unit in [2f64.powi(600), 2f64.powi(-600), 2f64.powi(1000)] {
        let scaled = welch(&of(&x, unit), &of(&y, unit)).unwrap();
        assert_eq!((scaled.p(), scaled.df), (plain.p(), plain.df), "{unit}");
        assert_eq!(of(&y, unit).sd.unwrap(), of(&y, 1.0).sd.unwrap() * unit);
        let pair = |unit: f64| {
            let scaled = |values: &[f64]| values.iter().map(|v| v * unit).collect::<Vec<f64>>();
            pearson(&scaled(&x), &scaled(&y[1..])).unwrap()
        };
        assert_eq!(pair(unit), pair(1.0), "{unit}");
        let line = regression(&[unit, 2.0 * unit], &[1.0, 3.0]).unwrap();
        assert_eq!((line.slope * unit, line.intercept), (2.0, -1.0));
    }
    assert_eq!(Estimate::of(&[1.7e308, 1.7e308]).unwrap().mean, 1.7e308);
    assert_eq!(
        Estimate::of(&[1.7e308, -1.7e308]),
        None,
        "no double is that far"
    );
}

#[test]
fn equal_values_do_not_vary_whatever_rounding_makes_of_their_mean() {
    let same = [0.1; 3];
    assert_eq!(Estimate::of(&same).unwrap().sd, Some(0.0));
    assert_eq!(pearson(&same, &[0.7; 3]), None);
    assert_eq!(pearson(&[84.9; 11], &[23.1; 11]), None);
    assert_eq!(regression(&same, &[1.0, 2.0, 3.0]), None);
}
