//! What a schedule is given besides its plan.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::queue::Order;
use super::rules::Rules;
use super::{Monitor, Slot};
use crate::cost::Forecast;
use crate::plan::PlannedRun;
use crate::store::Store;

/// Where and with what runs are run.
pub struct Setting<'a> {
    /// Where results go.
    pub store: &'a Store,
    /// Where they come from.
    pub slots: &'a [Slot],
    /// The program that does a run.
    pub worker: PathBuf,
    /// Local folders by content hash.
    pub folders: BTreeMap<String, PathBuf>,
    /// Where workers keep prepared data for one another; none keeps nothing.
    pub cache: Option<PathBuf>,
    /// How often a run in training saves itself; none never does.
    pub checkpoint_every: Option<Duration>,
    /// In what order, how often and how long.
    pub policy: Policy,
    /// How long runs are expected to take.
    pub forecast: Forecast,
    /// Who watches the accelerators.
    pub monitor: &'a Monitor,
    /// This program, which guards what workers start should we die; none: nobody does.
    pub guard: Option<PathBuf>,
    /// The command with which a user does one run again.
    pub again: &'a (dyn Fn(&PlannedRun) -> String + Sync),
}

/// In what order runs begin, how often they are tried, and how long they may take.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What comes first.
    pub order: Order,
    /// How often a run is tried, by how it ends.
    pub rules: Rules,
    /// How long an attempt may take; none: as long as it takes.
    pub timeout: Option<Duration>,
    /// How long an attempt may tell nothing; none: for ever.
    pub stall: Option<Duration>,
    /// After so many failed runs nothing more is begun; none: whatever fails.
    pub most_failures: Option<usize>,
    /// How long a store that cannot be written, or another trouble that is no run's own, is borne while nothing runs.
    pub patience: Duration,
}

/// How long a worker tells nothing at most, unless the user says otherwise. Between two events of a large model lie as many
/// updates as take some minutes, or the evaluation of a portion.
const STALL: Duration = Duration::from_secs(3600);

/// How long trouble that is no run's own is borne: as long as somebody may take to make room, or a file system of the network to
/// come back.
const PATIENCE: Duration = Duration::from_secs(600);

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            order: Order::default(),
            rules: Rules::default(),
            timeout: None,
            stall: Some(STALL),
            most_failures: None,
            patience: PATIENCE,
        }
    }
}
