//! A member of a JSON object as an order key: found without reading the rest into values.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The text of a member: a string's own, of any other value its JSON. None where it is absent or null, or where the line
/// is no object.
pub(crate) fn member(json: &[u8], name: &str) -> Option<String> {
    let mut read = serde_json::Deserializer::from_slice(json);
    let value = read.deserialize_map(Find(name)).ok()??.get();
    match value.as_bytes().first()? {
        b'"' => serde_json::from_str(value).ok(),
        b'n' => None,
        _ => Some(value.to_owned()),
    }
}

struct Find<'n>(&'n str);

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = members.next_key_seed(Is(self.0))? {
            if is_it {
                found = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a name is this one.
struct Is<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_wherever_it_stands_and_nothing_else_is() {
        let of = |json: &str| member(json.as_bytes(), "k");
        assert_eq!(of(r#"{"a":{"k":1},"k":"x \"y\" é"}"#).as_deref(), Some("x \"y\" é"));
        assert_eq!(of(r#"{"k":17,"b":[1,2]}"#).as_deref(), Some("17"));
        assert_eq!(of(r#"{"\u006b":{"x": 1}}"#).as_deref(), Some(r#"{"x": 1}"#));
        for none in [r#"{"k":null}"#, r#"{"K":1}"#, "[1]", "17", "", r#"{"k":1"#] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
