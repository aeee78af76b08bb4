//! What was pushed, read into events that can be delivered: the encoder of such a sink's pipeline.
//!
//! A body is copied into the parcel once, a batch event as its members; everything else is offsets into that copy. What is
//! no CloudEvent says so and is rejected when its turn comes. The data is not looked at.

use flowd_codec::event::incoming::{self, Incoming};
use flowd_codec::event::view::{Data, EventError};
use flowd_codec::event::{batch, marker};
use flowd_engine::parcel::Parcel;
use flowd_engine::record::Span;

use super::DeliverEvent;
use crate::decode::text_of;
use crate::encode::BodyEncoder;

/// An event of a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// It can be delivered.
    Event {
        /// The whole event.
        json: Span,
        /// `id`
        id: Span,
        /// `source`
        source: Span,
        /// `subject`; empty where there is none.
        topic: Span,
        /// `partitionkey`
        key: Option<Span>,
    },
    /// It stands in the place of an event that was rejected at the source: nobody needs it.
    Marker,
    /// It is no CloudEvent.
    Bad {
        /// What came.
        raw: Span,
        /// Why.
        reason: String,
    },
}

impl Arrived {
    /// The event, if it can be delivered.
    pub(super) fn event<'a>(&self, buffer: &'a [u8]) -> Option<DeliverEvent<'a>> {
        let Self::Event { json, id, source, topic, key } = self else { return None };
        let text = |span: Span| text_of(span, buffer);
        let (id, source, topic, key) = (text(*id), text(*source), text(*topic), key.map(text));
        Some(DeliverEvent { json: json.of(buffer), id, source, topic, key })
    }
}

/// The encoder of a lane.
pub fn encoder<R>() -> BodyEncoder<R, Arrived> {
    BodyEncoder::new(read)
}

/// Appends what a body holds.
pub(super) fn read(body: &[u8], parcel: &mut Parcel<Arrived>) {
    let members: Vec<&[u8]> = match incoming::read(body) {
        Ok(event) if event.event_type == batch::EVENT_TYPE => match event.data {
            Data::Json(data) => batch::members(data).collect(),
            Data::Absent | Data::Base64(_) => Vec::new(),
        },
        event => return one(body, event, parcel),
    };
    if members.is_empty() {
        let raw = add(&mut parcel.buffer, body);
        parcel.events.push(Arrived::Bad { raw, reason: "a batch event without members".to_owned() });
    }
    members.into_iter().for_each(|member| one(member, incoming::read(member), parcel));
}

fn one(json: &[u8], event: Result<Incoming<'_>, EventError>, parcel: &mut Parcel<Arrived>) {
    let buffer = &mut parcel.buffer;
    let arrived = match event {
        Ok(event) if event.event_type == marker::EVENT_TYPE => Arrived::Marker,
        Ok(event) => {
            let whole = add(buffer, json);
            let mut text = |text: &str| match json.as_ptr_range().contains(&text.as_ptr()) {
                true => {
                    let offset = text.as_ptr().addr() - json.as_ptr().addr();
                    span(whole.start as usize + offset, text.len())
                }
                false => add(buffer, text.as_bytes()),
            };
            let (id, source) = (text(&event.id), text(&event.source));
            let topic = text(event.topic.as_deref().unwrap_or_default());
            let key = event.partition_key.as_ref().map(|key| text(&key.text()));
            Arrived::Event { json: whole, id, source, topic, key }
        }
        Err(error) => {
            let raw = add(buffer, json);
            Arrived::Bad { raw, reason: format!("it is no CloudEvent: {error}") }
        }
    };
    parcel.events.push(arrived);
}

fn add(buffer: &mut Vec<u8>, bytes: &[u8]) -> Span {
    let start = buffer.len();
    buffer.extend_from_slice(bytes);
    span(start, bytes.len())
}

fn span(start: usize, size: usize) -> Span {
    let offset = |at| u32::try_from(at).expect("a parcel has fewer than 4 GiB");
    Span { start: offset(start), end: offset(start + size) }
}
