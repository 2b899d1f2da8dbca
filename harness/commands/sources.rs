//! Where a command finds suites and results: in files and a store, or in an archive that has both.

use std::path::{Path, PathBuf};

use super::{BadInput, STORE, from_here, read};
use crate::archive::{is_archive, unpack};
use crate::plan::RunId;
use crate::store::Store;
use crate::suite::Suite;

/// Suites with the results of their runs.
pub struct Sources {
    /// The suites.
    pub suites: Vec<Suite>,
    /// The results.
    pub store: Store,
}

/// Opens suite files with the store that was named, or an archive.
///
/// # Errors
/// [`BadInput`] for suites and archives that cannot be read, and for an archive among other things.
pub fn open(paths: &[PathBuf], store: Option<&Path>) -> anyhow::Result<Sources> {
    let Some(archive) = paths.iter().find(|path| is_archive(path)) else {
        return Ok(Sources {
            suites: read(paths)?,
            store: Store::open(store.unwrap_or(Path::new(STORE)))?,
        });
    };
    let alone = |what: &str| {
        BadInput(format!(
            "{} is an archive and has {what} of its own",
            archive.display()
        ))
    };
    if paths.len() > 1 {
        return Err(alone("suites").into());
    }
    if store.is_some() {
        return Err(alone("results").into());
    }
    let unpacked = unpack(archive).map_err(|error| BadInput(format!("{error:#}")))?;
    Ok(Sources {
        suites: unpacked
            .suites()
            .map_err(|error| BadInput(format!("{error:#}")))?,
        store: unpacked.store,
    })
}

/// Opens one side of a comparison: the folder of a store, or an archive.
///
/// # Errors
/// [`BadInput`] where there is none.
pub fn result_set(path: &Path) -> anyhow::Result<Store> {
    if is_archive(path) {
        let unpacked = unpack(path).map_err(|error| BadInput(format!("{error:#}")))?;
        return Ok(unpacked.store);
    }
    if !path.is_dir() {
        let shown = path.display();
        let text = format!("{shown} is neither the folder of a store nor an archive");
        return Err(BadInput(text).into());
    }
    Store::open(path)
}

/// Where results go that take the place of some of `store`, as the user would type it: nothing is added to an archive.
pub fn home(store: &Store) -> PathBuf {
    match store.is_bundled() {
        true => STORE.into(),
        false => from_here(store.dir()),
    }
}

/// The one of `ids` that begins with `prefix`.
///
/// # Errors
/// [`BadInput`] when there is none, or more than one.
pub fn one_run<'a>(
    prefix: &str,
    ids: impl Iterator<Item = &'a RunId>,
) -> Result<&'a RunId, BadInput> {
    let matching: Vec<&RunId> = ids.filter(|id| id.0.starts_with(prefix)).collect();
    match matching[..] {
        [id] => Ok(id),
        [] => Err(BadInput(format!(
            "no run of these suites begins with `{prefix}`; `harness plan --runs` lists them"
        ))),
        _ => Err(BadInput(format!(
            "{} runs begin with `{prefix}`; give more of the id",
            matching.len()
        ))),
    }
}
