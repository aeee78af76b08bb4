//! What was pushed, read into events: the encoder of a sink's pipeline.
//!
//! A body is copied into the parcel once, and everything else is offsets into that copy; only a text with an escape is
//! written a second time, behind it. Whatever comes becomes an event: what cannot be understood says so, and is rejected
//! when its turn comes.

use std::str;

use flowd_codec::event::incoming::{self, Incoming};
use flowd_codec::event::view::{Data, decode_base64};
use flowd_codec::event::{batch, marker};
use flowd_codec::json;
use flowd_engine::parcel::Parcel;
use flowd_engine::record::Span;
use memchr::memchr;

use crate::encode::BodyEncoder;
use crate::envelope;
use crate::event::{Content, Order, SinkEvent};

/// What the types of our change events begin with.
const CHANGE: &str = "flowd.change.";
/// Names longer than this fit into no store's record.
const NAME_SIZE_MAX: usize = 255;
/// Epochs and numbers are below; counting never gets there.
const NUMBER_MAX: u64 = 1 << 62;

/// The encoder of a lane.
pub fn encoder<R>() -> BodyEncoder<R, SinkEvent> {
    BodyEncoder::new(read)
}

/// Appends what a body holds.
pub fn read(body: &[u8], parcel: &mut Parcel<SinkEvent>) {
    let start = parcel.buffer.len();
    parcel.buffer.extend_from_slice(body);
    let mut text = Texts { body, start, escaped: Vec::new() };
    match incoming::read(body) {
        Ok(event) if event.event_type == batch::EVENT_TYPE => match event.data {
            Data::Json(data) => {
                for member in batch::members(data) {
                    parcel.events.push(one(member, incoming::read(member), &mut text));
                }
            }
            Data::Absent | Data::Base64(_) => {}
        },
        event => parcel.events.push(one(body, event, &mut text)),
    }
    // A batch without members holds nothing that could be lost, but is none of ours.
    if parcel.events.last().is_none_or(|last| (last.json.start as usize) < start) {
        let mut event = one(body, incoming::read(body), &mut text);
        event.content = Content::Bad { reason: "a batch event without members".to_owned() };
        parcel.events.push(event);
    }
    parcel.buffer.extend_from_slice(&text.escaped);
}

/// Makes offsets of texts.
struct Texts<'a> {
    body: &'a [u8],
    /// Where the body begins in the parcel.
    start: usize,
    /// What is written behind it.
    escaped: Vec<u8>,
}

impl Texts<'_> {
    /// A piece of the body itself.
    fn piece(&self, piece: &[u8]) -> Span {
        let offset = piece.as_ptr().addr() - self.body.as_ptr().addr();
        debug_assert!(offset + piece.len() <= self.body.len(), "a piece of the body");
        span(self.start + offset, piece.len())
    }

    fn add(&mut self, text: &[u8]) -> Span {
        let at = self.start + self.body.len() + self.escaped.len();
        self.escaped.extend_from_slice(text);
        span(at, text.len())
    }

    /// A text that was borrowed from the body, or unescaped from it.
    fn text(&mut self, text: &str) -> Span {
        if self.body.as_ptr_range().contains(&text.as_ptr()) {
            self.piece(text.as_bytes())
        } else {
            self.add(text.as_bytes())
        }
    }

    /// The text of a JSON string whose inside this is; `None` where it is too long for a name, or no text.
    fn name(&mut self, inside: &[u8]) -> Option<Span> {
        if memchr(b'\\', inside).is_none() {
            let is_name = inside.len() <= NAME_SIZE_MAX && str::from_utf8(inside).is_ok();
            return is_name.then(|| self.piece(inside));
        }
        let text: String = serde_json::from_slice(&[b"\"", inside, b"\""].concat()).ok()?;
        (text.len() <= NAME_SIZE_MAX).then(|| self.add(text.as_bytes()))
    }
}

/// Parcels are far smaller than 4 GiB: a frame is bounded, and a parcel is full at 256 KiB.
fn span(start: usize, size: usize) -> Span {
    let offset = |at: usize| u32::try_from(at).expect("a parcel is smaller than 4 GiB");
    Span { start: offset(start), end: offset(start + size) }
}

