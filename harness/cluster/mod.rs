//! A plan's runs as jobs of a Slurm cluster: a head process submits what is missing and waits for it.
//!
//! The truth about a run is the store: its record, the failure of its latest attempt, its lease. What Slurm says decides only
//! whether to wait, so a controller that forgets a submission, does not answer, or is started again costs time and nothing
//! else. The head holds nothing that matters either: a later one finds the jobs in the queue by their names.
//!
//! [`profile`] is what a user says, [`script`] the text of a job, [`slurm`] the commands, [`submissions`] what is kept, and
//! `watch` brings them together; `queued` looks at the queue for those who only ask.

pub mod profile;
mod queued;
pub mod script;
pub mod slurm;
pub mod submissions;
mod watch;

pub use profile::Profile;
pub use queued::{Queued, Standing, queue_lines, queued};
pub use script::Command;
pub use watch::{Setting, watch};
