//! A message as events: each as structured JSON, cut out of the body or written from the headers.
//!
//! Whether such a JSON is a CloudEvent is for the caller to see; only what gets lost on the way to it is judged here.

use std::borrow::Cow;

use bytes::Bytes;
use flowd_codec::event::content::{Form, Mode};
use flowd_codec::event::view::is_attribute_name;
use flowd_codec::json;
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::value::RawValue;

use super::header::{self, PREFIX};

/// Why a message is not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is no CloudEvent.
    Malformed(String),
    /// It may be one in a form that is not known here.
    Unknown(String),
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

/// The events of a message, in their order.
pub(crate) fn events(
    headers: &HeaderMap,
    body: &Bytes,
    plain: Option<&Plain>,
) -> Result<Vec<Bytes>, Unreadable> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && encoding != "identity"
    {
        let text = format!("a body with content-encoding {encoding:?} is not read; send it as it is");
        return Err(Unreadable::Unknown(text));
    }
    let content_type = content_type(headers)?;
    match Mode::of(content_type.unwrap_or_default()) {
        Mode::Structured => Ok(vec![body.clone()]),
        Mode::Batch => members(body),
        Mode::Foreign => Err(Unreadable::Unknown(format!(
            "{} is not read; application/cloudevents+json and application/cloudevents-batch+json are",
            content_type.unwrap_or_default()
        ))),
        Mode::Binary => match plain {
            Some(plain) if !headers.contains_key("ce-specversion") => {
                written(&of_plain(plain, headers)?, content_type, body)
            }
            _ => written(&of_headers(headers)?, content_type, body),
        }
        .map(|event| vec![event]),
    }
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

/// The attributes that headers tell.
fn of_headers(headers: &HeaderMap) -> Result<Vec<Attribute<'_>>, Unreadable> {
    let mut attributes: Vec<Attribute<'_>> = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(PREFIX) else { continue };
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

/// Attributes and a body as structured JSON.
fn written(
    attributes: &[Attribute<'_>],
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Bytes, Unreadable> {
    let mut out = Vec::with_capacity(body.len() + body.len() / 2 + 512);
    let mut separator = b'{';
    let content_type_attribute = content_type.map(|value| ("datacontenttype", value));
    let attributes = attributes.iter().map(|(name, value)| (*name, &**value));
    for (name, value) in attributes.chain(content_type_attribute) {
        out.push(separator);
        separator = b',';
        json::write_string(&mut out, name);
        out.push(b':');
        json::write_string(&mut out, value);
    }
    write_data(&mut out, content_type, body)?;
    out.push(b'}');
    Ok(out.into())
}

/// Without a content type data is taken for JSON, as the JSON format has it, and for bytes where it is none.
fn write_data(out: &mut Vec<u8>, content_type: Option<&str>, body: &[u8]) -> Result<(), Unreadable> {
    if body.is_empty() {
        return Ok(());
    }
    let form = content_type.map_or(Form::Json, Form::of);
    if form == Form::Json {
        match json::checked(body) {
            Ok(value) => {
                out.extend_from_slice(br#","data":"#);
                out.extend_from_slice(value.as_bytes());
                return Ok(());
            }
            Err(_) if content_type.is_none() => {}
            Err(error) => {
                let content_type = content_type.unwrap_or_default();
                return Err(Unreadable::Malformed(format!(
                    "the body is no JSON, although it is {content_type}: {error}"
                )));
            }
        }
    }
    match std::str::from_utf8(body) {
        Ok(text) if form == Form::Text => {
            out.extend_from_slice(br#","data":"#);
            json::write_string(out, text);
        }
        _ => {
            out.extend_from_slice(br#","data_base64":""#);
            json::write_base64(out, body);
            out.push(b'"');
        }
    }
    Ok(())
}
