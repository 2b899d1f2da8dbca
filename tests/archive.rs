//! Archives, and comparing and explaining what they hold, through the program.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use harness::event::{Environment, Observation, Outcome, RunRecord};
use harness::plan::expand;
use harness::store::{Store, Work};
use harness::suite;
use serde_json::Value;
use sha2::{Digest, Sha256};

const SUITE: &str = "suites/smoke.yaml";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("archive")
        .join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a folder");
    dir
}

/// A store with made-up results of the smoke suite: seeds 0 and 1, one of them diverged.
fn store(dir: &Path, shift: f64) -> Store {
    let suite = suite::read(&root().join(SUITE)).expect("a suite");
    let store = Store::open(dir.join("store")).expect("a store");
    for (i, run) in expand(&[suite])
        .runs
        .into_iter()
        .filter(|run| run.spec.seed < 2)
        .enumerate()
    {
        let lease = store.lease(&run.id).expect("a lease").expect("nobody else");
        let attempt = store.begin(lease, &run, Work::Train).expect("an attempt");
        let at = |step: u64, on: &str, metric: &str, value: f64| Observation {
            step,
            on: on.into(),
            metric: metric.into(),
            value,
        };
        let diverged = i == 3;
        let mut observations = vec![
            at(10, "training", "loss", 2.0),
            at(20, "training", "loss", 1.0 + shift),
        ];
        if !diverged {
            observations.push(at(30, "test", "accuracy", 94.0 + i as f64 / 10.0 + shift));
            observations.push(at(30, "test", "loss", 0.23));
        }
        let outcome = if diverged {
            Outcome::Diverged { step: 20 }
        } else {
            Outcome::Completed
        };
        fs::write(attempt.folder().join("model.safetensors"), [i as u8; 64]).expect("room");
        let environment = Environment {
            libtorch: format!("2.13.{}", (shift * 10.0) as u8),
            ..Environment::default()
        };
        let record = RunRecord {
            outcome,
            environment,
            seconds: 1.0 + shift,
            observations,
            no_value: Default::default(),
        };
        attempt.finish(record).expect("a record");
    }
    store
}

fn harness(arguments: &[&str]) -> Output {
    // Where no worker is beside it, as on a machine without libtorch.
    static ALONE: OnceLock<PathBuf> = OnceLock::new();
    let program = ALONE.get_or_init(|| {
        let program = folder("alone").join("harness");
        fs::copy(env!("CARGO_BIN_EXE_harness"), &program).expect("a copy");
        program
    });
    Command::new(program)
        .current_dir(root())
        .args(arguments)
        .output()
        .expect("the program")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn path(path: &Path) -> &str {
    path.to_str().expect("plain")
}

/// The files of a folder with their content.
fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                fs::read(&path).expect("a file"),
            )
        })
        .collect();
    found.sort();
    found
}

#[test]
fn every_table_is_made_again_from_an_archive() {
    let dir = folder("again");
    store(&dir, 0.0);
    let (kept, archive) = (dir.join("store"), dir.join("smoke.tar.gz"));
    let packed = harness(&[
        "archive",
        SUITE,
        "--store",
        path(&kept),
        "--output",
        path(&archive),
    ]);
    assert!(packed.status.success(), "{}", text(&packed));
    let from_store = harness(&[
        "report",
        SUITE,
        "--store",
        path(&kept),
        "--out",
        path(&dir.join("a")),
    ]);
    let from_archive = harness(&["report", path(&archive), "--out", path(&dir.join("b"))]);
    assert!(
        from_store.status.success() && from_archive.status.success(),
        "{}",
        text(&from_archive)
    );
    let (a, b) = (content(&dir.join("a/smoke")), content(&dir.join("b/smoke")));
    assert!(a.len() > 6);
    for ((name, a), (other, b)) in a.iter().zip(&b) {
        assert!(name == other && a == b, "{name} differs");
    }
    assert_eq!(a.len(), b.len());

    // The same store gives the same bytes, and any tool opens them.
    let first = fs::read(&archive).expect("a file");
    harness(&[
        "archive",
        SUITE,
        "--store",
        path(&kept),
        "--output",
        path(&archive),
    ]);
    assert!(first == fs::read(&archive).expect("a file"));
    let listed = Command::new("tar")
        .arg("-tzf")
        .arg(&archive)
        .output()
        .expect("tar");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        listed.starts_with("manifest.json\nsuites/0.yaml\nstore/"),
        "{listed}"
    );
    assert!(!listed.contains("model.safetensors"));
    let status = harness(&["status", path(&archive)]);
    assert!(text(&status).contains("smoke/digits"), "{}", text(&status));

    let with = dir.join("with.tar.gz");
    harness(&[
        "archive",
        SUITE,
        "--store",
        path(&kept),
        "--weights",
        "--output",
        path(&with),
    ]);
    let listed = Command::new("tar")
        .arg("-tzf")
        .arg(&with)
        .output()
        .expect("tar");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("model.safetensors"));
}

