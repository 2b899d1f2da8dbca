//! Our numbers against the paper's. Pure.
//!
//! Two questions are kept apart. *Is ours different?* is a test of no difference: Welch's t when the paper prints
//! a spread and its seeds, otherwise Student's t against the printed value. *Is ours the same?* is a test of
//! equivalence within a stated margin: two one-sided tests (Schuirmann 1987), that is, the 90% interval of the
//! difference lies within the margin. Not being different is no evidence of being the same, so:
//!
//! Both p-values, the interval and the margin stand beside every verdict. The margin is the suite's (`verdicts`).
//! A correlation is judged on the scale of Fisher's z and a standard deviation on that of the logarithm, where their
//! errors are known from the number of values alone; their margin is so many errors of a repetition of the paper.
//!
//! | equivalent | different | verdict |
//! |---|---|---|
//! | yes | any | [`Verdict::Reproduced`] |
//! | no | yes, and the estimate lies outside the margin | [`Verdict::Deviates`] |
//! | no | otherwise | [`Verdict::Inconclusive`], with the seeds that would decide it |
//!
//! One seed is never `Reproduced`, nor is a cell that lost seeds to divergence: its mean is that of the survivors.

mod cell;
mod claim;
mod margin;
mod numbers;
mod pair;
mod scaled;
mod statement;
mod verdict;

pub use crate::suite::Rule;
pub use cell::{Absent, Cell, Cells, Kind, Sample, direction};
pub use claim::{Finding, Judged, Ruling, judge_claim};
pub use margin::Basis;
pub use numbers::{DerivedValue, Numbers, OverMethods, Side, derived_value, digits};
pub use verdict::{Verdict, Weighed, judge_cell, p_text, printed_estimate};
