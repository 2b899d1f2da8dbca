//! The networks against values of the reference implementation, stored beside its weights.
//!
//! `HARNESS_GOLDEN_MODELS` names another folder with the same layout: `models/` and `training/`. What is in it is found
//! through its index files; an entry that no test understands is a failure.

#[path = "golden_models/cases.rs"]
mod cases;
#[path = "golden_models/checkpointing.rs"]
mod checkpointing;
#[path = "golden_models/files.rs"]
mod files;
#[path = "golden_models/images.rs"]
mod images;
#[path = "golden_models/loading.rs"]
mod loading;
#[path = "golden_models/training.rs"]
mod training_runs;
#[path = "golden_models/transformers.rs"]
mod transformers;
