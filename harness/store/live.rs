//! What supervisors do right now, for whoever looks from elsewhere: a file each, replaced every moment and removed at the end.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::lease::Holder;
use super::{LIVE, Store};

/// A file that was not replaced for so long, by the clock of the file system alone, is of a supervisor that is gone.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// What a supervisor says of itself, as long as it lives.
#[derive(Debug)]
pub struct Live {
    path: PathBuf,
    holder: String,
    has_spoken: Cell<bool>,
}

impl Store {
    /// The place where this process says what it does.
    ///
    /// # Errors
    /// When there is none.
    pub fn live(&self) -> Result<Live> {
        let holder = Holder::us();
        let name = format!("{}.{}.{}", holder.host, holder.pid, holder.nonce);
        // A host may be called anything; a file may not.
        let name = name.replace(['/', '\0'], "_");
        let path = self.make(LIVE)?.join(name);
        let holder = serde_json::to_string(&holder)?;
        Ok(Live {
            path,
            holder,
            has_spoken: Cell::new(false),
        })
    }

    /// What the supervisors of this store said last, with a name for each. Those that have ended, as far as can be seen from
    /// here, are left out, and what they left behind is removed.
    pub fn supervisors(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.dir().join(LIVE)).into_iter().flatten();
        let paths = entries.flatten().map(|entry| entry.path());
        let mut found: Vec<(String, String)> = paths
            .filter_map(|path| {
                let text = fs::read_to_string(&path).ok()?;
                let (holder, said) = text.split_once('\n')?;
                let holder: Holder = serde_json::from_str(holder).ok()?;
                if holder.has_ended() {
                    let _ = fs::remove_file(&path);
                    return None;
                }
                if path.extension().is_some_and(|end| end == NEW) {
                    return None;
                }
                let name = format!("{} (process {})", holder.host, holder.pid);
                Some((name, said.to_string()))
            })
            .collect();
        found.sort();
        found
    }
}

/// Of a file that is being written.
const NEW: &str = "new";

impl Live {
    /// Says it; the first time, what others said long ago is removed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn say(&self, text: &str) -> Result<()> {
        let new = self.path.with_extension(NEW);
        fs::write(&new, format!("{}\n{text}\n", self.holder))
            .and_then(|()| fs::rename(&new, &self.path))
            .with_context(|| self.path.display().to_string())?;
        if !self.has_spoken.replace(true) {
            self.forget_others();
        }
        Ok(())
    }

    /// Removes what supervisors left long ago.
    fn forget_others(&self) {
        let time = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
        let Some(now) = time(&self.path) else { return };
        let folder = self.path.parent().map(fs::read_dir);
        for entry in folder.into_iter().flatten().flatten().flatten() {
            let path = entry.path();
            let age = time(&path).and_then(|then| now.duration_since(then).ok());
            if age.is_some_and(|age| age > FORGOTTEN) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path.with_extension(NEW));
        let _ = fs::remove_file(&self.path);
    }
}
