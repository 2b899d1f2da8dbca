//! Damaged and forged checkpoints and weights: training goes on from a checkpoint that is whole, with its bits, or begins
//! anew, and says why; weights are read or refused. Nothing panics or asks for much more memory than the file is long.

use std::alloc::{GlobalAlloc, Layout, System};
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

/// One change to a file of tensors that a reader may not notice by its bytes. Places are shares of what there is.
#[derive(Clone, Debug)]
enum Forgery {
    /// The header claims to be so long.
    Length(u64),
    /// Damage to the header alone, which says its new length.
    Header(Change),
    /// Damage anywhere.
    Anywhere(Change),
    /// Another value somewhere in the header.
    Json(Edit),
    /// A tensor lies at so many bytes before the end of all numbers, and its shape fits.
    Wraps { at: f64, before: u64, length: u64 },
    /// A tensor lies where another does.
    Overlaps { at: f64, with: f64 },
    /// A tensor's entry stands there twice.
    Twice { at: f64 },
    /// A tensor has another's name.
    Named { at: f64, name: String },
    /// All bytes of a tensor are this one.
    Filled { at: f64, byte: u8 },
}

/// One change to a JSON value.
#[derive(Clone, Debug)]
enum Edit {
    Set { at: f64, to: Value },
    Swap { at: f64, with: f64 },
    Remove { at: f64 },
}

/// What is unexpected almost everywhere.
fn odd() -> impl Strategy<Value = Value> {
    let finished = json!({"event": "finished", "outcome": "completed"});
    let again = |told: Value| json!({"event": "again", "seconds": 1.0, "told": told});
    let resumed = json!({"event": "resumed", "step": 1, "steps": 1, "seconds": -1e308});
    let values = vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(u64::MAX - 7),
        json!(1e308),
        json!(-0.5),
        json!(""),
        json!("F64"),
        json!("BOOL"),
        json!("F8_E4M3"),
        json!("é\u{0}".repeat(50_000)),
        json!([]),
        json!([0, 1_i64 << 62, 1_i64 << 62]),
        json!([1_i64 << 32, 1_i64 << 32]),
        json!([-1, -1]),
        json!([u64::MAX - 100, u64::MAX]),
        json!(vec![1; 20_000]),
        json!({}),
        again(finished.clone()),
        json!({"seconds": 1.0, "event": finished}),
        json!({"seconds": 1.0, "event": resumed}),
        json!({"seconds": 1.0, "event": (0..60).fold(Value::Null, |told, _| again(told))}),
    ];
    prop_oneof![
        4 => proptest::sample::select(values),
        1 => any::<u64>().prop_map(Value::from),
        1 => (0..100_000_i64).prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || 0.0..1.0f64;
    prop_oneof![
        3 => (at(), odd()).prop_map(|(at, to)| Edit::Set { at, to }),
        1 => (at(), at()).prop_map(|(at, with)| Edit::Swap { at, with }),
        1 => at().prop_map(|at| Edit::Remove { at }),
    ]
}

fn forgery() -> impl Strategy<Value = Forgery> {
    let at = || 0.0..1.0f64;
    let lengths = [0, 1, 7, 8, 100_000_000, 100_000_001, u64::MAX, u64::MAX - 7];
    let name = proptest::sample::select(vec!["__metadata__", "", "sum.distances", "best.step"]);
    prop_oneof![
        proptest::sample::select(lengths.to_vec()).prop_map(Forgery::Length),
        (0..1_u64 << 24).prop_map(Forgery::Length),
        change().prop_map(Forgery::Header),
        change().prop_map(Forgery::Anywhere),
        edit().prop_map(Forgery::Json),
        edit().prop_map(Forgery::Json),
        (at(), 0..40_000_u64, 0..1_u64 << 50).prop_map(|(at, before, length)| Forgery::Wraps {
            at,
            before,
            length
        }),
        (at(), at()).prop_map(|(at, with)| Forgery::Overlaps { at, with }),
        at().prop_map(|at| Forgery::Twice { at }),
        (at(), name).prop_map(|(at, name)| Forgery::Named {
            at,
            name: name.into()
        }),
        (at(), any::<u8>()).prop_map(|(at, byte)| Forgery::Filled { at, byte }),
        (at(), Just(255)).prop_map(|(at, byte)| Forgery::Filled { at, byte }),
    ]
}

/// The number of values in `tree`, itself included.
fn count(tree: &Value) -> usize {
    1 + match tree {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(items) => items.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

/// The value that comes as the `left`-th; `left` counts down on the way.
fn nth<'a>(tree: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(tree);
    }
    *left -= 1;
    match tree {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(items) => items.values_mut().find_map(|item| nth(item, left)),
        _ => None,
    }
}

