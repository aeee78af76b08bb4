//! An event as a message: its attributes as headers and its data as the body, or all of it in the body.
//!
//! What comes out of the mesh is restored first: there every event is JSON, and says aside what it was.

use bytes::Bytes;
use flowd_codec::event::carried::{payload, restore};
use flowd_codec::event::view::{Data, EventError, EventView, ExtensionValue};
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use itoa::Buffer;

use super::content::{self, BATCH, STRUCTURED};
use super::header::{encode, name_of};

const SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");
const ID: HeaderName = HeaderName::from_static("ce-id");
const SOURCE: HeaderName = HeaderName::from_static("ce-source");
const TYPE: HeaderName = HeaderName::from_static("ce-type");
const SUBJECT: HeaderName = HeaderName::from_static("ce-subject");
const TIME: HeaderName = HeaderName::from_static("ce-time");
const DATASCHEMA: HeaderName = HeaderName::from_static("ce-dataschema");

/// Headers and body.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An event in binary mode.
pub(crate) fn binary(json: &[u8]) -> Result<Message, EventError> {
    let event = restore(json)?;
    let mut headers = attributes(&event);
    let body = match payload(&event)? {
        None => Bytes::new(),
        Some(data) => {
            headers.insert(CONTENT_TYPE, content_type(&event));
            Bytes::from(data.into_owned())
        }
    };
    Ok(Message { headers, body })
}

/// An event in structured mode.
pub(crate) fn structured(json: &[u8]) -> Result<Message, EventError> {
    let mut body = Vec::with_capacity(json.len());
    restore(json)?.write_json(&mut body);
    Ok(whole(STRUCTURED, body))
}

/// Events in batched mode.
pub(crate) fn batch<'a>(events: impl Iterator<Item = &'a [u8]>) -> Result<Message, EventError> {
    let mut body = Vec::new();
    for json in events {
        body.push(if body.is_empty() { b'[' } else { b',' });
        restore(json)?.write_json(&mut body);
    }
    body.push(b']');
    Ok(whole(BATCH, body))
}

fn whole(content_type: &'static str, body: Vec<u8>) -> Message {
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(content_type))].into_iter().collect();
    Message { headers, body: body.into() }
}

fn attributes(event: &EventView<'_>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(SPECVERSION, HeaderValue::from_static(event.spec_version.as_str()));
    let attributes = [
        (ID, Some(&event.id)),
        (SOURCE, Some(&event.source)),
        (TYPE, Some(&event.event_type)),
        (SUBJECT, event.subject.as_ref()),
        (TIME, event.time.as_ref()),
        (DATASCHEMA, event.data_schema.as_ref()),
    ];
    for (name, value) in attributes {
        if let Some(value) = value {
            headers.insert(name, encode(value));
        }
    }
    for (name, value) in &event.extensions {
        let value = match value {
            ExtensionValue::String(text) => encode(text),
            ExtensionValue::Boolean(true) => HeaderValue::from_static("true"),
            ExtensionValue::Boolean(false) => HeaderValue::from_static("false"),
            ExtensionValue::Integer(number) => encode(Buffer::new().format(*number)),
        };
        headers.insert(name_of(name), value);
    }
    headers
}

/// A type that stands for an event would make another mode of the message, and one with bytes that no header may hold is
/// none.
fn content_type(event: &EventView<'_>) -> HeaderValue {
    let given = event.data_content_type.as_deref().filter(|given| !content::is_of_event(given));
    let given = given.and_then(|given| HeaderValue::from_str(given).ok());
    given.unwrap_or(HeaderValue::from_static(match event.data {
        Data::Base64(_) => "application/octet-stream",
        _ => "application/json",
    }))
}
