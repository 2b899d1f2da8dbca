//! `harness doctor`: what was found on this machine, what is missing and how to get it.

use std::process::Command;

use serde_json::{Value, json};

use super::{Exit, print_json};
use crate::hub::{Settings, free_space};
use crate::schedule::{BUILD, worker_path};
use crate::show::{bytes, causes};

pub fn doctor(json: bool) -> anyhow::Result<Exit> {
    let worker = ask_worker();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let slurm = slurm();
    let found = json!({
        "harness": env!("CARGO_PKG_VERSION"),
        "build": BUILD,
        "worker": match &worker { Ok(found) => found.clone(), Err(error) => json!({ "error": error }) },
        "cores": cores,
        "gpus": gpus(),
        "hub": hub(),
        "slurm": slurm,
        "python": version_of("python3", "--version"),
    });
    if json {
        print_json(&found)?;
    } else {
        print(&found);
    }
    Ok(if worker.is_ok() {
        Exit::Success
    } else {
        Exit::Unexpected
    })
}

/// What the worker tells of itself: only it loads libtorch.
fn ask_worker() -> Result<Value, String> {
    let path = worker_path().map_err(|error| format!("{error:#}"))?;
    let output = Command::new(&path)
        .arg("doctor")
        .output()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said
            .lines()
            .next()
            .unwrap_or("the worker says nothing")
            .to_string());
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("the worker's answer cannot be read: {error}"))
}

/// Whether the libtorch that trains can use accelerators.
pub(super) fn worker_has_gpus() -> bool {
    ask_worker().is_ok_and(|found| found["cuda"] == true)
}

/// How the hub is reached and what of it lies here; of the token only whether there is one.
fn hub() -> Value {
    let settings = match Settings::of_environment() {
        Ok(settings) => settings,
        Err(error) => return json!({ "error": causes(&error) }),
    };
    let is_repository = |name: &str| name.starts_with("models--") || name.starts_with("datasets--");
    let entries = std::fs::read_dir(&settings.cache);
    let count = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| is_repository(&entry.file_name().to_string_lossy()))
        .count();
    json!({
        "endpoint": settings.endpoint,
        "cache": settings.cache,
        "repositories": count,
        "free": free_space(&settings.cache).ok(),
        "token": settings.token.is_some(),
        "offline": settings.offline,
    })
}

fn slurm() -> Option<String> {
    version_of("sinfo", "--version")
}

/// Names of NVIDIA devices as the driver's own tool says them.
fn gpus() -> Vec<String> {
    let output = Command::new("nvidia-smi")
        .args(["--query-gpu=name", "--format=csv,noheader"])
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| line.trim().to_string())
            .collect(),
        _ => Vec::new(),
    }
}

fn version_of(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&text).trim().to_string())
}

fn print(found: &Value) {
    let line = |name: &str, text: String| println!("{name:<12} {text}");
    let build = found["build"].as_str().unwrap_or("unknown");
    line(
        "harness",
        format!("{}, build {build}", found["harness"].as_str().unwrap_or("")),
    );
    let worker = &found["worker"];
    match worker["error"].as_str() {
        Some(error) => {
            line("worker", format!("missing: {error}"));
            line("", "get it with `make libtorch` and `cargo build`".into());
        }
        None => {
            let text = |key: &str| worker[key].as_str().unwrap_or("").to_string();
            let same = if worker["build"].as_str() == Some(build) {
                "the same build"
            } else {
                "ANOTHER BUILD: run `cargo build`"
            };
            line("worker", same.into());
            line(
                "libtorch",
                format!(
                    "{}, kernels for {}",
                    text("libtorch"),
                    text("cpu_capability")
                ),
            );
            for device in worker["devices"].as_array().into_iter().flatten() {
                let text = |key: &str| device[key].as_str().unwrap_or("");
                line("device", format!("{} ({})", text("device"), text("name")));
            }
            line(
                "cuda",
                cuda(worker, found["gpus"].as_array().map_or(0, Vec::len)),
            );
        }
    }
    line("cores", found["cores"].to_string());
    line("hub", hub_line(&found["hub"]));
    let or = |value: &Value, missing: &str| value.as_str().unwrap_or(missing).to_string();
    line(
        "slurm",
        or(
            &found["slurm"],
            "not found; needed only to run on a cluster",
        ),
    );
    line(
        "python",
        or(&found["python"], "not found; needed for set-up and tests"),
    );
}

/// `https://..., token set; cache /..., 3 repositories, 12.0 GB free`.
fn hub_line(hub: &Value) -> String {
    if let Some(error) = hub["error"].as_str() {
        return format!("not usable: {error}");
    }
    let text = |key: &str| hub[key].as_str().unwrap_or("");
    let token = if hub["token"] == true {
        "token set"
    } else {
        "no token"
    };
    let offline = if hub["offline"] == true {
        ", offline"
    } else {
        ""
    };
    let free = hub["free"].as_u64().map_or("unknown".into(), bytes);
    let (endpoint, cache, count) = (text("endpoint"), text("cache"), &hub["repositories"]);
    format!("{endpoint}, {token}{offline}; cache {cache}, {count} repositories, {free} free")
}

/// What can be said of CUDA, and what to do about it.
fn cuda(worker: &Value, gpus: usize) -> String {
    match (worker["cuda_kernels"] == true, worker["cuda"] == true, gpus) {
        (_, true, _) => "usable".into(),
        (true, false, 0) => {
            "this libtorch has kernels for it, but there is no NVIDIA device or driver".into()
        }
        (true, false, gpus) => {
            format!("not usable, though the driver shows {gpus} devices: is the driver new enough?")
        }
        (false, false, 0) => {
            "no device found; `make cuda` provides a libtorch for NVIDIA devices".into()
        }
        (false, false, gpus) => {
            format!("the driver shows {gpus} devices; `make cuda` provides a libtorch for them")
        }
    }
}
