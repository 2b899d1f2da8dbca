//! Reads a tree into a type, strictly, as the type's JSON Schema says.
//!
//! The schema that editors use is the one that decides here, so the two cannot disagree. Every unknown, missing
//! or mistyped key in the file is reported at once, with its place and the nearest thing that would be right.

mod choose;
mod shape;
mod words;

use std::ops::Range;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::problem::Problem;
use super::yaml::{Key, Kind, Node};
use shape::{has_type, is_anything};
use words::{join, list, one_of, plural};

/// The value of type `T` that `tree` says; `whole` is what messages call the file, `suite`.
///
/// # Errors
/// Everything in which the tree departs from `schema`.
pub fn read<T: DeserializeOwned>(
    tree: &Node,
    schema: &Value,
    whole: &str,
) -> Result<T, Vec<Problem>> {
    let mut reader = Reader {
        root: schema,
        whole,
        problems: Vec::new(),
    };
    let value = reader.read(tree, schema, "", &tree.span);
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    serde_json::from_value(value)
        .map_err(|error| vec![Problem::new(tree.span.clone(), error.to_string())])
}

struct Reader<'s> {
    root: &'s Value,
    whole: &'s str,
    problems: Vec<Problem>,
}

impl<'s> Reader<'s> {
    /// What stands at `path`, in a message.
    fn named(&self, path: &str) -> String {
        match path {
            "" => format!("the {}", self.whole),
            path => format!("`{path}`"),
        }
    }

    /// The JSON value of `node` under `schema`. `path` names it in messages, `at` is the key that holds it.
    fn read(&mut self, node: &Node, schema: &'s Value, path: &str, at: &Range<usize>) -> Value {
        let branches = self.branches(schema);
        if node.is_null() && branches.iter().any(|branch| has_type(branch, "null")) {
            return Value::Null;
        }
        match &node.kind {
            Kind::Mapping(entries) => match self.choose(&branches, node, entries, path) {
                Some(branch) => self.mapping(entries, branch, path, at),
                None => Value::Null,
            },
            Kind::Sequence(items) => match branches.iter().find(|branch| has_type(branch, "array"))
            {
                Some(branch) => self.sequence(items, branch, path, at),
                None => self.mistyped(node, &branches, "a list", path),
            },
            Kind::Scalar { text, plain } => self.scalar(node, text, *plain, &branches, path, at),
        }
    }

