//! Reads JSON objects the strict way that a signed statement deserves.
//!
//! Invariant: what is accepted here reads the same to every parser. A member that appears twice is refused, in any
//! object of the text and however its name is escaped, since "the first one" and "the last one" are both in use (RFC
//! 7519 §4); nesting is bounded, so no stack is at the mercy of the sender.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::Flaw;

/// Objects and arrays inside each other, the outermost counted. Real identity tokens use three or four.
pub(crate) const MAX_DEPTH: u8 = 16;

pub(crate) type Object = Map<String, Value>;

/// Reads exactly one object, with nothing but white space around it.
pub(crate) fn parse_object(text: &[u8]) -> Result<Object, Flaw> {
    let flaw = Cell::new(Flaw::NotAnObject);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict {
        depth_left: MAX_DEPTH,
        flaw: &flaw,
    }
    .deserialize(&mut deserializer);
    match (value, deserializer.end()) {
        (Ok(Value::Object(object)), Ok(())) => Ok(object),
        _ => Err(flaw.get()),
    }
}

/// One value at some depth. `flaw` carries the reason past `serde_json`, whose errors cannot be told apart.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth_left: u8,
    flaw: &'a Cell<Flaw>,
}

impl Strict<'_> {
    fn one_deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left, ..self }),
            None => Err(self.fail(Flaw::TooDeep)),
        }
    }

    fn fail<E: serde::de::Error>(self, flaw: Flaw) -> E {
        self.flaw.set(flaw);
        E::custom(flaw)
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.one_deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.one_deeper()?;
        let mut object = Object::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(self.fail(Flaw::DuplicateMember));
            }
            let value = members.next_value_seed(inner)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_as_it_stands() {
        let text = br#" {"a": [1, -2, 0.5, null, true], "b": {"a": "\u00e9"}} "#;
        let expected: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(Value::Object(parse_object(text).unwrap()), expected);
    }

    #[test]
    fn anything_but_one_object_is_refused() {
        for text in [
            "",
            " ",
            "[]",
            "[{}]",
            "\"a\"",
            "1",
            "null",
            "{",
            "{}{}",
            "{} x",
            "{\"a\":1,}",
            "{\"a\":1e999}",
        ] {
            assert_eq!(
                parse_object(text.as_bytes()),
                Err(Flaw::NotAnObject),
                "{text}"
            );
        }
        assert_eq!(parse_object(b"\xef\xbb\xbf{}"), Err(Flaw::NotAnObject));
        assert_eq!(parse_object(b"{\"a\":\"\xff\"}"), Err(Flaw::NotAnObject));
        assert_eq!(parse_object(br#"{"a":"\ud800"}"#), Err(Flaw::NotAnObject));
    }

    #[test]
    fn a_member_given_twice_is_refused_wherever_it_is() {
        for text in [
            r#"{"sub":"ada","sub":"ada"}"#,
            r#"{"sub":"ada","s\u0075b":"bob"}"#,
            r#"{"x":{"y":1,"y":2}}"#,
            r#"{"x":[{"y":1,"y":2}]}"#,
        ] {
            assert_eq!(
                parse_object(text.as_bytes()),
                Err(Flaw::DuplicateMember),
                "{text}"
            );
        }
    }

    #[test]
    fn nesting_ends_at_the_bound() {
        let nested =
            |depth: usize| format!("{}{}{}", "{\"a\":".repeat(depth), 1, "}".repeat(depth));
        assert!(parse_object(nested(usize::from(MAX_DEPTH)).as_bytes()).is_ok());
        assert_eq!(
            parse_object(nested(usize::from(MAX_DEPTH) + 1).as_bytes()),
            Err(Flaw::TooDeep)
        );
        assert_eq!(parse_object(nested(100_000).as_bytes()), Err(Flaw::TooDeep));
        let brackets = format!("{{\"a\":{}", "[".repeat(100_000));
        assert_eq!(parse_object(brackets.as_bytes()), Err(Flaw::TooDeep));
    }
}
