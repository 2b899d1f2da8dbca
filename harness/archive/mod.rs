//! One file with everything that a report needs: suites, what their runs measured, where, and what they said. From it every
//! table is made again on a machine without accelerator, libtorch, models or data.
//!
//! The file is a gzipped tar, `manifest.json` first: names, sizes and SHA-256 of the members after it. Members are
//! `suites/<number>.yaml` and `store/...`, as in [`crate::store`]. The same store gives the same bytes: the order is fixed,
//! and owners and times are zero.

mod pack;
mod unpack;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use pack::{Packed, Weights, pack};
pub use unpack::{Unpacked, is_archive, unpack};

const MANIFEST: &str = "manifest.json";
const FORMAT: u32 = 1;

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// Version of the harness that wrote it.
    pub harness: String,
    /// The suites, in the order they were named.
    pub suites: Vec<ArchivedSuite>,
    /// Runs that are done.
    pub runs: usize,
    /// Runs whose latest attempt failed.
    pub failed: usize,
    /// The members, in order.
    pub members: Vec<Member>,
}

/// A suite of an archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchivedSuite {
    /// The path it was named by; of an absolute one the last step.
    pub path: PathBuf,
    /// The member that holds it.
    pub member: String,
}

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its path, with `/` between steps.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
}
