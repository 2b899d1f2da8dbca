//! What a user says about a cluster, in a YAML file that is read as strictly as a suite.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::suite::{self, Problems};

/// How jobs are asked for, and what surrounds a run on its node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Partition; left out, the cluster's default, as for everything here that may be left out.
    #[serde(default)]
    pub partition: Option<Word>,
    /// Account that pays.
    #[serde(default)]
    pub account: Option<Word>,
    /// Quality of service.
    #[serde(default)]
    pub qos: Option<Word>,
    /// Longest time of a job as Slurm writes it: minutes, `HH:MM:SS` or `D-HH:MM:SS`. A run that needs longer goes on
    /// from its checkpoint in the same job, started again.
    #[schemars(regex(pattern = r"^([0-9]+-)?[0-9]+(:[0-9]{1,2}){0,2}$"))]
    pub time: String,
    /// Devices of a job, `gpu:1` or `gpu:a100:1`.
    #[serde(default)]
    pub gres: Option<Word>,
    /// Processes of a job, on one node or several, which `srun` starts and which do a run together: as many as the `devices` of
    /// the suite's tasks. Each gets one of the accelerators.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    pub tasks: u32,
    /// Processor cores of a process of the job. A run on processors computes with as many threads, and its last bits depend on them.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 4096))]
    pub cpus: u32,
    /// Memory of a job, `32G`.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[0-9]+[KMGT]?$"))]
    pub memory: Option<String>,
    /// Features a node must have, `a100&nvlink`.
    #[serde(default)]
    pub constraint: Option<Word>,
    /// Environment modules to load, in this order.
    #[serde(default)]
    pub modules: Vec<Argument>,
    /// The words before the program's name that start it in a container: `[apptainer, exec, --nv, harness.sif]`.
    #[serde(default)]
    pub container: Vec<Argument>,
    /// The program `harness` on the nodes; left out, this one at the same place.
    #[serde(default)]
    pub program: Option<Argument>,
    /// Variables of the run's environment, beside those of the submitting shell; none of Slurm's own (`SLURM_*`).
    #[serde(default)]
    pub environment: IndexMap<String, Argument>,
    /// How runs are put together into job arrays.
    #[serde(default)]
    pub array: Array,
    /// Seconds before the time limit at which a run is told to write its checkpoint.
    #[serde(default = "lead")]
    #[schemars(range(min = 1, max = 86400))]
    pub lead: u32,
    /// How often a run is submitted whose jobs end without a result and without an error of its own. Another head process
    /// goes on counting, after one try at least; whoever was told how the run ended and asks again has as many again.
    #[serde(default = "attempts")]
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// How often one job may start again, at its time limit or after the failure of its node.
    #[serde(default = "restarts")]
    #[schemars(range(min = 0, max = 10000))]
    pub restarts: u32,
    /// Seconds between two looks at the queue.
    #[serde(default = "poll")]
    #[schemars(range(min = 1, max = 3600))]
    pub poll: u32,
    /// Further options of `sbatch`, each one word: `--exclude=n13`.
    #[serde(default)]
    pub options: Vec<ExtraOption>,
}

/// Size of job arrays.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Array {
    /// Runs of one array at most; the cluster's own limit holds besides.
    #[serde(default = "array_size")]
    #[schemars(range(min = 1, max = 1000000))]
    pub size: u32,
    /// Runs of one array at the same time; left out, as many as there is room for.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000000))]
    pub at_once: Option<u32>,
}

/// A value of Slurm's: one word without blanks, quotes or anything else that is not printed plainly.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Word(
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.][A-Za-z0-9_.:,@+=*&|()\[\]/-]*$"))] pub String,
);

/// A word that a program is given: anything on one line.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Argument(#[schemars(regex(pattern = r"^[^\p{Cc}]+$"))] pub String);

/// A long option of `sbatch` with its value behind `=`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ExtraOption(#[schemars(regex(pattern = r"^--[a-z][a-z-]*(=[^\p{Cc}]*)?$"))] pub String);

/// Options by which a job is found again, or that stand elsewhere in the profile.
const OURS: &[(&str, &str)] = &[
    ("account", "`account`"),
    ("array", "`array`"),
    ("chdir", "the store"),
    ("clusters", "nothing: one cluster is watched"),
    ("constraint", "`constraint`"),
    ("cpus-per-task", "`cpus`"),
    ("error", "the store"),
    ("gres", "`gres`"),
    ("help", "nothing: it submits no job"),
    ("hold", "nothing: a held job never ends"),
    ("job-name", "the store, by which jobs are found again"),
    ("mem", "`memory`"),
    ("no-requeue", "`restarts`"),
    ("ntasks", "`tasks`"),
    ("open-mode", "the store"),
    ("output", "the store"),
    ("parsable", "nothing: it is always given"),
    ("partition", "`partition`"),
    ("qos", "`qos`"),
    ("requeue", "`restarts`"),
    ("signal", "`lead`"),
    ("test-only", "nothing: it submits no job"),
    ("time", "`time`"),
    ("usage", "nothing: it submits no job"),
    ("version", "nothing: it submits no job"),
    ("wait", "nothing: jobs are watched"),
    ("wrap", "nothing: the script is the program's own"),
];

