//! Code, hardware and software: what the paper says, and what runs found.

use super::Provenance;
use crate::suite::Suite;

/// What, the paper's, and ours: a line for each property that a run has told.
pub(super) fn facts(suite: &Suite, provenance: &Provenance) -> Vec<[String; 3]> {
    let citation = &suite.citation;
    let mut rows = Vec::new();
    for (what, theirs, properties) in [
        (
            "code",
            &citation.code,
            &["harness", "revision", "build"][..],
        ),
        (
            "hardware",
            &citation.hardware,
            &[
                "device",
                "processor",
                "cores",
                "memory",
                "threads",
                "processes",
                "instruction set",
            ],
        ),
        (
            "software",
            &citation.software,
            &[
                "libtorch", "tch", "CUDA", "cuDNN", "driver", "compiler", "system", "MKL_CBWR",
            ],
        ),
    ] {
        let theirs = theirs.as_deref().unwrap_or("the suite does not say");
        let ours = provenance.properties.iter().chain(&provenance.beside);
        let ours: Vec<String> = ours
            .filter(|(name, _)| properties.contains(name))
            .map(|(name, values)| {
                let values: Vec<&str> = values.keys().map(String::as_str).collect();
                format!("{name}: {}", values.join(" and "))
            })
            .collect();
        let ours = match ours.is_empty() {
            true => "nothing has run".to_string(),
            false => ours.join("; "),
        };
        rows.push([what.into(), theirs.into(), ours]);
    }
    rows
}
