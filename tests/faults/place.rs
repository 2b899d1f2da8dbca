//! A store in a folder or file system of its own, the commands that work on it, and what must be in it afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::processes::{MARK, marked, none_left, signal};

/// Longer than any command takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where one fault is injected.
pub struct Place {
    name: String,
    dir: PathBuf,
    mounted: bool,
    environment: Vec<(String, String)>,
}

/// What one run has left: the content of every file that must be the same, by `run/file`.
pub type Results = BTreeMap<String, String>;

impl Place {
    pub fn new(name: &str) -> Place {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("faults")
            .join(name);
        unmount(&dir);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a folder");
        let name = format!("{}.{name}", std::process::id());
        Place {
            name,
            dir,
            mounted: false,
            environment: Vec::new(),
        }
    }

    /// The same on a file system of so many KiB.
    pub fn small(name: &str, kib: usize) -> Result<Place, String> {
        let mut place = Place::new(name);
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(&place.dir)
            .output()
            .map_err(|error| format!("mount: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_string());
        }
        place.mounted = true;
        Ok(place)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// What every command finds in its environment from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// Leaves everything for a look; says where it is.
    pub fn keep(mut self) -> String {
        self.mounted = false;
        let dir = self.dir.display().to_string();
        std::mem::forget(self);
        dir
    }

    /// Starts a supervisor.
    pub fn start(&self, slots: &str) -> Child {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(std::env::temp_dir().join(format!("{}.log", self.name)))
            .expect("a log");
        Command::new(env!("CARGO_BIN_EXE_harness"))
            .current_dir(root)
            .arg("run")
            .arg("tests/faults/suite.yaml")
            .arg("--store")
            .arg(self.store())
            .arg("--cache")
            .arg(root.join("target/tmp/faults-cache"))
            .arg("--out")
            .arg(std::env::temp_dir().join(format!("{}.reports", self.name)))
            .args(["--slots", slots, "--checkpoint-every", "1s"])
            // Cargo has built the worker; the program need not ask it to.
            .env_remove("CARGO")
            .env("CI", "1")
            .env(MARK, &self.name)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("the program")
    }

    /// The living workers.
    pub fn workers(&self) -> Vec<i32> {
        marked(&self.name)
            .into_iter()
            .filter(|process| process.worker)
            .map(|process| process.pid)
            .collect()
    }

    /// Runs the suite to its end.
    pub fn finish(&self) -> Result<(), String> {
        let mut supervisor = self.start("cpu:2");
        let status = wait(&mut supervisor)?;
        match status {
            Some(0) => Ok(()),
            other => Err(format!(
                "the run that was to finish everything ended with {other:?}: {}",
                self.log_end()
            )),
        }
    }

    fn log_end(&self) -> String {
        let text = fs::read_to_string(std::env::temp_dir().join(format!("{}.log", self.name)))
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(6)..].join(" / ")
    }

    /// Nothing but the expected results is here.
    pub fn check(&self, expected: &Results) -> Result<(), String> {
        none_left(&self.name, Duration::from_secs(20))?;
        let found = self.results()?;
        for (name, content) in expected {
            match found.get(name) {
                None => return Err(format!("{name} is missing")),
                Some(other) if other != content => {
                    return Err(format!("{name} is another: {other} for {content}"));
                }
                Some(_) => {}
            }
        }
        match found.keys().find(|name| !expected.contains_key(*name)) {
            Some(name) => Err(format!("{name} is left over")),
            None => Ok(()),
        }
    }

    /// Every file of the store with what must be the same in it. Wall-clock times and speeds need not be.
    pub fn results(&self) -> Result<Results, String> {
        let mut results = Results::new();
        let store = self.store();
        let mut folders = vec![store.clone()];
        while let Some(folder) = folders.pop() {
            let entries =
                fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            for entry in entries {
                let path = entry.map_err(|error| error.to_string())?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path
                    .strip_prefix(&store)
                    .expect("below the store")
                    .display()
                    .to_string();
                let bytes = fs::read(&path).map_err(|error| format!("{name}: {error}"))?;
                results.insert(stable_name(&name), digest(&name, &bytes));
            }
        }
        Ok(results)
    }
}

/// TensorBoard wants host, time and process in a file's name.
fn stable_name(name: &str) -> String {
    match name.split_once("events.out.tfevents") {
        Some((run, _)) => format!("{run}events.out.tfevents"),
        None => name.into(),
    }
}

fn digest(name: &str, bytes: &[u8]) -> String {
    let of = |bytes: &[u8]| -> String {
        Sha256::digest(bytes)
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    if name.ends_with("metrics.json") {
        let mut value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        if let Some(map) = value.as_object_mut() {
            map.remove("seconds");
        }
        return value.to_string();
    }
    // What is said on the way, how fast it went and when, is no result.
    if ["log.txt", "training.parquet", "SHA256SUMS"]
        .iter()
        .any(|file| name.ends_with(file))
        || name.contains("tfevents")
    {
        return "present".into();
    }
    of(bytes)
}

impl Drop for Place {
    fn drop(&mut self) {
        for process in marked(&self.name) {
            signal(process.pid, libc::SIGKILL);
        }
        if self.mounted {
            unmount(&self.dir);
        }
        let _ = fs::remove_dir_all(&self.dir);
        let _ = fs::remove_dir_all(std::env::temp_dir().join(format!("{}.reports", self.name)));
        let _ = fs::remove_file(std::env::temp_dir().join(format!("{}.log", self.name)));
    }
}

fn unmount(dir: &Path) {
    let _ = Command::new("umount")
        .arg("-l")
        .arg(dir)
        .stderr(Stdio::null())
        .status();
}

/// The exit code of a command that ends in time.
pub fn wait(child: &mut Child) -> Result<Option<i32>, String> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(status.code());
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return Err("a command did not end".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
