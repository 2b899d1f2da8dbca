//! What a suite has without its file saying so, and what the suite language says of it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::suite::{Suite, is_no_setting, schema};

/// Section, entry, key, value, and the words of the language: where a default is from or, where that is not said, what it
/// means.
pub(super) fn of(suite: &Suite) -> Vec<[String; 5]> {
    let json = |value: serde_json::Result<Value>| value.expect("a suite is plain data");
    let sections = [
        ("models", json(serde_json::to_value(&suite.models))),
        ("metrics", json(serde_json::to_value(&suite.metrics))),
        ("training", json(serde_json::to_value(&suite.training))),
        ("tasks", json(serde_json::to_value(&suite.tasks))),
        ("methods", json(serde_json::to_value(&suite.methods))),
    ];
    let written: BTreeSet<(&str, &str, &str)> = suite
        .settings
        .iter()
        .map(|setting| {
            (
                setting.section,
                setting.entry.as_str(),
                setting.key.as_str(),
            )
        })
        .collect();
    let language = schema();
    let mut found = Vec::new();
    for (section, entries) in &sections {
        let of_section = &language["properties"][section];
        let described = Schema {
            root: &language,
            node: &of_section["additionalProperties"],
        };
        for (entry, value) in entries.as_object().into_iter().flatten() {
            let mut leaves = Vec::new();
            flatten("", value, described, &mut leaves);
            let unwritten = leaves.into_iter().filter(|(key, ..)| {
                !written.contains(&(*section, entry.as_str(), key.as_str()))
                    && !is_no_setting(section, key)
            });
            found.extend(unwritten.map(|(key, value, words)| {
                [section.to_string(), entry.clone(), key, value, words]
            }));
        }
    }
    found
}

/// The values in a tree by their keys, `base.lr`, with the words of the language; one that is absent has none.
fn flatten(key: &str, value: &Value, schema: Schema, found: &mut Vec<(String, String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(children) => {
            let dot = if key.is_empty() { "" } else { "." };
            for (child, inner) in children {
                let described = schema.property(value, child);
                flatten(&format!("{key}{dot}{child}"), inner, described, found);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (i, item) in items.iter().enumerate() {
                flatten(&format!("{key}[{i}]"), item, schema.items(), found);
            }
        }
        Value::String(word) => found.push((key.into(), word.clone(), schema.words(value))),
        other => found.push((key.into(), other.to_string(), schema.words(value))),
    }
}

/// A place in a JSON Schema.
#[derive(Clone, Copy)]
struct Schema<'a> {
    root: &'a Value,
    node: &'a Value,
}

impl<'a> Schema<'a> {
    fn at(self, node: &'a Value) -> Schema<'a> {
        Schema { node, ..self }
    }

    /// The schemas that this one is made of, itself first: what it refers to, and its branches.
    fn parts(self) -> Vec<Schema<'a>> {
        let mut parts = vec![self];
        let mut next = 0;
        while next < parts.len() {
            let node = parts[next].node;
            if let Some(name) = node["$ref"].as_str()
                && let Some(target) = self.root.pointer(name.trim_start_matches('#'))
            {
                parts.push(self.at(target));
            }
            for list in ["allOf", "anyOf", "oneOf"] {
                let branches = node[list].as_array().into_iter().flatten();
                parts.extend(branches.map(|branch| self.at(branch)));
            }
            next += 1;
        }
        parts
    }

    /// That of a property of `value`; of several branches that have one, the branch whose tag is the value's.
    fn property(self, value: &Value, name: &str) -> Schema<'a> {
        let fits = |part: &Schema| {
            let properties = part.node["properties"].as_object().into_iter().flatten();
            let mut tags = properties.filter_map(|(key, of)| Some((key, of.get("const")?)));
            tags.all(|(key, tag)| value[key] == *tag)
        };
        // A branch that does not fit leads nowhere, so what it refers to is not looked at either.
        let mut parts = vec![self];
        while let Some(part) = parts.pop() {
            if !fits(&part) {
                continue;
            }
            if let Some(found) = part.node["properties"].get(name) {
                return self.at(found);
            }
            if let Some(rest) = part
                .node
                .get("additionalProperties")
                .filter(|rest| rest.is_object())
            {
                return self.at(rest);
            }
            if let Some(to) = part.node["$ref"].as_str()
                && let Some(target) = self.root.pointer(to.trim_start_matches('#'))
            {
                parts.push(self.at(target));
            }
            for list in ["allOf", "anyOf", "oneOf"] {
                let branches = part.node[list].as_array().into_iter().flatten();
                parts.extend(branches.map(|branch| self.at(branch)));
            }
        }
        self.at(&Value::Null)
    }

    fn items(self) -> Schema<'a> {
        let parts = self.parts().into_iter();
        let mut items = parts.filter_map(|part| part.node.get("items"));
        items
            .next()
            .map_or(self.at(&Value::Null), |items| self.at(items))
    }

    /// What stands behind `Source:` in the description, else what the chosen word means, else the first sentence.
    fn words(self, value: &Value) -> String {
        let parts = self.parts();
        let texts: Vec<&str> = parts
            .iter()
            .filter_map(|part| part.node["description"].as_str())
            .collect();
        let source = texts.iter().find_map(|text| text.split_once("Source:"));
        let chosen = parts
            .iter()
            .find(|part| part.node.get("const") == Some(value))
            .and_then(|part| part.node["description"].as_str());
        let words = match (source, chosen, texts.first()) {
            (Some((_, source)), _, _) => source,
            (None, Some(chosen), _) => chosen,
            (None, None, Some(text)) => text.split_once(". ").map_or(*text, |(first, _)| first),
            (None, None, None) => "",
        };
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        words.trim_end_matches('.').to_string()
    }
}
