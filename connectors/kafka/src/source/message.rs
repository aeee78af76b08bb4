//! A record of Kafka as an event: by the CloudEvents binding where the producer kept to it, else made of the record.
//!
//! The binding has two modes. *Structured*: the content type says that the value is an event, and it goes as it is. *Binary*:
//! the attributes are headers `ce_…` and the value is the data. No I/O.

use std::borrow::Cow;

use flowd_codec::event::view::is_attribute_name;
use flowd_codec::json;
use flowd_codec::time::parse_rfc3339_us;
use flowd_source::event::is_extension_name;
use flowd_source::{Data, Event};

use super::RECORD_TYPE;
use crate::{KEY_ENCODING, STRUCTURED};

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

/// A record read.
#[derive(Debug)]
pub(crate) enum Message<'a> {
    /// The value is the event.
    Whole(Cow<'a, [u8]>),
    /// The event is to be written.
    Parts(Parts<'a>),
}

/// What an event is written from.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    id: Cow<'a, str>,
    kind: &'a str,
    source: Option<&'a str>,
    time_us: Option<i64>,
    key: Option<Cow<'a, str>>,
    content_type: Option<&'a str>,
    extensions: Vec<(Cow<'a, str>, &'a str)>,
    data: Data<'a>,
}

impl<'a> Message<'a> {
    /// Reads a record; the error says why it is no event.
    pub(crate) fn read(record: &Record<'a>, form: ValueForm) -> Result<Self, String> {
        let content_type = text_of(record, "content-type")?;
        let essence = content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(STRUCTURED) {
            return with_key(record).map(Self::Whole);
        }
        if essence.to_ascii_lowercase().starts_with("application/cloudevents") {
            return Err(format!(
                "its content type is {essence}; of the formats of events, {STRUCTURED} is read"
            ));
        }
        let parts = match header(record, "ce_specversion") {
            Some(_) => attributes(record, content_type, form),
            None => plain(record, content_type, form),
        };
        parts.map(Self::Parts)
    }

    /// The event, for a topic of the mesh. `extensions` is only where they lie meanwhile.
    pub(crate) fn event<'b>(
        &'b self,
        topic: &'b str,
        extensions: &'b mut Vec<(&'b str, &'b str)>,
    ) -> Event<'b> {
        let parts = match self {
            Self::Whole(json) => return Event::Structured { json, topic },
            Self::Parts(parts) => parts,
        };
        extensions.extend(parts.extensions.iter().map(|(name, value)| (name.as_ref(), *value)));
        Event::Parts {
            id: &parts.id,
            kind: parts.kind,
            source: parts.source,
            topic,
            time_us: parts.time_us,
            key: parts.key.as_deref(),
            content_type: parts.content_type,
            extensions,
            data: parts.data,
        }
    }
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
        whole.extend_from_slice(format!(r#","{KEY_ENCODING}":"base64""#).as_bytes());
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
    let version = text_of(record, "ce_specversion")?.unwrap_or_default();
    if version != "1.0" && version != "0.3" {
        return Err(format!("its header ce_specversion is {version:?}; 0.3 and 1.0 are known"));
    }
    let required = |name: &str| {
        text_of(record, name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| format!("its header {name} is missing or empty"))
    };
    let time_us = match text_of(record, "ce_time")? {
        Some(time) => Some(
            parse_rfc3339_us(time)
                .ok_or_else(|| format!("its header ce_time is {time:?}, which is no RFC 3339 time"))?,
        ),
        None => None,
    };
    let mut extensions: Vec<(Cow<'a, str>, &'a str)> = Vec::new();
    let mut key = None;
    for (full, value) in record.headers {
        let (Some(name), Some(value)) = (full.strip_prefix("ce_"), value) else { continue };
        match name {
            "specversion" | "id" | "source" | "type" | "time" | "subject" | "datacontenttype" => {}
            "partitionkey" => key = Some(text(full, value)?),
            _ if is_attribute_name(name) => add(&mut extensions, Cow::Borrowed(name), text(full, value)?),
            _ => return Err(format!("{full:?} is no name for an attribute: only a-z and 0-9 are allowed")),
        }
    }
    let key = match (key, key_of(record)) {
        (Some(key), _) => Some(Cow::Borrowed(key)).filter(|key| !key.is_empty()),
        (None, key) => key.map(|key| encoded_key(key, &mut extensions)),
    };
    Ok(Parts {
        id: Cow::Borrowed(required("ce_id")?),
        kind: required("ce_type")?,
        source: Some(required("ce_source")?),
        time_us,
        key,
        content_type,
        extensions,
        data: data(record.value, content_type, form)?,
    })
}

fn encoded_key<'a>(key: &'a [u8], extensions: &mut Vec<(Cow<'a, str>, &'a str)>) -> Cow<'a, str> {
    let (text, is_encoded) = key_text(key);
    if is_encoded {
        add(extensions, Cow::Borrowed(KEY_ENCODING), "base64");
    }
    text
}

/// The last value of a name holds, as Kafka's own `lastHeader` has it.
fn add<'a>(extensions: &mut Vec<(Cow<'a, str>, &'a str)>, name: Cow<'a, str>, value: &'a str) {
    match extensions.iter_mut().find(|(other, _)| *other == name) {
        Some(known) => known.1 = value,
        None => extensions.push((name, value)),
    }
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
            add(&mut extensions, name, value);
        }
    }
    let key = key_of(record).map(|key| encoded_key(key, &mut extensions));
    Ok(Parts {
        id: Cow::Owned(format!("{}-{}-{}", record.topic, record.partition, record.offset)),
        kind: RECORD_TYPE,
        source: None,
        time_us: record.timestamp_ms.map(|time_ms| time_ms.saturating_mul(1000)),
        key,
        content_type,
        extensions,
        data: data(record.value, content_type, form)?,
    })
}

/// Extensions that say where an event stands in a sequence of flowd's, or what its key is: no header of a stranger may
/// set them.
const RESERVED: [&str; 10] = [
    KEY_ENCODING,
    "epoch",
    "lane",
    "sequence",
    "snapshot",
    "chunk",
    "number",
    "chunksize",
    "after",
    "contenttype",
];

/// The name under which a header's value is an extension: its letters and digits, in lower case.
fn extension_name(header: &str) -> Option<Cow<'_, str>> {
    let name = if is_attribute_name(header) {
        Cow::Borrowed(header)
    } else {
        let letters = header.chars().filter(char::is_ascii_alphanumeric);
        Cow::Owned(letters.map(|letter| letter.to_ascii_lowercase()).collect())
    };
    (is_extension_name(&name) && !RESERVED.contains(&name.as_ref())).then_some(name)
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
