//! An event as a record of Kafka, by the CloudEvents binding in one of its two modes. No I/O.

use std::borrow::Cow;

use base64::Engine as _;
use bytes::Bytes;
use flowd_codec::event::carried::{BASE64, KEY_ENCODING};
use flowd_codec::event::content::STRUCTURED_UTF8;
use flowd_codec::event::view::{EventView, ExtensionValue};
use flowd_sink::binding::Mode;

/// What the names of attributes begin with as headers.
const PREFIX: &str = "ce_";

/// A record to be produced. All its parts lie in one piece of memory: the client shares each of them with its own threads,
/// which costs an allocation a header where they do not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<(String, Option<Bytes>)>,
}

impl Message {
    /// Of an event in the form that it had before EventMesh; the error says why it can be none.
    pub(crate) fn write(event: &EventView<'_>, mode: Mode) -> Result<Self, String> {
        let (key, value) = (key(event)?, mode.body(event)?);
        // An event without data is a record without value, which a compacted topic takes as a deletion.
        let texts = [&key, &value].map(Option::as_deref);
        let texts = texts.into_iter().flatten();
        let mut size = texts.clone().map(<[u8]>::len).sum();
        let mut count = 0;
        for_headers(event, mode, |_, value| (count, size) = (count + 1, size + value.len()));
        let mut memory = Vec::with_capacity(size);
        texts.for_each(|text| memory.extend_from_slice(text));
        for_headers(event, mode, |_, value| memory.extend_from_slice(value.as_bytes()));
        let mut memory = Bytes::from(memory);
        let mut part = |size| memory.split_to(size);
        let key = key.map(|key| part(key.len()));
        let value = value.map(|value| part(value.len()));
        let mut headers = Vec::with_capacity(count);
        for_headers(event, mode, |name, value| headers.push((join(name), Some(part(value.len())))));
        Ok(Self { key, value, headers })
    }
}

/// `partitionkey`, as the bytes that it was before a source had to write it as base64.
fn key<'a>(event: &'a EventView<'_>) -> Result<Option<Cow<'a, [u8]>>, String> {
    let Some(ExtensionValue::String(key)) = event.extension("partitionkey") else { return Ok(None) };
    if event.extension(KEY_ENCODING) != Some(&ExtensionValue::String(BASE64.into())) {
        return Ok(Some(Cow::Borrowed(key.as_bytes())));
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(key.as_bytes());
    decoded
        .map(|key| Some(Cow::Owned(key)))
        .map_err(|error| format!("its {KEY_ENCODING} is {BASE64}, but its partitionkey is not: {error}"))
}

/// The headers in their order: prefix and rest of the name, and the value.
fn for_headers(event: &EventView<'_>, mode: Mode, mut with: impl FnMut([&str; 2], &str)) {
    let content_type = match mode {
        Mode::Structured => return with(["", "content-type"], STRUCTURED_UTF8),
        Mode::Binary => event.data_content_type.as_deref(),
    };
    if let Some(content_type) = content_type {
        with(["", "content-type"], content_type);
    }
    with([PREFIX, "specversion"], event.spec_version.as_str());
    event.attributes().for_each(|(name, value)| with([PREFIX, name], &value));
}

fn join([prefix, rest]: [&str; 2]) -> String {
    let mut name = String::with_capacity(prefix.len() + rest.len());
    name.push_str(prefix);
    name.push_str(rest);
    name
}

#[cfg(test)]
mod tests {
    use flowd_codec::event::carried;

    use super::*;

    fn write(event: &str, mode: Mode) -> Message {
        Message::write(&carried::restore(event.as_bytes()).unwrap(), mode).unwrap()
    }

    fn names(message: &Message) -> Vec<(&str, &str)> {
        let headers = message.headers.iter();
        headers
            .map(|(name, value)| (name.as_str(), std::str::from_utf8(value.as_ref().unwrap()).unwrap()))
            .collect()
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
        assert_eq!(write(&event("/wA="), Mode::Binary).key, Some(Bytes::from_static(&[0xff, 0])));
        let event = event("?");
        let error = Message::write(&carried::restore(event.as_bytes()).unwrap(), Mode::Binary).unwrap_err();
        assert!(error.contains("partitionkey"), "{error}");
    }
}
