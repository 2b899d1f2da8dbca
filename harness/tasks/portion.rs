//! A portion of a data set: its files, their rows and their texts, read a piece at a time.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use harness::content::sha256_of_file;
use harness::layout::{PortionFiles, portion_files};
use polars::prelude::{
    BinaryChunked, Column, DataFrame, DataType, Int64Chunked, ParquetReader, SerReader,
    StringChunked,
};

use super::error::DataError;

/// Bytes read from a text file or an archive at once.
const BUFFER: usize = 1 << 18;

/// A portion of a data set, found in its folder.
#[derive(Clone, Debug)]
pub struct Portion {
    /// Its name in the data set, such as `train` or `en/test`.
    pub name: String,
    folder: PathBuf,
    files: PortionFiles,
}

impl Portion {
    /// The portion `name` of the data set in `folder`; [`portion_files`] says what its files are called.
    pub fn find(folder: &Path, name: &str) -> Result<Self, DataError> {
        let mut listing = Vec::new();
        list(folder, "", &mut listing)?;
        let files = portion_files(&listing, name).map_err(|source| DataError::NoFile {
            folder: folder.into(),
            source,
        })?;
        Ok(Self {
            name: name.into(),
            folder: folder.into(),
            files,
        })
    }

    /// The files to read, in their order.
    pub fn paths(&self) -> Vec<PathBuf> {
        let names = self.files.names();
        names.iter().map(|name| self.folder.join(name)).collect()
    }

    /// What the portion holds, as part of a cache's key: the SHA-256 of each file, and the member of an archive.
    pub fn content(&self) -> Result<Vec<String>, DataError> {
        let mut content: Vec<String> = self
            .paths()
            .iter()
            .map(|path| match hash_of_blob(path) {
                Some(hash) => Ok(hash),
                None => sha256_of_file(path).map_err(DataError::io(path)),
            })
            .collect::<Result<_, _>>()?;
        if let PortionFiles::Archived { member, .. } = &self.files {
            content.push(member.clone());
        }
        Ok(content)
    }

    /// Bytes of its files as they lie on disk.
    pub fn size(&self) -> Result<u64, DataError> {
        let sizes = self.paths().into_iter().map(|path| {
            let found = fs::metadata(&path).map_err(DataError::io(&path))?;
            Ok(found.len())
        });
        sizes.sum()
    }

    /// Number of rows when the portion is Parquet, told without reading them; none when it is text.
    pub fn rows(&self) -> Result<Option<u64>, DataError> {
        let PortionFiles::Parquet(_) = self.files else {
            return Ok(None);
        };
        let rows = self.paths().into_iter().map(|path| {
            let mut reader = ParquetReader::new(open(&path)?);
            reader
                .num_rows()
                .map(|rows| rows as u64)
                .map_err(DataError::parquet(&path))
        });
        rows.sum::<Result<_, _>>().map(Some)
    }

    /// Calls `each` with the columns `wanted`, a row group at a time, in order.
    ///
    /// Fails when the portion is text, a column is not there, or `each` fails.
    pub fn tables(
        &self,
        wanted: &[&str],
        mut each: impl FnMut(Table) -> Result<ControlFlow<()>, DataError>,
    ) -> Result<(), DataError> {
        let columns: Vec<String> = wanted.iter().map(|name| name.to_string()).collect();
        for path in self.paths() {
            let parquet = || DataError::parquet(&path);
            let mut reader = ParquetReader::new(open(&path)?);
            let metadata = Arc::clone(reader.get_metadata().map_err(parquet())?);
            let mut first_row = 0;
            for group in &metadata.row_groups {
                let mut reader = ParquetReader::new(open(&path)?);
                reader.set_metadata(Arc::clone(&metadata));
                let frame = reader
                    .with_columns(Some(columns.clone()))
                    .with_slice(Some((first_row, group.num_rows())))
                    .finish()
                    .map_err(parquet())?;
                let path = &path;
                if each(Table {
                    path,
                    first_row,
                    frame,
                })?
                .is_break()
                {
                    return Ok(());
                }
                first_row += group.num_rows();
            }
        }
        Ok(())
    }

