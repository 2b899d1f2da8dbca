//! What a job names, made ready: the network that a run starts from, and the data it reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tch::Device;

use crate::models::{Activations, Head, Network};
use crate::tasks::cache::{Cache, Progress};
use crate::tasks::portion::{Portion, hash_of_file};
use crate::tasks::{Source, Task, open};
use harness::content::sha256_of_folder;
use harness::event::Event;
use harness::plan::{DataSpec, Job, ModelSpec};
use harness::seed::derive;
use harness::suite::{Hub, Input, MethodEntry, ModelConfig, Precision};

/// The network that the run starts from.
pub(crate) fn network(job: &Job, device: Device, tell: &mut dyn FnMut(Event)) -> Result<Network> {
    let spec = &job.spec;
    let classes = match &spec.input {
        Input::Images(input) => input.classes,
        Input::SentencePairs(input) => input.classes,
        Input::TextBlocks(_) => None,
    };
    let mut network = Network::new(
        &config(job, &spec.model)?,
        classes.map(|classes| classes as i64),
        derive(&spec.id(), "weights"),
        device,
    )?;
    if spec
        .training
        .as_ref()
        .is_some_and(|training| training.activation_checkpointing)
    {
        network.set_activations(Activations::Recomputed);
    }
    let loaded = match &spec.model {
        ModelSpec::Config(_) => return Ok(network),
        ModelSpec::Folder { sha256 } => network.load(&folder(job, sha256)?, Head::Fresh)?,
        ModelSpec::Hub(hub) => network.load(&repository(job, hub)?, Head::Fresh)?,
        ModelSpec::Stage(_) => {
            let stage = job.stage.as_ref();
            let stage = stage.context("the job names no weights of the stage it starts from")?;
            network.load(&weights_file(stage), Head::Fresh)?
        }
    };
    for (what, names) in [
        ("newly initialised", loaded.newly_initialised),
        ("skipped", loaded.skipped),
    ] {
        if !names.is_empty() {
            tell(Event::Note {
                text: format!("{what}: {}", names.join(", ")),
            });
        }
    }
    Ok(network)
}

/// The configuration of the network, through any number of stages.
fn config(job: &Job, model: &ModelSpec) -> Result<ModelConfig> {
    let folder = match model {
        ModelSpec::Config(config) => return Ok(config.clone()),
        ModelSpec::Stage(stage) => return config(job, &stage.model),
        ModelSpec::Folder { sha256 } => folder(job, sha256)?,
        ModelSpec::Hub(hub) => repository(job, hub)?,
    };
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// `network` on the data of the run.
pub(crate) fn task(
    job: &Job,
    network: Network,
    device: Device,
    tell: &mut dyn FnMut(Event),
) -> Result<Task> {
    let spec = &job.spec;
    let data = place(job, &spec.data)?;
    let tokenizer = spec.tokenizer_source();
    let tokenizer = tokenizer
        .map(|tokenizer| place(job, &tokenizer))
        .transpose()?;
    let measured = job
        .measurements
        .iter()
        .filter(|wanted| !wanted.measure.is_of_training())
        .map(|wanted| &wanted.on);
    let portions: Vec<String> = measured.chain(&spec.select).cloned().collect();
    let source = Source {
        folder: &data,
        tokenizer: tokenizer.as_deref(),
        cache: &job.cache.as_ref().map_or_else(Cache::forgetful, Cache::at),
    };
    let (train, portions) = open(
        source,
        &spec.input,
        &network,
        &spec.id(),
        &spec.train,
        &portions,
        &mut |progress| prepare(progress, tell),
    )?;
    let precision = spec
        .training
        .as_ref()
        .map_or(Precision::Float32, |training| training.precision);
    let noise_at = match &spec.method {
        MethodEntry::Trained(method) => method.vit_noise_at(),
        MethodEntry::Untrained(_) => methods::VitNoiseAt::default(),
    };
    Ok(Task::new(
        network,
        &spec.input,
        train,
        portions,
        precision,
        device,
        noise_at,
    ))
}

/// Tells how far the preparation of data is.
fn prepare(progress: Progress, tell: &mut dyn FnMut(Event)) {
    tell(match progress {
        Progress::At {
            label, done, total, ..
        } => Event::Preparing {
            what: label.into(),
            done,
            total,
        },
        Progress::Note(text) => Event::Note { text: text.into() },
    });
}

/// The files of the hub that the run reads, by the hash under which the cache keeps them; what cannot be found fails
/// elsewhere.
pub(crate) fn files(job: &Job) -> BTreeMap<String, String> {
    let spec = &job.spec;
    let mut found = BTreeMap::new();
    let mut add = |data: &DataSpec, names: &dyn Fn(&Path) -> Vec<PathBuf>| {
        let (DataSpec::Hub(hub), Some(folder)) = (data, job.folders.get(&data.key())) else {
            return;
        };
        for path in names(folder) {
            let name = path.strip_prefix(folder).unwrap_or(&path);
            if let Some(hash) = hash_of_file(&path) {
                found.insert(format!("{}/{}", hub.hub, name.display()), hash);
            }
        }
    };
    let all = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let mut model = &spec.model;
    while let ModelSpec::Stage(stage) = model {
        model = &stage.model;
    }
    if let ModelSpec::Hub(hub) = model {
        add(&DataSpec::Hub(hub.clone()), &all);
    }
    if let Some(tokenizer) = spec.tokenizer_source() {
        add(&tokenizer, &all);
    }
    let measured = job.measurements.iter();
    let measured = measured.filter(|wanted| !wanted.measure.is_of_training());
    let measured = measured.map(|wanted| &wanted.on);
    let portions: Vec<&String> = spec
        .train
        .iter()
        .chain(&spec.select)
        .chain(measured)
        .collect();
    add(&spec.data, &|folder| {
        let portions = portions.iter();
        let found = portions.filter_map(|name| Portion::find(folder, name).ok());
        found.flat_map(|portion| portion.paths()).collect()
    });
    found
}

fn folder(job: &Job, sha256: &str) -> Result<PathBuf> {
    let sha256 = sha256.to_string();
    place(job, &DataSpec::Folder { sha256 })
}

fn repository(job: &Job, hub: &Hub) -> Result<PathBuf> {
    place(job, &DataSpec::Hub(hub.clone()))
}

/// Where data, a model or a tokenizer lies. A local folder's content is checked; a repository of the hub was verified when
/// it was fetched.
fn place(job: &Job, data: &DataSpec) -> Result<PathBuf> {
    let key = data.key();
    let path = job.folders.get(&key);
    let path = path.with_context(|| format!("the job does not say where {key} lies"))?;
    if let DataSpec::Folder { sha256 } = data {
        let found = sha256_of_folder(path)?;
        ensure!(
            found == *sha256,
            "{}: expected content with SHA-256 {sha256}, found {found}",
            path.display()
        );
    }
    Ok(path.clone())
}

/// A folder of a finished run stands for the weights in it.
pub(crate) fn weights_file(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join("model.safetensors")
    } else {
        path.into()
    }
}
