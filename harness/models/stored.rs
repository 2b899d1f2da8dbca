//! Weights as they lie in a repository of the Hugging Face Hub: in one safetensors file or in shards with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::safetensors::{TensorFile, write};
use super::weights::Weights;

/// The one file of a repository without shards.
pub(super) const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PICKLES: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// What of a network a file may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The head, which may also have another shape: it keeps its fresh values.
    Fresh,
    /// Nothing.
    Stored,
}

/// What reading weights found besides every parameter; both lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Parameters of the head that the file lacks or has in another shape: they keep what they had.
    pub newly_initialised: Vec<String>,
    /// Names in the file that are known to be no parameter.
    pub skipped: Vec<String>,
}

/// How a family's files differ from its parameters.
#[derive(Debug)]
pub(super) struct Layout {
    /// Names in a file of a bare backbone lack this.
    pub(super) prefix: &'static str,
    /// Parameters that a fine-tuned network may start anew begin with one of these.
    pub(super) head: &'static [&'static str],
    /// A name that some files have beside or instead of a parameter's, for the same values.
    pub(super) tied: Option<(&'static str, &'static str)>,
    /// What is in files but is no parameter.
    pub(super) skipped: &'static [Skipped],
}

/// Tensors of a file that are left out.
#[derive(Debug)]
pub(super) struct Skipped {
    /// Their names without the prefix; `*` stands for one part between dots.
    pub(super) pattern: &'static str,
    /// Why the network does without them.
    #[expect(dead_code, reason = "for the reader of the tables")]
    pub(super) why: &'static str,
}

impl Skipped {
    fn matches(&self, name: &str) -> bool {
        let (mut pattern, mut name) = (self.pattern.split('.'), name.split('.'));
        loop {
            match (pattern.next(), name.next()) {
                (None, None) => return true,
                (Some(wanted), Some(part)) if wanted == "*" || wanted == part => {}
                _ => return false,
            }
        }
    }
}

/// Why weights could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The system refused.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its own words.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A tensor has another shape than the network's.
    #[error("{path}: `{name}` has shape {found:?}, the network's is {expected:?}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// The parameter.
        name: String,
        /// Shape in the file.
        found: Vec<i64>,
        /// Shape in the network.
        expected: Vec<i64>,
    },
    /// A parameter is in no file.
    #[error("{path}: lacks `{name}`{}", and_others(*.others))]
    Missing {
        /// The file or index.
        path: PathBuf,
        /// The first such parameter.
        name: String,
        /// How many more there are.
        others: usize,
    },
    /// A tensor is no parameter of the network, nor known to be superfluous.
    #[error("{path}: `{name}` is no weight of this network{}", and_others(*.others))]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// The first such tensor.
        name: String,
        /// How many more there are.
        others: usize,
    },
    /// There is nothing but a pickle, which could run code.
    #[error("{folder}: only {found}, a pickle, which is never read; convert it to {WHOLE}")]
    Pickle {
        /// The folder.
        folder: PathBuf,
        /// The pickle's name.
        found: &'static str,
    },
    /// There are no weights.
    #[error("{folder}: neither {WHOLE} nor {INDEX}")]
    NoFile {
        /// The folder.
        folder: PathBuf,
    },
}

fn and_others(others: usize) -> String {
    match others {
        0 => String::new(),
        others => format!(", and {others} more"),
    }
}

impl WeightsError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }

    pub(super) fn file(path: &Path, message: String) -> Self {
        Self::File {
            path: path.into(),
            message,
        }
    }
}

