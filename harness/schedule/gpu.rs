//! Accelerators as NVIDIA's management library (NVML) tells of them: which there are, what they do, whether they are still
//! there. Where it is missing, nothing is known of them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::{Mutex, PoisonError};

use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;

use super::slot::Gpu;

/// Who watches the accelerators of this machine.
#[derive(Debug, Default)]
pub struct Monitor {
    nvml: Option<Nvml>,
    /// Names of accelerators that were there at some time.
    seen: Mutex<BTreeSet<String>>,
}

/// What an accelerator does at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Use {
    /// Percent of the last moments in which it computed.
    pub busy: u32,
    /// Bytes of its memory that are taken, by anybody.
    pub taken: u64,
    /// All of its memory, in bytes.
    pub memory: u64,
}

impl Monitor {
    /// Loads the library that `HARNESS_NVML` names, or that of the driver.
    pub fn open() -> Monitor {
        match std::env::var_os("HARNESS_NVML") {
            Some(path) => Monitor::of(&path),
            // The driver installs this name; the one without a number comes with the development files.
            None => Monitor::of(OsStr::new("libnvidia-ml.so.1")),
        }
    }

    /// Loads this library; where that fails, nothing is known.
    pub fn of(library: &OsStr) -> Monitor {
        let nvml = Nvml::builder().lib_path(library).init();
        Monitor {
            nvml: nvml.ok(),
            ..Monitor::default()
        }
    }

    /// The accelerators that we may use, in the order in which CUDA counts them, each once: by the number that
    /// `CUDA_VISIBLE_DEVICES` gives it, or by its whole UUID; none when they are not known. `visible` is that variable.
    pub fn names(&self, visible: Option<&str>) -> Option<Vec<String>> {
        let known = self.uuids();
        let names: Vec<String> = match (visible, &known) {
            (None, None) => return None,
            (None, Some(uuids)) => uuids.iter().flatten().cloned().collect(),
            (Some(visible), _) => {
                let mut there = BTreeSet::new();
                // CUDA stops at the first name that it does not know.
                let found = visible
                    .split(',')
                    .map_while(|name| resolved(name.trim(), known.as_deref()));
                found
                    .filter(|(_, card)| there.insert(card.clone()))
                    .map(|(name, _)| name)
                    .collect()
            }
        };
        if known.is_some() {
            names.iter().for_each(|name| self.saw(name));
        }
        Some(names)
    }

    /// The UUID of every accelerator of the machine, by its number; none of one that does not answer.
    fn uuids(&self) -> Option<Vec<Option<String>>> {
        let nvml = self.nvml.as_ref()?;
        let count = nvml.device_count().ok()?;
        let uuid = |i| nvml.device_by_index(i).ok()?.uuid().ok();
        Some((0..count).map(uuid).collect())
    }

    fn saw(&self, name: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(name) {
            seen.insert(name.into());
        }
    }

    fn device(&self, gpu: &Gpu) -> Option<Result<nvml_wrapper::Device<'_>, NvmlError>> {
        let nvml = self.nvml.as_ref()?;
        Some(match gpu.name.parse() {
            Ok(number) => nvml.device_by_index(number),
            Err(_) => nvml.device_by_uuid(gpu.name.as_str()),
        })
    }

    /// What an accelerator does now; none where that is not known.
    pub fn look(&self, gpu: &Gpu) -> Option<Use> {
        let device = self.device(gpu)?.ok()?;
        let memory = device.memory_info().ok()?;
        self.saw(&gpu.name);
        // Parts of an accelerator (MIG) do not tell how busy they are.
        let busy = device.utilization_rates().map_or(0, |rates| rates.gpu);
        Some(Use {
            busy,
            taken: memory.used,
            memory: memory.total,
        })
    }

    /// Bytes of an accelerator that the processes of `pids` take; none where that is not known.
    pub fn taken_by(&self, gpu: &Gpu, pids: &[u32]) -> Option<u64> {
        let processes = self.device(gpu)?.ok()?.running_compute_processes().ok()?;
        let ours = processes
            .iter()
            .filter(|process| pids.contains(&process.pid));
        let taken = ours.map(|process| match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        });
        taken.sum::<Option<u64>>().filter(|&bytes| bytes > 0)
    }

    /// Whether an accelerator that was there is there no more: it fell off its bus, or was taken from us. One that never was
    /// there under this name is not lost.
    pub fn has_lost(&self, gpu: &Gpu) -> bool {
        let answer = self
            .device(gpu)
            .map(|device| device.and_then(|device| device.memory_info()));
        match answer {
            Some(Err(NvmlError::GpuLost)) => true,
            Some(Err(NvmlError::NotFound | NvmlError::InvalidArg)) => {
                let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.contains(&gpu.name)
            }
            _ => false,
        }
    }
}

/// A name of `CUDA_VISIBLE_DEVICES` as it is to be used, and what tells its card from others; none of an unknown one. A UUID may
/// be cut short as long as one card alone begins like it.
fn resolved(name: &str, known: Option<&[Option<String>]>) -> Option<(String, String)> {
    let as_it_is = || Some((name.to_string(), name.to_string()));
    match (name.parse::<i64>(), known) {
        (Ok(number), Some(uuids)) => {
            let uuid = uuids.get(usize::try_from(number).ok()?)?;
            Some((name.into(), uuid.clone().unwrap_or(name.into())))
        }
        (Ok(number), None) => (number >= 0).then(as_it_is)?,
        (Err(_), _) if name.is_empty() => None,
        (Err(_), Some(uuids)) if !name.starts_with("MIG-") => {
            let mut alike = uuids.iter().flatten().filter(|uuid| uuid.starts_with(name));
            match (alike.next(), alike.next()) {
                (Some(uuid), None) => Some((uuid.clone(), uuid.clone())),
                _ => None,
            }
        }
        // Parts of accelerators are not listed.
        (Err(_), _) => as_it_is(),
    }
}
