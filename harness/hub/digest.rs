//! The hashes by which the hub names content.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// What names the bytes of a file: it is also the name of the file in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256 of the content: large files.
    Sha256(String),
    /// SHA-1 of `blob <length>\0` and the content, the name that git gives it: small files.
    Git(String),
}

impl Digest {
    /// In hexadecimal.
    pub fn text(&self) -> &str {
        match self {
            Digest::Sha256(text) | Digest::Git(text) => text,
        }
    }

    /// A hash of this kind, of content of `length` bytes, that has seen none yet.
    pub(super) fn start(&self, length: u64) -> Hash {
        match self {
            Digest::Sha256(_) => Hash::Sha256(Sha256::new()),
            Digest::Git(_) => Hash::Git(Sha1::new().chain_update(format!("blob {length}\0"))),
        }
    }

    /// Whether the file at `path` of `length` bytes has this content.
    pub(super) fn is_of(&self, path: &Path, length: u64) -> io::Result<bool> {
        let mut hash = self.start(length);
        hash.read(&mut File::open(path)?)?;
        Ok(hash.text() == self.text())
    }
}

/// A hash under way.
#[derive(Clone)]
pub(super) enum Hash {
    Sha256(Sha256),
    Git(Sha1),
}

impl Hash {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Git(hash) => hash.update(bytes),
        }
    }

    /// Takes everything that `from` gives.
    pub(super) fn read(&mut self, from: &mut impl Read) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            match from.read(&mut buffer)? {
                0 => return Ok(()),
                n => self.update(&buffer[..n]),
            }
        }
    }

    /// The hash of what was seen so far, in hexadecimal.
    pub(super) fn text(&self) -> String {
        let bytes: Vec<u8> = match self {
            Hash::Sha256(hash) => hash.clone().finalize().to_vec(),
            Hash::Git(hash) => hash.clone().finalize().to_vec(),
        };
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_git_hash_is_what_git_hash_object_says() {
        let mut hash = Digest::Git(String::new()).start(6);
        hash.update(b"hello\n");
        assert_eq!(hash.text(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
