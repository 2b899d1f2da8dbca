//! Names that try to be LaTeX, HTML or shell, and a report full of them.

use harness::report::Report;

/// What such names are made of.
const PARTS: &[&str] = &[
    "\\",
    "\\input{/etc/passwd}",
    "\\end{document}",
    "\\write18{ls}",
    "{",
    "}",
    "$",
    "$$",
    "%",
    "&",
    "#",
    "_",
    "^",
    "~",
    "[",
    "]",
    "*",
    "\\\\",
    "`",
    "``",
    "'",
    "''",
    "\"",
    "-",
    "--",
    "<",
    ">",
    "<<",
    "|",
    ",,",
    "?`",
    "<script>",
    "</td>",
    "<!--",
    "-->",
    "]]>",
    "<![CDATA[",
    "&amp;",
    "&#0;",
    "' onmouseover='x",
    "$(ls)",
    "; rm -rf",
    "é",
    "ß",
    "θ",
    "ₜ₋₁",
    "−",
    "±",
    "–",
    "—",
    "↑",
    "…",
    "“",
    "a",
    "B",
    "0",
    " ",
];
/// And what no text should hold.
const ODD: &[&str] = &[
    "\0", "\x1b[2J", "\n", "\r\n\n", "\t", "\u{85}", "\u{ffff}", "中", "🙂", "\u{202e}",
    "\u{fffe}", "ð",
];

/// Names that are the same in every run: splitmix64 picks the parts.
pub fn names(count: usize, odd: bool) -> Vec<String> {
    let mut state = 0u64;
    let mut below = |n: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    };
    let all: Vec<&str> = match odd {
        true => PARTS.iter().chain(ODD).copied().collect(),
        false => PARTS.to_vec(),
    };
    (0..count)
        .map(|_| (0..1 + below(5)).map(|_| all[below(all.len())]).collect())
        .collect()
}

/// `report` with such a name wherever a suite's author can put one.
pub fn report(mut report: Report) -> Report {
    let mut names = names(400, true).into_iter();
    let mut next = || names.next().unwrap();
    (report.title, report.citation, report.file) = (next(), next(), next());
    for table in &mut report.tables {
        (table.id, table.title, table.place) = (next(), next(), next());
        let more: Vec<_> = (0..8).flat_map(|_| table.rows.clone()).collect();
        table.rows.extend(more);
        for head in &mut table.columns {
            (head.id, head.title, head.unit) = (next(), next(), Some(next()));
        }
        for row in &mut table.rows {
            (row.method, row.group) = (next(), Some(next()));
            for cell in row.cells.iter_mut().filter(|cell| cell.missing.is_some()) {
                cell.missing = Some(next());
            }
        }
    }
    for table in &mut report.derived {
        (table.title, table.place, table.from) = (next(), next(), next());
        for row in &mut table.rows {
            row.title = next();
            row.value.missing = vec![next(), next()];
        }
    }
    for claim in &mut report.claims {
        (claim.id, claim.says, claim.place) = (next(), next(), next());
        for finding in [&mut claim.paper, &mut claim.ours] {
            finding.evidence = vec![next(), next()];
        }
    }
    for figure in &mut report.figures {
        (figure.title, figure.place) = (next(), Some(next()));
    }
    report
}
