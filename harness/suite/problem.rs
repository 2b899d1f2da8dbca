//! What is wrong with a suite, shown with its place as a compiler would.

use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Where, in bytes of the text.
    pub span: Range<usize>,
    /// What, lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Another place that matters, with its label.
    pub also: Option<(Range<usize>, String)>,
}

impl Problem {
    /// A problem at a place.
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Problem {
            span,
            message: message.into(),
            help: None,
            also: None,
        }
    }

    /// With advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With "did you mean", when one of `known` is near `word`.
    pub fn suggest<'a>(mut self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        if self.help.is_none() {
            self.help = nearest(word, known).map(|near| format!("did you mean `{near}`?"));
        }
        self
    }
}

/// The one of `known` that is nearest to `word`, if any is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|known| {
            (
                strsim::damerau_levenshtein(&lower, &known.to_lowercase()),
                known,
            )
        })
        .filter(|&(distance, known)| distance <= 1 + known.chars().count().max(lower.len()) / 4)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, known)| known)
}

/// Everything that is wrong with one file.
#[derive(Debug)]
pub struct Problems {
    /// The file.
    pub path: PathBuf,
    text: String,
    /// In the order of the file.
    pub found: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(path: &Path, text: &str, mut found: Vec<Problem>) -> Self {
        found.sort_by_key(|problem| problem.span.start);
        found.dedup();
        Problems {
            path: path.into(),
            text: text.into(),
            found,
        }
    }

    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Problems::new(
            path,
            "",
            vec![Problem::new(0..0, format!("cannot be read: {error}"))],
        )
    }

    /// Line and column of a problem, both counted from 1, the column in characters.
    pub fn position(&self, problem: &Problem) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(problem.span.start)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }

    /// All problems with their source lines, in colour for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let path = self.path.display().to_string();
        let one = |problem: &Problem| {
            let title = Level::ERROR.primary_title(&problem.message);
            if self.text.is_empty() {
                return renderer.render(&[
                    Group::with_title(title).element(annotate_snippets::Origin::path(&path))
                ]);
            }
            // A parser's place may lie beyond the text, or within a character.
            let start = |at: usize| self.text.floor_char_boundary(at);
            let end = |at: usize| self.text.ceil_char_boundary(at.min(self.text.len()));
            let clamp = |span: &Range<usize>| start(span.start)..end(span.end.max(span.start));
            let mut snippet = Snippet::source(&self.text)
                .path(&path)
                .annotation(AnnotationKind::Primary.span(clamp(&problem.span)));
            if let Some((span, label)) = &problem.also {
                snippet =
                    snippet.annotation(AnnotationKind::Context.span(clamp(span)).label(label));
            }
            let mut group = title.element(snippet);
            if let Some(help) = &problem.help {
                group = group.element(Level::HELP.message(help));
            }
            renderer.render(&[group])
        };
        self.found.iter().map(one).collect::<Vec<_>>().join("\n\n")
    }

    /// All problems for a program.
    pub fn to_json(&self) -> serde_json::Value {
        let one = |problem: &Problem| {
            let (line, column) = self.position(problem);
            serde_json::json!({
                "file": self.path, "line": line, "column": column,
                "message": problem.message, "help": problem.help,
            })
        };
        self.found.iter().map(one).collect()
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}
