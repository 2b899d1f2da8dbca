//! Damaged and forged checkpoints and weights: training goes on from a checkpoint that is whole, with its bits, or begins
//! anew, and says why; weights are read or refused. Nothing panics or asks for much more memory than the file is long.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::event::{Event, Outcome};
use harness::suite::ModelConfig;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tch::Device;
use training::models::{Head, Network};
use training::train::{Stop, train};

use crate::damage::{Change, apply, change, check, fuzz};
use crate::forge::{Edit, Forgery, edit, forgery, joined, parts};
use crate::{ALONE, Place, families, method, notes, resumed, said, spec};

/// The checkpoints that there are, and the update after which an attempt ends.
const OLDER: u64 = 1;
const LATEST: u64 = 4;

/// The system's allocator, which remembers the largest piece that was asked of it. What is asked for without being
/// written to costs no memory that the system would show.
struct Watched;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to the system's allocator as it is.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static WATCHED: Watched = Watched;

/// What is done to a checkpoint.
#[derive(Clone, Debug)]
enum Damage {
    /// To the bytes of its JSON file.
    Text(Vec<Change>),
    /// To what its JSON file says.
    Json(Vec<Edit>),
    /// To its tensors.
    Tensors(Vec<Forgery>),
}

/// Whether the CRCs are made to fit afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Signature {
    Old,
    New,
}

fn damage() -> impl Strategy<Value = (Damage, Signature)> {
    let some = 1..4;
    let damage = prop_oneof![
        1 => proptest::collection::vec(change(), some.clone()).prop_map(Damage::Text),
        2 => proptest::collection::vec(edit(), some.clone()).prop_map(Damage::Json),
        4 => proptest::collection::vec(forgery(), some).prop_map(Damage::Tensors),
    ];
    let signature = prop_oneof![1 => Just(Signature::Old), 3 => Just(Signature::New)];
    (damage, signature)
}

fn crc(bytes: &[u8]) -> Value {
    format!("{:08x}", crc32c::crc32c(bytes)).into()
}

/// The files of a folder by their names.
type Files = BTreeMap<String, Vec<u8>>;

fn files(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    });
    entries.collect()
}

/// Damages the checkpoint at an update.
fn hurt(files: &mut Files, step: u64, (damage, signature): &(Damage, Signature)) {
    let manifest = format!("update-{step}.json");
    let tensors = format!("update-{step}.safetensors");
    match damage {
        Damage::Text(changes) => {
            let text = files.get_mut(&manifest).unwrap();
            changes.iter().for_each(|change| apply(text, change));
        }
        Damage::Json(edits) => {
            let mut json: Value = serde_json::from_slice(&files[&manifest]).unwrap();
            let checkpoint = &mut json["checkpoint"];
            edits.iter().for_each(|edit| edit.make(checkpoint));
            files.insert(manifest.clone(), json.to_string().into());
        }
        Damage::Tensors(forgeries) => {
            let whole = files[&tensors].clone();
            let forged = forgeries.iter().fold(whole, |file, one| one.make(&file));
            files.insert(tensors.clone(), forged);
        }
    }
    if *signature == Signature::New {
        sign(files, step);
    }
}

/// Makes the CRCs of a checkpoint fit, if its JSON file is one.
fn sign(files: &mut Files, step: u64) {
    let manifest = format!("update-{step}.json");
    let tensors = format!("update-{step}.safetensors");
    if let Ok(mut json) = serde_json::from_slice::<Value>(&files[&manifest])
        && let Some(checkpoint) = json.get_mut("checkpoint").and_then(Value::as_object_mut)
    {
        checkpoint.insert("tensors".into(), crc(&files[&tensors]));
        json["crc32c"] = crc(json["checkpoint"].to_string().as_bytes());
        files.insert(manifest, json.to_string().into());
    }
}

/// Asks to stop after the first update that is made.
struct AtOnce;

impl Stop for AtOnce {
    fn listen(&self) {}
    fn ignore(&self) {}
    fn wanted(&self, _: u64) -> bool {
        true
    }
}

/// What an attempt of one update made of the checkpoints it found.
#[derive(Debug)]
struct Attempt {
    from: Option<u64>,
    notes: String,
    /// What belongs to the run, and the bytes of all tensors after the update; none of a run that diverged.
    state: (Vec<Event>, Option<Vec<u8>>),
}

