//! Bodies before the gate that holds their end back, against a JSON parser of others as the oracle.
//!
//! Invariant: what reached the other side is the start of what was sent; it holds a whole object only if every model
//! named in that, as Go would read it, is one that is allowed. Who only glances sees the first one named.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use c2l_models::{Gate, Glance, Judge, Refusal, Rules, members};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

use crate::choices::Choices;

/// The members of an object in order, repeated ones too.
struct Object(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collector;
        impl<'de> Visitor<'de> for Collector {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Collector)
    }
}

/// What Go's decoder takes of this: the first value, whatever follows it. `None` while that is not whole.
fn read(body: &[u8]) -> Option<Vec<(String, Value)>> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Object>();
    values.next()?.ok().map(|object| object.0)
}

/// Go's folding of a member's name, as far as it matters to names in ASCII.
fn folded(name: &str) -> String {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => letter.to_ascii_lowercase(),
    };
    name.chars().map(fold).collect()
}

/// The rules of this test, said another way.
fn is_allowed(model: &str) -> bool {
    let lower = model.trim_ascii().to_ascii_lowercase();
    let name = lower.split_once("://").map_or(&*lower, |(_, rest)| rest);
    let name = name.strip_prefix("registry.ollama.ai/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    model.is_empty() || ["good", "good:latest", "good:1b", "good:1b:local"].contains(&name)
}

/// `None` where the request is ambiguous, else whether all that it names is allowed.
fn verdict(object: &[(String, Value)]) -> Option<bool> {
    let mut models = Vec::new();
    for ours in ["model", "name"] {
        let said: Vec<_> = object
            .iter()
            .filter(|(name, _)| folded(name) == ours)
            .collect();
        match said[..] {
            [] | [(_, Value::Null)] => {}
            [(_, Value::String(model))] => models.push(model),
            _ => return None,
        }
    }
    let is_named = models.iter().any(|model| !model.is_empty());
    Some(is_named && models.iter().all(|model| is_allowed(model)))
}

/// A body made of these choices goes through a gate in pieces.
///
/// # Panics
/// When more went through than may have.
pub fn judged(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut body = body(&mut choices);
    let is_changed = choices.one_in(3) && !body.is_empty();
    if is_changed {
        let at = choices.below(body.len());
        body[at] = choices.byte();
    }
    let (passed, result) = passed(&body, &mut choices);
    assert!(body.starts_with(&passed));
    let taken = read(&body);
    match (&result, &taken) {
        (Ok(()), Some(object)) => {
            assert_eq!(passed, body);
            assert_eq!(
                verdict(object),
                Some(true),
                "{}",
                String::from_utf8_lossy(&body)
            );
        }
        (Ok(()), None) => {} // not JSON for anybody, and not to Go
        (Err(_), _) => assert!(
            read(&passed).is_none(),
            "{}",
            String::from_utf8_lossy(&passed)
        ),
    }
    if !is_changed {
        let object = taken.expect("what was written is valid");
        let is_refused = result.is_err();
        assert_eq!(!is_refused, verdict(&object) == Some(true), "{result:?}");
        assert_eq!(glanced(&body, &mut choices), first(&object));
    }
}

/// What a glance sees, in pieces.
fn glanced(body: &[u8], choices: &mut Choices<'_>) -> Option<String> {
    let mut glance = Glance::for_json(members::MODEL_OR_NAME);
    let (mut model, mut rest) = (None, body);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(1 + choices.below(20)));
        let seen = glance.look(piece);
        assert!(seen.is_none() || model.is_none(), "told twice");
        model = model.or(seen);
        rest = after;
    }
    model
}

