//! Reading an archive, which may come from anybody: nothing is written outside a folder of its own, nothing that the
//! manifest does not announce, and no more than it announces.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use tar::{Archive, EntryType};

use super::{FORMAT, MANIFEST, Manifest, Member};
use crate::suite::{self, Suite};

/// A manifest names 10,000 runs in some 12 MB.
const MANIFEST_UP_TO: u64 = 256 << 20;
/// Zeros after the last member; usual are 1 KB.
const PADDING_UP_TO: u64 = 1 << 20;
/// More than this in all is no archive of results; with weights, who wrote it can unpack it.
const TOTAL_UP_TO: u64 = 1 << 40;

/// An archive's content in a folder that goes with this value.
#[derive(Debug)]
pub struct Unpacked {
    dir: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
}

/// Whether `path` is a file that begins as an archive does.
pub fn is_archive(path: &Path) -> bool {
    let mut magic = [0; 2];
    path.is_file()
        && File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && magic == [0x1f, 0x8b]
}

/// Unpacks the archive at `path`.
///
/// # Errors
/// When it is damaged, of another format, or holds what its manifest does not say. Nothing stays behind then.
pub fn unpack(path: &Path) -> Result<Unpacked> {
    let context = || format!("the archive {}", path.display());
    let file = File::open(path).with_context(context)?;
    let mut archive = Archive::new(GzDecoder::new(BufReader::new(file)));
    let unpacked = read(&mut archive).with_context(context)?;
    // The checksum of the whole stands at its end, behind what a tar is padded with.
    let mut rest = archive.into_inner().take(PADDING_UP_TO);
    let padding = io::copy(&mut rest, &mut io::sink())
        .context("it is damaged")
        .with_context(context)?;
    ensure!(
        padding < PADDING_UP_TO,
        "the archive {} has something behind its end",
        path.display()
    );
    Ok(unpacked)
}

fn read(archive: &mut Archive<impl Read>) -> Result<Unpacked> {
    let mut entries = archive.entries()?;
    let first = entries
        .next()
        .context("it is empty")?
        .context("it is damaged")?;
    ensure!(
        first.path_bytes().as_ref() == MANIFEST.as_bytes() && first.size() <= MANIFEST_UP_TO,
        "it does not begin with {MANIFEST}: it is no archive of this program"
    );
    let mut text = String::new();
    first
        .take(MANIFEST_UP_TO)
        .read_to_string(&mut text)
        .context("it is damaged")?;
    let format: serde_json::Value =
        serde_json::from_str(&text).context("its manifest is damaged")?;
    ensure!(
        format["format"] == FORMAT,
        "its format is {}, and this program reads {FORMAT}",
        format["format"]
    );
    let manifest: Manifest = serde_json::from_str(&text).context("its manifest is damaged")?;
    check(&manifest)?;

    let unpacked = Unpacked {
        dir: folder()?,
        manifest,
    };
    let mut members = unpacked.manifest.members.iter();
    for entry in entries {
        let mut entry = entry.context("it is damaged")?;
        let member = members
            .next()
            .context("it holds more than its manifest says")?;
        ensure!(
            entry.header().entry_type() == EntryType::Regular
                && entry.path_bytes().as_ref() == member.name.as_bytes()
                && entry.size() == member.size,
            "it does not hold `{}` where its manifest says",
            member.name
        );
        let out = unpacked.dir.join(&member.name);
        fs::create_dir_all(out.parent().unwrap_or(&unpacked.dir))?;
        let mut file = File::create_new(&out).with_context(|| member.name.clone())?;
        let sha256 =
            copy(&mut entry, &mut file).with_context(|| format!("`{}` is damaged", member.name))?;
        ensure!(
            sha256 == member.sha256,
            "`{}` is damaged: its content is not what the manifest says",
            member.name
        );
    }
    if let Some(member) = members.next() {
        bail!("it ends before `{}`", member.name);
    }
    Ok(unpacked)
}

fn check(manifest: &Manifest) -> Result<()> {
    let mut seen = HashSet::new();
    for Member { name, .. } in &manifest.members {
        let plain = Path::new(name)
            .components()
            .all(|step| matches!(step, Component::Normal(_)));
        let below = ["suites/", "store/"]
            .iter()
            .any(|folder| name.starts_with(folder));
        ensure!(
            plain && below && !name.contains(['\0', '\\']) && !name.contains("//"),
            "it names a file `{}`, which is neither below `suites/` nor below `store/`",
            name.escape_debug()
        );
        ensure!(seen.insert(name.as_str()), "it names `{name}` twice");
    }
    let total = manifest
        .members
        .iter()
        .try_fold(0_u64, |total, member| total.checked_add(member.size));
    ensure!(
        total.is_some_and(|total| total <= TOTAL_UP_TO),
        "it claims to hold more than {TOTAL_UP_TO} bytes"
    );
    for suite in &manifest.suites {
        ensure!(
            seen.contains(suite.member.as_str()),
            "it lacks the suite `{}`",
            suite.member.escape_debug()
        );
    }
    Ok(())
}

/// Copies everything; returns the hash of it.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(hash
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect());
        }
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
    }
}

/// A new folder that no other user can enter.
fn folder() -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("harness-{}-{count}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                made.with_context(|| dir.display().to_string())?;
                return Ok(dir);
            }
        }
    }
}

impl Unpacked {
    /// The folder of its runs.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Its suites, known by the paths they were archived from.
    ///
    /// # Errors
    /// When this program does not understand one of them.
    pub fn suites(&self) -> Result<Vec<Suite>> {
        let read = |archived: &super::ArchivedSuite| {
            let text = fs::read_to_string(self.dir.join(&archived.member))
                .with_context(|| archived.member.clone())?;
            Ok(suite::parse(&archived.path, &text)?)
        };
        self.manifest.suites.iter().map(read).collect()
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
