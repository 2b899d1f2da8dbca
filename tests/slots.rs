//! Slots, and the accelerators behind them as a pretended NVML tells of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::schedule::{Gpu, Monitor, Slot, Slots, Use};

/// A pretended NVML of its own, whose accelerators can be changed at any time.
pub struct Nvml(PathBuf);

impl Nvml {
    pub fn new(name: &str, devices: &str) -> Nvml {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nvml");
        fs::create_dir_all(&folder).unwrap();
        let library = folder.join(format!("lib{name}.so"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pretend_nvml.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-w", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl")
            .output()
            .expect("a C compiler");
        assert!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        let nvml = Nvml(library);
        nvml.has(devices);
        nvml
    }

    /// `devices`: a line each of UUID, memory, taken, busy, process, bytes of that.
    pub fn has(&self, devices: &str) {
        let path = format!("{}.txt", self.0.display());
        fs::write(format!("{path}.new"), devices).unwrap();
        fs::rename(format!("{path}.new"), path).unwrap();
    }

    pub fn monitor(&self) -> Monitor {
        Monitor::of(self.0.as_os_str())
    }
}

fn find(text: &str, visible: Option<&str>, monitor: &Monitor) -> Result<Vec<Slot>, String> {
    text.parse::<Slots>()?.find(visible, monitor)
}

fn gpu(index: usize, name: &str) -> Slot {
    Slot::Gpu(Gpu {
        index,
        name: name.into(),
    })
}

#[test]
fn slots_are_read_as_they_are_written() {
    let nobody = Monitor::default();
    let slots = |text: &str| find(text, None, &nobody);
    let cpu = |threads| Slot::Cpu { threads };
    assert_eq!(slots("cpu"), Ok(vec![cpu(1)]));
    assert_eq!(slots("cpu:2"), Ok(vec![cpu(1), cpu(1)]));
    assert_eq!(slots("cpu:2x4"), Ok(vec![cpu(4), cpu(4)]));
    assert_eq!(
        slots("cuda:0,1+cpu"),
        Ok(vec![gpu(0, "0"), gpu(1, "1"), cpu(1)])
    );
    assert_eq!(
        slots("cuda:0,3/2"),
        Ok(vec![gpu(0, "0"), gpu(0, "0"), gpu(3, "3"), gpu(3, "3")])
    );
    for wrong in [
        "", "cpu:0", "cpu:x", "cuda:", "gpu:1", "cpu:1x", "cuda:1/", "cuda:1/0", "cuda:1,1",
        "cuda/2:1", "cuda:-1", "cpu/2",
    ] {
        assert!(slots(wrong).is_err(), "{wrong}");
    }
    // Without NVML nobody knows how many there are.
    assert!(slots("cuda").unwrap_err().contains("cuda:0"));
}

#[test]
fn accelerators_are_those_that_cuda_would_show() {
    let nvml = Nvml::new(
        "visible",
        "GPU-aa 80 0 0 0 0\nGPU-bb 80 0 0 0 0\nGPU-cc 80 0 0 0 0\n",
    );
    let monitor = nvml.monitor();
    let all = |visible| find("cuda", visible, &monitor);
    assert_eq!(
        all(None),
        Ok(vec![gpu(0, "GPU-aa"), gpu(1, "GPU-bb"), gpu(2, "GPU-cc")])
    );
    assert_eq!(all(Some("2,0")), Ok(vec![gpu(0, "2"), gpu(1, "0")]));
    assert_eq!(all(Some("GPU-bb")), Ok(vec![gpu(0, "GPU-bb")]));
    assert_eq!(all(Some("1,7,0")), Ok(vec![gpu(0, "1")]), "7 is none");
    assert_eq!(
        all(Some("GPU-b,GPU-c")),
        Ok(vec![gpu(0, "GPU-bb"), gpu(1, "GPU-cc")])
    );
    assert_eq!(all(Some("1,GPU-xx,0")), Ok(vec![gpu(0, "1")]), "nor GPU-xx");
    assert_eq!(
        all(Some("1,GPU-,0")),
        Ok(vec![gpu(0, "1")]),
        "three begin so"
    );
    assert_eq!(
        all(Some("1,GPU-bb,1,2")),
        Ok(vec![gpu(0, "1"), gpu(1, "2")])
    );
    for none in ["", "-1", "NoDevFiles,0".trim_start_matches("NoDevFiles")] {
        assert!(all(Some(none)).is_err(), "{none:?}");
    }
    let error = find("cuda:2", Some("0,1"), &monitor).unwrap_err();
    assert!(
        error.contains("no `cuda:2`") && error.contains("2 visible"),
        "{error}"
    );
    assert_eq!(
        find("cuda:1/2", Some("2,0"), &monitor),
        Ok(vec![gpu(1, "0"), gpu(1, "0")])
    );
}

#[test]
fn a_monitor_tells_what_an_accelerator_does_and_when_it_is_lost() {
    let nvml = Nvml::new("use", "GPU-aa 80 30 97 4711 25\nGPU-bb 40 1 0 0 0\n");
    let monitor = nvml.monitor();
    let [aa, bb] = [("GPU-aa", 0), ("1", 1)].map(|(name, index)| Gpu {
        index,
        name: name.into(),
    });
    let seen = Use {
        busy: 97,
        taken: 30,
        memory: 80,
    };
    assert_eq!(monitor.look(&aa), Some(seen));
    assert_eq!(monitor.look(&bb).map(|seen| seen.memory), Some(40));
    assert_eq!(monitor.taken_by(&aa, &[1, 4711]), Some(25));
    assert_eq!(monitor.taken_by(&aa, &[1]), None);
    assert!(!monitor.has_lost(&aa) && !monitor.has_lost(&bb));
    nvml.has("GPU-bb 40 1 0 0 0\n");
    assert!(monitor.has_lost(&aa));
    assert_eq!(monitor.look(&aa), None);
    let unknown = Gpu {
        index: 0,
        name: "GPU-xx".into(),
    };
    assert!(!monitor.has_lost(&unknown), "it never was there");
    // Without NVML nothing is known, and so nothing is lost.
    assert!(!Monitor::default().has_lost(&aa));
}
