//! An event as a message, by the CloudEvents binding for AMQP in one of its two modes. No I/O.

use std::borrow::Cow;

use flowd_codec::event::carried;
use flowd_codec::event::view::EventView;
use flowd_sink::deliver::DeliverEvent;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

/// What the names of attributes begin with as headers.
const PREFIX: &str = "cloudEvents_";
/// On disk before it is confirmed, where the queue is durable.
const PERSISTENT: u8 = 2;

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The attributes are headers, the body is the data.
    Binary,
    /// The body is the whole event.
    Structured,
}

/// A message to be published.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) properties: BasicProperties,
    pub(crate) body: Cow<'a, [u8]>,
}

impl<'a> Message<'a> {
    /// Of an event; the error says why it can be none.
    pub(crate) fn write(event: &DeliverEvent<'a>, mode: Mode) -> Result<Self, String> {
        let view = event.cloud_event().map_err(|error| error.to_string())?;
        let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        if let Some(id) = short(&view.id) {
            properties = properties.with_message_id(id);
        }
        if let Some(kind) = short(&view.event_type) {
            properties = properties.with_type(kind);
        }
        if let Some(seconds) = view.time_us().and_then(|time_us| u64::try_from(time_us / 1_000_000).ok()) {
            properties = properties.with_timestamp(seconds);
        }
        if mode == Mode::Structured {
            let mut body = Vec::with_capacity(event.json.len());
            view.write_json(&mut body);
            let properties =
                properties.with_content_type("application/cloudevents+json; charset=utf-8".into());
            return Ok(Self { properties, body: Cow::Owned(body) });
        }
        properties = properties.with_headers(headers(&view)?);
        if let Some(content_type) = view.data_content_type.as_deref().and_then(short) {
            properties = properties.with_content_type(content_type);
        }
        let body = carried::payload(&view).map_err(|error| error.to_string())?;
        Ok(Self { properties, body: body.unwrap_or_default() })
    }
}

/// A property's value. One that is too long for it is left out: the event itself has it whole.
fn short(text: &str) -> Option<ShortString> {
    ShortString::try_new(text).ok()
}

fn headers(view: &EventView<'_>) -> Result<FieldTable, String> {
    let mut headers = FieldTable::default();
    let version = ("specversion", Cow::Borrowed(view.spec_version.as_str()));
    for (name, value) in std::iter::once(version).chain(view.attributes()) {
        let header = ShortString::try_new(format!("{PREFIX}{name}"));
        let header = header.map_err(|error| format!("its extension {name} can be no header: {error}"))?;
        headers.insert(header, AMQPValue::LongString(value.as_ref().into()));
    }
    Ok(headers)
}
