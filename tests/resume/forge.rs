//! Changes to what a file says, which its reader may not notice by its bytes.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::damage::{Change, apply, change};

/// One change to a file of tensors that a reader may not notice by its bytes. Places are shares of what there is.
#[derive(Clone, Debug)]
pub enum Forgery {
    /// The header claims to be so long.
    Length(u64),
    /// Damage to the header alone, which says its new length.
    Header(Change),
    /// Damage anywhere.
    Anywhere(Change),
    /// Another value somewhere in the header.
    Json(Edit),
    /// A tensor lies at so many bytes before the end of all numbers, and its shape fits.
    Wraps { at: f64, before: u64, length: u64 },
    /// A tensor lies where another does.
    Overlaps { at: f64, with: f64 },
    /// A tensor's entry stands there twice.
    Twice { at: f64 },
    /// A tensor has another's name.
    Named { at: f64, name: String },
    /// All bytes of a tensor are this one.
    Filled { at: f64, byte: u8 },
}

/// One change to a JSON value.
#[derive(Clone, Debug)]
pub enum Edit {
    Set { at: f64, to: Value },
    Swap { at: f64, with: f64 },
    Remove { at: f64 },
}

/// What is unexpected almost everywhere.
fn odd() -> impl Strategy<Value = Value> {
    let finished = json!({"event": "finished", "outcome": "completed"});
    let again = |told: Value| json!({"event": "again", "seconds": 1.0, "told": told});
    let resumed = json!({"event": "resumed", "step": 1, "steps": 1, "seconds": -1e308});
    let values = vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(u64::MAX - 7),
        json!(1e308),
        json!(-0.5),
        json!(""),
        json!("F64"),
        json!("BOOL"),
        json!("F8_E4M3"),
        json!("é\u{0}".repeat(50_000)),
        json!([]),
        json!([0, 1_i64 << 62, 1_i64 << 62]),
        json!([1_i64 << 32, 1_i64 << 32]),
        json!([-1, -1]),
        json!([u64::MAX - 100, u64::MAX]),
        json!(vec![1; 20_000]),
        json!({}),
        again(finished.clone()),
        json!({"seconds": 1.0, "event": finished}),
        json!({"seconds": 1.0, "event": resumed}),
        json!({"seconds": 1.0, "event": (0..60).fold(Value::Null, |told, _| again(told))}),
    ];
    prop_oneof![
        4 => proptest::sample::select(values),
        1 => any::<u64>().prop_map(Value::from),
        1 => (0..100_000_i64).prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
    ]
}

/// Any of them.
pub fn edit() -> impl Strategy<Value = Edit> {
    let at = || 0.0..1.0f64;
    prop_oneof![
        3 => (at(), odd()).prop_map(|(at, to)| Edit::Set { at, to }),
        1 => (at(), at()).prop_map(|(at, with)| Edit::Swap { at, with }),
        1 => at().prop_map(|at| Edit::Remove { at }),
    ]
}

/// Any of them.
pub fn forgery() -> impl Strategy<Value = Forgery> {
    let at = || 0.0..1.0f64;
    let lengths = [0, 1, 7, 8, 100_000_000, 100_000_001, u64::MAX, u64::MAX - 7];
    let name = proptest::sample::select(vec!["__metadata__", "", "distances", "best.step"]);
    prop_oneof![
        proptest::sample::select(lengths.to_vec()).prop_map(Forgery::Length),
        (0..1_u64 << 24).prop_map(Forgery::Length),
        change().prop_map(Forgery::Header),
        change().prop_map(Forgery::Anywhere),
        edit().prop_map(Forgery::Json),
        edit().prop_map(Forgery::Json),
        (at(), 0..40_000_u64, 0..1_u64 << 50).prop_map(|(at, before, length)| Forgery::Wraps {
            at,
            before,
            length
        }),
        (at(), at()).prop_map(|(at, with)| Forgery::Overlaps { at, with }),
        at().prop_map(|at| Forgery::Twice { at }),
        (at(), name).prop_map(|(at, name)| Forgery::Named {
            at,
            name: name.into()
        }),
        (at(), any::<u8>()).prop_map(|(at, byte)| Forgery::Filled { at, byte }),
        (at(), Just(255)).prop_map(|(at, byte)| Forgery::Filled { at, byte }),
    ]
}

