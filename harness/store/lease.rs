//! A file lock: one supervisor at a run. The kernel releases it when the process ends, however it ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The exclusive right to make an attempt at a run, until dropped.
#[derive(Debug)]
pub struct Lease {
    file: File,
    path: PathBuf,
}

/// The lease at `path`, or none while another has it.
pub(super) fn take(path: &Path) -> io::Result<Option<Lease>> {
    loop {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The holder before may have removed the file between our opening and locking it: a lock without a name.
        if is_at(&file, path)? {
            return Ok(Some(Lease {
                file,
                path: path.into(),
            }));
        }
    }
}

/// Whether anybody has the lease at `path`.
pub(super) fn is_held(path: &Path) -> bool {
    File::open(path)
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

impl Drop for Lease {
    fn drop(&mut self) {
        // In this order: while the lock holds, the name is ours to remove.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok(named.ino() == ours.ino() && named.dev() == ours.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> io::Result<bool> {
    Ok(path.exists())
}
