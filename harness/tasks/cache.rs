//! Prepared data on disk, memory-mapped: each entry a file that is named after everything that decides its content.
//!
//! An entry is written under another name and renamed when it is complete, so that a file with an entry's name is an
//! entry; its header and length are checked all the same. Numbers lie in the machine's byte order.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::Mmap;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::DataError;

/// Changes whenever an entry of the same key would have other bytes.
const FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"harnessD";
/// Magic, key, place of the index and length of the file, filled up to one alignment.
const HEADER: u64 = 64;
/// Sections start at its multiples.
const ALIGNMENT: u64 = 64;
/// Bytes gathered before they go to the file.
const BUFFER: usize = 1 << 20;

/// What a preparation tells about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// How far it is.
    At {
        /// What is being prepared.
        label: &'a str,
        /// Done so far.
        done: u64,
        /// When it is finished, if that can be told beforehand.
        total: Option<u64>,
        /// What is counted.
        unit: Unit,
    },
    /// Something a person should know; preparation goes on.
    Note(&'a str),
}

/// What progress counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes read.
    Bytes,
    /// Examples.
    Rows,
}

/// Who listens to progress.
pub type Tell<'a> = dyn FnMut(Progress) + 'a;

/// What an entry is made from: its kind, and a hash of everything that decides its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    kind: &'static str,
    hash: [u8; 32],
}

impl Key {
    /// The key of an entry made from `parts`: content hashes of the sources, and every setting.
    pub fn new(kind: &'static str, parts: &impl Serialize) -> Self {
        let canonical = serde_json::to_vec(&(FORMAT, kind, parts)).expect("plain data");
        Self {
            kind,
            hash: Sha256::digest(canonical).into(),
        }
    }

    fn name(&self) -> String {
        let hash: String = self.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{hash}", self.kind)
    }
}

/// A folder of entries.
#[derive(Clone, Debug)]
pub struct Cache {
    /// None keeps nothing.
    dir: Option<PathBuf>,
}

impl Cache {
    /// The cache in `dir`, which is made when the first entry is.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: Some(dir.into()),
        }
    }

    /// A cache that forgets: entries are files without a name in the folder for temporary files.
    pub fn forgetful() -> Self {
        Self { dir: None }
    }

    /// The entry of `key`, which `fill` writes when it is not there.
    ///
    /// Of several processes that want the same entry, one writes and the others wait. Where the file system knows no
    /// locks each writes its own, and the last one stays. A file that is not a whole entry of this key is made anew.
    pub fn prepared(
        &self,
        key: &Key,
        tell: &mut Tell,
        fill: impl FnOnce(&mut Writer) -> Result<(), DataError>,
    ) -> Result<Entry, DataError> {
        let Some(dir) = &self.dir else {
            let partial = Partial::new(&std::env::temp_dir(), &key.name());
            write(&partial.0, key, tell, fill)?;
            return Entry::open(&partial.0, key).map_err(DataError::io(&partial.0));
        };
        let path = dir.join(format!("{}.bin", key.name()));
        if let Some(entry) = look(&path, key, tell) {
            return Ok(entry);
        }
        fs::create_dir_all(dir).map_err(DataError::io(dir))?;
        let _lock = alone(dir, key, tell)?;
        if let Some(entry) = look(&path, key, &mut |_| {}) {
            return Ok(entry);
        }
        let partial = Partial::new(dir, &key.name());
        write(&partial.0, key, tell, fill)?;
        fs::rename(&partial.0, &path).map_err(DataError::io(&path))?;
        Entry::open(&path, key).map_err(DataError::io(&path))
    }
}

/// The entry at `path`, if it is there and whole.
fn look(path: &Path, key: &Key, tell: &mut Tell) -> Option<Entry> {
    match Entry::open(path, key) {
        Ok(entry) => Some(entry),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let text = format!("{}: {error}; preparing it again", path.display());
            tell(Progress::Note(&text));
            None
        }
    }
}