#[test]
fn a_comparison_agrees_only_to_the_last_bit() {
    let dir = folder("diff");
    let (a, b) = (dir.join("a"), dir.join("b"));
    store(&a, 0.0);
    store(&b, 0.001);
    let (a, b) = (a.join("store"), b.join("store"));
    let same = harness(&["diff", path(&a), path(&a)]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same));
    assert!(
        text(&same).contains("8 runs on both sides, 8 agree to the last bit"),
        "{}",
        text(&same)
    );

    let other = harness(&["diff", path(&a), path(&b)]);
    assert_eq!(other.status.code(), Some(7));
    let said = text(&other);
    assert!(said.contains("8 runs on both sides, 0 agree"), "{said}");
    assert!(
        said.contains("training parts with loss on training at update 20: 1 | 1.001"),
        "{said}"
    );
    let close = harness(&["diff", path(&a), path(&b), "--tolerance", "0.01"]);
    assert_eq!(close.status.code(), Some(0), "{}", text(&close));
    let absolute = harness(&["diff", path(&a), path(&b), "--absolute", "0.01"]);
    assert_eq!(absolute.status.code(), Some(0));

    let gone = fs::read_dir(&b)
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name().len() == 16)
        .unwrap();
    fs::remove_dir_all(gone.path()).expect("a run");
    let fewer = harness(&["diff", path(&a), path(&b), "--tolerance", "0.01", "--json"]);
    assert_eq!(fewer.status.code(), Some(7));
    let value: Value = serde_json::from_slice(&fewer.stdout).expect("JSON");
    assert_eq!(
        value["only_a"][0],
        gone.file_name().to_string_lossy().as_ref()
    );
    assert_eq!(value["compared"], 7);

    // An archive is as good as the store it was made of.
    let archive = dir.join("a.tar.gz");
    harness(&[
        "archive",
        SUITE,
        "--store",
        path(&a),
        "--output",
        path(&archive),
    ]);
    assert_eq!(
        harness(&["diff", path(&archive), path(&a)]).status.code(),
        Some(0)
    );
    let nothing = harness(&["diff", path(&a), path(&dir.join("nothing"))]);
    assert_eq!(nothing.status.code(), Some(2), "{}", text(&nothing));
}

/// Damages the numbers of a run that completed, and returns its id.
fn damage(store: &Path) -> String {
    let folders = fs::read_dir(store).expect("a store").flatten();
    let mut ids: Vec<String> = folders
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.len() == 16)
        .collect();
    ids.sort();
    let completed = |id: &String| {
        let text = fs::read_to_string(store.join(id).join("metrics.json")).expect("a file");
        text.contains("94.")
    };
    let id = ids.into_iter().find(completed).expect("one completed");
    let path = store.join(&id).join("metrics.json");
    let text = fs::read_to_string(&path).expect("a file");
    fs::write(path, text.replace("94.", "99.")).expect("room");
    id
}

