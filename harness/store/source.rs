//! Where a run's files are read from: its folder, or a file that holds those of many runs, as an archive brings them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Files of a store, one behind the other in one file. Ten thousand runs are some fifty thousand small files, which a file
/// system takes longer to make and to remove than a report takes to read them.
#[derive(Debug)]
pub struct Bundle {
    file: File,
    /// Begin and length by name.
    places: BTreeMap<String, (u64, u64)>,
    folders: BTreeSet<String>,
}

impl Bundle {
    /// Of files that are in `file` already: their names in the store, `<run id>/spec.yaml`, with begin and length.
    pub fn new(file: File, places: BTreeMap<String, (u64, u64)>) -> Bundle {
        let folder = |name: &String| Some(name.rsplit_once('/')?.0.to_string());
        Bundle {
            file,
            folders: places.keys().filter_map(folder).collect(),
            places,
        }
    }

    /// The names of its folders.
    pub(super) fn folders(&self) -> impl Iterator<Item = &str> {
        self.folders.iter().map(String::as_str)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let (begin, length) = *self.places.get(name).ok_or(ErrorKind::NotFound)?;
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, begin)?;
        Ok(bytes)
    }
}

/// A folder of a store, wherever its files are.
pub(super) struct Source<'a> {
    folder: PathBuf,
    bundle: Option<(&'a Bundle, String)>,
}

impl<'a> Source<'a> {
    /// A folder on disk.
    pub(super) fn folder(folder: &Path) -> Source<'static> {
        Source {
            folder: folder.into(),
            bundle: None,
        }
    }

    /// The folder `within` a bundle, which messages call `folder`.
    pub(super) fn bundled(bundle: &'a Bundle, within: String, folder: PathBuf) -> Source<'a> {
        Source {
            folder,
            bundle: Some((bundle, within)),
        }
    }

    /// Whether it is there.
    pub(super) fn exists(&self) -> bool {
        match &self.bundle {
            None => self.folder.is_dir(),
            Some((bundle, within)) => bundle.folders.contains(within),
        }
    }

    /// What messages call a file.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The content of a file, or none where there is no such file.
    pub(super) fn find(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let read = match &self.bundle {
            None => fs::read(self.path(name)),
            Some((bundle, within)) => bundle.read(&format!("{within}/{name}")),
        };
        match read {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read
                .map(Some)
                .with_context(|| format!("cannot read {}", self.path(name).display())),
        }
    }

    /// The content of a file.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.find(name)?
            .with_context(|| format!("{} is missing", self.path(name).display()))
    }
}
