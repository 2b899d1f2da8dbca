//! What a paper prints in a cell.

use serde::Serialize;

use super::Spread;

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
    /// Seeds behind it, where the paper says.
    pub seeds: Option<u64>,
    /// Where it stands.
    pub place: String,
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

/// A plain decimal number and its digits after the point.
fn number(text: &str) -> Result<(f64, u32), String> {
    let digits = text.strip_prefix(['-', '−', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || digits.ends_with('.') {
        return Err(format!("`{text}` is not a number"));
    }
    let value = text
        .replace('−', "-")
        .parse()
        .map_err(|_| format!("`{text}` is not a number"))?;
    Ok((value, fraction.len() as u32))
}
