//! What a worker runs on.

use std::collections::BTreeMap;

use serde::Serialize;
use tch::Device;

use harness::event::{Beside, Environment};
use harness::{BUILD, REVISION, RUSTC, TCH};

/// What `harness-worker doctor` tells.
#[derive(Clone, Debug, Serialize)]
pub struct Doctor {
    /// Version of the harness.
    pub harness: &'static str,
    /// Hash of the sources the worker was built from.
    pub build: &'static str,
    /// Version of libtorch.
    pub libtorch: String,
    /// Whether this libtorch has kernels for CUDA devices.
    pub cuda_kernels: bool,
    /// Whether it can use a CUDA device here.
    pub cuda: bool,
    /// What a run may name as its device, with its own name.
    pub devices: Vec<NamedDevice>,
    /// Threads libtorch takes unless told otherwise.
    pub threads: usize,
    /// Instruction set of libtorch's CPU kernels.
    pub cpu_capability: String,
}

/// A device and its own name.
#[derive(Clone, Debug, Serialize)]
pub struct NamedDevice {
    /// `cpu`, `cuda:0`, ...
    pub device: String,
    /// The processor's or accelerator's own name.
    pub name: String,
}

/// Looks at this machine.
pub fn doctor() -> Doctor {
    let cuda_kernels = torch_ext::load_cuda();
    let cuda = (0..accelerators()).map(Device::Cuda);
    let devices = std::iter::once(Device::Cpu).chain(cuda);
    Doctor {
        harness: env!("CARGO_PKG_VERSION"),
        build: BUILD,
        libtorch: torch_ext::version(),
        cuda_kernels,
        cuda: tch::Cuda::is_available(),
        devices: devices
            .map(|device| NamedDevice {
                device: text(device),
                name: name(device),
            })
            .collect(),
        threads: tch::get_num_threads().max(1) as usize,
        cpu_capability: torch_ext::cpu_capability(),
    }
}

/// The environment of a run on `device` by so many `processes`, with a network of so many `parameters`, that reads
/// `files` of the hub.
pub fn environment(
    device: Device,
    threads: usize,
    processes: usize,
    parameters: u64,
    files: BTreeMap<String, String>,
) -> Environment {
    let on_cuda = device.is_cuda();
    Environment {
        harness: env!("CARGO_PKG_VERSION").into(),
        build: BUILD.into(),
        revision: REVISION.into(),
        libtorch: torch_ext::version(),
        device: text(device),
        device_name: name(device),
        threads,
        processes,
        cpu_capability: torch_ext::cpu_capability(),
        mkl_cbwr: std::env::var("MKL_CBWR").ok(),
        parameters,
        cuda: torch_ext::cuda_runtime().filter(|_| on_cuda),
        cudnn: torch_ext::cudnn().filter(|_| on_cuda),
        beside: beside(),
        files,
    }
}

/// How many CUDA devices libtorch sees. It is asked after its CUDA half is loaded: one that was asked before sees none for
/// as long as the process lives.
pub fn accelerators() -> usize {
    torch_ext::load_cuda();
    tch::Cuda::device_count().max(0) as usize
}

fn beside() -> Beside {
    Beside {
        tch: TCH.into(),
        rustc: RUSTC.into(),
        system: system(),
        driver: driver(),
        processor: processor().unwrap_or_default(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory: memory().unwrap_or_default(),
    }
}

/// Kernel and distribution.
fn system() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let release = read("/etc/os-release");
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let words = [
        format!("Linux {}", kernel.trim()),
        name.unwrap_or_default().trim_matches('"').to_string(),
    ];
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(", ")
}

/// The version of NVIDIA's kernel module: the first word of its line that is one.
fn driver() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let is_version =
        |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let mut words = text.lines().next()?.split_whitespace();
    words.find(is_version).map(str::to_string)
}

/// Main memory in bytes.
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(1024 * kibibytes)
}

/// The device that `text` names: `cpu`, `cuda` or `cuda:<index>`. Fails when it is not there.
pub fn device(text: &str) -> Result<Device, String> {
    let index = match text.split_once(':').unwrap_or((text, "0")) {
        ("cpu", "0") => return Ok(Device::Cpu),
        ("cuda", index) => index
            .parse::<usize>()
            .map_err(|_| format!("`{text}` is not a device"))?,
        _ => {
            return Err(format!(
                "`{text}` is not a device: name cpu, cuda or cuda:<index>"
            ));
        }
    };
    let found = accelerators();
    if index < found {
        Ok(Device::Cuda(index))
    } else {
        Err(format!(
            "there is no device `{text}`: libtorch sees {found} CUDA devices"
        ))
    }
}

fn text(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".into(),
    }
}

fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => torch_ext::cuda_name(index).unwrap_or_else(|| "CUDA device".into()),
        _ => processor().unwrap_or_else(|| std::env::consts::ARCH.into()),
    }
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}