/// All files of one set of weights.
#[derive(Debug)]
struct Files {
    /// What an error about the whole names.
    path: PathBuf,
    files: Vec<TensorFile>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Files {
    /// The weights in a folder, or in a file.
    fn open(path: &Path) -> Result<Self, WeightsError> {
        let whole = if path.is_dir() {
            path.join(WHOLE)
        } else {
            path.into()
        };
        let index = path.join(INDEX);
        if !path.is_dir() || whole.exists() {
            return Ok(Self {
                files: vec![TensorFile::open(&whole)?],
                path: whole,
            });
        }
        if index.exists() {
            return Self::shards(path, index);
        }
        let folder = path.into();
        match PICKLES.into_iter().find(|name| path.join(name).exists()) {
            Some(found) => Err(WeightsError::Pickle { folder, found }),
            None => Err(WeightsError::NoFile { folder }),
        }
    }

    fn shards(folder: &Path, index: PathBuf) -> Result<Self, WeightsError> {
        let text =
            std::fs::read_to_string(&index).map_err(|cause| WeightsError::io(&index, cause))?;
        let Index { weight_map } = serde_json::from_str(&text)
            .map_err(|cause| WeightsError::file(&index, cause.to_string()))?;
        let mut files = Vec::new();
        for shard in weight_map.values().collect::<BTreeSet<_>>() {
            let of_shard = |(name, file): (&String, &String)| (file == shard).then(|| name.clone());
            let listed: BTreeSet<String> = weight_map.iter().filter_map(of_shard).collect();
            let first = listed.first().map_or("", String::as_str);
            let path = folder.join(shard);
            let plain = Path::new(shard).file_name() == Some(shard.as_ref());
            if !plain || !path.is_file() {
                let message = format!("lists `{first}` in {shard}, which is no file beside it");
                return Err(WeightsError::file(&index, message));
            }
            let file = TensorFile::open(&path)?;
            if let Some(absent) = listed.iter().find(|name| !file.entries.contains_key(*name)) {
                let message = format!("lacks `{absent}`, which {INDEX} lists in it");
                return Err(WeightsError::file(&path, message));
            }
            if let Some(extra) = file.entries.keys().find(|name| !listed.contains(*name)) {
                let message = format!("holds `{extra}`, which {INDEX} does not list in it");
                return Err(WeightsError::file(&path, message));
            }
            files.push(file);
        }
        Ok(Self { path: index, files })
    }

    fn find(&self, name: &str) -> Option<&TensorFile> {
        self.files
            .iter()
            .find(|file| file.entries.contains_key(name))
    }
}

/// Reads weights from a folder or a file into `weights`, whose kind and device stay. Nothing changes unless every
/// name and shape fits.
pub(super) fn load(
    weights: &Weights,
    layout: &Layout,
    path: &Path,
    head: Head,
) -> Result<Loaded, WeightsError> {
    let files = Files::open(path)?;
    let mut loaded = Loaded::default();
    let (mut found, mut missing, mut used) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (name, leaf) in weights.named() {
        let fresh =
            head == Head::Fresh && layout.head.iter().any(|prefix| name.starts_with(prefix));
        let bare = name.strip_prefix(layout.prefix).unwrap_or(&name);
        let tied = layout.tied.filter(|(_, parameter)| *parameter == name);
        let stored = [
            Some(name.as_str()),
            Some(bare),
            tied.map(|(other, _)| other),
        ]
        .into_iter()
        .flatten()
        .find_map(|stored| Some((stored.to_string(), files.find(stored)?)));
        let Some((stored, file)) = stored else {
            match fresh {
                true => loaded.newly_initialised.push(name),
                false => missing.push(name),
            }
            continue;
        };
        let shape = &file.entries[&stored].shape;
        if *shape == leaf.size() {
            found.push((stored.clone(), file, leaf));
        } else if fresh {
            loaded.newly_initialised.push(name);
        } else {
            return Err(WeightsError::Shape {
                path: file.path.clone(),
                name: stored,
                found: shape.clone(),
                expected: leaf.size(),
            });
        }
        used.insert(stored);
    }
    if let Some(name) = missing.first() {
        return Err(WeightsError::Missing {
            path: files.path,
            name: name.clone(),
            others: missing.len() - 1,
        });
    }
    loaded.skipped = superfluous(&files, layout, &used)?;
    check_tied(&files, layout, &used)?;
    loaded.newly_initialised.sort();
    let _no_grad = tch::no_grad_guard();
    for (stored, file, leaf) in found {
        let value = file.read(&stored)?;
        leaf.shallow_clone().f_copy_(&value).map_err(|cause| {
            WeightsError::file(&file.path, format!("`{stored}`: {}", first_line(&cause)))
        })?;
    }
    Ok(loaded)
}

/// Names in the files that are not in `used`, each of which must be known.
fn superfluous(
    files: &Files,
    layout: &Layout,
    used: &BTreeSet<String>,
) -> Result<Vec<String>, WeightsError> {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for file in &files.files {
        for name in file.entries.keys().filter(|name| !used.contains(*name)) {
            let bare = name.strip_prefix(layout.prefix).unwrap_or(name);
            let is_tied = layout.tied.is_some_and(|(other, _)| other == name);
            if is_tied || layout.skipped.iter().any(|skipped| skipped.matches(bare)) {
                known.push(name.clone());
            } else {
                unknown.push((name.clone(), file.path.clone()));
            }
        }
    }
    known.sort();
    match unknown.first() {
        None => Ok(known),
        Some((name, path)) => Err(WeightsError::Unexpected {
            path: path.clone(),
            name: name.clone(),
            others: unknown.len() - 1,
        }),
    }
}

/// A file with both names of a tied parameter must have the same values under both.
fn check_tied(files: &Files, layout: &Layout, used: &BTreeSet<String>) -> Result<(), WeightsError> {
    let Some((other, name)) = layout.tied.filter(|(other, _)| !used.contains(*other)) else {
        return Ok(());
    };
    let bare = name.strip_prefix(layout.prefix).unwrap_or(name);
    let stored = [name, bare].into_iter().find(|name| used.contains(*name));
    if let (Some(second), Some(stored)) = (files.find(other), stored) {
        let first = files.find(stored).expect("it was used").read(stored)?;
        // A shape is compared before there is a tensor of it.
        let differs = first.size() != second.entries[other].shape
            || !first.equal(&second.read(other)?.to_kind(first.kind()));
        if differs {
            let message =
                format!("`{other}` differs from `{stored}`, but this network has one for both");
            return Err(WeightsError::file(&second.path, message));
        }
    }
    Ok(())
}

impl Weights {
    /// Writes every parameter to a safetensors file in its own kind, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), WeightsError> {
        write(path, &self.named())
    }
}

/// A C++ exception's message carries a stack after its first line.
fn first_line(error: &tch::TchError) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_string()
}
