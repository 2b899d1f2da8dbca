//! Accelerators as NVIDIA's management library (NVML) tells of them: which there are, what they do, whether they are still
//! there. Where it is missing, nothing is known of them.

use std::ffi::OsStr;

use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;

use super::slot::Gpu;

/// Who watches the accelerators of this machine.
#[derive(Debug, Default)]
pub struct Monitor {
    nvml: Option<Nvml>,
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
        Monitor { nvml: nvml.ok() }
    }

    /// The accelerators that we may use, in the order in which CUDA counts them, as `CUDA_VISIBLE_DEVICES` names them; none
    /// when that is not known. `visible` is that variable.
    pub fn names(&self, visible: Option<&str>) -> Option<Vec<String>> {
        let nvml = self.nvml.as_ref();
        let count = nvml.and_then(|nvml| nvml.device_count().ok());
        let Some(visible) = visible else {
            let uuid = |i| nvml?.device_by_index(i).ok()?.uuid().ok();
            return count.map(|count| (0..count).filter_map(uuid).collect());
        };
        // CUDA stops at the first name that it does not know.
        let is_there = |name: &&str| match (name.parse::<i64>(), count) {
            (Ok(number), Some(count)) => (0..i64::from(count)).contains(&number),
            (Ok(number), None) => number >= 0,
            (Err(_), _) => !name.is_empty(),
        };
        let names = visible.split(',').map(str::trim).take_while(is_there);
        Some(names.map(str::to_string).collect())
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

    /// Whether an accelerator that was there is there no more: it fell off its bus, or was taken from us.
    pub fn has_lost(&self, gpu: &Gpu) -> bool {
        let answer = self
            .device(gpu)
            .map(|device| device.and_then(|device| device.memory_info()));
        matches!(
            answer,
            Some(Err(NvmlError::GpuLost
                | NvmlError::NotFound
                | NvmlError::InvalidArg))
        )
    }
}
