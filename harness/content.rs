//! What a folder of data or weights holds, as one hash.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Files whose bytes can decide a result; a README beside them cannot.
const KINDS: [&str; 5] = ["parquet", "json", "safetensors", "txt", "gz"];

/// SHA-256, in hexadecimal, of the content of the folder `path`: of the lines `<SHA-256 of file>  <relative path>\n`,
/// sorted by path, over every `*.parquet`, `*.json`, `*.safetensors`, `*.txt` and `*.gz` file in it, at any depth.
///
/// A shell says the same with
/// `find . -type f \( -name '*.parquet' -o ... \) -printf '%P\n' | LC_ALL=C sort | xargs sha256sum | sha256sum`.
/// Hidden files and folders are left out; links are followed. Fails when the folder or a file cannot be read.
pub fn sha256_of_folder(path: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    collect(path, "", &mut files)?;
    files.sort();
    let lines: Vec<String> = files
        .par_iter()
        .map(|(name, file)| Ok(format!("{}  {name}\n", sha256_of_file(file)?)))
        .collect::<io::Result<_>>()?;
    let mut hash = Sha256::new();
    lines.iter().for_each(|line| hash.update(line));
    Ok(hexadecimal(hash))
}

/// SHA-256 of a file, in hexadecimal; read as a stream.
pub fn sha256_of_file(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(
        &mut File::open(path).map_err(|error| named(path, error))?,
        &mut hash,
    )?;
    Ok(hexadecimal(hash))
}

/// Every file of a known kind under `folder`, with its name relative to the top, `/` between the parts.
fn collect(folder: &Path, prefix: &str, found: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| named(folder, error))? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let relative = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{relative}/"), found)?;
        } else if path
            .extension()
            .is_some_and(|kind| KINDS.iter().any(|known| kind == *known))
        {
            found.push((relative, path));
        }
    }
    Ok(())
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_sha256sum_over_sorted_paths() {
        let folder = std::env::temp_dir().join(format!("harness-content-{}", std::process::id()));
        fs::create_dir_all(folder.join("data")).unwrap();
        fs::write(folder.join("data/b.txt"), "b\n").unwrap();
        fs::write(folder.join("a.json"), "{}").unwrap();
        fs::write(folder.join("README.md"), "not content").unwrap();
        let lines = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a  a.json\n\
                     0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f  data/b.txt\n";
        let expected: String = Sha256::digest(lines)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(sha256_of_folder(&folder).unwrap(), expected);
        fs::remove_dir_all(&folder).unwrap();
        assert!(sha256_of_folder(&folder).is_err());
    }
}