impl Edit {
    fn make(&self, tree: &mut Value) {
        let all = count(tree);
        // The whole is left: without it there is nothing to sign.
        let place = |at: f64| 1 + (at * (all - 1) as f64) as usize;
        let mut value = |at: f64, to: Value| {
            let found = nth(tree, &mut place(at))?;
            Some(std::mem::replace(found, to))
        };
        match self {
            Edit::Set { at, to } => drop(value(*at, to.clone())),
            Edit::Swap { at, with } => {
                if let Some(first) = value(*at, json!("taken"))
                    && let Some(second) = value(*with, first)
                {
                    value(*at, second);
                }
            }
            Edit::Remove { at } => match nth(tree, &mut place(*at)) {
                Some(Value::Array(items)) => drop(items.pop()),
                Some(Value::Object(items)) => {
                    let first = items.keys().next().cloned();
                    first.and_then(|first| items.shift_remove(&first));
                }
                Some(other) => *other = Value::Null,
                None => {}
            },
        }
    }
}

/// A file of tensors in its parts; none where damage made it no such file.
fn parts(file: &[u8]) -> Option<(Map<String, Value>, &[u8])> {
    let length = u64::from_le_bytes(*file.first_chunk()?) as usize;
    let header = file.get(8..)?.get(..length)?;
    let header = serde_json::from_slice(header).ok()?;
    Some((header, &file[8 + length..]))
}

fn joined(header: &[u8], values: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length, header, values].concat()
}

impl Forgery {
    /// The forged file; as it was where it is too damaged for this.
    fn make(&self, file: &[u8]) -> Vec<u8> {
        let mut bytes = file.to_vec();
        match self {
            Forgery::Anywhere(change) => {
                apply(&mut bytes, change);
                bytes
            }
            Forgery::Length(length) => {
                let end = bytes.len().min(8);
                bytes[..end].copy_from_slice(&length.to_le_bytes()[..end]);
                bytes
            }
            _ => self.make_inside(file).unwrap_or(bytes),
        }
    }

    fn make_inside(&self, file: &[u8]) -> Option<Vec<u8>> {
        let (mut header, values) = parts(file)?;
        let start = file.len() - values.len();
        let names: Vec<String> = header.keys().cloned().collect();
        let name = |at: f64| names.get((at * names.len() as f64) as usize);
        match self {
            Forgery::Length(_) | Forgery::Anywhere(_) => None,
            Forgery::Header(change) => {
                let mut text = file[8..start].to_vec();
                apply(&mut text, change);
                Some(joined(&text, values))
            }
            Forgery::Json(edit) => {
                let mut header = Value::from(header);
                edit.make(&mut header);
                Some(joined(header.to_string().as_bytes(), values))
            }
            Forgery::Wraps { at, before, length } => {
                let to = u64::MAX - before;
                let length = length / 8 * 8;
                header[name(*at)?] = json!({
                    "dtype": "I64", "shape": [length / 8], "data_offsets": [to - length, to],
                });
                Some(joined(Value::from(header).to_string().as_bytes(), values))
            }
            Forgery::Overlaps { at, with } => {
                header[name(*at)?] = header[name(*with)?].clone();
                Some(joined(Value::from(header).to_string().as_bytes(), values))
            }
            Forgery::Twice { at } => {
                let (name, text) = (name(*at)?, Value::from(header.clone()).to_string());
                let entry = json!({ name: header[name] }).to_string();
                let text = format!("{},{}", &entry[..entry.len() - 1], &text[1..]);
                Some(joined(text.as_bytes(), values))
            }
            Forgery::Named { at, name: to } => {
                let entry = header.shift_remove(name(*at)?)?;
                header.insert(to.clone(), entry);
                Some(joined(Value::from(header).to_string().as_bytes(), values))
            }
            Forgery::Filled { at, byte } => {
                let offset = |i: usize| header[name(*at)?]["data_offsets"][i].as_u64();
                let (from, to) = (offset(0)? as usize, offset(1)? as usize);
                let mut bytes = file.to_vec();
                let place = start.checked_add(from)?..start.checked_add(to)?;
                bytes.get_mut(place)?.fill(*byte);
                Some(bytes)
            }
        }
    }
}

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

    let older_too = proptest::option::weighted(0.2, damage());
    check((damage(), older_too), |(latest, older)| {
        let mut damaged = whole.clone();
        hurt(&mut damaged, LATEST, &latest);
        if let Some(older) = &older {
            hurt(&mut damaged, OLDER, older);
        }
        LARGEST.store(0, Ordering::Relaxed);
        let found = attempt(&place, &damaged);
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
