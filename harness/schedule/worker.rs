//! Where the worker program is.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

const NAME: &str = "harness-worker";

/// The worker program: `HARNESS_WORKER`, or the one beside this program. Under `cargo run`, which builds only the
/// program it is asked for, builds it first.
pub fn worker_path() -> Result<PathBuf> {
    if let Some(path) = env::var_os("HARNESS_WORKER").map(PathBuf::from) {
        ensure!(
            path.is_file(),
            "HARNESS_WORKER names {}, which is no file",
            path.display()
        );
        let mode = std::fs::metadata(&path).map_or(0, |found| found.permissions().mode());
        ensure!(
            mode & 0o111 != 0,
            "HARNESS_WORKER names {}, which cannot be executed",
            path.display()
        );
        return std::path::absolute(&path).with_context(|| path.display().to_string());
    }
    let program = env::current_exe().context("where this program is")?;
    let folder = program.parent().unwrap_or(Path::new("."));
    let is_test = folder.file_name().is_some_and(|name| name == "deps");
    if !is_test {
        build(folder)?;
    }
    let name = format!("{NAME}{}", env::consts::EXE_SUFFIX);
    let beside = folder.join(&name);
    let above = folder.join("..").join(&name);
    match [beside, above]
        .into_iter()
        .take(if is_test { 2 } else { 1 })
        .find(|path| path.is_file())
    {
        Some(path) => path
            .canonicalize()
            .with_context(|| path.display().to_string()),
        None => bail!(
            "no `{NAME}` beside {}; build it with `cargo build`",
            program.display()
        ),
    }
}

/// Under `cargo run` in this package, builds the worker in the profile of this program.
fn build(folder: &Path) -> Result<()> {
    let Some(cargo) = env::var_os("CARGO") else {
        return Ok(());
    };
    if env::var_os("CARGO_MANIFEST_DIR").is_none_or(|dir| dir != env!("CARGO_MANIFEST_DIR")) {
        return Ok(());
    }
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => return Ok(()),
    };
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", NAME, "--profile", profile]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let status = command
        .status()
        .context("cannot run cargo to build the worker")?;
    ensure!(
        status.success(),
        "the worker does not build; see `cargo build`"
    );
    Ok(())
}
