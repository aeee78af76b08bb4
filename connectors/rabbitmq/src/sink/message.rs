//! An event as a message, by the CloudEvents binding for AMQP in one of its two modes. No I/O.

use std::borrow::Cow;

use flowd_codec::event::content::STRUCTURED;
use flowd_codec::event::view::EventView;
use flowd_sink::binding::Mode;
use flowd_sink::deliver::DeliverEvent;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

/// What the names of attributes begin with as headers.
const PREFIX: &str = "cloudEvents_";
/// On disk before it is confirmed, where the queue is durable.
const PERSISTENT: u8 = 2;

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
        match mode {
            Mode::Structured => {
                let content_type = format!("{STRUCTURED}; charset=utf-8");
                properties = properties.with_content_type(content_type.into());
            }
            Mode::Binary => {
                properties = properties.with_headers(headers(&view)?);
                if let Some(content_type) = view.data_content_type.as_deref().and_then(short) {
                    properties = properties.with_content_type(content_type);
                }
            }
        }
        Ok(Self { properties, body: mode.body(&view)?.unwrap_or_default() })
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
        let header = ShortString::try_new([PREFIX, name].concat());
        let header = header.map_err(|error| format!("its extension {name} can be no header: {error}"))?;
        headers.insert(header, AMQPValue::LongString(value.as_ref().into()));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = concat!(
        r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.placed","#,
        r#""datacontenttype":"application/cloudevents+json","subject":"orders","time":"2026-01-31T12:00:00.5Z","#,
        r#""partitionkey":"42","attempt":3,"contenttype":"text/plain","data":"caf\u00e9"}"#
    );

    fn written(json: &str, mode: Mode) -> (BasicProperties, Vec<u8>) {
        let json = json.as_bytes();
        let event = DeliverEvent { json, id: "7", source: "/shop", topic: "orders", key: None };
        let message = Message::write(&event, mode).unwrap();
        (message.properties, message.body.into_owned())
    }

    fn header(properties: &BasicProperties, name: &str) -> Option<String> {
        match properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(text) => Some(text.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn in_binary_mode_the_body_is_the_data_and_the_headers_are_the_attributes() {
        let (properties, body) = written(EVENT, Mode::Binary);
        assert_eq!(body, "café".as_bytes());
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "text/plain");
        for (name, value) in [
            ("specversion", "1.0"),
            ("id", "7"),
            ("source", "/shop"),
            ("type", "order.placed"),
            ("subject", "orders"),
            ("time", "2026-01-31T12:00:00.5Z"),
            ("partitionkey", "42"),
            ("attempt", "3"),
        ] {
            assert_eq!(header(&properties, &format!("cloudEvents_{name}")).as_deref(), Some(value), "{name}");
        }
        assert_eq!(header(&properties, "cloudEvents_contenttype"), None);
    }

    #[test]
    fn in_structured_mode_the_body_is_the_event_in_the_form_that_it_had() {
        let (properties, body) = written(EVENT, Mode::Structured);
        let content_type = properties.content_type().as_ref().unwrap().as_str();
        assert_eq!(content_type, "application/cloudevents+json; charset=utf-8");
        let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["datacontenttype"], "text/plain");
        assert_eq!(event["data"], "café");
        assert_eq!(event.get("contenttype"), None);
    }

    #[test]
    fn a_message_is_persistent_and_says_what_it_can_in_its_properties() {
        for mode in [Mode::Binary, Mode::Structured] {
            let (properties, _) = written(EVENT, mode);
            assert_eq!(*properties.delivery_mode(), Some(2));
            assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "7");
            assert_eq!(properties.kind().as_ref().unwrap().as_str(), "order.placed");
            assert_eq!(*properties.timestamp(), Some(1_769_860_800));
        }
    }

    #[test]
    fn an_id_that_is_too_long_for_a_property_is_in_the_headers_alone() {
        let long = "x".repeat(300);
        let (properties, _) =
            written(&EVENT.replace(r#""id":"7""#, &format!(r#""id":"{long}""#)), Mode::Binary);
        assert_eq!(*properties.message_id(), None);
        assert_eq!(header(&properties, "cloudEvents_id"), Some(long));
    }
}
