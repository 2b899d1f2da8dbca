//! A reproducibility benchmark harness: a [`suite`] says what a paper reports, [`plan`] finds the runs that pay
//! for it, [`schedule`] runs them in child processes that train and tell [`event`]s, the [`store`] keeps what
//! they tell, and [`judge`] and [`report`] set the paper's numbers beside ours.
//!
//! Read the modules in that order. `harness/README.md` is the map, with the invariants.

pub mod archive;
pub mod cluster;
pub mod commands;
pub mod content;
pub mod cost;
pub mod count;
pub mod diff;
pub mod event;
pub mod hub;
pub mod judge;
pub mod layout;
pub mod lint;
pub mod plan;
pub mod report;
pub mod schedule;
pub mod seed;
pub mod show;
pub mod stats;
pub mod store;
pub mod suite;
pub mod time;

/// Hash of the sources this was built from; supervisor and worker must agree.
pub const BUILD: &str = env!("HARNESS_BUILD");
/// Git revision of those sources, with `-dirty` when they differed from it; empty outside a checkout.
pub const REVISION: &str = env!("HARNESS_REVISION");
/// The compiler that built this, `rustc 1.95.0 (...)`; empty where it does not say.
pub const RUSTC: &str = env!("HARNESS_RUSTC");
/// Version of the crate that binds libtorch.
pub const TCH: &str = env!("HARNESS_TCH");
