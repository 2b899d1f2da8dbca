//! `harness methods`: what each method does, from the same types and doc comments the suite language is made of.

use methods::Method;
use serde_json::{Value, json};

use super::{BadInput, Exit, print_json};
use crate::suite::nearest;

pub fn methods(name: Option<&str>, json: bool) -> anyhow::Result<Exit> {
    let all = Method::all();
    let chosen: Vec<&Method> = match name {
        None => all.iter().collect(),
        Some(name) => match all.iter().find(|method| method.name() == name) {
            Some(method) => vec![method],
            None => {
                let near = nearest(name, Method::NAMES.iter().copied());
                let help = near.map_or(format!("there is {}", Method::NAMES.join(", ")), |near| {
                    format!("did you mean `{near}`?")
                });
                return Err(BadInput(format!("there is no method `{name}`; {help}")).into());
            }
        },
    };
    let described: Vec<Value> = chosen.iter().map(|method| describe(method)).collect();
    if json {
        print_json(&described)?;
    } else if name.is_some() {
        print_one(&described[0]);
    } else {
        print_all(&described);
    }
    Ok(Exit::Success)
}

/// Everything about a method; knobs with default, meaning and source.
fn describe(method: &Method) -> Value {
    let passes = method.passes();
    let defaults = serde_json::to_value(method).expect("a method is plain data");
    let schema =
        serde_json::to_value(schemars::schema_for!(Method)).expect("a schema is plain data");
    let docs = knob_docs(&schema, method.name());
    let knobs: Vec<Value> = defaults
        .as_object()
        .expect("a method is a mapping")
        .iter()
        .filter(|(knob, _)| *knob != "method")
        .map(|(knob, default)| {
            let (text, values) = docs.get(knob).cloned().unwrap_or_default();
            json!({ "knob": knob, "default": default, "meaning": text, "values": values })
        })
        .collect();
    json!({
        "method": method.name(),
        "summary": method.summary(),
        "domain": method.domain(),
        "distance": method.distance(),
        "passes": { "forward": passes.forward, "backward": passes.backward },
        "knobs": knobs,
    })
}

/// The doc comment and the allowed words of every knob of the method called `name`.
fn knob_docs(
    schema: &Value,
    name: &str,
) -> std::collections::BTreeMap<String, (String, Vec<String>)> {
    let resolve = |schema: &Value, node: &Value| -> Value {
        match node.get("$ref").and_then(Value::as_str) {
            Some(reference) => schema
                .pointer(reference.trim_start_matches('#'))
                .cloned()
                .unwrap_or_default(),
            None => node.clone(),
        }
    };
    let branches = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let Some(branch) = branches
        .into_iter()
        .find(|branch| branch["properties"]["method"]["const"] == name)
    else {
        return Default::default();
    };
    let own = branch["properties"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let beside = resolve(schema, &branch)["properties"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    own.into_iter()
        .chain(beside)
        .map(|(knob, node)| {
            let target = resolve(schema, &node);
            let text = [&node, &target]
                .into_iter()
                .find_map(|node| node["description"].as_str())
                .unwrap_or("");
            let word = |branch: &Value| branch["const"].as_str().map(str::to_string);
            let mut values: Vec<String> = target["oneOf"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(word)
                .collect();
            values.extend(
                target["enum"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .map(str::to_string),
            );
            (knob, (text.replace('\n', " "), values))
        })
        .collect()
}

fn print_all(methods: &[Value]) {
    println!(
        "{:<16} {:>7} {:>8}  what it does",
        "method", "forward", "backward"
    );
    for method in methods {
        println!(
            "{:<16} {:>7} {:>8}  {}",
            text(&method["method"]),
            method["passes"]["forward"],
            method["passes"]["backward"],
            text(&method["summary"])
        );
    }
    println!("\npasses are per update; `harness methods NAME` lists a method's knobs");
}

fn print_one(method: &Value) {
    println!("{}: {}", text(&method["method"]), text(&method["summary"]));
    println!("domain: {}", text(&method["domain"]));
    println!("held small: {}", text(&method["distance"]));
    println!(
        "passes per update: {} forward, {} backward",
        method["passes"]["forward"], method["passes"]["backward"]
    );
    let knobs = method["knobs"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    println!(
        "{}",
        if knobs.is_empty() {
            "no knobs"
        } else {
            "knobs:"
        }
    );
    for knob in knobs {
        let default = match &knob["default"] {
            Value::Null => "none".to_string(),
            Value::String(word) => word.clone(),
            other => other.to_string(),
        };
        println!("  {}: {default}", text(&knob["knob"]));
        if !text(&knob["meaning"]).is_empty() {
            println!("      {}", text(&knob["meaning"]));
        }
        let values: Vec<_> = knob["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if !values.is_empty() {
            println!("      one of {}", values.join(", "));
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}
