//! Times as people write and read them.

use std::time::Duration;

/// A time as the command line says it: `90s`, `10m`, `2h`, or `0`.
///
/// # Errors
/// Says what was written, and how it is written.
pub fn read(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is no time; write `90s`, `10m`, `2h`, or 0");
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (count, unit) = text.split_at(end.unwrap_or(text.len()));
    let count: u64 = count.parse().map_err(|_| refused())?;
    let seconds = match unit {
        "" if count == 0 => Some(0),
        "s" => Some(count),
        "m" => count.checked_mul(60),
        "h" => count.checked_mul(3600),
        _ => None,
    };
    // Longer than a century is a slip; never is 0.
    let century = 100 * 366 * 24 * 3600;
    let seconds = seconds.filter(|&seconds| seconds <= century);
    seconds.map(Duration::from_secs).ok_or_else(refused)
}

/// `42 s`, `3 min 07 s`, `2 h 05 min`.
pub fn shown(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 if seconds < 9.95 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, seconds) in [("0", 0), ("0s", 0), ("90s", 90), ("10m", 600), ("2h", 7200)] {
            assert_eq!(read(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "m",
            "10",
            "10 m",
            "-1s",
            "1.5h",
            "1d",
            "99999999999999999999s",
            "9999999999999999h",
        ] {
            assert!(
                read(text).is_err_and(|error| error.contains(text)),
                "{text}"
            );
        }
    }
}
