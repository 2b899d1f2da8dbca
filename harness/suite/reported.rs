//! What a paper prints in a cell.

use serde::Serialize;

use super::{DerivedRow, Spread};

/// A printed number with all that is known about it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reported {
    /// The number.
    pub value: f64,
    /// Digits printed after the point: the number is known to half a unit of the last one.
    pub decimals: u32,
    /// The printed ±.
    pub spread: Option<f64>,
    /// What the ± is.
    pub kind: Spread,
    /// Where the ± stands, when not beside the number.
    pub spread_place: Option<String>,
    /// Seeds behind it, where the paper says.
    pub seeds: Option<u64>,
    /// Where it stands.
    pub place: String,
}

impl Reported {
    /// The ± that is printed beside the number.
    pub fn spread_beside(&self) -> Option<f64> {
        self.spread.filter(|_| self.spread_place.is_none())
    }
}

/// The value, decimals and ± of one printed entry, `87.97±0.12`; none for `-`, an empty cell.
///
/// # Errors
/// With what is wrong, when it is no such entry.
pub fn parse(entry: &str) -> Result<Option<(f64, u32, Option<f64>)>, String> {
    if matches!(entry, "-" | "–" | "—") {
        return Ok(None);
    }
    let (mean, spread) = match entry.split_once('±') {
        Some((mean, spread)) => (mean, Some(spread)),
        None => (entry, None),
    };
    let (value, decimals) = number(mean)?;
    let spread = spread.map(number).transpose()?.map(|(spread, _)| spread);
    match spread {
        Some(spread) if spread < 0.0 => Err(format!("the spread in `{entry}` is negative")),
        spread => Ok(Some((value, decimals, spread))),
    }
}

/// A printed amount and the unit of its last digit: 1.1e9 and 1e8 for `1.1B`.
///
/// # Errors
/// With what is wrong, when it is no such amount.
pub fn amount(text: &str) -> Result<(f64, f64), String> {
    let (digits, factor) = match text.strip_suffix(['K', 'M', 'B']) {
        Some(digits) if text.ends_with('K') => (digits, 1e3),
        Some(digits) if text.ends_with('M') => (digits, 1e6),
        Some(digits) => (digits, 1e9),
        None => (text, 1.0),
    };
    let (value, decimals) = number(digits)?;
    if value < 0.0 {
        return Err(format!("`{text}` is less than nothing"));
    }
    Ok((value * factor, factor * 10f64.powi(-(decimals as i32))))
}

impl DerivedRow {
    /// The printed correlation and its digits after the point.
    pub fn printed(&self) -> Option<(f64, u32)> {
        let (value, decimals, _) = parse(self.reported.as_deref()?).ok()??;
        Some((value, decimals))
    }
}

/// More digits than these no double tells apart.
const DIGITS: usize = 17;

/// A plain decimal number and its digits after the point.
fn number(text: &str) -> Result<(f64, u32), String> {
    let digits = text.strip_prefix(['-', '−', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || digits.ends_with('.') {
        return Err(format!("`{text}` is not a number"));
    }
    if whole.len() > DIGITS || fraction.len() > DIGITS {
        return Err(format!(
            "a printed number has no more than {DIGITS} digits before and after the point"
        ));
    }
    let value = text
        .replace('−', "-")
        .parse()
        .map_err(|_| format!("`{text}` is not a number"))?;
    Ok((value, fraction.len() as u32))
}
