//! Writing an archive.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::{ArchivedSuite, FORMAT, MANIFEST, Manifest, Member};
use crate::plan::{RunId, expand};
use crate::store::Store;
use crate::suite::Suite;

/// Whether final weights go into an archive. Tables do not need them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// They stay out.
    Without,
    /// They go in.
    With,
}

/// What went into an archive, and what did not.
#[derive(Clone, Debug)]
pub struct Packed {
    /// What it holds.
    pub manifest: Manifest,
    /// Runs that were left out because their files are damaged, and what is wrong.
    pub damaged: BTreeMap<RunId, String>,
}

/// Writes everything that `store` knows of the runs of `suites` to the file `out`, which is there only when it is whole.
/// A run whose numbers, or weights where these go in, are not what they were stays out.
pub fn pack(suites: &[Suite], store: &Store, weights: Weights, out: &Path) -> Result<Packed> {
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    let mut archived = Vec::new();
    for (i, suite) in suites.iter().enumerate() {
        let member = format!("suites/{i}.yaml");
        files.push((member.clone(), suite.path.clone()));
        // An archive does not tell where on a machine a file lay.
        let name = suite.path.file_name().filter(|_| suite.path.is_absolute());
        let path = name.map_or_else(|| suite.path.clone(), PathBuf::from);
        archived.push(ArchivedSuite { path, member });
    }
    let mut ids: Vec<RunId> = expand(suites).runs.into_iter().map(|run| run.id).collect();
    ids.sort();
    let (mut runs, mut failed) = (0, 0);
    let damaged = damaged(store, &ids, weights);
    for id in ids.iter().filter(|id| !damaged.contains_key(*id)) {
        let places = [store.folder(id), store.failed_folder(id)];
        for (folder, count) in places.iter().zip([&mut runs, &mut failed]) {
            if folder.is_dir() {
                *count += 1;
                let within = folder
                    .strip_prefix(store.dir())
                    .expect("a folder of the store");
                let name = format!("store/{}", within.display());
                files.extend(content(folder, &name, weights)?);
            }
        }
    }
    let members = files
        .iter()
        .map(|(name, path)| member(name, path))
        .collect::<Result<_>>()?;
    let manifest = Manifest {
        format: FORMAT,
        harness: env!("CARGO_PKG_VERSION").into(),
        suites: archived,
        runs,
        failed,
        members,
    };
    let beside = out.with_extension(format!("{}.part", std::process::id()));
    let written = write(&manifest, &files, &beside).and_then(|()| Ok(fs::rename(&beside, out)?));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.with_context(|| format!("cannot write {}", out.display()))?;
    Ok(Packed { manifest, damaged })
}

/// The runs that are not what they were, and what is wrong with each.
fn damaged(store: &Store, ids: &[RunId], weights: Weights) -> BTreeMap<RunId, String> {
    let damage = |id: &RunId| {
        store.damage(id).or_else(|| match weights {
            Weights::With => Some(format!("{:#}", store.intact_weights(id).err()?)),
            Weights::Without => None,
        })
    };
    let found = ids.par_iter().map(|id| Some((id.clone(), damage(id)?)));
    found.flatten().collect()
}

/// The files of a run's folder, in order.
fn content(folder: &Path, name: &str, weights: Weights) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let Some(file) = path.file_name().and_then(|file| file.to_str()) else {
            continue;
        };
        if path.is_file() && (weights == Weights::With || !Store::is_weights(file)) {
            found.push((format!("{name}/{file}"), path.clone()));
        }
    }
    found.sort();
    Ok(found)
}

fn member(name: &str, path: &Path) -> Result<Member> {
    let context = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(context)?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut buffer).with_context(context)?;
        if read == 0 {
            break;
        }
        size += read as u64;
        hash.update(&buffer[..read]);
    }
    let sha256 = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Member {
        name: name.into(),
        size,
        sha256,
    })
}

fn write(manifest: &Manifest, files: &[(String, PathBuf)], out: &Path) -> Result<()> {
    let file = BufWriter::new(File::create(out)?);
    let gzip = GzBuilder::new()
        .mtime(0)
        .write(file, Compression::default());
    let mut tar = Builder::new(gzip);
    let text = serde_json::to_string_pretty(manifest)? + "\n";
    append(&mut tar, MANIFEST, text.len() as u64, text.as_bytes())?;
    for (member, (_, path)) in manifest.members.iter().zip(files) {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        // A log may have grown since; what was hashed goes in.
        append(&mut tar, &member.name, member.size, file.take(member.size))?;
    }
    let mut file = tar.into_inner()?.finish()?;
    file.flush()?;
    file.get_ref().sync_all()?;
    Ok(())
}

fn append(
    tar: &mut Builder<impl Write>,
    name: &str,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, name, content)
}
