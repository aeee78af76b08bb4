//! A message of a queue as an event: by the CloudEvents binding for AMQP where the producer kept to it, else made of the
//! message.
//!
//! The binding has two modes. *Structured*: the content type says that the body is an event, and it goes as it is. *Binary*:
//! the attributes are headers `cloudEvents_…` (or `cloudEvents:…`) and the body is the data. No I/O.

use std::borrow::Cow;

use flowd_codec::time::write_rfc3339_us;
use flowd_source::Data;
use flowd_source::binding::{self, Attributes, Extension, Message, Parts, extension_name};
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, ShortString};

use super::Key;

/// What the names of attributes begin with as headers. The first is the one that every client can write.
const PREFIXES: [&str; 2] = ["cloudEvents_", "cloudEvents:"];

/// The type of an event made of a message that names none.
pub(crate) const MESSAGE_TYPE: &str = "rabbitmq.message";

/// A message as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived<'a> {
    pub(crate) exchange: &'a str,
    pub(crate) routing_key: &'a str,
    pub(crate) redelivered: bool,
    pub(crate) properties: &'a BasicProperties,
    pub(crate) body: &'a [u8],
}

impl<'a> Arrived<'a> {
    pub(crate) fn of(delivery: &'a Delivery) -> Self {
        Self {
            exchange: delivery.exchange.as_str(),
            routing_key: delivery.routing_key.as_str(),
            redelivered: delivery.redelivered,
            properties: &delivery.properties,
            body: &delivery.data,
        }
    }

    /// Only a stream tells where in it a message stands.
    pub(crate) fn is_of_a_stream(&self) -> bool {
        headers(self.properties).any(|(header, _)| header == "x-stream-offset")
    }
}

/// Reads a message; the error says why it is no event. `name` is the id of a message that has none.
pub(crate) fn read<'a>(
    arrived: &Arrived<'a>,
    key: &Key,
    name: impl FnOnce() -> String,
) -> Result<Message<'a>, String> {
    if binding::is_whole(content_type(arrived.properties))? {
        return Ok(Message::Whole(Cow::Borrowed(arrived.body)));
    }
    let is_event = headers(arrived.properties).any(|(header, _)| bound(header) == Some("specversion"));
    if is_event { attributes(arrived) } else { plain(arrived, key, name) }.map(Message::Parts)
}

/// A property that says something.
fn property(value: &Option<ShortString>) -> Option<&str> {
    value.as_ref().map(ShortString::as_str).filter(|text| !text.is_empty())
}

fn content_type(properties: &BasicProperties) -> Option<&str> {
    property(properties.content_type())
}

fn headers(properties: &BasicProperties) -> impl Iterator<Item = (&str, &AMQPValue)> {
    let table = properties.headers().as_ref();
    table.into_iter().flat_map(|table| table.inner().iter().map(|(name, value)| (name.as_str(), value)))
}

/// The name of the attribute that a header of the binding is.
fn bound(header: &str) -> Option<&str> {
    PREFIXES.iter().find_map(|prefix| header.strip_prefix(prefix))
}

/// A header's value where it is one value: a text, a number, true or false.
fn text(value: &AMQPValue) -> Option<Cow<'_, str>> {
    Some(match value {
        AMQPValue::LongString(text) => Cow::Borrowed(std::str::from_utf8(text.as_bytes()).ok()?),
        AMQPValue::ShortString(text) => Cow::Borrowed(text.as_str()),
        AMQPValue::Boolean(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        AMQPValue::ShortShortInt(value) => value.to_string().into(),
        AMQPValue::ShortShortUInt(value) => value.to_string().into(),
        AMQPValue::ShortInt(value) => value.to_string().into(),
        AMQPValue::ShortUInt(value) => value.to_string().into(),
        AMQPValue::LongInt(value) => value.to_string().into(),
        AMQPValue::LongUInt(value) => value.to_string().into(),
        AMQPValue::LongLongInt(value) => value.to_string().into(),
        AMQPValue::Float(value) => value.to_string().into(),
        AMQPValue::Double(value) => value.to_string().into(),
        AMQPValue::Timestamp(seconds) => {
            let mut text = Vec::new();
            write_rfc3339_us(&mut text, microseconds(*seconds));
            String::from_utf8(text).ok()?.into()
        }
        AMQPValue::DecimalValue(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::ByteArray(_)
        | AMQPValue::Void => return None,
    })
}

fn microseconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

/// The binary mode of the binding.
fn attributes<'a>(arrived: &Arrived<'a>) -> Result<Parts<'a>, String> {
    let mut attributes = Attributes::new(PREFIXES[0]);
    for (header, value) in headers(arrived.properties) {
        let Some(name) = bound(header) else { continue };
        attributes.add(name, || text_of(header, value))?;
    }
    attributes.into_parts(content_type(arrived.properties), data(arrived))
}

