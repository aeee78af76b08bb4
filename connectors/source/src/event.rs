//! One event as a source pushes it: borrowed, made from parts or as it came.

use flowd_codec::event::view::is_attribute_name;
use flowd_codec::event::{carried, content};

/// One event. Whatever cannot become a CloudEvent follows `pipeline.onReject`, with the reason and what was pushed: an id,
/// type or topic that is empty or not allowed, an extension's name, data that is no JSON, a text that is no CloudEvent, an
/// event that is larger than EventMesh takes.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Made from parts: flowd writes the CloudEvent.
    Parts {
        /// `id`: any text. The same message has the same one whenever it is read; with `source` it tells a repeat.
        id: &'a str,
        /// `type`.
        kind: &'a str,
        /// `source`, a URI reference; without it [`Context::source`](crate::Context::source).
        source: Option<&'a str>,
        /// The topic, which becomes `subject`; see [`Subject::topic`](crate::Subject::topic).
        topic: &'a str,
        /// `time`, in microseconds since 1970; without it the event has none.
        time_us: Option<i64>,
        /// The order key, which becomes `partitionkey`: events of one key of a topic stay in order.
        key: Option<&'a str>,
        /// What the data is, as its sender says. EventMesh pushes nothing but `application/cloudevents+json`, so this
        /// travels in an extension, and sinks of messages give it back (`flowd_codec::event::carried`).
        content_type: Option<&'a str>,
        /// Extensions, and `dataschema`; see [`is_extension_name`] for what they may be called. No name twice.
        extensions: &'a [(&'a str, &'a str)],
        /// The payload.
        data: Data<'a>,
    },
    /// A CloudEvent in structured JSON, as it came. Its `subject` is replaced by `topic`; its extensions stay as they are,
    /// and of those `partitionkey` is its order key. A batch event (`flowd_codec::event::batch`) of another topic becomes its
    /// members.
    Structured {
        /// The event.
        json: &'a [u8],
        /// The topic.
        topic: &'a str,
    },
}

impl<'a> Event<'a> {
    /// An event made from what every event has, and its data.
    pub fn new(id: &'a str, kind: &'a str, topic: &'a str, data: Data<'a>) -> Self {
        let (source, time_us, key, content_type, extensions) = (None, None, None, None, &[]);
        Self::Parts { id, kind, source, topic, time_us, key, content_type, extensions, data }
    }
}

/// The payload of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data<'a> {
    /// There is none.
    None,
    /// One JSON value.
    Json(&'a [u8]),
    /// A text.
    Text(&'a str),
    /// Bytes that are neither.
    Binary(&'a [u8]),
    /// What nobody says the kind of: one JSON value if it is one, else a text if it is one, else bytes.
    Any(&'a [u8]),
}

impl<'a> Data<'a> {
    /// The payload's bytes, as they were given.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        match self {
            Self::None => b"",
            Self::Json(bytes) | Self::Binary(bytes) | Self::Any(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }

    /// The payload of a message whose sender says what it is, or not.
    pub fn of(content_type: Option<&str>, bytes: &'a [u8]) -> Self {
        if bytes.is_empty() {
            return Self::None;
        }
        match content_type {
            Some(content_type) if content::is_json(content_type) => Self::Json(bytes),
            Some(content_type) if content::is_text(content_type) => {
                std::str::from_utf8(bytes).map_or(Self::Binary(bytes), Self::Text)
            }
            Some(_) => Self::Binary(bytes),
            None => Self::Any(bytes),
        }
    }
}

/// Whether an event made from parts may have an extension of this name: `a-z` and `0-9`, and not the name of an attribute
/// that stands elsewhere.
pub fn is_extension_name(name: &str) -> bool {
    const TAKEN: [&str; 9] =
        ["specversion", "id", "source", "type", "datacontenttype", "subject", "time", "data", "partitionkey"];
    let is_free = |name| !TAKEN.contains(&name) && !carried::EXTENSIONS.contains(&name);
    is_attribute_name(name) && is_free(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_what_its_sender_says() {
        for (content_type, bytes, expected) in [
            (Some("application/json; charset=utf-8"), &b"no json"[..], Data::Json(b"no json")),
            (Some("application/cloudevents+JSON"), b"{}", Data::Json(b"{}")),
            (Some("text/plain"), b"{}", Data::Text("{}")),
            (Some("text/plain"), b"\xff", Data::Binary(b"\xff")),
            (Some("application/octet-stream"), b"{}", Data::Binary(b"{}")),
            (None, b"[1]", Data::Any(b"[1]")),
            (Some("application/json"), b"", Data::None),
        ] {
            assert_eq!(Data::of(content_type, bytes), expected, "{content_type:?}");
        }
    }

    #[test]
    fn an_extension_has_a_plain_name_that_is_not_taken() {
        assert!(is_extension_name("traceparent") && is_extension_name("a1"));
        for name in ["", "traceParent", "a-b", "id", "partitionkey", "data", "datacontenttype"] {
            assert!(!is_extension_name(name), "{name}");
        }
    }
}