impl Default for Array {
    fn default() -> Self {
        Array {
            size: array_size(),
            at_once: None,
        }
    }
}

impl Profile {
    /// Reads a profile, or tells everything that is wrong with it, with file, line and column.
    pub fn read(path: &Path) -> Result<Profile, Problems> {
        suite::read_strictly(path, "profile", Profile::senseless)
    }

    /// Where the program is on the nodes, `here` being this program.
    pub fn program(&self, here: PathBuf) -> PathBuf {
        self.program
            .as_ref()
            .map_or(here, |Argument(path)| path.into())
    }

    /// Whether a job has an accelerator.
    pub fn has_gpu(&self) -> bool {
        self.gres.as_ref().is_some_and(|Word(gres)| {
            gres.split(',')
                .any(|part| part.split(':').next() == Some("gpu"))
        })
    }

    /// Devices that a job has for its run.
    pub fn devices(&self) -> usize {
        let gpus = self.gres.iter().flat_map(|Word(gres)| gres.split(','));
        let mut gpus = gpus.filter(|part| part.split(':').next() == Some("gpu"));
        // `gpu`, `gpu:4`, `gpu:a100:4`.
        let of_node = gpus
            .next()
            .and_then(|gpu| gpu.rsplit(':').next()?.parse().ok());
        match self.tasks {
            1 => of_node.unwrap_or(1),
            tasks => tasks as usize,
        }
    }

    /// Seconds of `time`.
    fn seconds(&self) -> Option<u64> {
        let (days, rest) = match self.time.split_once('-') {
            Some((days, rest)) => (days.parse::<u64>().ok()?, rest),
            None => (0, self.time.as_str()),
        };
        let parts: Vec<u64> = rest
            .split(':')
            .map(|part| part.parse().ok())
            .collect::<Option<_>>()?;
        let seconds = match (self.time.contains('-'), parts.as_slice()) {
            (true, [hours]) => hours.checked_mul(3600)?,
            (true, [hours, minutes]) => hours.checked_mul(3600)?.checked_add(minutes * 60)?,
            (false, [minutes]) => minutes.checked_mul(60)?,
            (false, [minutes, seconds]) => minutes.checked_mul(60)?.checked_add(*seconds)?,
            (_, [hours, minutes, seconds]) => hours
                .checked_mul(3600)?
                .checked_add(minutes * 60 + seconds)?,
            _ => return None,
        };
        days.checked_mul(86400)?.checked_add(seconds)
    }

    /// What no pattern can say, as the place in the file and what is wrong.
    fn senseless(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        match self.seconds() {
            Some(seconds) if seconds > u64::from(self.lead) => {}
            Some(_) => found.push((
                "/time".to_string(),
                format!("a job must last longer than `lead`, {} seconds", self.lead),
            )),
            None => found.push((
                "/time".to_string(),
                "no time of Slurm's is so long".to_string(),
            )),
        }
        for name in self.environment.keys() {
            let mut letters = name.chars();
            let begins = letters
                .next()
                .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            if !begins || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
                found.push((
                    format!("/environment/{name}"),
                    format!("`{}` is no name of a variable", name.escape_debug()),
                ));
            } else if name.starts_with("SLURM_") {
                found.push((
                    format!("/environment/{name}"),
                    format!("`{name}` is Slurm's own: by it a job knows what it is"),
                ));
            }
        }
        for (i, ExtraOption(option)) in self.options.iter().enumerate() {
            let name = option
                .trim_start_matches('-')
                .split('=')
                .next()
                .unwrap_or_default();
            // `sbatch` takes any beginning of a name that is unique, so `--arr=1` is `--array=1`.
            let ours = OURS.iter().find(|(known, _)| known.starts_with(name));
            if let Some((known, instead)) = ours {
                found.push((
                    format!("/options/{i}"),
                    format!("`--{known}` is not for `options`: it is set by {instead}"),
                ));
            }
        }
        found
    }
}

fn one() -> u32 {
    1
}

fn lead() -> u32 {
    120
}

fn attempts() -> u32 {
    3
}

fn restarts() -> u32 {
    100
}

fn poll() -> u32 {
    10
}

fn array_size() -> u32 {
    1000
}
