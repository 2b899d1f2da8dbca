//! YAML text as a tree in which every node knows its place.
//!
//! Scalars keep their source text, so that a printed `27.0` stays `27.0`. Anchors, aliases and merge keys work;
//! tags, several documents in one file and duplicate keys are problems.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::problem::Problem;

/// A node of the tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// Bytes of the text that show it: the scalar, or the first key or item of a collection.
    pub span: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A scalar with its text; plain when it was written without quotes.
    Scalar { text: String, plain: bool },
    /// A sequence.
    Sequence(Vec<Node>),
    /// A mapping in the order of the file.
    Mapping(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Its place.
    pub span: Range<usize>,
}

/// Aliases may not make a tree larger than this, nor nesting deeper than [`DEPTH`].
const NODES: usize = 1_000_000;
const DEPTH: usize = 64;

impl Node {
    /// The node at a path of keys and positions, `/tables/0/rows`.
    pub fn at(&self, path: &str) -> Option<&Node> {
        path.split('/')
            .skip(1)
            .try_fold(self, |node, step| match &node.kind {
                Kind::Mapping(entries) => entries
                    .iter()
                    .find(|(key, _)| key.text == step)
                    .map(|(_, node)| node),
                Kind::Sequence(items) => items.get(step.parse::<usize>().ok()?),
                Kind::Scalar { .. } => None,
            })
    }

    /// The place of the key that the last step of `path` names, or of the node itself in a sequence.
    pub fn place(&self, path: &str) -> Range<usize> {
        let (parent, last) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(parent) = self.at(parent) else {
            return self.span.clone();
        };
        match &parent.kind {
            Kind::Mapping(entries) => {
                let found = entries.iter().find(|(key, _)| key.text == last);
                found.map_or(parent.span.clone(), |(key, _)| key.span.clone())
            }
            _ => self.at(path).unwrap_or(parent).span.clone(),
        }
    }

    /// Whether it is an empty, `~` or `null` plain scalar.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }
}

/// The tree of `text`, or what is wrong with it; `whole` is what messages call the file, `suite`.
pub fn parse(text: &str, whole: &str) -> Result<Node, Vec<Problem>> {
    let mut builder = Builder {
        text,
        whole,
        ..Builder::default()
    };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.event(event, span)?,
            Err(error) => {
                let at = builder.byte(error.marker().index());
                return Err(vec![Problem::new(
                    at..at + 1,
                    format!("not valid YAML: {}", error.info()),
                )]);
            }
        }
    }
    match builder.root {
        _ if !builder.problems.is_empty() => Err(builder.problems),
        Some(root) => Ok(root),
        None => Err(vec![Problem::new(0..0, "the file is empty")]),
    }
}

#[derive(Default)]
struct Builder<'a> {
    text: &'a str,
    whole: &'a str,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    documents: usize,
    problems: Vec<Problem>,
    root: Option<Node>,
    /// Byte offsets by character index, made when first asked for; empty where the text is ASCII.
    offsets: Option<Vec<usize>>,
}

