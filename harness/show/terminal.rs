//! What fits a terminal.

use std::os::fd::RawFd;

/// Rows and columns of the terminal behind a descriptor; none where there is none, or it does not say.
pub fn size(fd: RawFd) -> Option<(usize, usize)> {
    // SAFETY: all zeros is a valid value, and the call writes nothing else.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        (libc::ioctl(fd, libc::TIOCGWINSZ, &mut size) == 0).then_some(size)
    };
    let size = size.filter(|size| size.ws_row > 0 && size.ws_col > 0)?;
    Some((size.ws_row.into(), size.ws_col.into()))
}

/// The first of a line's characters, so many as there is room for; `…` stands for the rest.
pub fn cut(line: &str, room: usize) -> String {
    if line.chars().count() <= room {
        return line.into();
    }
    let mut cut: String = line.chars().take(room.saturating_sub(1)).collect();
    cut.extend((room > 0).then_some('…'));
    cut
}

/// The first of the lines of slots, so many as there are rows for, with the number of the others.
pub fn first(mut lines: Vec<String>, rows: usize) -> Vec<String> {
    if lines.len() > rows {
        let more = lines.len() - rows.saturating_sub(1);
        lines.truncate(rows.saturating_sub(1));
        let slots = if more == 1 { "slot" } else { "slots" };
        lines.push(format!("… {more} more {slots}"));
    }
    lines
}

/// A text from elsewhere without anything that a terminal would obey: characters that control it are spelt out.
pub fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => harmless.push(c),
            c if c.is_control() => harmless.extend(c.escape_default()),
            c => harmless.push(c),
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let lines: Vec<String> = (0..5).map(|i| i.to_string()).collect();
        assert_eq!(first(lines.clone(), 5), lines);
        assert_eq!(first(lines.clone(), 3), ["0", "1", "… 3 more slots"]);
        assert_eq!(first(lines[..2].to_vec(), 1), ["… 2 more slots"]);
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 4), "abc…");
    }

    #[test]
    fn a_terminal_obeys_no_text_from_elsewhere() {
        assert_eq!(
            harmless("a\tb\x1b[2Jc\u{9b}d\re\nf"),
            "a\tb\\u{1b}[2Jc\\u{9b}d\\re\nf"
        );
    }
}