fn attempt(place: &Place, checkpoints: &Files) -> Attempt {
    let folder = place.checkpoints();
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in checkpoints {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let job = harness::plan::Job {
        checkpoints: Some(harness::plan::Checkpoints { folder, every: 1e9 }),
        ..place.job.clone()
    };
    let mut events = Vec::new();
    let outcome = train(&job, &place.out(), &AtOnce, &mut |event| events.push(event));
    let outcome = outcome.unwrap_or_else(|error| panic!("the run fails: {error:#}"));
    assert!(
        matches!(outcome, None | Some(Outcome::Diverged { .. })),
        "{outcome:?}"
    );
    let from = resumed(&events);
    let next = from.unwrap_or(0) + 1;
    let tensors = format!("update-{next}.safetensors");
    Attempt {
        from,
        notes: notes(&events),
        state: (
            said(&events),
            fs::read(place.checkpoints().join(tensors)).ok(),
        ),
    }
}

#[test]
fn a_damaged_or_forged_checkpoint_is_passed_over_for_one_that_is_whole_or_for_the_start() {
    let suite = families();
    let mut spec = spec(&suite, "digits", method("tram_theta_prev"));
    spec.training.as_mut().unwrap().batch = 16;
    let place = Place::new("fuzz", &suite, spec);
    place.attempt(1e9, Some(OLDER));
    place.attempt(1e9, Some(LATEST));
    let whole = files(&place.checkpoints());
    assert_eq!(whole.len(), 4, "two checkpoints");
    let older = |(name, _): &(&String, &Vec<u8>)| name.contains(&format!("-{OLDER}."));
    let only_older = whole.iter().filter(older);
    let sound = [
        attempt(&place, &Files::new()),
        attempt(
            &place,
            &only_older.map(|(a, b)| (a.clone(), b.clone())).collect(),
        ),
        attempt(&place, &whole),
    ];
    let froms = sound.each_ref().map(|attempt| attempt.from);
    assert_eq!(froms, [None, Some(OLDER), Some(LATEST)]);
    let longest: usize = whole.values().map(Vec::len).sum();

    let froms: RefCell<BTreeMap<Option<u64>, u64>> = RefCell::default();
    let older_too = proptest::option::weighted(0.2, damage());
    check((damage(), older_too), |(latest, older)| {
        let mut damaged = whole.clone();
        hurt(&mut damaged, LATEST, &latest);
        if let Some(older) = &older {
            hurt(&mut damaged, OLDER, older);
        }
        LARGEST.store(0, Ordering::Relaxed);
        let found = attempt(&place, &damaged);
        *froms.borrow_mut().entry(found.from).or_default() += 1;
        let largest = LARGEST.load(Ordering::Relaxed);
        assert!(
            largest < (16 << 20) + 8 * longest,
            "{largest} bytes at once"
        );

        for (step, damage) in [(LATEST, Some(&latest)), (OLDER, older.as_ref())] {
            let name = |end: &str| format!("update-{step}.{end}");
            let is_signed = damage.is_some_and(|(_, signature)| *signature == Signature::New);
            if found.from == Some(step) {
                // What is signed anew may be what another run like this could have written.
                if is_signed {
                    return;
                }
                let name = name("safetensors");
                assert!(damaged[&name] == whole[&name], "the CRC-32C finds it");
                break;
            }
            let passed_over = format!("the checkpoint at update {step} is passed over: ");
            assert!(found.notes.contains(&passed_over), "{}", found.notes);
        }
        let sound = sound.iter().find(|sound| sound.from == found.from);
        let sound = sound.unwrap_or_else(|| panic!("from {:?}", found.from));
        assert!(
            found.state == sound.state,
            "other bits from {:?}: {}",
            found.from,
            found.notes
        );
    });
    let froms = froms.into_inner();
    println!("attempts by the update they go on from: {froms:?}");
    assert_eq!(froms.len(), 3, "every way out is taken: {froms:?}");
}

#[test]
fn what_no_run_like_this_can_have_written_is_passed_over_whoever_signs_it() {
    let suite = families();
    let spec = spec(&suite, "digits", method("tram_theta_prev"));
    let place = Place::new("signed", &suite, spec);
    place.attempt(1e9, Some(LATEST));
    let whole = files(&place.checkpoints());
    let (manifest, tensors) = ("update-4.json", "update-4.safetensors");
    let json: Value = serde_json::from_slice(&whole[manifest]).unwrap();
    let (header, values) = parts(&whole[tensors]).unwrap();
    let finished = json!({"event": "finished", "outcome": "completed"});

    type Change<'a> = &'a dyn Fn(&mut Value, &mut Map<String, Value>);
    let cases: [(&str, Change); 13] = [
        ("ends beyond the file", &|_, header| {
            let (to, length) = (u64::MAX - 7, 1_u64 << 50);
            let last = header.values_mut().last().unwrap();
            *last = json!({"dtype": "U8", "shape": [length], "data_offsets": [to - length, to]});
        }),
        ("which is not its shape", &|_, header| {
            header["sum.losses"]["shape"] = json!([0, 1_i64 << 62, 1_i64 << 62]);
        }),
        ("begins at byte", &|_, header| {
            header["updates"] = header["seed"].clone();
        }),
        ("its `updates` is not [] in Int64", &|_, header| {
            header["updates"]["shape"] = json!([1, 1]);
        }),
        ("its `seed` cannot be", &|_, header| {
            let updates = std::mem::replace(&mut header["updates"], Value::Null);
            header["updates"] = std::mem::replace(&mut header["seed"], updates);
        }),
        ("lacks `sum.losses`", &|_, header| {
            let entry = header.shift_remove("sum.losses").unwrap();
            header.insert("sums".into(), entry);
        }),
        ("`theta.", &|_, header| {
            let theta = header.keys().find(|name| name.starts_with("theta."));
            let theta = theta.unwrap().clone();
            header[&theta]["dtype"] = json!("I32");
        }),
        ("it belongs to update 5", &|json, _| json["step"] = json!(5)),
        ("it took -1 seconds", &|json, _| {
            json["seconds"] = json!(-1.0);
        }),
        ("told after -1 seconds", &|json, _| {
            json["told"][0]["seconds"] = json!(-1.0);
        }),
        ("told at update 99", &|json, _| {
            json["told"][0]["event"]["step"] = json!(99);
        }),
        ("training tells no such thing", &|json, _| {
            json["told"][0]["event"] = finished.clone();
        }),
        ("training tells no such thing", &|json, _| {
            json["told"][0]["event"] =
                json!({"event": "again", "seconds": 1.0, "told": finished.clone()});
        }),
    ];
    for (why, change) in cases {
        let (mut json, mut header) = (json.clone(), header.clone());
        change(&mut json["checkpoint"], &mut header);
        let mut forged = Files::from([
            (manifest.into(), json.to_string().into()),
            (
                tensors.into(),
                joined(Value::from(header).to_string().as_bytes(), values),
            ),
        ]);
        sign(&mut forged, LATEST);
        let found = attempt(&place, &forged);
        assert_eq!(found.from, None, "{why}");
        let passed_over = format!("the checkpoint at update {LATEST} is passed over: ");
        assert!(
            found.notes.contains(&passed_over) && found.notes.contains(why),
            "{why}: {}",
            found.notes
        );
    }
    let mut same = whole.clone();
    sign(&mut same, LATEST);
    assert_eq!(same, whole, "the signature is the program's own");
}

/// A network of every family and the file of its weights.
fn networks() -> Vec<(Network, Vec<u8>)> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/models");
    let of = |family: &str| {
        let config = fs::read(models.join(family).join("config.json")).unwrap();
        let config: ModelConfig = serde_json::from_slice(&config).unwrap();
        let network = Network::new(&config, None, 0, Device::Cpu).unwrap();
        let file = fs::read(models.join(family).join("model.safetensors")).unwrap();
        (network, file)
    };
    ["vit-tiny", "gpt2-tiny", "xlmr-tiny"].map(of).into()
}

/// Loads `bytes` as weights, with either head.
fn load(network: &Network, path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    for head in [Head::Fresh, Head::Stored] {
        LARGEST.store(0, Ordering::Relaxed);
        let loaded = network.load(path, head);
        let largest = LARGEST.load(Ordering::Relaxed);
        assert!(
            largest < (1 << 16) + 8 * bytes.len(),
            "{largest} bytes at once for a file of {}",
            bytes.len()
        );
        if let Err(error) = loaded {
            let text = error.to_string();
            assert!(text.starts_with(&path.display().to_string()), "{text}");
        }
    }
}

#[test]
fn damaged_weights_are_read_or_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-damaged.safetensors");
    for (network, file) in networks() {
        fuzz(vec![file], |bytes| load(&network, &path, bytes));
    }
}

#[test]
fn forged_weights_are_read_or_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-forged.safetensors");
    for (network, file) in networks() {
        check(proptest::collection::vec(forgery(), 1..5), |forgeries| {
            let forged = forgeries
                .iter()
                .fold(file.clone(), |file, one| one.make(&file));
            load(&network, &path, &forged);
        });
    }
}
