//! What the events of one place have in common: a text, and between its pieces the few values that differ.
//!
//! Whoever writes events writes one like the other. So an event is compared with the text that the one before had, and only
//! its values are looked at, where telling its members apart would take most of the time.
//!
//! Invariant: what a shape reads is a CloudEvent, and the one that [`decode_original`] reads.

use std::borrow::Cow;

use super::members::{Members, string_end};
use super::name::Name;
use super::view::{Data, EventView, ExtensionValue, decode_event, decode_original};
use crate::{json, time};

/// What an event has in common with others of which `id`, `time`, `data` and the extensions differ, and nothing else. What a
/// server added belongs to the text.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The text around the values, back to back.
    text: String,
    /// The values, in the order in which they stand.
    places: Vec<Place>,
    /// `datacontenttype`
    content_type: Option<String>,
}

/// Where a value stands in a shape's text. A string's quotes are not its own.
#[derive(Debug, Clone, Copy)]
struct Place {
    value: Value,
    /// Where its member begins, with the comma, …
    member: usize,
    /// … and it itself.
    at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Id,
    Time,
    Extension,
    /// The extension `partitionkey`.
    Key,
    Data,
}

/// What an event of a shape has for itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Shaped<'a> {
    /// `id`
    pub id: &'a str,
    /// `time`, RFC 3339
    pub time: Option<&'a str>,
    /// The extension `partitionkey`.
    pub key: Option<Cow<'a, str>>,
    /// The text of `data`.
    pub data: &'a str,
}

impl Shape {
    /// Bytes of the text: thrice what an event has that came through a server.
    const TEXT_MAX: usize = 4096;
    const PLACES_MAX: usize = 32;

    /// The shape of a CloudEvent; `None` where there is something rare about it, such as an extension that is no text.
    pub fn of(json: &[u8]) -> Option<Self> {
        let event = simdutf8::basic::from_utf8(json).ok()?;
        let mut members = Members::of(json)?;
        let mut shape = Self { text: String::new(), places: Vec::new(), content_type: None };
        let mut copied = 0;
        while let Some((name, word)) = members.next()? {
            let begin = members.offset();
            let value = match name {
                Name::Id => Value::Id,
                Name::Time => Value::Time,
                Name::Data => Value::Data,
                Name::PartitionKey => Value::Key,
                Name::SpecVersion | Name::Source | Name::Type | Name::Subject | Name::Added => {
                    members.value()?;
                    continue;
                }
                Name::DataContentType => {
                    shape.content_type = Some(members.text()?.to_owned());
                    continue;
                }
                Name::DataSchema | Name::SchemaUrl | Name::DataContentEncoding | Name::DataBase64 => {
                    return None;
                }
                _ => Value::Extension,
            };
            let (quote, size) = match value {
                Value::Data => ("", members.value()?.len()),
                _ => ("\"", members.escaped_text()?.len()),
            };
            shape.text.push_str(&event[copied..begin + quote.len()]);
            let at = shape.text.len();
            shape.places.push(Place { value, member: at - quote.len() - r#","":"#.len() - word.len(), at });
            copied = begin + quote.len() + size;
        }
        shape.text.push_str(&event[copied..]);
        shape.is_usual().then_some(shape)
    }

    fn is_usual(&self) -> bool {
        let has = |value| self.places.iter().any(|place| place.value == value);
        // An extension is written behind others.
        let is_begun = self.places.first().is_some_and(|place| place.member > 0);
        let is_small = self.text.len() <= Self::TEXT_MAX && self.places.len() <= Self::PLACES_MAX;
        has(Value::Id) && has(Value::Data) && is_begun && is_small
    }

    /// `datacontenttype` of the events.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Reads an event, if it has this shape. `attributes` then are its extensions, each as
    /// [`write_attribute`](super::carried::write_attribute) writes it.
    pub fn read<'a>(&self, event: &'a str, attributes: &mut Vec<u8>) -> Option<Shaped<'a>> {
        attributes.clear();
        let mut shaped = Shaped { id: "", time: None, key: None, data: "" };
        let mut rest = event;
        let mut passed = 0;
        for place in &self.places {
            rest = rest.strip_prefix(&self.text[passed..place.at])?;
            passed = place.at;
            let (value, behind) = rest.split_at(place.value.size(rest)?);
            rest = behind;
            match place.value {
                Value::Id => shaped.id = value,
                Value::Time => shaped.time = Some(value),
                Value::Data => shaped.data = value,
                Value::Key => shaped.key = Some(json::unquote(value.as_bytes())?),
                Value::Extension => {}
            }
            if matches!(place.value, Value::Key | Value::Extension) {
                attributes.extend_from_slice(&self.text.as_bytes()[place.member..place.at]);
                attributes.extend_from_slice(value.as_bytes());
                attributes.push(b'"');
            }
        }
        (*rest == self.text[passed..]).then_some(shaped)
    }
}

