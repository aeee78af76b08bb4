//! To and from `cloudevents::Event`, for programs that work with the CloudEvents SDK. Not a hot path: the SDK owns
//! every value.
//!
//! Invariant: what [`write()`] appends, [`decode_event`] reads; and an event keeps its meaning in both directions
//! (attributes, extensions, data as a JSON value or as bytes). Numbers of `data` become what `serde_json` makes of
//! them: beyond 64-bit integers and doubles they lose digits.

use std::borrow::Cow;

use cloudevents::event::{ExtensionValue as SdkValue, SpecVersion as SdkVersion};
use cloudevents::{AttributesReader, Data as SdkData, Event};
use thiserror::Error;

use crate::event::view::{Data, EventError, EventView, ExtensionValue, SpecVersion, decode_event};
use crate::json;

/// Why an event cannot be carried over.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SdkError {
    /// It is no CloudEvent by the rules of [`decode_event`].
    #[error(transparent)]
    Event(#[from] EventError),
    /// The SDK's reader refuses it: `dataschema` is no URI, or `data` does not suit the content type.
    #[error("the CloudEvents SDK refuses the event: {0}")]
    Refused(String),
}

/// Reads structured JSON into the SDK's event.
///
/// # Errors
/// Where the text is no CloudEvent, or one that the SDK does not take.
pub fn read(json: &[u8]) -> Result<Event, SdkError> {
    to_event(&decode_event(json)?)
}

/// Makes the SDK's event of a decoded one. `data` becomes a JSON value, a text or bytes by its content type, as the
/// SDK's own JSON reader decides it.
///
/// # Errors
/// [`SdkError::Refused`].
pub fn to_event(view: &EventView<'_>) -> Result<Event, SdkError> {
    let mut text = Vec::new();
    view.write_json(&mut text);
    serde_json::from_slice(&text).map_err(|error| SdkError::Refused(error.to_string()))
}

/// Appends the SDK's event as structured JSON, extensions in the order of their names (the SDK keeps none).
///
/// # Errors
/// Where the event breaks a rule that the SDK does not check: an empty `id`, `source` or `type`, an illegal name of
/// an extension, a year of more than four digits. `out` is then as before.
pub fn write(event: &Event, out: &mut Vec<u8>) -> Result<(), SdkError> {
    let start = out.len();
    let payload = payload(event)?;
    view_of(event, payload.as_ref()).write_json(out);
    if let Err(error) = decode_event(&out[start..]) {
        out.truncate(start);
        return Err(error.into());
    }
    Ok(())
}

/// The data as JSON text, and how it is to be read.
enum Payload {
    Json(String),
    Base64(String),
}

fn payload(event: &Event) -> Result<Option<Payload>, SdkError> {
    let refused = |error: serde_json::Error| SdkError::Refused(error.to_string());
    Ok(match event.data() {
        None => None,
        Some(SdkData::Json(value)) => Some(Payload::Json(serde_json::to_string(value).map_err(refused)?)),
        Some(SdkData::String(text)) => Some(Payload::Json(serde_json::to_string(text).map_err(refused)?)),
        Some(SdkData::Binary(bytes)) => {
            let mut text = Vec::new();
            json::write_base64(&mut text, bytes);
            let text = String::from_utf8(text).expect("base64 is ASCII");
            Some(Payload::Base64(serde_json::to_string(&text).map_err(refused)?))
        }
    })
}

fn view_of<'a>(event: &'a Event, payload: Option<&'a Payload>) -> EventView<'a> {
    let mut extensions: Vec<_> =
        event.iter_extensions().map(|(name, value)| (Cow::Borrowed(name), extension_of(value))).collect();
    extensions.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    EventView {
        spec_version: match event.specversion() {
            SdkVersion::V03 => SpecVersion::V03,
            SdkVersion::V10 => SpecVersion::V10,
        },
        id: event.id().into(),
        source: event.source().into(),
        event_type: event.ty().into(),
        data_content_type: event.datacontenttype().map(Cow::Borrowed),
        data_schema: event.dataschema().map(|url| url.as_str().into()),
        subject: event.subject().map(Cow::Borrowed),
        // `+00:00` and `Z` are the same zone; `Z` is what everybody else writes.
        time: event.time().map(|time| time.to_rfc3339().replace("+00:00", "Z").into()),
        extensions,
        data: match payload {
            None => Data::Absent,
            Some(Payload::Json(value)) => Data::Json(value),
            Some(Payload::Base64(value)) => Data::Base64(value),
        },
    }
}

fn extension_of(value: &SdkValue) -> ExtensionValue<'_> {
    match value {
        SdkValue::String(text) => ExtensionValue::String(text.into()),
        SdkValue::Boolean(value) => ExtensionValue::Boolean(*value),
        SdkValue::Integer(value) => ExtensionValue::Integer(*value),
    }
}

#[cfg(test)]
mod tests;
