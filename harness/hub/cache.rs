//! The cache on disk, as Python's `huggingface_hub` lays it out:
//!
//! ```text
//! models--owner--name/blobs/<hash>                       the bytes
//! models--owner--name/snapshots/<commit>/<path>          a link to them
//! models--owner--name/trees/<commit>.json                the listing of the commit
//! .locks/models--owner--name/<hash>.lock                 held while a blob is written
//! ```

use std::ffi::CString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::error::Error;
use super::need::Repository;

/// The places of a repository in the cache.
pub(super) struct Place {
    root: PathBuf,
    blobs: PathBuf,
    locks: PathBuf,
    /// The folder of the files at the commit.
    pub(super) snapshot: PathBuf,
    /// The file of the listing.
    pub(super) tree: PathBuf,
}

impl Place {
    pub(super) fn new(cache: &hf_hub::Cache, repository: &Repository) -> Place {
        let repo = repository.hf();
        let folder = repo.folder_name();
        let paths = cache.repo(repo);
        let root = cache.path().join(&folder);
        Place {
            blobs: root.join("blobs"),
            locks: cache.path().join(".locks").join(&folder),
            snapshot: paths.pointer_path(&repository.revision),
            tree: root
                .join("trees")
                .join(format!("{}.json", repository.revision)),
            root,
        }
    }

    /// Where the bytes that `digest` names lie when they are complete.
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.text())
    }

    /// Where they lie before.
    pub(super) fn incomplete(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(format!("{}.incomplete", digest.text()))
    }

    /// Makes the folders that a blob is written to.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        for folder in [&self.blobs, &self.locks] {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        Ok(())
    }

    /// Gives the blob that `digest` names the name `path` in the snapshot.
    pub(super) fn link(&self, digest: &Digest, path: &str) -> Result<(), Error> {
        let link = self.snapshot.join(path);
        let folder = link.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let depth = folder
            .strip_prefix(&self.root)
            .expect("a snapshot lies in its repository")
            .components()
            .count();
        let blob = format!("{}blobs/{}", "../".repeat(depth), digest.text());
        // A link cannot be replaced in one step, but renamed over.
        let name = format!(".{}.{}", digest.text(), std::process::id());
        let new = folder.join(name);
        let _ = fs::remove_file(&new);
        std::os::unix::fs::symlink(blob, &new).map_err(Error::io(&new))?;
        fs::rename(&new, &link).map_err(Error::io(link))
    }

    /// The right to write a blob, or none while another process has it.
    pub(super) fn lock(&self, digest: &Digest) -> Result<Option<File>, Error> {
        let path = self.locks.join(format!("{}.lock", digest.text()));
        loop {
            let mut options = OpenOptions::new();
            let file = options
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(Error::io(&path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(Error::io(path)(error)),
            }
            // Python's client may have removed the file since we opened it: a lock without a name.
            let ours = file.metadata().map_err(Error::io(&path))?;
            match fs::metadata(&path) {
                Ok(named) if named.ino() == ours.ino() && named.dev() == ours.dev() => {
                    return Ok(Some(file));
                }
                _ => continue,
            }
        }
    }
}

/// Length in bytes of the file at `path`, links followed; none when there is none.
pub(super) fn length(path: &Path) -> Option<u64> {
    fs::metadata(path)
        .ok()
        .filter(|meta| meta.is_file())
        .map(|meta| meta.len())
}

/// Writes a small file so that it has its name only when it is whole.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().expect("a file lies in a folder");
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let new = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&new, bytes).map_err(Error::io(&new))?;
    fs::rename(&new, path).map_err(Error::io(path))
}

/// Bytes that this user may still write in `folder`, or in the nearest folder above that exists.
pub fn free_space(folder: &Path) -> io::Result<u64> {
    let absolute = std::path::absolute(folder)?;
    let there = absolute.ancestors().find(|folder| folder.is_dir());
    let path = CString::new(there.unwrap_or(Path::new("/")).as_os_str().as_bytes())?;
    // SAFETY: all zeros is a valid value, the path ends in a zero, and nothing is kept.
    let found = unsafe {
        let mut found: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &mut found) != 0 {
            return Err(io::Error::last_os_error());
        }
        found
    };
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