/// One event of the body.
fn one(
    json: &[u8],
    event: Result<Incoming<'_>, flowd_codec::event::view::EventError>,
    texts: &mut Texts<'_>,
) -> SinkEvent {
    let whole = texts.piece(json);
    let nothing = Span { start: whole.start, end: whole.start };
    let bad = |reason: String| SinkEvent {
        json: whole,
        id: nothing,
        source: nothing,
        topic: nothing,
        order: Order::None,
        is_applied: false,
        content: Content::Bad { reason },
    };
    let event = match event {
        Ok(event) => event,
        Err(error) => return bad(format!("it is no CloudEvent: {error}")),
    };
    let topic = event.topic.as_deref().unwrap_or("");
    let mut read = SinkEvent {
        json: whole,
        id: texts.text(&event.id),
        source: texts.text(&event.source),
        topic: texts.text(topic),
        order: Order::None,
        is_applied: event.applied,
        content: Content::Marker,
    };
    if !is_name(&event.source) || !is_name(topic) {
        let reason =
            format!("source or subject have more than {NAME_SIZE_MAX} bytes, or the character U+0000");
        return SinkEvent { content: Content::Bad { reason }, ..read };
    }
    match order(&event, texts) {
        Some(order) => read.order = order,
        None => {
            let reason =
                "its extensions say where it stands, but in numbers that are out of range".to_owned();
            return SinkEvent { content: Content::Bad { reason }, ..read };
        }
    }
    read.content = content(&event, texts).unwrap_or_else(|reason| Content::Bad { reason });
    read
}

/// Where the event stands; `None` for what nobody can have counted.
fn order(event: &Incoming<'_>, texts: &mut Texts<'_>) -> Option<Order> {
    let is_sane = |number: u64| (1..NUMBER_MAX).contains(&number);
    Some(match &event.order {
        incoming::Order::None => Order::None,
        incoming::Order::Counted { epoch, lane, sequence } => {
            (is_sane(*epoch) && is_sane(*sequence)).then_some(())?;
            Order::Counted { epoch: *epoch, lane: *lane, sequence: *sequence }
        }
        incoming::Order::Row { snapshot, chunk, number, size, lane, after } => {
            let is_sane = is_sane(after.0) && after.1 < NUMBER_MAX && is_name(snapshot);
            is_sane.then_some(())?;
            let snapshot = texts.text(snapshot);
            Order::Row { snapshot, chunk: *chunk, number: *number, size: *size, lane: *lane, after: *after }
        }
    })
}

/// Whether every store can keep it in its record: as a text, and within its bound.
fn is_name(text: &str) -> bool {
    text.len() <= NAME_SIZE_MAX && !text.contains('\0')
}

fn content(event: &Incoming<'_>, texts: &mut Texts<'_>) -> Result<Content, String> {
    if event.event_type == marker::EVENT_TYPE {
        return Ok(Content::Marker);
    }
    let is_change = event.event_type.starts_with(CHANGE);
    let data = match &event.data {
        Data::Json(data) => data.as_bytes(),
        // Some writers put JSON into base64.
        Data::Base64(data) if !is_change => {
            let decoded = decode_base64(data).map_err(|error| error.to_string())?;
            if json::checked(&decoded).is_err() || json::members(&decoded).is_none() {
                return Err("its data is no JSON object".to_owned());
            }
            return Ok(Content::Plain { data: texts.add(&decoded) });
        }
        Data::Absent | Data::Base64(_) => return Err("it has no data in JSON".to_owned()),
    };
    if !is_change {
        return match json::members(data).is_some() {
            true => Ok(Content::Plain { data: texts.piece(data) }),
            false => Err("its data is no JSON object".to_owned()),
        };
    }
    let envelope = envelope::read(data).map_err(|reason| format!("it is no change event: {reason}"))?;
    let mut name = |inside| texts.name(inside).ok_or_else(|| "it names no database or table".to_owned());
    let (db, table) = (name(envelope.db)?, name(envelope.table)?);
    let image = |image: Option<&[u8]>| image.map(|image| texts.piece(image));
    Ok(Content::Change {
        op: envelope.op,
        db,
        table,
        before: image(envelope.before),
        after: image(envelope.after),
    })
}

/// The text at a span, which the reader took from a text.
pub(crate) fn text_of(span: Span, buffer: &[u8]) -> &str {
    str::from_utf8(span.of(buffer)).expect("a span of a text")
}

#[cfg(test)]
mod tests;
