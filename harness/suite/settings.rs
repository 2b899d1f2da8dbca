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

/// Whether a key only names another entry of the file or a method, or tells sizes that decide no number: those are no
/// settings.
pub(crate) fn is_no_setting(section: &str, key: &str) -> bool {
    let first = key.split(['.', '[']).next().unwrap_or_default();
    match section {
        "tasks" => ["model", "training", "metric", "sizes", "scale"].contains(&first),
        "methods" => first == "method",
        _ => false,
    }
}

/// Every setting in the order of the file. Its source is the comment at the end of its line or, without one, the comment
/// lines right above that line: what a comment says of one line says nothing of another, and nothing of the lines inside.
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
            file.collect(section, &entry.text, "", node, &mut found);
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
        found: &mut Vec<Setting>,
    ) {
        if is_no_setting(section, key) {
            return;
        }
        let value = match &node.kind {
            Kind::Mapping(children) if !children.is_empty() => {
                for (child, node) in children {
                    let dot = if key.is_empty() { "" } else { "." };
                    let key = format!("{key}{dot}{}", child.text);
                    self.collect(section, entry, &key, node, found);
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
                        self.collect(section, entry, &key, item, found);
                    }
                    return;
                }
                format!("[{}]", texts.join(", "))
            }
        };
        let line = self.line(node.span.start);
        let source = self.source(line, key, found);
        found.push(Setting {
            section,
            entry: entry.into(),
            key: key.into(),
            value,
            line: line + 1,
            source,
        });
    }

    /// `as above` is what the last setting of the same key before it says.
    fn source(&self, line: usize, key: &str, before: &[Setting]) -> Source {
        let behind = self.lines.get(line).and_then(|line| comment(line));
        let said = behind.map(str::to_string).or_else(|| self.above(line));
        match said {
            Some(said) if said.starts_with("as above") => {
                let mut same = before
                    .iter()
                    .rev()
                    .filter(|other| last(&other.key) == last(key));
                let full = same.find(|other| other.line <= line);
                full.map_or(Source::Unsaid(said), |other| other.source.clone())
            }
            Some(said) => classify(said),
            None => Source::Unsaid(String::new()),
        }
    }

    /// Position of the line that holds a byte.
    fn line(&self, byte: usize) -> usize {
        let before = &self.text.as_bytes()[..byte.min(self.text.len())];
        before.iter().filter(|&&byte| byte == b'\n').count()
    }

    /// The comment lines right above a line.
    fn above(&self, line: usize) -> Option<String> {
        let before = self.lines.get(..line)?.iter().rev();
        let mut said: Vec<&str> = before
            .take_while(|line| is_comment(line))
            .map(|line| line.trim_start().trim_start_matches('#').trim())
            .collect();
        said.reverse();
        (!said.is_empty()).then(|| said.join(" "))
    }
}

/// The last part of a key, `lr` of `base.lr`.
fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
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
