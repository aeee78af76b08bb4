//! An event as a record of Kafka, by the CloudEvents binding in one of its two modes. No I/O.

use std::borrow::Cow;

use base64::Engine as _;
use flowd_codec::event::carried;
use flowd_codec::event::view::{EventView, ExtensionValue};

use crate::{KEY_ENCODING, STRUCTURED};

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The attributes are headers, the value is the data.
    Binary,
    /// The value is the whole event.
    Structured,
}

/// A record to be produced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Message {
    /// Of an event in the form that it had before EventMesh; the error says why it can be none.
    pub(crate) fn write(event: &EventView<'_>, mode: Mode) -> Result<Self, String> {
        let key = key(event)?;
        Ok(match mode {
            Mode::Structured => {
                let mut value = Vec::new();
                event.write_json(&mut value);
                let headers = vec![header("content-type", &format!("{STRUCTURED}; charset=UTF-8"))];
                Self { key, value: Some(value), headers }
            }
            // An event without data is a record without value, which a compacted topic takes as a deletion.
            Mode::Binary => {
                let value = carried::payload(event).map_err(|error| error.to_string())?;
                Self { key, headers: headers(event), value: value.map(Cow::into_owned) }
            }
        })
    }
}

fn header(name: impl Into<String>, value: &str) -> (String, Vec<u8>) {
    (name.into(), value.as_bytes().to_vec())
}

/// `partitionkey`, as the bytes that it was before a source had to write it as base64.
fn key(view: &EventView<'_>) -> Result<Option<Vec<u8>>, String> {
    let Some(ExtensionValue::String(key)) = view.extension("partitionkey") else { return Ok(None) };
    if view.extension(KEY_ENCODING) != Some(&ExtensionValue::String("base64".into())) {
        return Ok(Some(key.as_bytes().to_vec()));
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(key.as_bytes());
    decoded
        .map(Some)
        .map_err(|error| format!("its {KEY_ENCODING} is base64, but its partitionkey is not: {error}"))
}

fn headers(view: &EventView<'_>) -> Vec<(String, Vec<u8>)> {
    let mut headers = Vec::with_capacity(8 + view.extensions.len());
    if let Some(content_type) = &view.data_content_type {
        headers.push(header("content-type", content_type));
    }
    headers.push(header("ce_specversion", view.spec_version.as_str()));
    headers.extend(view.attributes().map(|(name, value)| header(format!("ce_{name}"), &value)));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(event: &str, mode: Mode) -> Message {
        Message::write(&carried::restore(event.as_bytes()).unwrap(), mode).unwrap()
    }

    fn names(message: &Message) -> Vec<(&str, &str)> {
        let text = |value: &'_ Vec<u8>| std::str::from_utf8(value).unwrap().to_owned().leak() as &str;
        message.headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect()
    }

    #[test]
    fn binary_mode_makes_headers_of_attributes_and_the_value_of_data() {
        let event = r#"{"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"application/cloudevents+json","subject":"orders","time":"2026-11-25T00:00:00Z","partitionkey":"k","n":7,"yes":true,"data":{"a": 1}}"#;
        let message = write(event, Mode::Binary);
        assert_eq!(message.key.as_deref(), Some(b"k".as_slice()));
        assert_eq!(message.value.as_deref(), Some(br#"{"a": 1}"#.as_slice()));
        let expected = [
            ("content-type", "application/json"),
            ("ce_specversion", "1.0"),
            ("ce_id", "1"),
            ("ce_source", "/a"),
            ("ce_type", "t"),
            ("ce_subject", "orders"),
            ("ce_time", "2026-11-25T00:00:00Z"),
            ("ce_partitionkey", "k"),
            ("ce_n", "7"),
            ("ce_yes", "true"),
        ];
        assert_eq!(names(&message), expected);
    }

    #[test]
    fn structured_mode_keeps_the_event_as_it_was_before_eventmesh() {
        let event = r#"{"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"application/cloudevents+json","contenttype":"text/plain","data":"a"}"#;
        let message = write(event, Mode::Structured);
        let expected = r#"{"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"text/plain","data":"a"}"#;
        assert_eq!(message.value.as_deref(), Some(expected.as_bytes()));
        assert_eq!(names(&message), [("content-type", "application/cloudevents+json; charset=UTF-8")]);
        assert_eq!(message.key, None);
    }

    #[test]
    fn an_event_without_data_is_a_record_without_value() {
        let event = r#"{"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"application/cloudevents+json","contentencoding":"none","partitionkey":"x","data":null}"#;
        let none = write(event, Mode::Binary);
        assert_eq!((none.value, none.key.as_deref()), (None, Some(b"x".as_slice())));
    }

    #[test]
    fn a_key_that_was_bytes_is_bytes_again() {
        let event = |key: &str| {
            format!(
                r#"{{"specversion":"1.0","id":"1","source":"/a","type":"t","partitionkey":"{key}","{KEY_ENCODING}":"base64"}}"#
            )
        };
        assert_eq!(write(&event("/wA="), Mode::Binary).key, Some(vec![0xff, 0]));
        let event = event("?");
        let error = Message::write(&carried::restore(event.as_bytes()).unwrap(), Mode::Binary).unwrap_err();
        assert!(error.contains("partitionkey"), "{error}");
    }
}
