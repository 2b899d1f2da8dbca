//! Ranges of knobs.

use crate::Error;

pub(crate) fn at_least(name: &'static str, value: f64, low: f64) -> Result<(), Error> {
    match value.is_finite() && value >= low {
        true => Ok(()),
        false => Err(Error::knob(
            name,
            format!("is {value}, must be at least {low}"),
        )),
    }
}

pub(crate) fn positive(name: &'static str, value: f64) -> Result<(), Error> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => Err(Error::knob(
            name,
            format!("is {value}, must be greater than 0"),
        )),
    }
}

/// `low <= value < high`.
pub(crate) fn range(name: &'static str, value: f64, low: f64, high: f64) -> Result<(), Error> {
    match value.is_finite() && value >= low && value < high {
        true => Ok(()),
        false => Err(Error::knob(
            name,
            format!("is {value}, must be in [{low}, {high})"),
        )),
    }
}
