//! What a JSON Schema says about a place: its alternatives, keys and words.

use serde_json::Value;

use super::Reader;

impl<'s> Reader<'s> {
    /// The alternatives of a schema, references and nested unions resolved.
    pub(super) fn branches(&self, schema: &'s Value) -> Vec<&'s Value> {
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

    pub(super) fn resolve(&self, schema: &'s Value) -> &'s Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) if schema.get("properties").is_none() => {
                let target = self.root.pointer(reference.trim_start_matches('#'));
                self.resolve(target.expect("a schema refers to its own definitions"))
            }
            _ => schema,
        }
    }

    /// The properties of an object schema, those of a reference beside them included.
    pub(super) fn properties(&self, schema: &'s Value) -> Vec<(&'s str, &'s Value)> {
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

    pub(super) fn required(&self, schema: &'s Value) -> Vec<&'s str> {
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
    pub(super) fn beside(&self, schema: &'s Value) -> Option<&'s Value> {
        let reference = schema.get("$ref")?.as_str()?;
        schema.get("properties")?;
        self.root.pointer(reference.trim_start_matches('#'))
    }

    /// The schema of keys that `properties` does not list: none when there may be no others.
    pub(super) fn other_keys(&self, schema: &'s Value) -> Option<&'s Value> {
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

    /// The words a schema allows, when it allows only some.
    pub(super) fn words(&self, schema: &'s Value) -> Vec<&'s str> {
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
}

pub(super) fn has_type(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(kind)) => kind == name,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == name),
        _ => name == "string" && (schema.get("const").is_some() || schema.get("enum").is_some()),
    }
}

pub(super) fn is_anything(schema: &Value) -> bool {
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
