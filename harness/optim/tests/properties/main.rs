//! Properties that a person can check: closed forms, limits, counts, and what must not change.

mod accumulation;
mod closed_form;
mod group;
mod knobs;
mod limits;
mod net;
mod parameters;
mod passes;
mod precision;
mod state;
