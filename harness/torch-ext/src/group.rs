//! Processes that compute one thing together.

use std::ffi::CString;
use std::path::PathBuf;
use std::ptr;
use std::time::Duration;

use tch::Tensor;

use crate::{
    Error,
    ffi::{Opaque, check, tx_group, tx_group_broadcast, tx_group_drop, tx_group_sum},
};

/// Where the processes of a group meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meet {
    /// At a file that all of them reach and nobody else uses; the first to come makes it. For processes of one machine.
    File(PathBuf),
    /// At a port of the machine of the process with rank 0, which serves it. For processes of several machines.
    Port {
        /// The machine's name or address.
        host: String,
        /// The port; free there.
        port: u16,
    },
}

/// One process's place in a group of processes. All of them call the same methods in the same order.
///
/// Tensors of the CPU go through Gloo, those of CUDA devices through NCCL, whose library (`libnccl.so.2`, or the one that
/// `HARNESS_NCCL` names) is opened when the first comes.
#[derive(Debug)]
pub struct Group {
    group: *mut Opaque,
    rank: usize,
    size: usize,
}

impl Group {
    /// Joins as number `rank` of `size`, and returns when all have come.
    ///
    /// # Errors
    /// When they have not come in `patience`. Later, a call fails when a process is gone, at once, or has not answered in
    /// that time; the group is of no use afterwards.
    pub fn join(meet: &Meet, rank: usize, size: usize, patience: Duration) -> Result<Self, Error> {
        if rank >= size {
            return Err(Error(format!("no rank {rank} among {size} processes")));
        }
        let text = |text: &str| {
            CString::new(text).map_err(|_| Error(format!("{text:?} is no place to meet")))
        };
        let (place, port, host) = match meet {
            // Bound to the loopback address, the group is out of the network's reach.
            Meet::File(path) => (text(&path.to_string_lossy())?, -1, c"127.0.0.1".to_owned()),
            Meet::Port { host, port } => (text(host)?, i32::from(*port), c"".to_owned()),
        };
        let mut group = ptr::null_mut();
        // SAFETY: the strings outlive the call; `group` receives a pointer that only this value owns.
        check(unsafe {
            tx_group(
                place.as_ptr(),
                port,
                host.as_ptr(),
                rank as i32,
                size as i32,
                patience.as_millis() as i64,
                &mut group,
            )
        })?;
        Ok(Self { group, rank, size })
    }

    /// This process's number, from zero.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Replaces `x` by the sum of everybody's `x`: the same bits everywhere.
    pub fn sum(&self, x: &mut Tensor) -> Result<(), Error> {
        // SAFETY: the pointer is valid until drop; the tensor lives.
        exchanged(check(unsafe { tx_group_sum(self.group, x.as_ptr()) }))
    }

    /// Replaces `x` by that of the process `root`.
    pub fn broadcast(&self, x: &mut Tensor, root: usize) -> Result<(), Error> {
        // SAFETY: as above.
        exchanged(check(unsafe {
            tx_group_broadcast(self.group, x.as_ptr(), root as i32)
        }))
    }
}

/// Says what a failed exchange means; Gloo tells where its sources were built, and advice about its logs.
fn exchanged(result: Result<(), Error>) -> Result<(), Error> {
    result.map_err(|Error(text)| {
        let gloo = text.starts_with('[');
        let text = text
            .split_once("] ")
            .map_or(text.as_str(), |(_, text)| text);
        let text = text.split(". ").next().unwrap_or_default();
        match gloo {
            true => Error(format!(
                "another process is gone or does not answer: {text}"
            )),
            false => Error(text.to_owned()),
        }
    })
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: the pointer came from tx_group and is dropped once.
        unsafe { tx_group_drop(self.group) }
    }
}

// SAFETY: c10d's stores and process groups lock what they share; the methods that must come in one order take `&self`,
// which is not `Sync`.
unsafe impl Send for Group {}