    /// Calls `each` with every document and the bytes of the portion's files read so far, until it breaks.
    ///
    /// A document is a line of text, or a row of the text column `column` of Parquet; white space around it is not
    /// part of it, and empty documents count. Lines end as Python reads them: with `\n`, `\r\n` or `\r`.
    pub fn documents(
        &self,
        column: &str,
        mut each: impl FnMut(&str, u64) -> ControlFlow<()>,
    ) -> Result<(), DataError> {
        match &self.files {
            PortionFiles::Parquet(_) => {
                let (total, rows) = (self.size()?, self.rows()?.unwrap_or(0).max(1));
                let mut row = 0;
                self.tables(&[column], |table| {
                    for text in table.texts(column)? {
                        row += 1;
                        let read = (u128::from(total) * row / u128::from(rows)) as u64;
                        if each(strip(text?), read).is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                    Ok(ControlFlow::Continue(()))
                })
            }
            PortionFiles::Text(name) => {
                let path = self.folder.join(name);
                let file = Counted::new(open(&path)?);
                let read = file.count();
                let file = BufReader::with_capacity(BUFFER, file);
                lines(&path, file, |line| each(line, read.get()))
            }
            PortionFiles::Archived { archive, member } => {
                let path = self.folder.join(archive);
                let file = Counted::new(open(&path)?);
                let read = file.count();
                let text = MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file));
                let mut tar = tar::Archive::new(text);
                let io = || DataError::io(&path);
                for entry in tar.entries().map_err(io())? {
                    let entry = entry.map_err(io())?;
                    let name = entry.path().map_err(io())?.into_owned();
                    if name.strip_prefix(".").unwrap_or(&name) == Path::new(member) {
                        let text = BufReader::with_capacity(BUFFER, entry);
                        return lines(&path.join(member), text, |line| each(line, read.get()));
                    }
                }
                Err(DataError::Member {
                    path: path.clone(),
                    member: member.clone(),
                })
            }
        }
    }
}

/// The SHA-256 of a large file of the hub's cache: a link to a blob that bears it as its name, verified when it came, so
/// that gigabytes need not be read again to know it.
fn hash_of_blob(path: &Path) -> Option<String> {
    hash_of_file(path).filter(|hash| hash.len() == 64)
}

/// The hash that names a file of the hub's cache: SHA-256, or Git's for a small file.
pub(crate) fn hash_of_file(path: &Path) -> Option<String> {
    let blob = fs::read_link(path).ok()?;
    let folder = blob.parent()?.file_name()?;
    let name = blob.file_name()?.to_str()?;
    let is_hash =
        matches!(name.len(), 40 | 64) && name.bytes().all(|digit| digit.is_ascii_hexdigit());
    (folder == "blobs" && is_hash).then(|| name.to_string())
}

/// Columns of a row group.
pub struct Table<'a> {
    /// Its file.
    pub path: &'a Path,
    /// Place of its first row in the file.
    pub first_row: usize,
    frame: DataFrame,
}

impl Table<'_> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.frame.height()
    }

    /// The texts of a column; a row without one is an error.
    pub fn texts(
        &self,
        column: &str,
    ) -> Result<impl Iterator<Item = Result<&str, DataError>>, DataError> {
        let texts: &StringChunked = self
            .column(column)?
            .as_materialized_series()
            .str()
            .map_err(|_| self.wrong(column, "text"))?;
        Ok(self.present(column, texts.iter()))
    }

    /// The bytes of a column, or of the field `bytes` where it holds images as the Hub does.
    pub fn images(&self, column: &str) -> Result<Images, DataError> {
        let wrong = || self.wrong(column, "images");
        let series = self.column(column)?.as_materialized_series().clone();
        let bytes = match series.dtype() {
            DataType::Struct(_) => series
                .struct_()
                .and_then(|fields| fields.field_by_name("bytes"))
                .map_err(|_| wrong())?,
            _ => series,
        };
        Ok(Images(bytes.binary().map_err(|_| wrong())?.clone()))
    }

    /// The encoded images of a column; a row without one is an error.
    pub fn encoded<'b>(
        &self,
        column: &str,
        images: &'b Images,
    ) -> Result<Vec<&'b [u8]>, DataError> {
        self.present(column, images.0.iter()).collect()
    }

    /// The labels of a column, each one of `0..classes`; other labels and rows without one are errors.
    pub fn labels(&self, column: &str, classes: i64) -> Result<Vec<i64>, DataError> {
        let found = self.column(column)?;
        if !found.dtype().is_integer() {
            return Err(self.wrong(column, "whole numbers"));
        }
        let labels = found
            .cast(&DataType::Int64)
            .map_err(DataError::parquet(self.path))?;
        let labels: &Int64Chunked = labels.i64().map_err(DataError::parquet(self.path))?;
        let checked = self
            .present(column, labels.iter())
            .enumerate()
            .map(|(row, label)| {
                let label = label?;
                match (0..classes).contains(&label) {
                    true => Ok(label),
                    false => Err(DataError::Label {
                        path: self.path.into(),
                        row: self.first_row + row,
                        column: column.into(),
                        label,
                        last: classes - 1,
                    }),
                }
            });
        checked.collect()
    }

    fn column(&self, column: &str) -> Result<&Column, DataError> {
        self.frame
            .column(column)
            .map_err(DataError::parquet(self.path))
    }

    fn wrong(&self, column: &str, wanted: &'static str) -> DataError {
        let found = self.frame.column(column).map(|column| column.dtype());
        DataError::Column {
            path: self.path.into(),
            column: column.into(),
            wanted,
            found: found.map_or(String::new(), ToString::to_string),
        }
    }

    fn present<T>(
        &self,
        column: &str,
        values: impl Iterator<Item = Option<T>>,
    ) -> impl Iterator<Item = Result<T, DataError>> {
        values.enumerate().map(move |(row, value)| {
            value.ok_or_else(|| DataError::Missing {
                path: self.path.into(),
                row: self.first_row + row,
                column: column.into(),
            })
        })
    }
}

