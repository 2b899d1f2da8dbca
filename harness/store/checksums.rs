//! `SHA256SUMS` in a run's folder: what its files must contain, in the form that `sha256sum --check` reads. A bit that a
//! disk flips in a table of numbers gives other numbers, which nothing else would notice.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::source::Source;

/// The file's name.
pub(super) const SUMS: &str = "SHA256SUMS";

/// Writes the sums of all files that `folder` holds now.
pub(super) fn write(folder: &Path) -> Result<()> {
    let mut lines = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // What a command may still be appended to is no result.
        let path = folder.join(&name);
        if path.is_file() && name != SUMS && name != super::attempt::LOG {
            lines.insert(name.clone(), sum(&path)?);
        }
    }
    let text: String = lines
        .iter()
        .map(|(name, sum)| format!("{sum}  {name}\n"))
        .collect();
    let path = folder.join(SUMS);
    fs::write(&path, text).with_context(|| path.display().to_string())
}

/// Checks those of `names` that the folder's sums list. A folder without sums is of an earlier version, and trusted.
///
/// # Errors
/// Names the first file that is not what it was.
pub(super) fn check(folder: &Path, names: &[&str]) -> Result<()> {
    let sums = Sums::of(&Source::folder(folder))?;
    for name in names {
        let file = folder.join(name);
        match sum(&file) {
            Err(_) if !file.exists() && !sums.lists(name) => {}
            found => sums.compare(name, &file, &found?)?,
        }
    }
    Ok(())
}

/// What a folder's sums say; none where there are none, and then nothing is checked.
pub(super) struct Sums(Option<BTreeMap<String, String>>);

impl Sums {
    /// Reads them.
    pub(super) fn of(source: &Source) -> Result<Sums> {
        let damaged = || format!("{} is damaged", source.path(SUMS).display());
        let Some(bytes) = source.find(SUMS).with_context(damaged)? else {
            return Ok(Sums(None));
        };
        let text = String::from_utf8(bytes).with_context(damaged)?;
        let mut sums = BTreeMap::new();
        for line in text.lines() {
            match line.split_once("  ") {
                Some((sum, name)) if sum.len() == 64 => sums.insert(name.into(), sum.into()),
                _ => bail!("{}", damaged()),
            };
        }
        Ok(Sums(Some(sums)))
    }

    /// The content of a file that is what it was.
    pub(super) fn read(&self, source: &Source, name: &str) -> Result<Vec<u8>> {
        let bytes = source.read(name)?;
        self.compare(
            name,
            &source.path(name),
            &hexadecimal(Sha256::digest(&bytes)),
        )?;
        Ok(bytes)
    }

    fn lists(&self, name: &str) -> bool {
        let Sums(sums) = self;
        sums.as_ref().is_none_or(|sums| sums.contains_key(name))
    }

    fn compare(&self, name: &str, file: &Path, found: &str) -> Result<()> {
        let Sums(Some(sums)) = self else {
            return Ok(());
        };
        ensure!(
            sums.get(name).is_some_and(|sum| sum == found),
            "{} is damaged: its content is not what {SUMS} says",
            file.display()
        );
        Ok(())
    }
}

fn sum(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| match path.try_exists() {
        Ok(false) => format!("{} is missing", path.display()),
        _ => format!("cannot read {}", path.display()),
    })?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        }
    }
    Ok(hexadecimal(hash.finalize()))
}

fn hexadecimal(hash: impl AsRef<[u8]>) -> String {
    let digits = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}
