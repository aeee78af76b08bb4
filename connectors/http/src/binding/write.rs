//! An event as a message: its attributes as headers and its data as the body, or all of it in the body.
//!
//! What comes out of the mesh is restored first: there every event is JSON, and says aside what it was.

use std::ops::Range;

use bytes::Bytes;
use flowd_codec::event::carried::{payload, restore};
use flowd_codec::event::content::{self, BATCH, STRUCTURED};
use flowd_codec::event::view::{Data, EventError, EventView};
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::header::{SPECVERSION, encode, name_of};

/// Headers and body.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An event in binary mode; `others` are the headers that its message has besides.
pub(crate) fn binary(json: &[u8], others: &HeaderMap) -> Result<Message, EventError> {
    let event = restore(json)?;
    let mut headers = with_room(others, ATTRIBUTES_MAX + event.extensions.len());
    add_attributes(&event, &mut headers);
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
pub(crate) fn structured(json: &[u8], others: &HeaderMap) -> Result<Message, EventError> {
    let mut body = Vec::with_capacity(json.len());
    restore(json)?.write_json(&mut body);
    Ok(whole(STRUCTURED, others, body))
}

/// Events in batched mode.
pub(crate) fn batch<'a>(
    events: impl Iterator<Item = &'a [u8]>,
    others: &HeaderMap,
) -> Result<Message, EventError> {
    let mut body = Vec::new();
    for json in events {
        body.push(if body.is_empty() { b'[' } else { b',' });
        restore(json)?.write_json(&mut body);
    }
    body.push(b']');
    Ok(whole(BATCH, others, body))
}

fn whole(content_type: &'static str, others: &HeaderMap, body: Vec<u8>) -> Message {
    let mut headers = with_room(others, 1);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Message { headers, body: body.into() }
}

/// Headers, and room for so many more: a map that grows puts all that it has in its place again.
fn with_room(others: &HeaderMap, more: usize) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(others.len() + more);
    headers.extend(others.iter().map(|(name, value)| (name.clone(), value.clone())));
    headers
}

/// The attributes that the specification knows; the type of the data is one.
const ATTRIBUTES_MAX: usize = 8;
/// What the values of an event of usual size need.
const VALUES_BYTES: usize = 512;

/// All values lie in one piece of memory, which saves an allocation a header.
fn add_attributes(event: &EventView<'_>, headers: &mut HeaderMap) {
    headers.insert(SPECVERSION, HeaderValue::from_static(event.spec_version.as_str()));
    let mut memory = Vec::with_capacity(VALUES_BYTES);
    let mut values: Vec<(HeaderName, Range<usize>)> = Vec::with_capacity(8 + event.extensions.len());
    for (name, value) in event.attributes() {
        let start = memory.len();
        encode(&mut memory, &value);
        values.push((name_of(name), start..memory.len()));
    }
    let memory = Bytes::from(memory);
    for (name, value) in values {
        let value = HeaderValue::from_maybe_shared(memory.slice(value));
        headers.insert(name, value.expect("only visible ASCII is left"));
    }
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