impl Value {
    /// Its size, where a text begins with it; `None` where that is no such value.
    fn size(self, text: &str) -> Option<usize> {
        match self {
            Self::Data => json::value_end(text),
            Self::Extension | Self::Key => string_end(text.as_bytes()),
            Self::Id => json::first_special(text.as_bytes()).filter(|size| *size > 0),
            Self::Time => {
                let size = json::first_special(text.as_bytes())?;
                time::is_rfc3339(&text[..size]).then_some(size)
            }
        }
    }
}

/// That an event which is read by the shape of another is what it is, for fuzzing and tests; whether it is read so.
#[doc(hidden)]
pub fn check_agrees(before: &[u8], json: &[u8]) -> bool {
    let (Ok(before), Some(shape)) = (decode_original(before), Shape::of(before)) else { return false };
    let mut attributes = Vec::new();
    let shaped = std::str::from_utf8(json).ok().and_then(|text| shape.read(text, &mut attributes));
    let Some(shaped) = shaped else { return false };
    let event = decode_original(json).expect("what is read so is an event");
    let fixed = |event: &EventView<'_>| {
        let [source, kind] = [&event.source, &event.event_type].map(|text| text.clone().into_owned());
        (event.spec_version, source, kind, event.subject.clone().map(Cow::into_owned))
    };
    assert_eq!(fixed(&before), fixed(&event));
    assert_eq!(shape.content_type(), event.data_content_type.as_deref());
    assert_eq!((shaped.id, shaped.time), (&*event.id, event.time.as_deref()));
    assert_eq!((Data::Json(shaped.data), None), (event.data, event.data_schema.as_ref()));
    let key = event.extension("partitionkey").map(ExtensionValue::text);
    assert_eq!(shaped.key, key);
    let again = [br#"{"specversion":"1.0","id":"1","source":"/s","type":"t""#, &*attributes, b"}"].concat();
    assert_eq!(decode_event(&again).expect("attributes behind others").extensions, event.extensions);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = concat!(
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/x+json","subject":"T","#,
        r#""time":"2018-06-20T13:37:03.12Z","partitionkey":"k","n":"\"5\"","data":{"a":1},"rsp0ip":"::1"}"#
    );

    #[test]
    fn an_event_of_other_values_has_the_shape_and_is_read_as_what_it_is() {
        let swap = |from: &str, to: &str| {
            let json = EVENT.replacen(from, to, 1);
            assert_ne!(json, EVENT, "{from}");
            check_agrees(EVENT.as_bytes(), json.as_bytes())
        };
        assert!(check_agrees(EVENT.as_bytes(), EVENT.as_bytes()));
        for (from, to) in [
            (r#""1""#, r#""another id, ü""#),
            ("03.12Z", "04+01:00"),
            (r#""k""#, r#""""#),
            (r#""k""#, r#""{\"a\":\"\/\"}""#),
            (r#"\"5\""#, r"\\"),
            (r#"{"a":1}"#, r#"[{"data":"}"}, 1.50]"#),
            (r#"{"a":1}"#, r#"",\"rsp0ip\":""#),
            (r#"{"a":1}"#, "null"),
        ] {
            assert!(swap(from, to), "{from} {to}");
        }
        for (from, to) in [
            (r#""1""#, r#""""#),
            (r#""1""#, r#""\n""#),
            (r#""/s""#, r#""/t""#),
            (r#""t""#, r#""u""#),
            (r#""1.0""#, r#""0.3""#),
            (r#""T""#, "null"),
            ("03.12Z", "03"),
            (r#""k""#, "1"),
            (r#""k""#, r#""\u0041""#),
            (r#""n""#, r#""m""#),
            (r#"\"5\""#, "\n"),
            (r#"{"a":1}"#, r#"{"a":01}"#),
            (r#"{"a":1}"#, r#"1,"x":"2""#),
            (r#"{"a":1}"#, r#"1,"data":2"#),
            ("::1", "::2"),
            ("::1\"}", "::1\"} "),
            ("::1\"}", "::1\""),
        ] {
            assert!(!swap(from, to), "{from} {to}");
        }
        assert!(!check_agrees(EVENT.as_bytes(), b""));
    }

    #[test]
    fn what_is_rare_about_an_event_gives_it_no_shape() {
        for rest in [
            r#""dataschema":"/x","data":1"#,
            r#""data_base64":"AA==""#,
            r#""n":5,"data":1"#,
            r#""n":null,"data":1"#,
            r#""n":"\u0041","data":1"#,
            r#""datacontenttype":null,"data":1"#,
            r#""n":"1""#,
        ] {
            let json = format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t",{rest}}}"#);
            decode_event(json.as_bytes()).expect("it is an event");
            assert!(Shape::of(json.as_bytes()).is_none(), "{json}");
        }
        let begins = r#"{"n":"1","specversion":"1.0","id":"1","source":"/s","type":"t","data":1}"#;
        assert!(Shape::of(begins.as_bytes()).is_none(), "its text would be no extension behind another");
        let long = format!(
            r#"{{"specversion":"1.0","id":"1","source":"/{}","type":"t","data":1}}"#,
            "s".repeat(Shape::TEXT_MAX)
        );
        assert!(Shape::of(long.as_bytes()).is_none(), "what is remembered has a bound");
    }
}
