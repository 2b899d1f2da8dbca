//! Which files of the hub are wanted, and which are here.

use std::path::PathBuf;
use std::time::Duration;

use super::Hub;
use super::cache::{Place, length};
use super::digest::Digest;
use super::error::Error;
use super::need::{Kind, Need, Repository};
use super::tree::{self, Tree};
use crate::layout::{model_files, portion_files};

/// Whether the hub may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// For listings that are not in the cache.
    Network,
    /// Never.
    Cache,
}

/// What is wanted of a repository.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The repository.
    pub repository: Repository,
    /// The folder in which the files lie, or will.
    pub folder: PathBuf,
    /// The files that are wanted.
    pub files: Vec<File>,
    /// Whether sizes come from the repository's listing; otherwise, offline, from what lies here.
    pub listed: bool,
}

/// A file that is wanted.
#[derive(Clone, Debug)]
pub struct File {
    /// Path in the repository.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Bytes that are here, of a whole file or of one whose transfer broke off.
    pub here: u64,
    /// Whether it is whole.
    pub whole: bool,
    pub(super) digest: Digest,
}

impl Holding {
    /// Files that are not whole.
    pub fn missing(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| !file.whole)
    }

    /// Bytes in all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Bytes to come.
    pub fn to_come(&self) -> u64 {
        self.files.iter().map(|file| file.size - file.here).sum()
    }
}

impl Hub {
    /// What of `need` is wanted and here, by presence and size; no file is read. `waiting` hears why and how long the hub
    /// is waited for.
    ///
    /// # Errors
    /// When the hub cannot be asked, or, without a network, when nothing is here; when the repository lacks what is
    /// needed.
    pub fn survey(
        &self,
        need: &Need,
        reach: Reach,
        stop: &dyn Fn() -> bool,
        waiting: &dyn Fn(&str, Duration),
    ) -> Result<Holding, Error> {
        let repository = &need.repository;
        let place = Place::new(&self.cache, repository);
        let (tree, listed) = match (tree::kept(&place), reach) {
            (Some(tree), _) => (tree, true),
            (None, Reach::Network) => (tree::ask(self, repository, &place, stop, waiting)?, true),
            // Python's client of earlier versions keeps no listing; what lies here is all that can be known.
            (None, Reach::Cache) => (found(&place), false),
        };
        if !listed && tree.is_empty() {
            return Err(Error::NotCached {
                repository: repository.clone(),
                cache: self.settings.cache.clone(),
            });
        }
        let files = wanted(need, &place, &tree)?
            .into_iter()
            .map(|path| {
                let entry = &tree[&path];
                let whole = length(&place.snapshot.join(&path)) == Some(entry.size);
                let partial = || length(&place.incomplete(&entry.digest)).unwrap_or(0);
                let here = if whole {
                    entry.size
                } else {
                    partial().min(entry.size)
                };
                File {
                    size: entry.size,
                    digest: entry.digest.clone(),
                    path,
                    here,
                    whole,
                }
            })
            .collect();
        Ok(Holding {
            repository: repository.clone(),
            folder: place.snapshot,
            files,
            listed,
        })
    }
}

/// The files that lie in a snapshot.
fn found(place: &Place) -> Tree {
    let mut tree = Tree::new();
    let mut folders = vec![String::new()];
    while let Some(prefix) = folders.pop() {
        let entries = std::fs::read_dir(place.snapshot.join(&prefix));
        for entry in entries.into_iter().flatten().flatten() {
            let Some(name) = entry.file_name().to_str().map(str::to_string) else {
                continue;
            };
            let path = format!("{prefix}{name}");
            if entry.path().is_dir() {
                folders.push(format!("{path}/"));
            } else if let Some(size) = length(&entry.path()) {
                let digest = Digest::Git(String::new());
                tree.insert(path, tree::Entry { size, digest });
            }
        }
    }
    tree
}

/// The paths that `need` reads, each once.
fn wanted(need: &Need, place: &Place, tree: &Tree) -> Result<Vec<String>, Error> {
    let listing: Vec<String> = tree.keys().cloned().collect();
    let repository = || need.repository.clone();
    let mut paths: Vec<String> = Vec::new();
    match need.repository.kind {
        Kind::Model => {
            paths.extend(model_files(&listing).into_iter().map(str::to_string));
            let has = |name: &str| paths.iter().any(|path| path == name);
            let lacks = |file: &str| Error::NoModelFile {
                repository: repository(),
                file: file.into(),
            };
            if !has("config.json") {
                return Err(lacks("config.json"));
            }
            if !has("model.safetensors") && !has("model.safetensors.index.json") {
                return Err(lacks("model.safetensors"));
            }
            if let Some(shard) = shards(place).into_iter().find(|shard| !has(shard)) {
                return Err(lacks(&shard));
            }
        }
        Kind::Tokenizer => {
            let weights = |path: &&str| path.contains(".safetensors");
            let files = model_files(&listing).into_iter();
            paths.extend(files.filter(|path| !weights(path)).map(str::to_string));
        }
        Kind::Dataset => {
            for portion in &need.portions {
                let files =
                    portion_files(&listing, portion).map_err(|source| Error::NoPortion {
                        repository: repository(),
                        source,
                    })?;
                paths.extend(files.names().into_iter().map(str::to_string));
            }
        }
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// The shards that an index of weights in the snapshot names.
fn shards(place: &Place) -> Vec<String> {
    let path = place.snapshot.join("model.safetensors.index.json");
    let index = std::fs::read(path).unwrap_or_default();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap_or_default();
    let files = index["weight_map"].as_object().into_iter().flatten();
    files
        .filter_map(|(_, file)| file.as_str().map(str::to_string))
        .collect()
}