/// Waits until nobody else writes the entry of `key`, and clears away what a killed writer left.
///
/// The file of the lock stays: who removes it may take the lock from under one who waits for it.
fn alone(dir: &Path, key: &Key, tell: &mut Tell) -> Result<File, DataError> {
    let path = dir.join(format!("{}.lock", key.name()));
    let lock = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(DataError::io(&path))?;
    let held = match lock.try_lock() {
        Ok(()) => true,
        Err(fs::TryLockError::WouldBlock) => {
            tell(Progress::Note(
                "waiting for another process that prepares the same data",
            ));
            lock.lock().is_ok()
        }
        Err(fs::TryLockError::Error(_)) => false,
    };
    if held {
        let prefix = format!("{}.", key.name());
        for entry in fs::read_dir(dir).map_err(DataError::io(dir))?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(&prefix) && name.ends_with(".partial") {
                // Whoever cannot remove it can still write beside it.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
    Ok(lock)
}

/// A file on its way, removed unless it is renamed.
struct Partial(PathBuf);

impl Partial {
    fn new(dir: &Path, name: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(dir.join(format!("{name}.{}-{count}.partial", process::id())))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn write(
    path: &Path,
    key: &Key,
    tell: &mut Tell,
    fill: impl FnOnce(&mut Writer) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let file = File::create_new(path).map_err(DataError::io(path))?;
    let mut writer = Writer {
        path,
        file: BufWriter::with_capacity(BUFFER, file),
        at: 0,
        sections: BTreeMap::new(),
        tell,
    };
    writer.put(&[0; HEADER as usize])?;
    fill(&mut writer)?;
    writer.finish(key)
}

/// Writes the sections of an entry, one after another.
pub struct Writer<'a> {
    path: &'a Path,
    file: BufWriter<File>,
    at: u64,
    sections: BTreeMap<&'static str, Range<u64>>,
    tell: &'a mut Tell<'a>,
}

impl Writer<'_> {
    /// Starts the section `name`; what is written from here on belongs to it.
    pub fn section(&mut self, name: &'static str) -> Result<(), DataError> {
        self.align()?;
        let twice = self.sections.insert(name, self.at..self.at);
        assert!(twice.is_none(), "section {name} is written once");
        Ok(())
    }

    /// Adds `values` to the section `name`, which must be the one started last.
    pub fn extend<T: Plain>(&mut self, name: &'static str, values: &[T]) -> Result<(), DataError> {
        self.put(bytes_of(values))?;
        let section = self.sections.get_mut(name).expect("a section was started");
        section.end = self.at;
        Ok(())
    }

    /// A whole section.
    pub fn whole<T: Plain>(&mut self, name: &'static str, values: &[T]) -> Result<(), DataError> {
        self.section(name)?;
        self.extend(name, values)
    }

    /// Tells whoever listens.
    pub fn tell(&mut self, progress: Progress) {
        (self.tell)(progress);
    }

    fn align(&mut self) -> Result<(), DataError> {
        let missing = self.at.next_multiple_of(ALIGNMENT) - self.at;
        self.put(&[0; ALIGNMENT as usize][..missing as usize])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.file
            .write_all(bytes)
            .map_err(DataError::io(self.path))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self, key: &Key) -> Result<(), DataError> {
        let index = serde_json::to_vec(&self.sections).expect("plain data");
        let start = self.at;
        self.put(&index)?;
        let mut header = [0; HEADER as usize];
        header[..8].copy_from_slice(&MAGIC);
        header[8..40].copy_from_slice(&key.hash);
        header[40..48].copy_from_slice(&start.to_le_bytes());
        header[48..56].copy_from_slice(&self.at.to_le_bytes());
        let seal = |file: &mut BufWriter<File>| {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header)?;
            file.flush()?;
            file.get_ref().sync_all()
        };
        seal(&mut self.file).map_err(DataError::io(self.path))
    }
}

/// An entry of a cache, memory-mapped.
#[derive(Debug)]
pub struct Entry {
    map: Mmap,
    sections: BTreeMap<String, Range<u64>>,
}

impl Entry {
    /// Fails with the kind `InvalidData` when the file is not a whole entry of `key`.
    fn open(path: &Path, key: &Key) -> io::Result<Self> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_string());
        let file = File::open(path)?;
        // SAFETY: nobody changes a complete entry; it is only ever replaced by another file.
        let map = unsafe { Mmap::map(&file)? };
        if map.len() < HEADER as usize || map[..8] != MAGIC {
            return Err(wrong("not prepared data"));
        }
        if map[8..40] != key.hash {
            return Err(wrong("prepared from something else"));
        }
        let number =
            |at: usize| u64::from_le_bytes(map[at..at + 8].try_into().expect("eight bytes"));
        let (index, length) = (number(40), number(48));
        if length != map.len() as u64 || !(HEADER..=length).contains(&index) {
            return Err(wrong("not complete"));
        }
        let sections: BTreeMap<String, Range<u64>> =
            serde_json::from_slice(&map[index as usize..]).map_err(|_| wrong("no index"))?;
        let fits = |section: &Range<u64>| {
            section.start % ALIGNMENT == 0 && section.start <= section.end && section.end <= index
        };
        if !sections.values().all(fits) {
            return Err(wrong("the index is wrong"));
        }
        Ok(Self { map, sections })
    }

    /// The numbers of a section; none when the entry has no such section.
    pub fn get<T: Plain>(&self, name: &str) -> Option<&[T]> {
        let section = self.sections.get(name)?;
        let bytes = &self.map[section.start as usize..section.end as usize];
        // SAFETY: any bytes are a `T`, and the section is aligned for all of them: the map starts at a page.
        let (before, values, after) = unsafe { bytes.align_to::<T>() };
        (before.is_empty() && after.is_empty()).then_some(values)
    }

    /// A section that whoever wrote the entry is known to have written.
    pub(super) fn section<T: Plain>(&self, name: &str) -> &[T] {
        self.get(name)
            .unwrap_or_else(|| panic!("an entry of this format has the section {name}"))
    }
}

