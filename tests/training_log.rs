//! The training log, read by the programs it is written for.

use std::fs;
use std::path::{Path, PathBuf};

use harness::event::{Environment, Event, Observation, Outcome, RunRecord};
use harness::schedule::Control;
use harness::store::{Attempt, Store, Work};
use serde_json::{Value, json};

use crate::schedule::{Place, measurement, plan, planned};

/// Three looks at training, of which the second finds no finite loss, and an evaluation.
const THREE_LOOKS: &str = r#"started
look() { # STEP LOSS
    echo '{"event":"progress","step":'"$1"',"steps":30,"loss":'"$2"',"lr":0.1,"examples_per_second":'"$1"'0.5}'
}
training() { # STEP METRIC VALUE
    echo '{"event":"observed","step":'"$1"',"on":"training","metric":"'"$2"'","value":'"$3"'}'
}
look 1 2.3000000001
for seen in 'loss 2.3000000001' 'lr 0.1' 'grad_norm 4.5' 'distance 1e-9' 'radius 0.05' 'eps_norm 0.25'; do
    training 1 $seen
done
look 10 null
training 10 lr 0.1
look 20 -1e300
training 20 loss -1e300
training 20 distance 0.0
"#;

/// What TensorBoard's reader and Python's polars find; none without them.
fn read(folder: &Path) -> Option<Value> {
    crate::python("tensorboard")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = crate::python("polars")?
        .arg(root.join("tests/read_training_log.py"))
        .arg(folder)
        .output()
        .expect("python starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// The table's rows without their times.
fn rows(read: &Value) -> Vec<Value> {
    let rows = read["table"].as_array().expect("rows").iter().cloned();
    let mut before = 0.0;
    rows.map(|mut row| {
        let row_of = row.as_object_mut().expect("a row");
        let seconds = row_of.shift_remove("seconds").expect("a time");
        let seconds = seconds.as_f64().expect("a number");
        assert!(seconds >= before, "time goes on");
        before = seconds;
        row
    })
    .collect()
}

fn row(step: u64, loss: Option<f64>, rest: [Option<f64>; 3], speed: f64) -> Value {
    let [distance, eps_norm, grad_norm] = rest;
    json!({
        "step": step, "loss": loss, "lr": 0.1, "distance": distance, "eps_norm": eps_norm, "grad_norm": grad_norm,
        "examples_per_second": speed, "tokens_per_second": null,
    })
}

/// The events files of a folder.
fn events(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut found: Vec<_> = paths
        .filter(|path| name(path).starts_with("events.out.tfevents."))
        .collect();
    found.sort();
    found
}

#[test]
fn tensorboard_and_polars_read_what_a_run_told() {
    let place = Place::new("log-read");
    let end =
        "observed 20 accuracy 97.5\necho weights >\"$out/model.safetensors\"\nfinished completed\n";
    place.write("mode", &format!("{THREE_LOOKS}{end}"));
    place.schedule_telling(&plan(1), &Control::default(), &mut |_| {});
    let (store, id) = (place.store(), planned(1).id);
    let folder = store.folder(&id);
    assert_eq!(events(&folder).len(), 1);
    let Some(read) = read(&folder) else { return };

    assert_eq!(
        rows(&read),
        [
            row(
                1,
                Some(2.3000000001),
                [Some(1e-9), Some(0.25), Some(4.5)],
                10.5
            ),
            row(10, None, [None; 3], 100.5),
            row(20, Some(-1e300), [Some(0.0), None, None], 200.5),
        ]
    );
    // Every observation is a scalar, in single precision; 1e300 is beyond it.
    let scalars = read["scalars"].as_object().expect("tags");
    let observations = store
        .record(&id)
        .expect("readable")
        .expect("done")
        .observations;
    assert_eq!(observations.len(), 10);
    for seen in observations {
        let tag = format!("{}/{}", seen.on, seen.metric);
        let points = scalars[&tag].as_array().expect("points");
        let point = points.iter().find(|point| point[0] == json!(seen.step));
        let value = point.unwrap_or_else(|| panic!("{tag} at {}", seen.step))[1].as_f64();
        let told = f64::from(seen.value as f32);
        assert!(
            value.is_none_or(|value| value == told),
            "{tag}: {value:?}, {told}"
        );
        assert!(value.is_some() || told.is_infinite(), "{tag}");
    }
    // The second is not a finite number.
    assert_eq!(scalars["training/loss"][1], json!([10, null]));
    assert_eq!(scalars["training/loss"].as_array().map(Vec::len), Some(3));
    assert_eq!(
        scalars["speed/examples_per_second"],
        json!([[1, 10.5], [10, 100.5], [20, 200.5]])
    );
    assert!(!scalars.contains_key("speed/tokens_per_second"));
}

#[test]
fn a_killed_run_keeps_the_log_of_what_it_did() {
    let place = Place::new("log-killed");
    place.write("mode", &format!("{THREE_LOOKS}kill -9 $$\n"));
    let summary = place.schedule_telling(&plan(1), &Control::default(), &mut |_| {});
    assert_eq!(summary.failed, [planned(1).id]);
    let folder = place.store().failed_folder(&planned(1).id);
    // As if the supervisor had been killed in the middle of a record, too.
    let file = &events(&folder)[0];
    let bytes = fs::read(file).expect("a file");
    fs::write(file, &bytes[..bytes.len() - 7]).expect("room");
    let Some(read) = read(&folder) else { return };
    assert_eq!(rows(&read).len(), 3);
    let steps = |tag: &str| read["scalars"][tag].as_array().map(Vec::len);
    assert_eq!(steps("training/lr"), Some(3));
    assert_eq!(
        steps("training/distance"),
        Some(1),
        "the last one is half there"
    );
}

fn begin(store: &Store, work: Work) -> Attempt {
    let run = planned(1);
    let lease = store.lease(&run.id).expect("a lease").expect("free");
    store.begin(lease, &run, work).expect("an attempt")
}

fn look(step: u64) -> Event {
    Event::Progress {
        step,
        steps: 9,
        loss: Some(0.5),
        lr: 0.1,
        examples_per_second: Some(3.0),
        tokens_per_second: Some(f64::from(step as u32) * 1024.0),
    }
}

#[test]
fn a_log_is_readable_while_the_run_goes_on() {
    let store = Place::new("log-live").store();
    let attempt = begin(&store, Work::Train);
    let mut log = attempt.training_log();
    for step in 1..=3 {
        log.hear(&look(step)).expect("room");
    }
    let Some(read) = read(attempt.folder()) else {
        return;
    };
    assert_eq!(
        read["scalars"]["speed/tokens_per_second"],
        json!([[1, 1024.0], [2, 2048.0], [3, 3072.0]])
    );
    assert!(
        !rows(&read).is_empty(),
        "the first look is in the table at the second"
    );
}

#[test]
fn measuring_a_finished_run_again_keeps_the_log_of_its_training() {
    let store = Place::new("log-measured").store();
    let seen = |metric: &str| Observation {
        step: 2,
        on: "test".into(),
        metric: metric.into(),
        value: 1.0,
    };
    let record = |metric: &str| RunRecord {
        outcome: Outcome::Completed,
        environment: Environment::default(),
        seconds: 1.0,
        observations: vec![seen(metric)],
        no_value: Default::default(),
    };
    let attempt = begin(&store, Work::Train);
    let mut log = attempt.training_log();
    log.hear(&look(2)).expect("room");
    log.finish().expect("room");
    fs::write(attempt.folder().join("model.safetensors"), "weights").expect("room");
    attempt.finish(record("accuracy")).expect("room");
    drop(attempt);
    let folder = store.folder(&planned(1).id);
    let table = fs::read(folder.join("training.parquet")).expect("a table");

    let work = Work::Measure {
        weights: folder.join("model.safetensors"),
        missing: vec![measurement("loss")],
    };
    let attempt = begin(&store, work);
    let mut log = attempt.training_log();
    log.hear(&Event::Observed(seen("loss"))).expect("room");
    log.finish().expect("room");
    attempt.finish(record("loss")).expect("room");
    assert_eq!(
        fs::read(folder.join("training.parquet")).expect("a table"),
        table
    );
    assert_eq!(events(&folder).len(), 2);
    let Some(read) = read(&folder) else { return };
    assert_eq!(read["scalars"]["test/loss"], json!([[2, 1.0]]));
    assert_eq!(read["scalars"]["training/loss"], json!([[2, 0.5]]));
}

#[test]
fn a_log_that_cannot_be_written_costs_no_run() {
    let place = Place::new("log-unwritable");
    place.write("mode", "mkdir \"$out/training.parquet.new\"\ncompleted\n");
    let summary = place.schedule_telling(&plan(1), &Control::default(), &mut |_| {});
    assert_eq!(summary.done, [planned(1).id]);
    let log = place.store().folder(&planned(1).id).join("log.txt");
    let log = fs::read_to_string(log).expect("a log");
    assert!(
        log.contains("the training log has gaps: ") && log.contains("training.parquet"),
        "{log}"
    );
}
