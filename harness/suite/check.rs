//! Reads a tree into a type, strictly, as the type's JSON Schema says.
//!
//! The schema that editors use is the one that decides here, so the two cannot disagree. Every unknown, missing
//! or mistyped key in the file is reported at once, with its place and the nearest thing that would be right.

use std::ops::Range;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::problem::Problem;
use super::yaml::{Key, Kind, Node};

/// The value of type `T` that `tree` says.
///
/// # Errors
/// Everything in which the tree departs from `schema`.
pub fn read<T: DeserializeOwned>(tree: &Node, schema: &Value) -> Result<T, Vec<Problem>> {
    let mut reader = Reader {
        root: schema,
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
    problems: Vec<Problem>,
}

impl<'s> Reader<'s> {
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

    /// The alternatives of a schema, references and nested unions resolved.
    fn branches(&self, schema: &'s Value) -> Vec<&'s Value> {
        let schema = self.resolve(schema);
        for union in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = schema.get(union) {
                // A tagged enum's branch may be a reference with the tag beside it: it stands for itself.
                return branches
                    .iter()
                    .flat_map(|branch| self.branches(branch))
                    .collect();
            }
        }
        vec![schema]
    }

    fn resolve(&self, schema: &'s Value) -> &'s Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) if schema.get("properties").is_none() => {
                let target = self.root.pointer(reference.trim_start_matches('#'));
                self.resolve(target.expect("a schema refers to its own definitions"))
            }
            _ => schema,
        }
    }

    /// The properties of an object schema, those of a reference beside them included.
    fn properties(&self, schema: &'s Value) -> Vec<(&'s str, &'s Value)> {
        let own = |schema: &'s Value| {
            let properties = schema.get("properties").and_then(Value::as_object);
            properties
                .into_iter()
                .flatten()
                .map(|(key, schema)| (key.as_str(), schema))
        };
        let mut all: Vec<_> = own(schema).collect();
        if let Some(target) = self.beside(schema) {
            all.extend(own(target));
        }
        all
    }

    fn required(&self, schema: &'s Value) -> Vec<&'s str> {
        let own = |schema: &'s Value| {
            schema
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
        };
        let mut all: Vec<_> = own(schema).collect();
        if let Some(target) = self.beside(schema) {
            all.extend(own(target));
        }
        all
    }

    /// What a reference that stands beside properties refers to.
    fn beside(&self, schema: &'s Value) -> Option<&'s Value> {
        let reference = schema.get("$ref")?.as_str()?;
        schema.get("properties")?;
        self.root.pointer(reference.trim_start_matches('#'))
    }

    /// The schema of keys that `properties` does not list: none when there may be no others.
    fn other_keys(&self, schema: &'s Value) -> Option<&'s Value> {
        let closed = |schema: &'s Value| {
            ["additionalProperties", "unevaluatedProperties"]
                .into_iter()
                .find_map(|key| schema.get(key))
        };
        let rule = closed(schema).or_else(|| self.beside(schema).and_then(closed));
        match rule {
            Some(Value::Bool(false)) => None,
            Some(rule) => Some(rule),
            None if self.properties(schema).is_empty() => Some(&Value::Bool(true)),
            None => None,
        }
    }

    /// The alternative that a mapping means: by its tag, otherwise by its keys.
    fn choose(
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
                format!("{} needs {}", named(path), one_of(&names)),
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
    fn tag(&self, objects: &[&'s Value]) -> Option<&'s str> {
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

    fn choose_by_tag(
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
                format!("{} has no key `{tag}`", named(path)),
            );
            let near = entries
                .iter()
                .find(|(key, _)| super::problem::nearest(&key.text, [tag]).is_some());
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
                format!("unknown key `{}` in {}", key.text, named(path)),
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
                named(path)
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
                named(path),
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
                named(path),
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
                    format!("{} must be a whole number", named(path)),
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
                        let message = format!("{} does not have the form it needs", named(path));
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
                format!("{} must be {broken}", named(path)),
            ));
        }
        number
    }

    /// The words a schema allows, when it allows only some.
    fn words(&self, schema: &'s Value) -> Vec<&'s str> {
        let schema = self.resolve(schema);
        if let Some(word) = schema.get("const").and_then(Value::as_str) {
            return vec![word];
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return words.iter().filter_map(Value::as_str).collect();
        }
        let union = ["anyOf", "oneOf"]
            .into_iter()
            .find_map(|key| schema.get(key)?.as_array());
        let words = union.map(|branches| {
            branches
                .iter()
                .map(|branch| self.words(branch))
                .collect::<Vec<_>>()
        });
        match words {
            Some(words) if words.iter().all(|words| !words.is_empty()) => words.concat(),
            _ => Vec::new(),
        }
    }

    fn unknown_word(&mut self, node: &Node, text: &str, words: &[&str], path: &str) {
        let problem = Problem::new(
            node.span.clone(),
            format!("`{text}` is not a value of {}", named(path)),
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
            named(path),
            wanted.join(" or ")
        );
        self.problems.push(Problem::new(node.span.clone(), message));
        Value::Null
    }
}

fn has_type(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(kind)) => kind == name,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == name),
        _ => name == "string" && (schema.get("const").is_some() || schema.get("enum").is_some()),
    }
}

fn is_anything(schema: &Value) -> bool {
    let keys = [
        "type",
        "$ref",
        "anyOf",
        "oneOf",
        "const",
        "enum",
        "properties",
    ];
    *schema == Value::Bool(true)
        || schema
            .as_object()
            .is_some_and(|schema| keys.iter().all(|key| !schema.contains_key(*key)))
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

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_string()
    } else {
        format!("{path}.{key}")
    }
}

fn named(path: &str) -> String {
    if path.is_empty() {
        "the suite".to_string()
    } else {
        format!("`{path}`")
    }
}

fn one_of(words: &[&str]) -> String {
    let prefix = if words.len() > 1 { "one of " } else { "" };
    format!("{prefix}{}", list(words, "or"))
}

fn list(words: &[&str], last: &str) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match &quoted[..] {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., end] => format!("{} {last} {end}", rest.join(", ")),
    }
}

fn plural<'a>(n: usize, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}
