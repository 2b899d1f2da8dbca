//! Runs that are interrupted and gone on with, against the same runs left alone: every number told and every byte of the
//! weights.

mod damage;
#[path = "resume/forge.rs"]
mod forge;
#[path = "resume/fuzz.rs"]
mod fuzz;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use harness::event::{Event, Outcome};
use harness::plan::{Checkpoints, Job, Measurement, ModelSpec, RunSpec, run_spec};
use harness::suite::{self, Length, MethodEntry, Model, Precision, Selection, Suite};
use methods::Method;
use training::train::{Stop, train};

const STEPS: u64 = 7;
/// An evaluation comes after every third update, and after the last.
const EVALUATE_EVERY: u64 = 3;

/// libtorch's generator, which dropout draws from, is the process's.
static ALONE: Mutex<()> = Mutex::new(());

/// Asks to stop after an update.
struct After(Option<u64>);

impl Stop for After {
    fn listen(&self) {}
    fn ignore(&self) {}
    fn wanted(&self, step: u64) -> bool {
        self.0 == Some(step)
    }
}

/// A run, and folders for what it leaves.
struct Place {
    dir: PathBuf,
    job: Job,
    _alone: MutexGuard<'static, ()>,
}

fn families() -> Suite {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../suites/families.yaml");
    suite::read(&path).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A short run of `task` from fresh weights.
fn spec(suite: &Suite, task: &str, method: Method) -> RunSpec {
    let mut spec = run_spec(suite, task, "Base", 0);
    let family = match task {
        "digits" => "vit-tiny",
        "romance" => "gpt2-tiny",
        _ => "xlmr-tiny",
    };
    let Model::Config(model) = &suite.models[family] else {
        panic!("{family} is drawn")
    };
    let mut config = serde_json::to_value(&model.config).unwrap();
    if task != "romance" {
        config["hidden_dropout_prob"] = 0.1.into();
        config["attention_probs_dropout_prob"] = 0.1.into();
    }
    spec.model = ModelSpec::Config(serde_json::from_value(config).unwrap());
    spec.method = MethodEntry::Trained(method);
    spec.select.get_or_insert("test".into());
    let training = spec.training.as_mut().unwrap();
    training.length = Length::Steps(STEPS);
    let schedule =
        serde_json::json!({"name": "polynomial", "warmup": 2, "power": 1, "lr_end": 1e-7});
    training.schedule = serde_json::from_value(schedule).unwrap();
    training.evaluate_every = Some(Length::Steps(EVALUATE_EVERY));
    training.selection = Selection::Best;
    spec
}

impl Place {
    fn new(name: &str, suite: &Suite, spec: RunSpec) -> Place {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("resume")
            .join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let measure = |on: &str, name: &str| Measurement {
            on: on.into(),
            measure: serde_json::from_value(serde_json::json!(name)).unwrap(),
        };
        let select = spec.select.clone().unwrap();
        let job = Job {
            spec,
            measurements: vec![measure(&select, "loss"), measure("training", "distance")],
            folders: suite::locate(suite).unwrap_or_else(|problems| panic!("{problems}")),
            stage: None,
            cache: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("resume-cache")),
            device: "cpu".into(),
            threads: 1,
            finished: None,
            member: None,
            checkpoints: None,
        };
        Place {
            dir,
            job,
            _alone: alone,
        }
    }

    fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// The names of what lies there.
    fn saved(&self) -> Vec<String> {
        let entries = fs::read_dir(self.checkpoints()).into_iter().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// One attempt that saves itself every so many seconds, and is stopped after an update.
    fn attempt(&self, every: f64, stop: Option<u64>) -> (Option<Outcome>, Vec<Event>) {
        let _ = fs::remove_dir_all(self.out());
        fs::create_dir_all(self.out()).unwrap();
        let folder = self.checkpoints();
        let job = Job {
            checkpoints: Some(Checkpoints { folder, every }),
            ..self.job.clone()
        };
        let mut events = Vec::new();
        let outcome = train(&job, &self.out(), &After(stop), &mut |event| {
            events.push(event)
        });
        (outcome.unwrap(), events)
    }

    /// What the run is when nobody interrupts it: what it tells, and its weights.
    fn whole(&self) -> (Vec<Event>, Vec<u8>) {
        let _ = fs::remove_dir_all(self.out());
        fs::create_dir_all(self.out()).unwrap();
        let mut events = Vec::new();
        let outcome = train(&self.job, &self.out(), &After(None), &mut |event| {
            events.push(event)
        });
        assert_eq!(outcome.unwrap(), Some(Outcome::Completed));
        (said(&events), self.weights())
    }

    fn weights(&self) -> Vec<u8> {
        fs::read(self.out().join("model.safetensors")).unwrap()
    }

    /// Stops after every one of `stops` and goes on to the end, which is that of the whole run.
    fn assert_resumes(&self, stops: &[u64], whole: &(Vec<Event>, Vec<u8>)) {
        let _ = fs::remove_dir_all(self.checkpoints());
        let mut before = None;
        for &stop in stops {
            let (outcome, events) = self.attempt(1e9, Some(stop));
            assert_eq!(outcome, None);
            assert_eq!(resumed(&events), before);
            before = Some(stop);
        }
        let (outcome, events) = self.attempt(1e9, None);
        assert_eq!(outcome, Some(Outcome::Completed));
        assert_eq!(resumed(&events), before);
        let place = self.dir.display();
        assert_eq!(said(&events), whole.0, "{place} stopped at {stops:?}");
        assert!(
            self.weights() == whole.1,
            "weights of {place} stopped at {stops:?}"
        );
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The update that an attempt went on from.
fn resumed(events: &[Event]) -> Option<u64> {
    events.iter().find_map(|event| match event {
        Event::Resumed { step, .. } => Some(*step),
        _ => None,
    })
}

/// What an attempt told of its checkpoints.
fn notes(events: &[Event]) -> String {
    let notes = events.iter().filter_map(|event| match event {
        Event::Note { text } if text.contains("checkpoint") => Some(text.as_str()),
        _ => None,
    });
    notes.collect::<Vec<_>>().join("\n")
}

/// All that belongs to the run, without speeds.
fn said(events: &[Event]) -> Vec<Event> {
    let of_the_run = |event: &Event| match event {
        Event::Again { told, .. } => said(std::slice::from_ref(told)),
        Event::Progress {
            step,
            steps,
            loss,
            lr,
            ..
        } => vec![Event::Progress {
            step: *step,
            steps: *steps,
            loss: *loss,
            lr: *lr,
            examples_per_second: None,
            tokens_per_second: None,
        }],
        Event::Observed(_) | Event::NoValue { .. } => vec![event.clone()],
        _ => Vec::new(),
    };
    events.iter().flat_map(of_the_run).collect()
}

fn method(name: &str) -> Method {
    let known = Method::all()
        .into_iter()
        .find(|method| method.name() == name);
    known.unwrap_or_else(|| panic!("there is no method {name}"))
}

#[test]
fn an_interrupted_run_of_any_method_gives_the_bits_of_one_left_alone() {
    let suite = families();
    for method in Method::all() {
        let name = method.name();
        let place = Place::new(name, &suite, spec(&suite, "digits", method));
        place.assert_resumes(&[2, 4], &place.whole());
    }
}

#[test]
fn it_may_be_interrupted_at_the_first_update_the_last_an_evaluation_or_the_end_of_an_epoch() {
    let suite = families();
    let mut spec = spec(&suite, "digits", method("tram_theta_prev"));
    // Two batches an epoch.
    spec.training.as_mut().unwrap().batch = 2000;
    let place = Place::new("moments", &suite, spec);
    let whole = place.whole();
    for stops in [
        &[1][..],
        &[2],
        &[EVALUATE_EVERY],
        &[STEPS],
        &[1, 2, 3, 4, 5, 6, 7],
    ] {
        place.assert_resumes(stops, &whole);
    }
}

#[test]
fn every_family_goes_on_with_dropout_micro_batches_and_bfloat16() {
    let suite = families();
    for task in ["romance", "pairs"] {
        for name in ["base", "tram_theta_0", "mesa", "tram_x"] {
            let mut spec = spec(&suite, task, method(name));
            let training = spec.training.as_mut().unwrap();
            training.micro_batches = 2;
            training.precision = match name {
                "base" | "tram_x" => Precision::Bfloat16,
                _ => Precision::Float32,
            };
            training.activation_checkpointing = name == "mesa";
            let place = Place::new(&format!("{task}-{name}"), &suite, spec);
            place.assert_resumes(&[3, 5], &place.whole());
        }
    }
}

#[test]
fn checkpoints_change_no_bit_and_two_are_kept() {
    let suite = families();
    let place = Place::new("kept", &suite, spec(&suite, "digits", method("sam")));
    let whole = place.whole();
    let (outcome, events) = place.attempt(0.0, None);
    assert_eq!(outcome, Some(Outcome::Completed));
    assert_eq!((said(&events), place.weights()), whole);
    let kept = [
        "update-6.json",
        "update-6.safetensors",
        "update-7.json",
        "update-7.safetensors",
    ];
    assert_eq!(place.saved(), kept);
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before_it_and_at_last_to_the_start() {
    let suite = families();
    let place = Place::new("damaged", &suite, spec(&suite, "digits", method("mesa")));
    let whole = place.whole();
    let file = |name: &str| place.checkpoints().join(name);
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let flipped: Damage = |mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    };
    let cut: Damage = |mut bytes| {
        bytes.truncate(bytes.len() / 3);
        bytes
    };
    let hurt = |name: &str, damage: Damage| {
        fs::write(file(name), damage(fs::read(file(name)).unwrap())).unwrap();
    };
    for (name, damage) in [
        ("update-5.safetensors", flipped),
        ("update-5.safetensors", cut),
        ("update-5.json", flipped),
        ("update-5.json", cut),
    ] {
        let _ = fs::remove_dir_all(place.checkpoints());
        place.attempt(1e9, Some(2));
        place.attempt(1e9, Some(5));
        hurt(name, damage);
        let (_, events) = place.attempt(1e9, None);
        assert_eq!(resumed(&events), Some(2), "{name}: {}", notes(&events));
        assert!(notes(&events).contains("the checkpoint at update 5 is passed over"));
        assert_eq!((said(&events), place.weights()), whole);
    }
    hurt("update-2.safetensors", cut);
    let (_, events) = place.attempt(1e9, None);
    assert_eq!(resumed(&events), None, "{}", notes(&events));
    assert_eq!((said(&events), place.weights()), whole);
}

#[test]
fn a_checkpoint_of_another_run_or_of_another_thread_count_is_not_gone_on_with() {
    let suite = families();
    let mut place = Place::new("foreign", &suite, spec(&suite, "digits", method("sam")));
    place.attempt(1e9, Some(2));
    place.job.threads = 2;
    let (_, events) = place.attempt(1e9, Some(1));
    assert_eq!(resumed(&events), None);
    let said = notes(&events);
    assert!(
        said.contains("it was made with threads 1, this is 2"),
        "{said}"
    );
    assert_eq!(
        place.saved(),
        ["update-1.json", "update-1.safetensors"],
        "what does not fit goes when there is one that does"
    );
    place.job.spec.seed += 1;
    let (_, events) = place.attempt(1e9, Some(1));
    let said = notes(&events);
    assert!(said.contains("it belongs to update 1 of the run"), "{said}");
    assert_eq!(resumed(&events), None);
}

#[test]
fn a_full_disk_costs_a_checkpoint_and_no_run() {
    let suite = families();
    let place = Place::new("full", &suite, spec(&suite, "digits", method("base")));
    let whole = place.whole();
    place.attempt(1e9, Some(2));
    // Writing there fails as on a full disk.
    let partial = place.checkpoints().join("update-4.safetensors.partial");
    std::os::unix::fs::symlink("/dev/full", partial).unwrap();
    let (outcome, events) = place.attempt(1e9, Some(4));
    assert_eq!(outcome, None);
    let said_so = notes(&events);
    assert!(
        said_so.contains("no checkpoint at update 4") && said_so.contains("No space left"),
        "{said_so}"
    );
    assert_eq!(place.saved(), ["update-2.json", "update-2.safetensors"]);
    let (_, events) = place.attempt(1e9, None);
    assert_eq!(resumed(&events), Some(2));
    assert_eq!((said(&events), place.weights()), whole);
}
