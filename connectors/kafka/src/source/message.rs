//! A record of Kafka as an event: by the CloudEvents binding where the producer kept to it, else made of the record.
//!
//! The binding has two modes. *Structured*: the content type says that the value is an event, and it goes as it is. *Binary*:
//! the attributes are headers `ce_…` and the value is the data. No I/O.

use std::borrow::Cow;

use flowd_codec::event::carried::{BASE64, KEY_ENCODING};
use flowd_codec::json;
use flowd_source::Data;
use flowd_source::binding::{self, Attributes, Extension, Message, Parts, add_extension, extension_name};

use super::RECORD_TYPE;

/// What the names of attributes begin with as headers.
const PREFIX: &str = "ce_";

/// A record as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// Names with their values, which may be null.
    pub(crate) headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// What the value of a record is that does not say it itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueForm {
    /// JSON if it is JSON, else text if it is text, else binary.
    Auto,
    /// JSON; anything else is rejected.
    Json,
    /// Text; anything else is rejected.
    Text,
    /// Bytes, whatever they look like.
    Binary,
}

/// Reads a record; the error says why it is no event.
pub(crate) fn read<'a>(record: &Record<'a>, form: ValueForm) -> Result<Message<'a>, String> {
    let content_type = text_of(record, "content-type")?;
    if binding::is_whole(content_type)? {
        return with_key(record).map(Message::Whole);
    }
    let parts = match header(record, "ce_specversion") {
        Some(_) => attributes(record, content_type, form),
        None => plain(record, content_type, form),
    };
    parts.map(Message::Parts)
}

/// The last header of a name. A null value counts as no header.
fn header<'a>(record: &Record<'a>, name: &str) -> Option<&'a [u8]> {
    record
        .headers
        .iter()
        .rev()
        .find(|(other, _)| other.eq_ignore_ascii_case(name))
        .and_then(|(_, value)| *value)
}

fn text_of<'a>(record: &Record<'a>, name: &str) -> Result<Option<&'a str>, String> {
    header(record, name).map(|value| text(name, value)).transpose()
}

fn text<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, String> {
    std::str::from_utf8(value).map_err(|_| format!("its header {name} is no UTF-8 text"))
}

/// The key as `partitionkey`, and whether it had to be written as base64.
fn key_text(key: &[u8]) -> (Cow<'_, str>, bool) {
    match std::str::from_utf8(key) {
        Ok(text) => (Cow::Borrowed(text), false),
        Err(_) => {
            let mut quoted = Vec::new();
            json::write_base64(&mut quoted, key);
            let text = String::from_utf8_lossy(&quoted).trim_matches('"').to_owned();
            (Cow::Owned(text), true)
        }
    }
}

/// The key of a record; an empty one is none, since an attribute is never empty.
fn key_of<'a>(record: &Record<'a>) -> Option<&'a [u8]> {
    record.key.filter(|key| !key.is_empty())
}

/// A structured event that says no partition key gets the record's, which its order hangs on.
fn with_key<'a>(record: &Record<'a>) -> Result<Cow<'a, [u8]>, String> {
    let event = record.value.ok_or("its content type says that it is an event, but it has no value")?;
    let Some(key) = key_of(record) else { return Ok(Cow::Borrowed(event)) };
    let begin = event.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(event.len());
    if event.get(begin) != Some(&b'{') || json::find_top_level_string(event, "partitionkey").is_some() {
        return Ok(Cow::Borrowed(event));
    }
    let (key, is_encoded) = key_text(key);
    let mut whole = Vec::with_capacity(event.len() + key.len() + 64);
    whole.extend_from_slice(br#"{"partitionkey":"#);
    json::write_string(&mut whole, &key);
    if is_encoded {
        whole.extend_from_slice(format!(r#","{KEY_ENCODING}":"{BASE64}""#).as_bytes());
    }
    let rest = &event[begin + 1..];
    if rest.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'}') {
        whole.push(b',');
    }
    whole.extend_from_slice(rest);
    Ok(Cow::Owned(whole))
}

/// The binary mode of the binding.
fn attributes<'a>(
    record: &Record<'a>,
    content_type: Option<&'a str>,
    form: ValueForm,
) -> Result<Parts<'a>, String> {
    let mut attributes = Attributes::new(PREFIX);
    for (header, value) in record.headers {
        let (Some(name), Some(value)) = (bound(header), value) else { continue };
        attributes.add(name, || text(header, value).map(Cow::Borrowed))?;
    }
    let has_key = header(record, "ce_partitionkey").is_some();
    let mut parts = attributes.into_parts(content_type, data(record.value, content_type, form)?)?;
    if !has_key {
        parts.key = key_of(record).map(|key| encoded_key(key, &mut parts.extensions));
    }
    Ok(parts)
}