/// A column of encoded images.
pub struct Images(BinaryChunked);

/// Every file under `folder`, by its name relative to the top, `/` between the parts; hidden ones left out.
fn list(folder: &Path, prefix: &str, found: &mut Vec<String>) -> Result<(), DataError> {
    for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
        let path = entry.map_err(DataError::io(folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            list(&path, &format!("{prefix}{name}/"), found)?;
        } else {
            found.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<File, DataError> {
    File::open(path).map_err(DataError::io(path))
}

/// Calls `each` with every line of `text`, stripped.
fn lines(
    path: &Path,
    mut text: impl BufRead,
    mut each: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<(), DataError> {
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if text
            .read_until(b'\n', &mut bytes)
            .map_err(DataError::io(path))?
            == 0
        {
            break;
        }
        let line = std::str::from_utf8(&bytes).map_err(|_| DataError::Encoding {
            path: path.into(),
            line: number,
        })?;
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        for line in line.split('\r') {
            if each(strip(line)).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// `text` without white space around it, by Python's idea of white space: Unicode's and four separators of ASCII.
fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c))
}

/// A reader that counts what was read from it.
struct Counted<R> {
    reader: R,
    read: std::rc::Rc<std::cell::Cell<u64>>,
}

impl<R> Counted<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            read: Default::default(),
        }
    }

    fn count(&self) -> std::rc::Rc<std::cell::Cell<u64>> {
        self.read.clone()
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::testing::Folder;

    fn documents(portion: &Portion) -> Result<Vec<String>, DataError> {
        let mut found = Vec::new();
        portion.documents("text", |document, _| {
            found.push(document.to_string());
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    #[test]
    fn lines_are_stripped_and_empty_ones_kept() {
        let folder = Folder::new("portion-lines");
        let text = " a \n\n\u{a0}b\u{2003}\r\n\x1cc\rd\n\t\n\ne";
        fs::write(folder.0.join("train.txt"), text).unwrap();
        let portion = Portion::find(&folder.0, "train").unwrap();
        assert_eq!(
            documents(&portion).unwrap(),
            ["a", "", "b", "c", "d", "", "", "e"]
        );
        assert_eq!(portion.rows().unwrap(), None);
    }

    #[test]
    fn a_line_that_is_not_utf8_is_named() {
        let folder = Folder::new("portion-utf8");
        fs::write(folder.0.join("train.txt"), b"fine\n\xff\n").unwrap();
        let portion = Portion::find(&folder.0, "train").unwrap();
        let error = documents(&portion).unwrap_err().to_string();
        assert!(error.ends_with("train.txt: line 2 is not UTF-8"), "{error}");
    }

    #[test]
    fn an_archive_that_lacks_the_text_or_is_cut_short_is_an_error() {
        let folder = Folder::new("portion-archive");
        let path = folder.0.join("Art.tar.gz");
        let file = File::create(&path).unwrap();
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(file, Default::default()));
        let text = "line\n".repeat(10_000);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "./Art/train.txt", text.as_bytes())
            .unwrap();
        tar.into_inner().unwrap().finish().unwrap();

        let portion = Portion::find(&folder.0, "Art/train").unwrap();
        assert_eq!(documents(&portion).unwrap().len(), 10_000);
        let error = documents(&Portion::find(&folder.0, "Art/valid").unwrap()).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("Art.tar.gz: no `Art/valid.txt` in the archive")
        );
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(matches!(documents(&portion), Err(DataError::Io { .. })));
    }

    #[test]
    fn a_broken_parquet_file_is_named() {
        let folder = Folder::new("portion-parquet");
        fs::create_dir(folder.0.join("data")).unwrap();
        let path = folder.0.join("data/train-00000-of-00001.parquet");
        fs::write(&path, "PAR1, or so it says").unwrap();
        let portion = Portion::find(&folder.0, "train").unwrap();
        let error = portion.rows().unwrap_err();
        assert_eq!(error.to_string(), path.display().to_string());
        assert!(documents(&portion).is_err());
    }
}