#[test]
fn a_damaged_run_costs_no_other() {
    let dir = folder("damaged");
    store(&dir.join("whole"), 0.0);
    store(&dir, 0.0);
    let (whole, kept) = (dir.join("whole/store"), dir.join("store"));
    let id = damage(&kept);
    let out = dir.join("out");
    let at = ["--store", path(&kept)];
    let reported = harness(&["report", SUITE, at[0], at[1], "--out", path(&out)]);
    let said = text(&reported);
    assert_eq!(reported.status.code(), Some(0), "{said}");
    for part in [
        format!("warning: run {id} counts as failed"),
        format!("again: harness run {SUITE} --store"),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    let cells = fs::read_to_string(out.join("smoke/cells.csv")).expect("a table");
    assert!(
        cells.contains("1 failed: its files are damaged: metrics.json is damaged"),
        "{cells}"
    );
    assert!(
        !cells.contains("99.") && !cells.contains(path(&dir)),
        "{cells}"
    );

    let status = harness(&["status", SUITE, at[0], at[1], "--json"]);
    let value: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    let standing = |id: &str| {
        let mut runs = value.as_array().unwrap().iter();
        runs.find(|run| run["id"] == id).unwrap()["standing"].clone()
    };
    assert_eq!(standing(&id), "damaged");
    let status = text(&harness(&["status", SUITE, at[0], at[1]]));
    assert!(status.contains("again: harness run"), "{status}");
    let planned = harness(&["plan", SUITE, at[0], at[1], "--json"]);
    let planned: Value = serde_json::from_slice(&planned.stdout).expect("JSON");
    let runs = planned["runs"].as_array().expect("runs").iter();
    assert_eq!(runs.filter(|run| run["done"] == true).count(), 7);

    let archive = dir.join("damaged.tar.gz");
    let packed = harness(&["archive", SUITE, at[0], at[1], "-o", path(&archive)]);
    let said = text(&packed);
    assert_eq!(packed.status.code(), Some(0), "{said}");
    assert!(
        said.contains(&format!("warning: run {id} is left out")),
        "{said}"
    );
    assert!(said.contains("7 runs that are done"), "{said}");
    let again = harness(&["report", path(&archive), "--out", path(&dir.join("again"))]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));

    let differ = harness(&["diff", path(&whole), path(&kept)]);
    assert_eq!(differ.status.code(), Some(7));
    let said = text(&differ);
    assert!(said.contains("7 runs on both sides, 7 agree"), "{said}");
    assert!(said.contains(&format!("{id} cannot be compared")), "{said}");
    let itself = harness(&["diff", path(&kept), path(&kept)]);
    assert_eq!(itself.status.code(), Some(7), "{}", text(&itself));
}

