//! Data preparation against the facts stored beside small stand-ins for the data sets, and tokenizers against ids of
//! the reference implementation.
//!
//! `HARNESS_GOLDEN_DATA` and `HARNESS_GOLDEN_MODELS` name other folders with the same layout.

#[path = "golden_data/images.rs"]
mod images;
#[path = "golden_data/text.rs"]
mod text;
#[path = "golden_data/tokenizers.rs"]
mod tokenizers;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use training::tasks::count;
use training::tasks::portion::{Portion, Table};

fn golden(variable: &str, name: &str) -> PathBuf {
    let given = std::env::var_os(variable).map(PathBuf::from);
    given.unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden")
            .join(name)
    })
}

fn data() -> PathBuf {
    golden("HARNESS_GOLDEN_DATA", "data")
}

fn models() -> PathBuf {
    golden("HARNESS_GOLDEN_MODELS", "models")
}

fn json(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// A folder for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("harness-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A portion with what is known of it. Names begin with the data set; where that has one configuration, they may leave
/// out its name.
struct Known {
    name: String,
    portion: Portion,
    facts: Map<String, Value>,
}

impl Known {
    fn integers(&self, fact: &str) -> Option<Vec<i64>> {
        let values = self.facts.get(fact)?.as_array()?;
        values.iter().map(Value::as_i64).collect()
    }
}

fn known() -> Vec<Known> {
    let expected = json(&data().join("expected.json"));
    let facts = expected.as_object().expect("portions with facts");
    assert!(!facts.is_empty(), "no facts in {}", data().display());
    let known = facts.iter().map(|(name, facts)| {
        let (set, portion) = name.split_once('/').expect("a data set and a portion");
        let folder = data().join(set);
        let found = Portion::find(&folder, portion)
            .or_else(|_| Portion::find(&folder, name))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Known {
            name: name.clone(),
            portion: found,
            facts: facts.as_object().expect("facts").clone(),
        }
    });
    known.collect()
}

#[test]
fn portions_have_the_rows_shards_and_row_groups_that_are_known() {
    for Known {
        name,
        portion,
        facts,
    } in known()
    {
        let rows = count::rows(&portion).unwrap();
        assert_eq!(Some(rows), facts["rows"].as_u64(), "{name}");
        if let Some(shards) = facts.get("shards") {
            assert_eq!(
                Some(portion.paths().len() as u64),
                shards.as_u64(),
                "{name}"
            );
        }
        if let Some(groups) = facts.get("row_groups") {
            let mut found = 0;
            let any = ["label", "fine_label"]
                .into_iter()
                .find(|column| facts.contains_key(*column));
            let each = |_: Table| {
                found += 1;
                Ok(ControlFlow::Continue(()))
            };
            portion
                .tables(&any.into_iter().collect::<Vec<_>>(), each)
                .unwrap();
            assert_eq!(Some(found), groups.as_u64(), "{name}");
        }
    }
}

#[test]
fn labels_come_in_the_order_that_is_known() {
    let mut checked = 0;
    for known in known() {
        for column in ["label", "fine_label", "coarse_label"] {
            let Some(expected) = known.integers(column) else {
                continue;
            };
            let mut found = Vec::new();
            let each = |table: Table| {
                found.extend(table.labels(column, i64::MAX)?);
                Ok(ControlFlow::Continue(()))
            };
            known.portion.tables(&[column], each).unwrap();
            assert_eq!(found, expected, "{} {column}", known.name);
            checked += 1;
        }
    }
    assert!(checked > 0, "no labels are known");
}
