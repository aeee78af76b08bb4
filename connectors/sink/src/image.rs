//! A row of an event: the members of a JSON object, each a column's name and the text of its value, nothing copied.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A column's name, and its value as it stands in the event.
pub type Member<'a> = (Cow<'a, str>, &'a str);

/// Reads an image into `members`, in its order.
///
/// # Errors
/// What is wrong with the JSON.
pub fn read<'a>(json: &'a [u8], members: &mut Vec<Member<'a>>) -> Result<(), String> {
    members.clear();
    let text = simdutf8::compat::from_utf8(json).map_err(|error| format!("it is not UTF-8: {error}"))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    Members(members).deserialize(&mut reader).and_then(|()| reader.end()).map_err(|error| error.to_string())
}

/// A value, one step into its JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// As it is written.
    Number(&'a str),
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// An object or an array.
    Structure(&'a str),
}

/// Takes a value from its text, which is valid JSON.
///
/// # Errors
/// What is wrong with the escapes of a string.
pub fn value(raw: &str) -> Result<Value<'_>, String> {
    Ok(match raw.as_bytes().first() {
        Some(b'n') => Value::Null,
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'"') => Value::Text(string(raw)?),
        Some(b'{' | b'[') => Value::Structure(raw),
        _ => Value::Number(raw),
    })
}

fn string(raw: &str) -> Result<Cow<'_, str>, String> {
    let inner = raw.get(1..raw.len() - 1).unwrap_or_default();
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw).map(Cow::Owned).map_err(|error| error.to_string())
}

/// Fills the list without giving up its memory.
struct Members<'m, 'a>(&'m mut Vec<Member<'a>>);

impl<'a> DeserializeSeed<'a> for Members<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Members<'_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object of columns")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            let value: &'a RawValue = map.next_value()?;
            self.0.push((name, value.get()));
        }
        Ok(())
    }
}

/// Borrows a name that has no escapes.
struct Name;

impl<'a> DeserializeSeed<'a> for Name {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, reader: D) -> Result<Cow<'a, str>, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Name {
    type Value = Cow<'a, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a column's name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_order_and_as_they_are_written() {
        let mut members = Vec::new();
        read(br#"{"a":1.50, "\u0062":"x\ny" , "c":null,"d":{"e":[1]}}"#, &mut members).expect("an object");
        let texts: Vec<_> = members.iter().map(|(name, value)| (name.as_ref(), *value)).collect();
        assert_eq!(texts, [("a", "1.50"), ("b", r#""x\ny""#), ("c", "null"), ("d", r#"{"e":[1]}"#)]);
        assert_eq!(value(members[1].1), Ok(Value::Text("x\ny".into())));
        assert_eq!(value(members[0].1), Ok(Value::Number("1.50")));
        assert_eq!(value(members[3].1), Ok(Value::Structure(r#"{"e":[1]}"#)));
    }

    #[test]
    fn what_is_no_object_is_refused_without_panic() {
        for json in
            [&b""[..], b"[]", b"{", b"{\"a\":}", b"{\"a\":1}x", b"{\"a\":01}", b"\xff", b"{1:2}", b"null"]
        {
            read(json, &mut Vec::new()).expect_err("no object");
        }
        assert!(value("\"").is_ok(), "never comes out of an image, and is no panic");
        assert!(value(r#""\ud800""#).is_err(), "half a character");
    }
}
