//! Tells the programs what they were built from.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use sha2::{Digest, Sha256};

fn main() {
    println!("cargo:rerun-if-changed=harness");
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!(
        "cargo:rustc-env=HARNESS_BUILD={}",
        build_hash().expect("the sources can be read")
    );

    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) =
            git(&["rev-parse", "--git-path", file]).filter(|path| Path::new(path).exists())
        {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    println!("cargo:rustc-env=HARNESS_REVISION={}", revision());
    println!("cargo:rustc-env=HARNESS_RUSTC={}", compiler());
    println!(
        "cargo:rustc-env=HARNESS_TCH={}",
        locked("tch").unwrap_or_default()
    );
}

/// What the compiler says of itself.
fn compiler() -> String {
    let name = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let output = Command::new(name).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
    text.unwrap_or_default()
}

/// The version of a crate in the lock file.
fn locked(name: &str) -> Option<String> {
    let lock = fs::read_to_string("Cargo.lock").ok()?;
    let (_, entry) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(entry.split_once('"')?.0.to_string())
}

/// The first 16 hexadecimal digits of the SHA-256 over the paths and contents of all sources and the lock file.
fn build_hash() -> io::Result<String> {
    let mut files = vec![PathBuf::from("Cargo.lock")];
    sources(Path::new("harness"), &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for path in files {
        let content = fs::read(&path)?;
        hash.update(path.to_string_lossy().as_bytes());
        hash.update([0]);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    Ok(hash
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Every Rust, C++ and manifest file under `folder`.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|kind| {
            ["rs", "cpp", "h", "toml"]
                .iter()
                .any(|known| kind == *known)
        }) {
            found.push(path);
        }
    }
    Ok(())
}

/// The commit that is checked out, with `-dirty` when tracked files differ from it; empty outside a checkout.
fn revision() -> String {
    let Some(head) = git(&["rev-parse", "HEAD"]) else {
        return String::new();
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])
        .is_none_or(|files| !files.is_empty());
    if changed { head + "-dirty" } else { head }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}
