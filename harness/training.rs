//! What the worker links and the supervisor does not: networks, data, the training loop, all on libtorch.

pub mod bench;
pub mod machine;
pub mod measure;
pub mod models;
mod ready;
pub mod share;
pub mod tasks;
pub mod train;
