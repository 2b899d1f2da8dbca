//! What a suite's file says about the source of each of its settings: the comment behind a value is its citation.

use super::yaml::{Kind, Node};

/// Where a value comes from, in the words of the comment behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The paper states it, and where.
    Stated(String),
    /// The paper does not state it, and why this value was chosen.
    Chosen(String),
    /// The file does not say; what it remarks instead may be empty.
    Unsaid(String),
}

/// A value that a suite sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `models`, `metrics`, `training`, `tasks` or `methods`.
    pub section: &'static str,
    /// The entry of that section, `fine-tuning`.
    pub entry: String,
    /// The keys from there, `base.lr`; empty when the entry is itself a value.
    pub key: String,
    /// The value as written; a list of values in brackets.
    pub value: String,
    /// Line in the file, from 1; that of the anchor when an alias brought the value.
    pub line: usize,
    /// Where the value comes from.
    pub source: Source,
}

const SECTIONS: [&str; 5] = ["models", "metrics", "training", "tasks", "methods"];

/// Every setting in the order of the file, but for the names with which entries refer to one another, and what
/// the paper says of sizes. A value's own comment counts first, then those of the keys around it from
/// the inside out, behind the key or in the lines above it.
pub(super) fn of(text: &str, tree: &Node) -> Vec<Setting> {
    let file = File {
        text,
        lines: text.lines().collect(),
    };
    let mut found = Vec::new();
    for section in SECTIONS {
        let Some(Kind::Mapping(entries)) = tree.at(&format!("/{section}")).map(|node| &node.kind)
        else {
            continue;
        };
        for (entry, node) in entries {
            let around = vec![file.line(entry.span.start)];
            file.collect(section, &entry.text, "", node, &around, &mut found);
        }
    }
    found
}

struct File<'a> {
    text: &'a str,
    lines: Vec<&'a str>,
}

impl File<'_> {
    fn collect(
        &self,
        section: &'static str,
        entry: &str,
        key: &str,
        node: &Node,
        around: &[usize],
        found: &mut Vec<Setting>,
    ) {
        let names = match section {
            "tasks" => &["model", "training", "metric", "sizes", "scale"][..],
            "methods" => &["method"],
            _ => &[],
        };
        if names.contains(&key) {
            return;
        }
        let value = match &node.kind {
            Kind::Mapping(children) if !children.is_empty() => {
                for (child, node) in children {
                    let dot = if key.is_empty() { "" } else { "." };
                    let mut around = around.to_vec();
                    around.push(self.line(child.span.start));
                    let key = format!("{key}{dot}{}", child.text);
                    self.collect(section, entry, &key, node, &around, found);
                }
                return;
            }
            Kind::Mapping(_) => "{}".into(),
            Kind::Scalar { text, .. } => text.clone(),
            Kind::Sequence(items) => {
                let texts: Vec<&str> = items
                    .iter()
                    .filter_map(|item| match &item.kind {
                        Kind::Scalar { text, .. } => Some(text.as_str()),
                        _ => None,
                    })
                    .collect();
                if texts.len() < items.len() {
                    for (i, item) in items.iter().enumerate() {
                        let key = format!("{key}[{i}]");
                        self.collect(section, entry, &key, item, around, found);
                    }
                    return;
                }
                format!("[{}]", texts.join(", "))
            }
        };
        let line = self.line(node.span.start);
        found.push(Setting {
            section,
            entry: entry.into(),
            key: key.into(),
            value,
            line: line + 1,
            source: self.source(line, around),
        });
    }

    fn source(&self, line: usize, around: &[usize]) -> Source {
        let own = self.behind(line);
        let outer = around.iter().rev().filter(|&&other| other != line);
        let behind = outer.clone().filter_map(|&other| self.behind(other));
        let above = around.iter().rev().filter_map(|&other| self.above(other));
        let remark = own.clone().unwrap_or_default();
        let mut said = own.into_iter().chain(behind).chain(above).map(classify);
        said.find(|source| !matches!(source, Source::Unsaid(_)))
            .unwrap_or(Source::Unsaid(remark))
    }

    /// Position of the line that holds a byte.
    fn line(&self, byte: usize) -> usize {
        let before = &self.text.as_bytes()[..byte.min(self.text.len())];
        before.iter().filter(|&&byte| byte == b'\n').count()
    }

    /// The comment at the end of a line; `as above` means that of the last line that says it in full.
    fn behind(&self, line: usize) -> Option<String> {
        let said = comment(self.lines.get(line)?)?;
        if !said.starts_with("as above") {
            return Some(said.into());
        }
        let full = self.lines[..line]
            .iter()
            .rev()
            .filter(|line| !is_comment(line));
        full.filter_map(|line| comment(line))
            .find(|other| !other.starts_with("as above"))
            .map(str::to_string)
    }

    /// The comment lines that head the group a line is in: above it, as deep as it is, with no blank line between.
    fn above(&self, line: usize) -> Option<String> {
        let deep = |line: &str| line.len() - line.trim_start().len();
        let own = deep(self.lines.get(line)?);
        let group = self.lines[..line].iter().rev();
        let mut group = group.take_while(|line| !line.trim().is_empty() && deep(line) >= own);
        let heads = |line: &&&str| is_comment(line) && deep(line) == own;
        let last = group.find(heads)?;
        let block = std::iter::once(last).chain(group);
        let mut said: Vec<&str> = block
            .take_while(|line| is_comment(line) && deep(line) == own)
            .map(|line| line.trim_start().trim_start_matches('#').trim())
            .collect();
        said.reverse();
        (!said.is_empty()).then(|| said.join(" "))
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// What stands behind the first ` #` outside quotes.
fn comment(line: &str) -> Option<&str> {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() => return Some(line[at + 1..].trim()),
            // An apostrophe inside a word opens nothing.
            (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
        before = c;
    }
    None
}

fn classify(comment: String) -> Source {
    const PLACES: [&str; 6] = [
        "section",
        "table",
        "algorithm",
        "appendix",
        "equation",
        "figure",
    ];
    let lower = comment.to_lowercase();
    if lower.contains("not stated") {
        Source::Chosen(comment)
    } else if PLACES.iter().any(|place| lower.contains(place)) {
        Source::Stated(comment)
    } else {
        Source::Unsaid(comment)
    }
}
