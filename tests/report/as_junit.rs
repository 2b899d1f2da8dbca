//! JUnit XML: what passes, what does not, and that it is valid.

use std::path::Path;
use std::process::Command;

use harness::event::Outcome;
use harness::report::junit;

use super::{folder, has, hostile, report, snapshot};

#[test]
fn the_junit_file_is_what_it_was_and_valid() {
    let text = junit::file(&report());
    valid(&text);
    snapshot("junit.xml", &text);
}

#[test]
fn hostile_names_and_control_characters_make_no_invalid_xml() {
    let report = hostile::report(report());
    let text = junit::file(&report);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(!text.contains("<script") && !text.contains("<!--") && !text.contains('\u{ffff}'));
    valid(&text);
}

#[test]
fn totals_count_the_cases_of_each_kind() {
    let text = junit::file(&report());
    let count = |what: &str| text.matches(what).count();
    let first = text.lines().nth(1).unwrap();
    // 12 runs, 13 reported cells, 1 claim.
    assert_eq!(count("<testcase "), 26);
    assert!(first.contains("tests=\"26\""), "{first}");
    assert!(first.contains(&format!("failures=\"{}\"", count("<failure "))));
    assert!(first.contains("errors=\"0\"") && count("<error ") == 0);
    // Two diverged runs, three cells that deviate, four that diverged, a refuted claim.
    assert_eq!(count("<failure "), 2 + 3 + 4 + 1);
    let mut report = report();
    report.runs.each[1].outcome = Some(Outcome::Killed { signal: 9 });
    let text = junit::file(&report);
    assert!(text.contains("<error type=\"failed\" message=\"killed by signal 9\"/>"));
    assert!(text.lines().nth(1).unwrap().contains("errors=\"1\""));
}

/// Every line is one element, closed in order; and xmllint agrees where it is there.
fn valid(text: &str) {
    let mut open = Vec::new();
    for line in text.lines().skip(1).map(str::trim) {
        let name: String = line
            .trim_start_matches(['<', '/'])
            .chars()
            .take_while(|c| c.is_alphabetic())
            .collect();
        if line.starts_with("</") {
            assert_eq!(open.pop(), Some(name));
        } else if !line.ends_with("/>") && !line.ends_with("</testcase>") {
            open.push(name);
        }
        assert_eq!(line.matches('"').count() % 2, 0, "{line}");
    }
    assert!(open.is_empty());
    if !has("xmllint") {
        return;
    }
    let folder = folder(&format!("junit-{:?}", std::thread::current().id()));
    std::fs::write(folder.join("junit.xml"), text).unwrap();
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report/junit.xsd");
    let output = Command::new("xmllint")
        .args(["--noout", "--schema"])
        .args([&schema, &folder.join("junit.xml")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}