    fn mapping(
        &mut self,
        entries: &[(Key, Node)],
        schema: &'s Value,
        path: &str,
        at: &Range<usize>,
    ) -> Value {
        let properties = self.properties(schema);
        let others = self.other_keys(schema);
        let mut value = Map::new();
        let mut unknown = Vec::new();
        for (key, node) in entries {
            let known = properties
                .iter()
                .find(|(name, _)| *name == key.text)
                .map(|(_, schema)| *schema);
            match known.or(others) {
                Some(schema) => {
                    let read = self.read(node, schema, &join(path, &key.text), &key.span);
                    value.insert(key.text.clone(), read);
                }
                None => unknown.push(key),
            }
        }
        let given = |name: &str| entries.iter().any(|(key, _)| key.text == name);
        let mut missing: Vec<_> = self
            .required(schema)
            .into_iter()
            .filter(|name| !given(name))
            .collect();
        for key in unknown {
            let free: Vec<_> = properties
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| !given(name))
                .collect();
            let mut problem = Problem::new(
                key.span.clone(),
                format!("unknown key `{}` in {}", key.text, self.named(path)),
            );
            match super::problem::nearest(&key.text, free.iter().copied()) {
                // A misspelt key is one problem, not an unknown one and a missing one.
                Some(near) => {
                    missing.retain(|name| *name != near);
                    problem = problem.help(format!("did you mean `{near}`?"));
                }
                None if !free.is_empty() => {
                    problem = problem.help(format!("it may have {}", list(&free, "and")))
                }
                None => {}
            }
            self.problems.push(problem);
        }
        if !missing.is_empty() {
            let keys = if missing.len() == 1 { "key" } else { "keys" };
            let place = if at.is_empty() {
                entries.first().map_or(0..0, |(key, _)| key.span.clone())
            } else {
                at.clone()
            };
            let message = format!(
                "missing {keys} {} in {}",
                list(&missing, "and"),
                self.named(path)
            );
            self.problems.push(Problem::new(place, message));
        }
        Value::Object(value)
    }

    fn sequence(
        &mut self,
        items: &[Node],
        schema: &'s Value,
        path: &str,
        at: &Range<usize>,
    ) -> Value {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0) as usize;
        if items.len() < least {
            let message = format!(
                "{} needs at least {least} {}",
                self.named(path),
                plural(least, "entry", "entries")
            );
            self.problems.push(Problem::new(at.clone(), message));
        }
        let most = schema
            .get("maxItems")
            .and_then(Value::as_u64)
            .map(|most| most as usize);
        if let Some(most) = most.filter(|most| items.len() > *most) {
            let message = format!(
                "{} takes at most {most} {}",
                self.named(path),
                plural(most, "entry", "entries")
            );
            self.problems
                .push(Problem::new(items[most].span.clone(), message));
        }
        let anything = &Value::Bool(true);
        let prefix = schema.get("prefixItems").and_then(Value::as_array);
        let rest = schema
            .get("items")
            .filter(|items| items.is_object())
            .unwrap_or(anything);
        let read = |(i, item): (usize, &Node)| {
            let schema = prefix.and_then(|prefix| prefix.get(i)).unwrap_or(rest);
            self.read(item, schema, &format!("{path}[{i}]"), &item.span)
        };
        items.iter().enumerate().map(read).collect()
    }

    fn scalar(
        &mut self,
        node: &Node,
        text: &str,
        plain: bool,
        branches: &[&'s Value],
        path: &str,
        at: &Range<usize>,
    ) -> Value {
        let words: Vec<_> = branches
            .iter()
            .flat_map(|branch| self.words(branch))
            .collect();
        if words.contains(&text) {
            return Value::String(text.into());
        }
        if branches.iter().any(|branch| is_anything(branch)) {
            return if plain {
                resolved(text)
            } else {
                Value::String(text.into())
            };
        }
        for branch in branches
            .iter()
            .filter(|branch| self.words(branch).is_empty())
        {
            let number = resolved(text);
            if plain
                && (has_type(branch, "integer") || has_type(branch, "number"))
                && number.is_number()
            {
                if has_type(branch, "number") || number.is_u64() || number.is_i64() {
                    return self.in_range(node, number, branch, path);
                }
                self.problems.push(Problem::new(
                    node.span.clone(),
                    format!("{} must be a whole number", self.named(path)),
                ));
                return Value::Null;
            }
            if plain && has_type(branch, "boolean") && number.is_boolean() {
                return number;
            }
            if has_type(branch, "string") && !(plain && text.is_empty()) {
                if let Some(pattern) = branch.get("pattern").and_then(Value::as_str) {
                    let matches = regex::Regex::new(pattern)
                        .expect("a pattern of the language")
                        .is_match(text);
                    if !matches {
                        let message =
                            format!("{} does not have the form it needs", self.named(path));
                        self.problems.push(
                            Problem::new(node.span.clone(), message)
                                .help(format!("it matches {pattern}")),
                        );
                    }
                }
                return Value::String(text.into());
            }
        }
        if !words.is_empty() && !text.is_empty() {
            self.unknown_word(node, text, &words, path);
            return Value::Null;
        }
        let place = if text.is_empty() {
            Node {
                span: at.clone(),
                kind: node.kind.clone(),
            }
        } else {
            node.clone()
        };
        let shown = if text.is_empty() {
            "nothing".to_string()
        } else {
            format!("`{text}`")
        };
        self.mistyped(&place, branches, &shown, path)
    }

    fn in_range(&mut self, node: &Node, number: Value, schema: &Value, path: &str) -> Value {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let x = number.as_f64().expect("a number");
        let broken = [
            bound("minimum")
                .filter(|least| x < *least)
                .map(|least| format!("at least {least}")),
            bound("maximum")
                .filter(|most| x > *most)
                .map(|most| format!("at most {most}")),
            bound("exclusiveMinimum")
                .filter(|least| x <= *least)
                .map(|least| format!("more than {least}")),
            bound("exclusiveMaximum")
                .filter(|most| x >= *most)
                .map(|most| format!("less than {most}")),
        ];
        if let Some(broken) = broken.into_iter().flatten().next() {
            self.problems.push(Problem::new(
                node.span.clone(),
                format!("{} must be {broken}", self.named(path)),
            ));
        }
        number
    }

    fn unknown_word(&mut self, node: &Node, text: &str, words: &[&str], path: &str) {
        let problem = Problem::new(
            node.span.clone(),
            format!("`{text}` is not a value of {}", self.named(path)),
        );
        let problem = problem.suggest(text, words.iter().copied());
        let help = format!("it is {}", one_of(words));
        self.problems.push(if problem.help.is_none() {
            problem.help(help)
        } else {
            problem
        });
    }

    fn mistyped(&mut self, node: &Node, branches: &[&'s Value], found: &str, path: &str) -> Value {
        let kinds = ["object", "array", "string", "integer", "number", "boolean"];
        let says = |kind: &str| match kind {
            "object" => "a mapping",
            "array" => "a list",
            "string" => "a text",
            "integer" => "a whole number",
            "number" => "a number",
            _ => "true or false",
        };
        let mut wanted: Vec<_> = Vec::new();
        for kind in kinds
            .iter()
            .filter(|kind| branches.iter().any(|branch| has_type(branch, kind)))
        {
            let words: Vec<_> = branches
                .iter()
                .flat_map(|branch| self.words(branch))
                .collect();
            match *kind {
                "string" if !words.is_empty() => wanted.push(one_of(&words)),
                kind => wanted.push(says(kind).to_string()),
            }
        }
        let message = format!(
            "{} must be {}, not {found}",
            self.named(path),
            wanted.join(" or ")
        );
        self.problems.push(Problem::new(node.span.clone(), message));
        Value::Null
    }
}

/// A plain scalar by the core schema of YAML 1.2; numbers that are not finite stay text.
fn resolved(text: &str) -> Value {
    match text {
        "" | "~" | "null" => return Value::Null,
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(whole) = text.parse::<u64>() {
        return whole.into();
    }
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    let numeric = text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b"+-.eE0123456789".contains(&b));
    match text.parse::<f64>() {
        Ok(number) if numeric && number.is_finite() => number.into(),
        _ => Value::String(text.into()),
    }
}
