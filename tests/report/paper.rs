//! The reports of the paper's own numbers that the repository shows.

use std::collections::BTreeSet;

use super::*;

#[test]
fn the_kept_reports_of_the_paper_are_what_this_program_writes() {
    for name in ["vision", "m2d2", "gpt2-xl", "xnli"] {
        // By the path that `make paper` gives, which the report prints.
        let suite = harness::suite::read(Path::new(&format!("suites/tram/{name}.yaml"))).unwrap();
        let kept = Path::new("reports").join(&suite.name).join("paper");
        let folder = std::env::temp_dir().join(format!("paper-{name}-{}", std::process::id()));
        let rendered = render(Report::of_paper(&suite), &folder).unwrap();
        let names: BTreeSet<_> = rendered
            .files
            .iter()
            .map(|file| file.file_name().unwrap().to_owned())
            .collect();
        let there: BTreeSet<_> = std::fs::read_dir(&kept)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(
            there,
            names,
            "{}: `make paper` writes them again",
            kept.display()
        );
        for file in &names {
            let same = std::fs::read(kept.join(file)).unwrap()
                == std::fs::read(folder.join(file)).unwrap();
            assert!(
                same,
                "{} is stale: `make paper` writes it again",
                kept.join(file).display()
            );
        }
        let _ = std::fs::remove_dir_all(folder);
    }
}