/// The first model that is named before anything that could be read in two ways.
fn first(object: &[(String, Value)]) -> Option<String> {
    let mut seen = Vec::new();
    for (name, value) in object {
        let name = folded(name);
        if !["model", "name"].contains(&&*name) {
            continue;
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match value {
            Value::Null => {}
            Value::String(model) if model.is_empty() => {}
            Value::String(model) => return Some(model.clone()),
            _ => return None,
        }
    }
    None
}

/// What goes through, and whether that was all.
fn passed(body: &[u8], choices: &mut Choices<'_>) -> (Vec<u8>, Result<(), Refusal>) {
    let good = ["good".to_owned(), "good:1b".to_owned()];
    let rules = Arc::new(Rules::new(&good, &[], false).expect("good patterns"));
    let judge = Judge::new(rules, &[]);
    let mut gate = Gate::for_json(members::MODEL_OR_NAME, judge);
    let mut passed = Vec::new();
    let mut rest = Bytes::copy_from_slice(body);
    let knows_end = choices.one_in(2);
    while !rest.is_empty() {
        let longest = if choices.one_in(2) { 3 } else { 80 };
        let piece = rest.split_to(rest.len().min(1 + choices.below(longest)));
        match gate.pass(piece, knows_end && rest.is_empty()) {
            Ok(let_through) => passed.extend_from_slice(&let_through),
            Err(refusal) => return (passed, Err(refusal)),
        }
    }
    if knows_end && !body.is_empty() {
        return (passed, Ok(()));
    }
    let end = gate.finish().map(|end| passed.extend_from_slice(&end));
    (passed, end)
}

const NAMES: [&str; 9] = [
    "model",
    "name",
    "Model",
    "NAME",
    "mode\u{217c}",
    "models",
    "mode",
    "other",
    "\u{17f}",
];
const MODELS: [&str; 12] = [
    "good",
    "GOOD:Latest",
    "good:1b",
    "https://registry.ollama.ai/library/good",
    " good ",
    "bad",
    "good:2b",
    "good:cloud",
    "bob/good",
    "goo\u{2060}d",
    "",
    "good:1b:local",
];

fn body(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut text = String::new();
    space(choices, &mut text);
    text.push('{');
    for index in 0..choices.below(6) {
        if index > 0 {
            text.push(',');
        }
        space(choices, &mut text);
        let name = NAMES[choices.below(NAMES.len())];
        string(choices, name, &mut text);
        space(choices, &mut text);
        text.push(':');
        space(choices, &mut text);
        if choices.one_in(4) {
            value(choices, 4, &mut text);
        } else {
            let model = MODELS[choices.below(MODELS.len())];
            string(choices, model, &mut text);
        }
        space(choices, &mut text);
    }
    text.push('}');
    space(choices, &mut text);
    text.into_bytes()
}

fn space(choices: &mut Choices<'_>, text: &mut String) {
    if choices.one_in(4) {
        text.push([' ', '\n', '\t', '\r'][choices.below(4)]);
    }
}

fn string(choices: &mut Choices<'_>, said: &str, text: &mut String) {
    text.push('"');
    for letter in said.chars() {
        let code = u32::from(letter);
        match choices.below(8) {
            0 => text.push_str(&format!("\\u{code:04x}")),
            1 => text.push_str(&format!("\\u{code:04X}")),
            2 if letter == '/' => text.push_str("\\/"),
            _ => text.push(letter),
        }
    }
    text.push('"');
}

fn value(choices: &mut Choices<'_>, depth: usize, text: &mut String) {
    match choices.below(if depth == 0 { 6 } else { 8 }) {
        0 => text.push_str("null"),
        1 => text.push_str("true"),
        2 => text.push_str("-1.5e+3"),
        3 => string(choices, "}\u{e9},{", text),
        4 => text.push_str(r#""\"model\":\"bad\"\\""#),
        5 => text.push_str("[]"),
        6 => {
            text.push_str("{\"model\":");
            value(choices, depth - 1, text);
            text.push('}');
        }
        _ => {
            text.push('[');
            value(choices, depth - 1, text);
            text.push(',');
            value(choices, depth - 1, text);
            text.push(']');
        }
    }
}