/// A header's value, which must be one.
fn text_of<'a>(header: &str, value: &'a AMQPValue) -> Result<Cow<'a, str>, String> {
    text(value).ok_or_else(|| format!("its header {header} is no text, number or boolean"))
}

/// A message that is no event: its properties and headers say what they can.
fn plain<'a>(arrived: &Arrived<'a>, key: &Key, name: impl FnOnce() -> String) -> Result<Parts<'a>, String> {
    let properties = arrived.properties;
    Ok(Parts {
        id: property(properties.message_id()).map_or_else(|| name().into(), Cow::Borrowed),
        kind: Cow::Borrowed(property(properties.kind()).unwrap_or(MESSAGE_TYPE)),
        source: None,
        time_us: properties.timestamp().as_ref().map(|seconds| microseconds(*seconds)),
        key: key_of(arrived, key)?,
        content_type: content_type(properties),
        extensions: extensions(arrived),
        data: data(arrived),
    })
}

/// The key, by which order is kept; an empty one is none, since an attribute is never empty.
fn key_of<'a>(arrived: &Arrived<'a>, key: &Key) -> Result<Option<Cow<'a, str>>, String> {
    let value = match key {
        Key::None => return Ok(None),
        Key::Routing => Some(Cow::Borrowed(arrived.routing_key)),
        Key::Header(name) => match headers(arrived.properties).find(|(header, _)| header == name) {
            Some((_, value)) => Some(text_of(name, value)?),
            None => None,
        },
    };
    Ok(value.filter(|key| !key.is_empty()))
}

/// Where the message was published, what its properties say, and its headers.
fn extensions<'a>(arrived: &Arrived<'a>) -> Vec<Extension<'a>> {
    let properties = arrived.properties;
    let own = [
        ("exchange", Some(arrived.exchange).filter(|name| !name.is_empty())),
        ("routingkey", Some(arrived.routing_key).filter(|key| !key.is_empty())),
        ("redelivered", arrived.redelivered.then_some("true")),
        ("correlationid", property(properties.correlation_id())),
        ("replyto", property(properties.reply_to())),
        ("appid", property(properties.app_id())),
        ("bodyencoding", property(properties.content_encoding())),
    ];
    let own = own.into_iter().filter_map(|(name, value)| Some((Cow::Borrowed(name), Cow::Borrowed(value?))));
    let mut extensions: Vec<Extension<'a>> = own.collect();
    for (header, value) in headers(properties) {
        let Some((name, value)) = extension_name(header).zip(text(value)) else { continue };
        if !extensions.iter().any(|(other, _)| *other == name) {
            extensions.push((name, value));
        }
    }
    extensions
}

/// The body as data, by its content type. What is compressed stays as it is.
fn data<'a>(arrived: &Arrived<'a>) -> Data<'a> {
    let encoding = property(arrived.properties.content_encoding()).unwrap_or_default().to_ascii_lowercase();
    match encoding.as_str() {
        "" | "identity" | "utf-8" | "utf8" => Data::of(content_type(arrived.properties), arrived.body),
        _ => Data::Binary(arrived.body),
    }
}

#[cfg(test)]
mod tests;
