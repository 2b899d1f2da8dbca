//! Files of named tensors: eight bytes with the length of a JSON header, the header, the values.
//!
//! A header may claim anything. It is believed only where its tensors lie one behind the other and fill the file, which
//! is what the format demands: then no tensor takes more memory than the file has bytes, nor all together.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Error as IoError, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::stored::WeightsError;

/// Kinds by the names that headers use. Read where nothing else says how.
const KINDS: [(&str, Kind); 9] = [
    ("F64", Kind::Double),
    ("F32", Kind::Float),
    ("F16", Kind::Half),
    ("BF16", Kind::BFloat16),
    ("I64", Kind::Int64),
    ("I32", Kind::Int),
    ("I8", Kind::Int8),
    ("U8", Kind::Uint8),
    ("BOOL", Kind::Bool),
];

/// No header of a real file comes near this; the format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// A file whose header is read and whose tensors are read one at a time.
#[derive(Debug)]
pub(crate) struct TensorFile {
    pub(crate) path: PathBuf,
    file: File,
    /// Where the values start.
    start: u64,
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// A tensor as the header describes it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Entry {
    dtype: String,
    pub(crate) shape: Vec<i64>,
    data_offsets: [u64; 2],
}

impl TensorFile {
    pub(crate) fn open(path: &Path) -> Result<Self, WeightsError> {
        let io = |cause| WeightsError::io(path, cause);
        let broken = |message: String| WeightsError::file(path, message);
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 0)
            .map_err(|_| broken("is too short for a safetensors file".into()))?;
        let header = u64::from_le_bytes(bytes);
        if header > LONGEST_HEADER || header + 8 > length {
            return Err(broken("is no safetensors file, or is cut off".into()));
        }
        let mut bytes = vec![0; header as usize];
        file.read_exact_at(&mut bytes, 8).map_err(io)?;
        let Header(entries) = serde_json::from_slice(&bytes)
            .map_err(|cause| broken(format!("the header does not describe tensors: {cause}")))?;
        let start = 8 + header;
        check_places(&entries, length - start).map_err(broken)?;
        Ok(Self {
            path: path.into(),
            file,
            start,
            entries,
        })
    }

    /// The tensor called `name`, which the header must have, in the kind it is stored in, on the host.
    pub(crate) fn read(&self, name: &str) -> Result<Tensor, WeightsError> {
        let entry = &self.entries[name];
        let broken = |message: String| WeightsError::file(&self.path, message);
        let kind = entry.kind().ok_or_else(|| {
            broken(format!(
                "`{name}` has the type {}, which cannot be read",
                entry.dtype
            ))
        })?;
        let [from, to] = entry.data_offsets;
        let mut bytes = vec![0; (to - from) as usize];
        self.file
            .read_exact_at(&mut bytes, self.start + from)
            .map_err(|cause| WeightsError::io(&self.path, cause))?;
        Tensor::f_from_data_size(&bytes, &entry.shape, kind)
            .map_err(|cause| broken(format!("`{name}`: {cause}")))
    }
}

impl Entry {
    /// The kind of its values, if it is one that is read.
    pub(crate) fn kind(&self) -> Option<Kind> {
        let known = KINDS.iter().find(|(known, _)| *known == self.dtype);
        known.map(|(_, kind)| *kind)
    }

    /// The bytes that its shape takes in this kind, where a shape like it can be.
    fn bytes(&self, kind: Kind) -> Option<u64> {
        let mut bytes = kind.elt_size_in_bytes() as i64;
        for &side in &self.shape {
            // Strides are products of sides even where one of them is 0.
            bytes = bytes.checked_mul(side.max(1)).filter(|_| side >= 0)?;
        }
        Some(if self.shape.contains(&0) {
            0
        } else {
            bytes as u64
        })
    }
}

/// The tensors of a header, read without an intermediate form, which would take many times its length.
struct Header(BTreeMap<String, Entry>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
                let mut entries = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let entry = map.next_value().map_err(|cause| {
                        M::Error::custom(format_args!("the entry for `{name}`: {cause}"))
                    })?;
                    if entries.contains_key(&name) {
                        return Err(M::Error::custom(format_args!("two entries for `{name}`")));
                    }
                    entries.insert(name, entry);
                }
                Ok(Header(entries))
            }
        }
        from.deserialize_map(Entries)
    }
}

/// Says what is wrong unless the tensors lie one behind the other in `length` bytes of values, leaving none over, each in
/// as many as its shape takes.
fn check_places(entries: &BTreeMap<String, Entry>, length: u64) -> Result<(), String> {
    let mut placed: Vec<_> = entries.iter().collect();
    placed.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut end = 0;
    for (name, entry) in placed {
        let [from, to] = entry.data_offsets;
        if from > to || to > length {
            return Err(format!(
                "`{name}` ends beyond the file, which may be cut off"
            ));
        }
        if from != end {
            return Err(format!(
                "`{name}` begins at byte {from} of the values, but the one before it ends at {end}"
            ));
        }
        if let Some(kind) = entry.kind()
            && entry.bytes(kind) != Some(to - from)
        {
            return Err(format!(
                "`{name}` has {} bytes, which is not its shape, {:?}, in {}",
                to - from,
                entry.shape,
                entry.dtype
            ));
        }
        end = to;
    }
    match length - end {
        0 => Ok(()),
        rest => Err(format!(
            "{rest} bytes behind the last tensor belong to none"
        )),
    }
}

/// Writes `tensors` to `path`, whole or not at all, with the mark that the reference implementation looks for.
pub(crate) fn write(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), WeightsError> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut end = 0;
    for (name, tensor) in tensors {
        let kind = KINDS.iter().find(|(_, kind)| *kind == tensor.kind());
        let (dtype, kind) = kind.expect("a kind that files have");
        let start = end;
        end += tensor.numel() * kind.elt_size_in_bytes();
        let entry = json!({ "dtype": dtype, "shape": tensor.size(), "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
    }
    let mut header = Value::from(header).to_string();
    // Values start at a multiple of 8.
    header.extend(std::iter::repeat_n(
        ' ',
        header.len().next_multiple_of(8) - header.len(),
    ));
    whole(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for (_, tensor) in tensors {
            let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
            let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
            tensor.copy_data_u8(&mut bytes, tensor.numel());
            file.write_all(&bytes)?;
        }
        Ok(())
    })
}

/// Writes a file under another name and renames it once it is on the disk.
pub(crate) fn whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), IoError>,
) -> Result<(), WeightsError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!("{name}.partial"));
    let done = (|| {
        let mut file = BufWriter::new(File::create(&partial)?);
        write(&mut file)?;
        file.into_inner()
            .map_err(|error| error.into_error())?
            .sync_all()?;
        std::fs::rename(&partial, path)?;
        // The new name is on the disk once its folder is.
        match path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    })();
    done.map_err(|cause| {
        // On a full disk what was begun would only be in the way.
        let _ = std::fs::remove_file(&partial);
        WeightsError::io(path, cause)
    })
}