/// The name of the attribute that a header of the binding is. Those that every event has are known however they are
/// written.
fn bound(header: &str) -> Option<&str> {
    const KNOWN: [&str; 5] = ["specversion", "id", "source", "type", "time"];
    let (prefix, name) = header.split_at_checked(PREFIX.len())?;
    let known = || KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(name));
    let is_known = prefix.eq_ignore_ascii_case(PREFIX).then(known).flatten();
    is_known.or_else(|| (prefix == PREFIX).then_some(name))
}

fn encoded_key<'a>(key: &'a [u8], extensions: &mut Vec<Extension<'a>>) -> Cow<'a, str> {
    let (text, is_encoded) = key_text(key);
    if is_encoded {
        add_extension(extensions, Cow::Borrowed(KEY_ENCODING), Cow::Borrowed(BASE64));
    }
    text
}

/// The place of a record: topic, partition and offset.
fn id(record: &Record<'_>) -> String {
    let (mut partition, mut offset) = (itoa::Buffer::new(), itoa::Buffer::new());
    [record.topic, partition.format(record.partition), offset.format(record.offset)].join("-")
}

/// A record that is no event: its place is the id, its headers are extensions.
fn plain<'a>(
    record: &Record<'a>,
    content_type: Option<&'a str>,
    form: ValueForm,
) -> Result<Parts<'a>, String> {
    let mut extensions = Vec::new();
    for (name, value) in record.headers {
        let Some(value) = value.and_then(|value| std::str::from_utf8(value).ok()) else { continue };
        if let Some(name) = extension_name(name) {
            add_extension(&mut extensions, name, Cow::Borrowed(value));
        }
    }
    let key = key_of(record).map(|key| encoded_key(key, &mut extensions));
    Ok(Parts {
        id: Cow::Owned(id(record)),
        kind: Cow::Borrowed(RECORD_TYPE),
        source: None,
        time_us: record.timestamp_ms.map(|time_ms| time_ms.saturating_mul(1000)),
        key,
        content_type,
        extensions,
        data: data(record.value, content_type, form)?,
    })
}

/// The value as data. A null value, a tombstone, is an event without data; one without a byte is an empty text.
fn data<'a>(
    value: Option<&'a [u8]>,
    content_type: Option<&str>,
    form: ValueForm,
) -> Result<Data<'a>, String> {
    let Some(value) = value else { return Ok(Data::None) };
    match form {
        _ if value.is_empty() => Ok(Data::Text("")),
        _ if content_type.is_some() => Ok(Data::of(content_type, value)),
        ValueForm::Auto => Ok(Data::of(None, value)),
        ValueForm::Json => Ok(Data::Json(value)),
        ValueForm::Text => match std::str::from_utf8(value) {
            Ok(text) => Ok(Data::Text(text)),
            Err(_) => Err("its value is no UTF-8 text, and `value` is text".to_owned()),
        },
        ValueForm::Binary => Ok(Data::Binary(value)),
    }
}

#[cfg(test)]
mod tests;
