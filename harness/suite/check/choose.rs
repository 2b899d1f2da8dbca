//! Which of several alternatives a mapping means.

use serde_json::Value;

use super::shape::{has_type, is_anything};
use super::words::{join, one_of};
use super::{Key, Kind, Node, Problem, Reader};
use crate::suite::nearest;

impl<'s> Reader<'s> {
    /// The alternative that a mapping means: by its tag, otherwise by its keys.
    pub(super) fn choose(
        &mut self,
        branches: &[&'s Value],
        node: &Node,
        entries: &[(Key, Node)],
        path: &str,
    ) -> Option<&'s Value> {
        let objects: Vec<_> = branches
            .iter()
            .copied()
            .filter(|b| has_type(b, "object") || !self.properties(b).is_empty())
            .collect();
        match objects[..] {
            [] if branches.iter().any(|branch| is_anything(branch)) => {
                return Some(&Value::Bool(true));
            }
            [] => {
                self.mistyped(node, branches, "a mapping", path);
                return None;
            }
            [only] => return Some(only),
            _ => {}
        }
        if let Some(tag) = self.tag(&objects) {
            return self.choose_by_tag(&objects, tag, node, entries, path);
        }
        let score = |branch: &&'s Value| {
            let properties = self.properties(branch);
            let known = entries
                .iter()
                .filter(|(key, _)| properties.iter().any(|(name, _)| *name == key.text))
                .count();
            let required = self.required(branch);
            let met = required
                .iter()
                .filter(|name| entries.iter().any(|(key, _)| key.text == **name))
                .count();
            (known, usize::from(met == required.len()), met)
        };
        // The first of the best, so that the order of the language decides ties.
        let best = objects
            .iter()
            .copied()
            .rev()
            .max_by_key(score)
            .expect("not empty");
        if score(&best).0 == 0 && !self.properties(best).is_empty() {
            let names: Vec<_> = objects
                .iter()
                .flat_map(|branch| self.required(branch))
                .collect();
            let mut problem = Problem::new(
                node.span.clone(),
                format!("{} needs {}", self.named(path), one_of(&names)),
            );
            if let Some((key, _)) = entries.first() {
                problem = problem.suggest(&key.text, names);
            }
            self.problems.push(problem);
            return None;
        }
        Some(best)
    }

    /// The key whose fixed value tells the alternatives apart.
    pub(super) fn tag(&self, objects: &[&'s Value]) -> Option<&'s str> {
        let (first, rest) = objects.split_first()?;
        let tags = |branch: &'s Value| {
            let properties = self.properties(branch).into_iter();
            properties
                .filter(|(_, schema)| self.words(schema).len() == 1)
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        tags(first)
            .into_iter()
            .find(|name| rest.iter().all(|branch| tags(branch).contains(name)))
    }

    pub(super) fn choose_by_tag(
        &mut self,
        objects: &[&'s Value],
        tag: &'s str,
        node: &Node,
        entries: &[(Key, Node)],
        path: &str,
    ) -> Option<&'s Value> {
        let word = |branch: &&'s Value| {
            let property = self
                .properties(branch)
                .into_iter()
                .find(|(name, _)| *name == tag);
            property
                .and_then(|(_, schema)| self.words(schema).first().copied())
                .unwrap_or("")
        };
        let words: Vec<_> = objects.iter().map(word).collect();
        let Some((_, given)) = entries.iter().find(|(key, _)| key.text == tag) else {
            let problem = Problem::new(
                node.span.clone(),
                format!("{} has no key `{tag}`", self.named(path)),
            );
            let near = entries
                .iter()
                .find(|(key, _)| nearest(&key.text, [tag]).is_some());
            self.problems.push(match near {
                Some((key, _)) => {
                    problem.help(format!("did you mean `{tag}` where `{}` stands?", key.text))
                }
                None => problem.help(format!("it is {}", one_of(&words))),
            });
            return None;
        };
        let text = match &given.kind {
            Kind::Scalar { text, .. } => text.as_str(),
            _ => "",
        };
        match words.iter().position(|word| *word == text) {
            Some(i) => Some(objects[i]),
            None => {
                self.unknown_word(given, text, &words, &join(path, tag));
                None
            }
        }
    }
}
