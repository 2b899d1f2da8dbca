//! Reading an archive, which may come from anybody: nothing is written but into one file without a name, nothing that the
//! manifest does not announce, and no more than it announces.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use tar::{Archive, EntryType};

use super::{FORMAT, MANIFEST, Manifest, Member};
use crate::store::{self, Bundle, Store};
use crate::suite::{self, Suite};

/// A manifest names 10,000 runs in some 12 MB.
const MANIFEST_UP_TO: u64 = 256 << 20;
/// A suite of a whole paper has some 50 KB.
const SUITE_UP_TO: u64 = 16 << 20;
/// Zeros after the last member; usual are 1 KB.
const PADDING_UP_TO: u64 = 1 << 20;
/// More than this in all is no archive of results; with weights, who wrote it can unpack it.
const TOTAL_UP_TO: u64 = 1 << 40;

/// An archive's content: every member was compared with its checksum, and what a store reads is kept.
#[derive(Debug)]
pub struct Unpacked {
    /// What it holds.
    pub manifest: Manifest,
    /// Its runs.
    pub store: Store,
    /// Texts of suites by their members.
    suites: BTreeMap<String, String>,
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
    let unpacked = read(&mut archive, path).with_context(context)?;
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

fn read(archive: &mut Archive<impl Read>, path: &Path) -> Result<Unpacked> {
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
    let Format { format } = serde_json::from_str(&text).context("its manifest is damaged")?;
    ensure!(
        format == FORMAT,
        "its format is {format}, and this program reads {FORMAT}"
    );
    let manifest: Manifest = serde_json::from_str(&text).context("its manifest is damaged")?;
    check(&manifest)?;

    let named: HashSet<&str> = manifest
        .suites
        .iter()
        .map(|suite| suite.member.as_str())
        .collect();
    let mut suites = BTreeMap::new();
    let mut kept = Kept::new()?;
    let mut members = manifest.members.iter();
    for entry in entries {
        let mut entry = entry.context("it is damaged")?;
        let member = members
            .next()
            .context("it holds more than its manifest says")?;
        let name = member.name.as_str();
        ensure!(
            entry.header().entry_type() == EntryType::Regular
                && entry.path_bytes().as_ref() == name.as_bytes()
                && entry.size() == member.size,
            "it does not hold `{name}` where its manifest says"
        );
        let damaged = || format!("`{name}` is damaged");
        let sha256 = if named.contains(name) {
            ensure!(
                member.size <= SUITE_UP_TO,
                "`{name}` is too large for a suite"
            );
            let mut text = Vec::new();
            let sha256 = copy(&mut entry, &mut text).with_context(damaged)?;
            suites.insert(name.into(), String::from_utf8(text).with_context(damaged)?);
            sha256
        } else {
            kept.take(member, &mut entry).with_context(damaged)?
        };
        ensure!(
            sha256 == member.sha256,
            "`{name}` is damaged: its content is not what the manifest says"
        );
    }
    if let Some(member) = members.next() {
        bail!("it ends before `{}`", member.name);
    }
    let store = Store::bundled(kept.finish()?, &path.join("store"));
    Ok(Unpacked {
        manifest,
        store,
        suites,
    })
}

/// The one key that a manifest of any format has.
#[derive(serde::Deserialize)]
struct Format {
    format: serde_json::Value,
}

/// What a store reads, on its way into a file that has no name any more.
struct Kept {
    file: BufWriter<File>,
    length: u64,
    places: BTreeMap<String, (u64, u64)>,
    /// Where the rest goes.
    nowhere: io::Sink,
}

impl Kept {
    fn new() -> Result<Kept> {
        Ok(Kept {
            file: BufWriter::with_capacity(1 << 20, nameless()?),
            length: 0,
            places: BTreeMap::new(),
            nowhere: io::sink(),
        })
    }

    /// Takes a member if a store reads it; returns the hash of its content.
    fn take(&mut self, member: &Member, from: &mut impl Read) -> io::Result<String> {
        let within = member.name.strip_prefix("store/");
        let file = within.and_then(|within| within.rsplit('/').next());
        match (within, file) {
            (Some(within), Some(file)) if store::is_read(file) => {
                let sha256 = copy(from, &mut self.file)?;
                let place = (self.length, member.size);
                self.places.insert(within.into(), place);
                self.length += member.size;
                Ok(sha256)
            }
            _ => copy(from, &mut self.nowhere),
        }
    }

    fn finish(self) -> Result<Bundle> {
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        Ok(Bundle::new(file, self.places))
    }
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
    // Most members are small, and a small array is made at once.
    let (mut hash, mut buffer) = (Sha256::new(), [0; 1 << 13]);
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

/// A new file that nobody else can open, and that is gone with this process, however that ends.
fn nameless() -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("harness-{}-{count}", std::process::id()));
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(0o600);
        match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                let file = made.with_context(|| path.display().to_string())?;
                fs::remove_file(&path).with_context(|| path.display().to_string())?;
                return Ok(file);
            }
        }
    }
}

impl Unpacked {
    /// Its suites, known by the paths they were archived from.
    ///
    /// # Errors
    /// When this program does not understand one of them.
    pub fn suites(&self) -> Result<Vec<Suite>> {
        let read = |archived: &super::ArchivedSuite| {
            let text = self.suites.get(&archived.member);
            let text = text.with_context(|| format!("it lacks `{}`", archived.member))?;
            Ok(suite::parse(&archived.path, text)?)
        };
        self.manifest.suites.iter().map(read).collect()
    }
}