#[test]
fn a_damaged_record_of_a_failed_attempt_stops_no_status() {
    let dir = folder("failed");
    store(&dir, 0.0);
    let kept = dir.join("store");
    let suite = suite::read(&root().join(SUITE)).expect("a suite");
    let mut runs = expand(&[suite]).runs.into_iter();
    let id = runs.find(|run| run.spec.seed == 2).expect("one not run").id;
    let failed = kept.join(".failed").join(&id.0);
    fs::create_dir_all(&failed).expect("a folder");
    fs::write(failed.join("outcome.json"), "{").expect("room");
    let at = ["--store", path(&kept)];
    let said = text(&harness(&["status", SUITE, at[0], at[1]]));
    assert!(said.contains("outcome.json is damaged"), "{said}");
    assert!(said.contains("again: harness run"), "{said}");
    let archive = dir.join("a.tar.gz");
    for arguments in [
        &["archive", SUITE, at[0], at[1], "-o", path(&archive)][..],
        &["status", path(&archive)],
        &["status", path(&archive), "--watch"],
        &["report", path(&archive), "--out", path(&dir.join("out"))],
        &["explain", &id.0, path(&archive)],
    ] {
        let output = harness(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
}

#[test]
fn where_suites_are_wanted_an_archive_says_that_it_is_one() {
    let dir = folder("refused");
    store(&dir, 0.0);
    let (kept, archive) = (dir.join("store"), dir.join("smoke.tar.gz"));
    harness(&[
        "archive",
        SUITE,
        "--store",
        path(&kept),
        "-o",
        path(&archive),
    ]);
    for command in [
        "run", "validate", "lint", "plan", "fetch", "data", "archive",
    ] {
        let refused = harness(&[command, path(&archive)]);
        let said = text(&refused);
        assert_eq!(refused.status.code(), Some(2), "{command}: {said}");
        let part =
            "smoke.tar.gz is an archive, which `report`, `status`, `explain` and `diff` read";
        assert!(said.contains(part), "{command}: {said}");
        let help = text(&harness(&[command, "--help"]));
        assert!(!help.contains("or one archive"), "{command}: {help}");
    }
    for command in ["report", "status", "explain"] {
        let help = text(&harness(&[command, "--help"]));
        assert!(help.contains("or one archive"), "{command}: {help}");
    }
}

#[test]
fn an_observation_that_one_side_lacks_is_named() {
    let dir = folder("lacking");
    let (a, b) = (dir.join("a"), dir.join("b"));
    let id = one_run(&a, &[(10, 2.0), (20, 0.0), (30, 1.5)]);
    one_run(&b, &[(10, 2.0), (20, -0.0)]);
    let (a, b) = (a.join("store"), b.join("store"));
    let differ = harness(&["diff", path(&a), path(&b)]);
    let said = text(&differ);
    assert_eq!(differ.status.code(), Some(7), "{said}");
    for part in [
        format!("{id} differs"),
        "observed by the first alone: loss on training at update 30: 1.5".into(),
        "2 values differ".into(),
        "training parts with loss on training at update 20: 0 | -0".into(),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    let json = harness(&["diff", path(&b), path(&a), "--tolerance", "0.1", "--json"]);
    assert_eq!(json.status.code(), Some(7));
    let value: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let run = &value["differ"][&id];
    assert_eq!(run["alone_b"][0]["step"], 30, "{run}");
    assert_eq!(run["values"], 1);
}

/// A store with one run that observed these losses in training.
fn one_run(dir: &Path, losses: &[(u64, f64)]) -> String {
    let suite = suite::read(&root().join(SUITE)).expect("a suite");
    let run = expand(&[suite]).runs.remove(0);
    let store = Store::open(dir.join("store")).expect("a store");
    let lease = store.lease(&run.id).expect("a lease").expect("nobody else");
    let attempt = store.begin(lease, &run, Work::Train).expect("an attempt");
    let seen = |&(step, value): &(u64, f64)| Observation {
        step,
        on: "training".into(),
        metric: "loss".into(),
        value,
    };
    let record = RunRecord {
        outcome: Outcome::Completed,
        environment: Environment::default(),
        seconds: 1.0,
        observations: losses.iter().map(seen).collect(),
        no_value: Default::default(),
    };
    attempt.finish(record).expect("a record");
    run.id.0
}

#[test]
fn a_number_tells_what_it_is_made_of() {
    let dir = folder("explain");
    store(&dir, 0.0);
    let kept = dir.join("store");
    let cell = harness(&[
        "explain",
        "digits/SAM/accuracy",
        SUITE,
        "--store",
        path(&kept),
    ]);
    let said = text(&cell);
    assert!(cell.status.success(), "{said}");
    for part in [
        "paper    94.30 ± 1.55, over 3 seeds (suites/smoke.yaml:",
        "of 3 seeds",
        "seed 0",
        "not run",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        said.contains("--only table=digits --only method=SAM"),
        "{said}"
    );
    let run = said
        .lines()
        .find_map(|line| line.strip_prefix("seed 0"))
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap();
    let explained = harness(&["explain", &run[..8], SUITE, "--store", path(&kept)]);
    let said = text(&explained);
    assert!(explained.status.success(), "{said}");
    for part in [
        &format!("run {run}: SAM on digits, seed 0"),
        "it feeds digits/SAM/accuracy of smoke",
        "rho: 0.05",
        "to make it again: harness run suites/smoke.yaml",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let all = ["SGD", "SAM", "TRAM-x", "TRAM-theta_prev"].map(|method| {
        let cell = format!("digits/{method}/accuracy");
        text(&harness(&["explain", &cell, SUITE, "--store", path(&kept)]))
    });
    assert_eq!(
        all.concat()
            .matches("accuracy on test: diverged at step 20")
            .count(),
        1
    );
    let near = harness(&[
        "explain",
        "digits/Sam/accuracy",
        SUITE,
        "--store",
        path(&kept),
    ]);
    assert_eq!(near.status.code(), Some(2));
    assert!(
        text(&near).contains("did you mean `SAM`?"),
        "{}",
        text(&near)
    );
    let nothing = harness(&[
        "explain",
        "digits/SGD/loss",
        SUITE,
        "--store",
        path(&dir.join("empty")),
    ]);
    assert!(nothing.status.success() && text(&nothing).contains("none of 3 seeds has a value"));
    let json = harness(&[
        "explain",
        "digits/SGD/loss",
        SUITE,
        "--store",
        path(&kept),
        "--json",
    ]);
    let value: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(value["runs"].as_array().unwrap().len(), 3);
}

/// An archive of one file whose name, size and kind are as given, with a manifest that says so.
fn forged(out: &Path, name: &str, kind: tar::EntryType, manifest: impl Fn(&mut Value)) {
    let body = b"body";
    let hash = |bytes: &[u8]| -> String {
        Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    let suite = fs::read(root().join(SUITE)).expect("a suite");
    let mut value = serde_json::json!({
        "format": 1, "harness": "0", "runs": 0, "failed": 0,
        "suites": [{"path": SUITE, "member": "suites/0.yaml"}],
        "members": [
            {"name": "suites/0.yaml", "size": suite.len(), "sha256": hash(&suite)},
            {"name": name, "size": if kind == tar::EntryType::Regular { 4 } else { 0 }, "sha256": hash(body)},
        ],
    });
    manifest(&mut value);
    let mut tar = tar::Builder::new(GzEncoder::new(
        fs::File::create(out).expect("a file"),
        Compression::fast(),
    ));
    let mut append = |name: &str, kind: tar::EntryType, body: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        if kind != tar::EntryType::Regular {
            header.set_link_name("/etc/passwd").expect("a link");
        }
        header.set_cksum();
        tar.append(&header, body).expect("room");
    };
    append(
        "manifest.json",
        tar::EntryType::Regular,
        value.to_string().as_bytes(),
    );
    append("suites/0.yaml", tar::EntryType::Regular, &suite);
    append(
        name,
        kind,
        if kind == tar::EntryType::Regular {
            body
        } else {
            b""
        },
    );
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
}

#[test]
fn a_hostile_or_damaged_archive_is_refused() {
    let dir = folder("hostile");
    let file = dir.join("forged.tar.gz");
    let regular = tar::EntryType::Regular;
    let refused = |part: &str| {
        let output = harness(&["report", path(&file), "--out", path(&dir.join("out"))]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(part), "{part}: {}", text(&output));
        assert!(!dir.join("out").exists());
    };
    forged(&file, "store/x", regular, |_| {});
    let good = harness(&["report", path(&file), "--out", path(&dir.join("good"))]);
    assert!(good.status.success(), "{}", text(&good));
    for name in [
        "../escaped",
        "/tmp/escaped",
        "store/../../escaped",
        "other/x",
        "store//x",
    ] {
        forged(&file, name, regular, |_| {});
        refused("neither below `suites/` nor below `store/`");
    }
    forged(&file, "store/link", tar::EntryType::Symlink, |_| {});
    refused("does not hold `store/link` where its manifest says");
    forged(&file, "store/x", regular, |value| {
        value["members"][1]["size"] = 5.into()
    });
    refused("does not hold `store/x`");
    forged(&file, "store/x", regular, |value| {
        value["members"][1]["sha256"] = "00".into()
    });
    refused("its content is not what the manifest says");
    forged(&file, "store/x", regular, |value| {
        value["members"][1]["size"] = u64::MAX.into()
    });
    refused("claims to hold more");
    forged(&file, "store/x", regular, |value| {
        drop(value["members"].as_array_mut().unwrap().pop())
    });
    refused("holds more than its manifest says");
    forged(&file, "store/x", regular, |value| {
        value["format"] = 9.into()
    });
    refused("its format is 9, and this program reads 1");
    forged(&file, "suites/0.yaml", regular, |_| {});
    refused("names `suites/0.yaml` twice");

    forged(&file, "store/x", regular, |_| {});
    let whole = fs::read(&file).expect("a file");
    for length in [3, whole.len() / 3, whole.len() - 9] {
        fs::write(&file, &whole[..length]).expect("room");
        let output = harness(&["report", path(&file), "--out", path(&dir.join("out"))]);
        assert_eq!(output.status.code(), Some(2), "{length}: {}", text(&output));
    }
    for at in (20..whole.len()).step_by(97) {
        let mut flipped = whole.clone();
        flipped[at] ^= 16;
        fs::write(&file, flipped).expect("room");
        let output = harness(&["status", path(&file)]);
        assert!(
            matches!(output.status.code(), Some(0 | 2)),
            "{at}: {}",
            text(&output)
        );
    }
}