/// The number of values in `tree`, itself included.
fn count(tree: &Value) -> usize {
    1 + match tree {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(items) => items.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

/// The value that comes as the `left`-th; `left` counts down on the way.
fn nth<'a>(tree: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(tree);
    }
    *left -= 1;
    match tree {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(items) => items.values_mut().find_map(|item| nth(item, left)),
        _ => None,
    }
}

impl Edit {
    /// Makes it.
    pub fn make(&self, tree: &mut Value) {
        let all = count(tree);
        // The whole is left: without it there is nothing to sign.
        let place = |at: f64| 1 + (at * (all - 1) as f64) as usize;
        let mut value = |at: f64, to: Value| {
            let found = nth(tree, &mut place(at))?;
            Some(std::mem::replace(found, to))
        };
        match self {
            Edit::Set { at, to } => drop(value(*at, to.clone())),
            Edit::Swap { at, with } => {
                if let Some(first) = value(*at, json!("taken"))
                    && let Some(second) = value(*with, first)
                {
                    value(*at, second);
                }
            }
            Edit::Remove { at } => match nth(tree, &mut place(*at)) {
                Some(Value::Array(items)) => drop(items.pop()),
                Some(Value::Object(items)) => {
                    let first = items.keys().next().cloned();
                    first.and_then(|first| items.shift_remove(&first));
                }
                Some(other) => *other = Value::Null,
                None => {}
            },
        }
    }
}

/// A file of tensors in its parts; none where damage made it no such file.
pub fn parts(file: &[u8]) -> Option<(Map<String, Value>, &[u8])> {
    let length = u64::from_le_bytes(*file.first_chunk()?) as usize;
    let header = file.get(8..)?.get(..length)?;
    let header = serde_json::from_slice(header).ok()?;
    Some((header, &file[8 + length..]))
}

/// A file of tensors of its parts.
pub fn joined(header: &[u8], values: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length, header, values].concat()
}

impl Forgery {
    /// The forged file; as it was where it is too damaged for this.
    pub fn make(&self, file: &[u8]) -> Vec<u8> {
        let mut bytes = file.to_vec();
        match self {
            Forgery::Anywhere(change) => {
                apply(&mut bytes, change);
                bytes
            }
            Forgery::Length(length) => {
                let end = bytes.len().min(8);
                bytes[..end].copy_from_slice(&length.to_le_bytes()[..end]);
                bytes
            }
            _ => self.make_inside(file).unwrap_or(bytes),
        }
    }

    fn make_inside(&self, file: &[u8]) -> Option<Vec<u8>> {
        let (mut header, values) = parts(file)?;
        let start = file.len() - values.len();
        let names: Vec<String> = header.keys().cloned().collect();
        let name = |at: f64| names.get((at * names.len() as f64) as usize);
        match self {
            Forgery::Length(_) | Forgery::Anywhere(_) => None,
            Forgery::Header(change) => {
                let mut text = file[8..start].to_vec();
                apply(&mut text, change);
                Some(joined(&text, values))
            }
            Forgery::Json(edit) => {
                let mut header = Value::from(header);
                edit.make(&mut header);
                Some(joined(header.to_string().as_bytes(), values))
            }
            Forgery::Wraps { at, before, length } => {
                let to = u64::MAX - before;
                let length = length / 8 * 8;
                header[name(*at)?] = json!({
                    "dtype": "I64", "shape": [length / 8], "data_offsets": [to - length, to],
                });
                Some(joined(Value::from(header).to_string().as_bytes(), values))
            }
            Forgery::Overlaps { at, with } => {
                header[name(*at)?] = header[name(*with)?].clone();
                Some(joined(Value::from(header).to_string().as_bytes(), values))
            }
            Forgery::Twice { at } => {
                let (name, text) = (name(*at)?, Value::from(header.clone()).to_string());
                let entry = json!({ name: header[name] }).to_string();
                let text = format!("{},{}", &entry[..entry.len() - 1], &text[1..]);
                Some(joined(text.as_bytes(), values))
            }
            Forgery::Named { at, name: to } => {
                let entry = header.shift_remove(name(*at)?)?;
                header.insert(to.clone(), entry);
                Some(joined(Value::from(header).to_string().as_bytes(), values))
            }
            Forgery::Filled { at, byte } => {
                let offset = |i: usize| header[name(*at)?]["data_offsets"][i].as_u64();
                let (from, to) = (offset(0)? as usize, offset(1)? as usize);
                let mut bytes = file.to_vec();
                let place = start.checked_add(from)?..start.checked_add(to)?;
                bytes.get_mut(place)?.fill(*byte);
                Some(bytes)
            }
        }
    }
}
