//! Numbers as tables print them.

use std::fmt;

/// What stands where there is no number.
pub const NOTHING: &str = "–";

/// A mean with what the table prints after the ±.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// The mean.
    pub mean: f64,
    /// What stands after the ±.
    pub spread: Option<f64>,
    /// Digits after the point of the mean.
    pub decimals: usize,
    /// Digits after the point of the spread.
    pub spread_decimals: usize,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.spread {
            Some(spread) => write!(
                f,
                "{} ± {}",
                fixed(self.mean, self.decimals),
                fixed(spread, self.spread_decimals)
            ),
            None => f.write_str(&fixed(self.mean, self.decimals)),
        }
    }
}

/// Numbers from here on are written as `1.23e20`.
const HUGE: f64 = 1e15;

/// A value with so many digits after the point and the minus of print; `–` for what is not a finite number, and never
/// `−0.00`.
pub fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return NOTHING.into();
    }
    if value.abs() >= HUGE {
        return format!("{value:.2e}").replace('-', "−");
    }
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|c| c == '0' || c == '.') => digits.into(),
        Some(digits) => format!("−{digits}"),
        None => text,
    }
}

/// The same with its sign, unless it rounds to nothing.
pub fn signed(value: f64, decimals: usize) -> String {
    let text = fixed(value, decimals);
    let nothing = text.chars().all(|c| c == '0' || c == '.');
    if value.is_finite() && value > 0.0 && !nothing {
        format!("+{text}")
    } else {
        text
    }
}

/// A number or `–`.
pub fn or_nothing(number: &Option<Number>) -> String {
    number
        .as_ref()
        .map_or_else(|| NOTHING.into(), Number::to_string)
}

/// A duration in words: `48 s`, `3.2 min`, `1.5 h`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        _ if seconds < 90.0 => format!("{seconds:.0} s"),
        _ if seconds < 5400.0 => format!("{:.1} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}
