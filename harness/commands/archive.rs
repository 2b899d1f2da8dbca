//! `harness archive`: one file from which every table is made again.

use std::path::Path;

use super::{BadInput, Exit, print_json, shown};
use crate::archive::{Packed, Weights, is_archive, pack};
use crate::store::Store;
use crate::suite::Suite;

pub fn archive(
    suites: &[Suite],
    store: &Path,
    weights: Weights,
    output: Option<&Path>,
    json: bool,
) -> anyhow::Result<Exit> {
    let names: Vec<&str> = suites.iter().map(|suite| suite.name.as_str()).collect();
    let default = format!("{}.tar.gz", names.join("+"));
    let out = output.unwrap_or(Path::new(&default));
    if out.is_dir() || (out.exists() && !is_archive(out)) {
        return Err(BadInput(format!("{} is there and is no archive", out.display())).into());
    }
    let Packed { manifest, damaged } = pack(suites, &Store::open(store)?, weights, out)?;
    for (id, what) in &damaged {
        eprintln!("warning: run {id} is left out: {what}; `harness run` does it again");
    }
    if json {
        let text = serde_json::json!({ "file": out, "manifest": manifest, "damaged": damaged });
        print_json(&text)?;
    } else {
        println!(
            "{}: {} runs that are done, {} that failed, {} files; `harness report {}` makes the tables",
            shown(out),
            manifest.runs,
            manifest.failed,
            manifest.members.len(),
            super::quoted(&shown(out))
        );
    }
    Ok(Exit::Success)
}
