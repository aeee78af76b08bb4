//! A message as events: as structured JSON, cut out of the body, or read from the headers.

use std::borrow::Cow;

use bytes::Bytes;
use flowd_codec::event::added::is_added;
use flowd_codec::event::content::{Form, Mode};
use flowd_codec::event::view::{Data, EventView, event_of, is_attribute_name};
use flowd_codec::json;
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::value::RawValue;

use super::header::{self, PREFIX, SPECVERSION};

/// Why a message is not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is no CloudEvent.
    Malformed(String),
    /// It may be one in a form that is not known here.
    Unknown(String),
}

impl Unreadable {
    /// Why, in one sentence.
    pub(crate) fn text(&self) -> &str {
        let (Self::Malformed(text) | Self::Unknown(text)) = self;
        text
    }
}

/// What makes an event of a message that is none: for senders that know nothing of CloudEvents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plain {
    /// The header that holds the id.
    pub(crate) id_header: String,
    /// Its `source`.
    pub(crate) source: String,
    /// Its `type`.
    pub(crate) event_type: String,
}

/// What a message holds.
#[derive(Debug, PartialEq)]
pub(crate) enum Found<'a> {
    /// Events as structured JSON, in their order, each where it stands in the body. Whether one is a CloudEvent is for the
    /// caller to see.
    Whole(Vec<Bytes>),
    /// One whose attributes are headers, and whose data is the body.
    Binary(EventView<'a>),
}

/// The events of a message. `text` is where data lies that is not in the form of the body.
pub(crate) fn events<'a>(
    headers: &'a HeaderMap,
    body: &'a Bytes,
    plain: Option<&'a Plain>,
    text: &'a mut Vec<u8>,
) -> Result<Found<'a>, Unreadable> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && encoding != "identity"
    {
        let text = format!("a body with content-encoding {encoding:?} is not read; send it as it is");
        return Err(Unreadable::Unknown(text));
    }
    let content_type = content_type(headers)?;
    match Mode::of(content_type.unwrap_or_default()) {
        Mode::Structured => Ok(Found::Whole(vec![body.clone()])),
        Mode::Batch => members(body).map(Found::Whole),
        Mode::Foreign => Err(Unreadable::Unknown(format!(
            "{} is not read; application/cloudevents+json and application/cloudevents-batch+json are",
            content_type.unwrap_or_default()
        ))),
        Mode::Binary => binary(headers, body, plain, text).map(Found::Binary),
    }
}

/// The event of a message in binary mode.
pub(crate) fn binary<'a>(
    headers: &'a HeaderMap,
    body: &'a [u8],
    plain: Option<&'a Plain>,
    text: &'a mut Vec<u8>,
) -> Result<EventView<'a>, Unreadable> {
    let content_type = content_type(headers)?;
    let attributes = match plain {
        Some(plain) if !headers.contains_key(SPECVERSION) => of_plain(plain, headers)?,
        _ => of_headers(headers)?,
    };
    let data = data(content_type, body, text)?;
    let content_type = content_type.map(|value| ("datacontenttype", Cow::Borrowed(value)));
    event_of(attributes.into_iter().chain(content_type), data)
        .map_err(|error| Unreadable::Malformed(format!("no CloudEvent: {error}")))
}

fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Unreadable> {
    let text = |value: &'_ hyper::header::HeaderValue| value.to_str().is_ok();
    match headers.get(CONTENT_TYPE) {
        None => Ok(None),
        Some(value) if text(value) => Ok(value.to_str().ok()),
        Some(value) => Err(Unreadable::Malformed(format!("the content type {value:?} is not ASCII"))),
    }
}

/// The members of a batch, each where it stands in the body.
fn members(body: &Bytes) -> Result<Vec<Bytes>, Unreadable> {
    let members: Vec<&RawValue> = serde_json::from_slice(body)
        .map_err(|error| Unreadable::Malformed(format!("the batch is no JSON array: {error}")))?;
    Ok(members.into_iter().map(|member| body.slice_ref(member.get().as_bytes())).collect())
}

/// Name and value.
type Attribute<'a> = (&'a str, Cow<'a, str>);

/// The attributes that headers tell, without those that another EventMesh added.
fn of_headers(headers: &HeaderMap) -> Result<Vec<Attribute<'_>>, Unreadable> {
    let mut attributes: Vec<Attribute<'_>> = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(PREFIX).filter(|name| !is_added(name)) else { continue };
        let fault = if !is_attribute_name(name) || name == "data" {
            Some("is no attribute: only names of a-z and 0-9 are")
        } else if name == "datacontenttype" {
            Some("is what the header content-type says")
        } else if attributes.iter().any(|(known, _)| *known == name) {
            Some("occurs twice")
        } else {
            None
        };
        if let Some(fault) = fault {
            return Err(Unreadable::Malformed(format!("the header {PREFIX}{name} {fault}")));
        }
        let value = header::decode(value.as_bytes())
            .map_err(|error| Unreadable::Malformed(format!("the header {PREFIX}{name}: {error}")))?;
        attributes.push((name, value));
    }
    if attributes.is_empty() {
        return Err(Unreadable::Malformed(
            "no CloudEvent: there are neither ce- headers nor a content type application/cloudevents+json"
                .into(),
        ));
    }
    Ok(attributes)
}

/// The attributes that are made for a message without any.
fn of_plain<'a>(plain: &'a Plain, headers: &'a HeaderMap) -> Result<Vec<Attribute<'a>>, Unreadable> {
    let missing = || {
        let header = &plain.id_header;
        Unreadable::Malformed(format!(
            "no CloudEvent, and no header {header} that gives it an id (connectorConfig.idHeader)"
        ))
    };
    let id = headers.get(&plain.id_header).ok_or_else(missing)?;
    let id = header::decode(id.as_bytes())
        .map_err(|error| Unreadable::Malformed(format!("the header {}: {error}", plain.id_header)))?;
    Ok(vec![
        ("specversion", "1.0".into()),
        ("id", id),
        ("source", plain.source.as_str().into()),
        ("type", plain.event_type.as_str().into()),
    ])
}

/// The body as data. Without a content type it is taken for JSON, as the JSON format has it, and for bytes where it is none.
fn data<'a>(
    content_type: Option<&str>,
    body: &'a [u8],
    text: &'a mut Vec<u8>,
) -> Result<Data<'a>, Unreadable> {
    if body.is_empty() {
        return Ok(Data::Absent);
    }
    let form = content_type.map_or(Form::Json, Form::of);
    if form == Form::Json {
        match json::checked(body) {
            Ok(value) => return Ok(Data::Json(value)),
            Err(_) if content_type.is_none() => {}
            Err(error) => {
                let content_type = content_type.unwrap_or_default();
                return Err(Unreadable::Malformed(format!(
                    "the body is no JSON, although it is {content_type}: {error}"
                )));
            }
        }
    }
    text.clear();
    let body_text = std::str::from_utf8(body).ok().filter(|_| form == Form::Text);
    match body_text {
        Some(body) => json::write_string(text, body),
        None => {
            text.push(b'"');
            json::write_base64(text, body);
            text.push(b'"');
        }
    }
    let text = std::str::from_utf8(text).expect("a JSON string is a text");
    Ok(if body_text.is_some() { Data::Json(text) } else { Data::Base64(text) })
}