/// A collection whose end has not come yet.
struct Open {
    anchor: usize,
    span: Range<usize>,
    key: Option<Key>,
    kind: Kind,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Vec<Problem>> {
        let place = self.place(&span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(vec![Problem::new(
                        place,
                        format!(
                            "a {} is one YAML document, and here a second one starts",
                            self.whole
                        ),
                    )]);
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    self.problems.push(Problem::new(
                        place.clone(),
                        format!("tags are not part of the {} language", self.whole),
                    ));
                }
                let kind = Kind::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                self.add(Node { span: place, kind }, anchor)?;
            }
            Event::SequenceStart(.., anchor, _) => {
                self.start(anchor, place, Kind::Sequence(Vec::new()))?
            }
            Event::MappingStart(.., anchor, _) => {
                self.start(anchor, place, Kind::Mapping(Vec::new()))?
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Open {
                    anchor, span, kind, ..
                } = self.open.pop().expect("an end follows a start");
                let span = first_place(&kind).unwrap_or(span);
                self.add(Node { span, kind }, anchor)?;
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => self.add(node, 0)?,
                None => self.problems.push(Problem::new(
                    place,
                    "this alias stands inside what it repeats",
                )),
            },
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, anchor: usize, span: Range<usize>, kind: Kind) -> Result<(), Vec<Problem>> {
        if self.open.len() >= DEPTH {
            return Err(vec![Problem::new(
                span,
                format!("nested more than {DEPTH} deep"),
            )]);
        }
        self.open.push(Open {
            anchor,
            span,
            key: None,
            kind,
        });
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Vec<Problem>> {
        self.nodes += size(&node);
        if self.nodes > NODES {
            return Err(vec![Problem::new(
                node.span,
                format!("aliases make this file larger than {NODES} nodes"),
            )]);
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.kind {
            Kind::Sequence(items) => items.push(node),
            Kind::Mapping(entries) => match open.key.take() {
                None => match node.kind {
                    Kind::Scalar { text, .. } => {
                        open.key = Some(Key {
                            text,
                            span: node.span,
                        })
                    }
                    _ => return Err(vec![Problem::new(node.span, "a key must be a word")]),
                },
                Some(key) if key.text == "<<" => merge(entries, node, &mut self.problems),
                Some(key) => match entries.iter().position(|(other, _)| other.text == key.text) {
                    Some(i)
                        if entries[i].0.span.start < key.span.start
                            && !entries[i].0.text.is_empty() =>
                    {
                        let first = entries[i].0.span.clone();
                        let mut problem =
                            Problem::new(key.span.clone(), format!("duplicate key `{}`", key.text));
                        problem.also = Some((first, "first given here".into()));
                        if merged(&entries[i].0, open.span.start) {
                            entries[i] = (key, node);
                        } else {
                            self.problems.push(problem);
                        }
                    }
                    _ => entries.push((key, node)),
                },
            },
            Kind::Scalar { .. } => unreachable!("a scalar is never open"),
        }
        Ok(())
    }

    fn place(&mut self, span: &Span) -> Range<usize> {
        let start = self.byte(span.start.index());
        let end = self.byte(span.end.index()).max(start);
        let end = start + self.text[start..end].trim_end().len();
        start..end
    }

    fn byte(&mut self, character: usize) -> usize {
        let offsets = self
            .offsets
            .get_or_insert_with(|| match self.text.is_ascii() {
                true => Vec::new(),
                false => self.text.char_indices().map(|(byte, _)| byte).collect(),
            });
        match offsets.is_empty() {
            true => character.min(self.text.len()),
            false => offsets.get(character).copied().unwrap_or(self.text.len()),
        }
    }
}

/// Whether a key came into its mapping through `<<`, from an anchor that stands before the mapping.
fn merged(key: &Key, mapping_start: usize) -> bool {
    key.span.start < mapping_start
}

/// Adds what `<<` names: keys that the mapping has itself win.
fn merge(entries: &mut Vec<(Key, Node)>, node: Node, problems: &mut Vec<Problem>) {
    match node.kind {
        Kind::Mapping(merged) => {
            for (key, value) in merged {
                if !entries.iter().any(|(own, _)| own.text == key.text) {
                    entries.push((key, value));
                }
            }
        }
        Kind::Sequence(items) => items
            .into_iter()
            .for_each(|item| merge(entries, item, problems)),
        Kind::Scalar { .. } => problems.push(Problem::new(
            node.span,
            "`<<` takes a mapping, such as an alias of one",
        )),
    }
}

fn first_place(kind: &Kind) -> Option<Range<usize>> {
    match kind {
        Kind::Mapping(entries) => entries.first().map(|(key, _)| key.span.clone()),
        Kind::Sequence(items) => items.first().map(|item| item.span.clone()),
        Kind::Scalar { .. } => None,
    }
}

fn size(node: &Node) -> usize {
    match &node.kind {
        Kind::Scalar { .. } => 1,
        // Counting every collection again when it is closed bounds the work as well as the memory.
        Kind::Sequence(items) => 1 + items.iter().map(size).sum::<usize>(),
        Kind::Mapping(entries) => {
            1 + entries
                .iter()
                .map(|(_, node)| 1 + size(node))
                .sum::<usize>()
        }
    }
}