/// Numbers whose bytes are written as they lie in memory.
pub trait Plain: Copy + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! plain {
    ($($kind:ty)*) => { $(impl sealed::Sealed for $kind {} impl Plain for $kind {})* };
}
plain!(u8 u16 u32 u64 i64);

fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: integers have no padding, and any bytes may be read as u8.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::tasks::testing::Folder;

    fn fill(writer: &mut Writer) -> Result<(), DataError> {
        writer.whole("bytes", &[1_u8, 2, 3])?;
        writer.section("numbers")?;
        writer.extend("numbers", &[7_i64])?;
        writer.extend("numbers", &[-8_i64])
    }

    fn key() -> Key {
        Key::new("test", &"a source")
    }

    fn check(entry: &Entry) {
        assert_eq!(entry.get::<u8>("bytes"), Some([1, 2, 3].as_slice()));
        assert_eq!(entry.get::<i64>("numbers"), Some([7, -8].as_slice()));
        assert_eq!(entry.get::<u8>("others"), None);
        assert_eq!(entry.get::<u16>("bytes"), None, "three bytes are no u16");
    }

    #[test]
    fn an_entry_is_written_once_and_found_again() {
        let folder = Folder::new("cache-once");
        let cache = Cache::at(&folder.0);
        check(&cache.prepared(&key(), &mut |_| {}, fill).unwrap());
        let never = |_: &mut Writer| panic!("it is there");
        check(&cache.prepared(&key(), &mut |_| {}, never).unwrap());
    }

    #[test]
    fn a_truncated_a_changed_and_a_foreign_file_are_made_anew_with_a_note() {
        let folder = Folder::new("cache-corrupt");
        let cache = Cache::at(&folder.0);
        cache.prepared(&key(), &mut |_| {}, fill).unwrap();
        let path = folder.0.join(format!("{}.bin", key().name()));
        let whole = fs::read(&path).unwrap();
        let mut other = whole.clone();
        other[9] ^= 1;
        let mut index = whole.clone();
        *index.last_mut().unwrap() = b'!';
        for bad in [&whole[..whole.len() - 1], &whole[..10], b"", &other, &index] {
            fs::write(&path, bad).unwrap();
            let mut notes = Vec::new();
            let mut tell = |progress: Progress| notes.push(format!("{progress:?}"));
            check(&cache.prepared(&key(), &mut tell, fill).unwrap());
            assert_eq!(notes.len(), 1, "{notes:?}");
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn a_preparation_that_fails_leaves_nothing_that_looks_like_an_entry() {
        let folder = Folder::new("cache-fail");
        let cache = Cache::at(&folder.0);
        let failing = |writer: &mut Writer| {
            fill(writer)?;
            Err(DataError::NotYet("this"))
        };
        assert!(cache.prepared(&key(), &mut |_| {}, failing).is_err());
        let left = fs::read_dir(&folder.0).unwrap().flatten();
        let left: Vec<_> = left.map(|file| file.path()).collect();
        assert!(left.iter().all(|path| path.extension().unwrap() == "lock"));
        check(&cache.prepared(&key(), &mut |_| {}, fill).unwrap());
    }

    #[test]
    fn of_many_who_want_an_entry_one_writes_it() {
        let folder = Folder::new("cache-many");
        let cache = Cache::at(&folder.0);
        let written = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let counted = |writer: &mut Writer| {
                        written.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        fill(writer)
                    };
                    check(&cache.prepared(&key(), &mut |_| {}, counted).unwrap());
                });
            }
        });
        assert_eq!(written.into_inner(), 1);
    }

    #[test]
    fn what_a_killed_writer_left_is_cleared_away() {
        let folder = Folder::new("cache-left");
        let left = folder.0.join(format!("{}.1-0.partial", key().name()));
        fs::write(&left, "half").unwrap();
        let cache = Cache::at(&folder.0);
        check(&cache.prepared(&key(), &mut |_| {}, fill).unwrap());
        assert!(!left.exists());
    }

    #[test]
    fn a_forgetful_cache_keeps_no_file() {
        let entry = Cache::forgetful()
            .prepared(&key(), &mut |_| {}, fill)
            .unwrap();
        check(&entry);
        let name = format!("{}.{}-", key().name(), process::id());
        let mut files = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
        assert!(!files.any(|file| file.file_name().to_string_lossy().starts_with(&name)));
    }
}
