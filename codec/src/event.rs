//! CloudEvents 1.0 in structured JSON: written in one pass here, read with borrowed fields in [`view`], and as a sink
//! reads them in [`incoming`].
//!
//! The writer joins two prepared pieces of text (a [`Template`]: what comes before the `id` and what comes after it)
//! with the few values that differ from event to event. It keeps no tree, no map and no buffer of its own.
//!
//! Invariant: whatever the order of growth of the output buffer, a finished event is one valid JSON object whose
//! attributes stand in the order specversion, id, source, type, datacontenttype, subject, time, partitionkey,
//! extensions, data.

use std::borrow::Cow;

use crate::frame::{FRAME_HEAD_SIZE, FRAME_OVERHEAD, put_lengths};
use crate::{json, time};

pub mod added;
pub mod batch;
pub mod carried;
pub mod content;
pub mod incoming;
pub mod marker;
mod members;
mod name;
mod rows;
pub mod shape;
mod stamp;
pub mod view;

pub use rows::ChunkText;
pub use stamp::{EPOCH_WIDTH, NUMBER_WIDTH, chunk, stamp};

/// The only content type that the Java EventMesh can push to a subscriber (protocol manual, section 4.4).
pub const DATA_CONTENT_TYPE: &str = "application/cloudevents+json";

/// What stands around the JSON of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// An EventMesh TCP frame `ASYNC_MESSAGE_TO_SERVER` whose `seq` is a placeholder of zeros of
    /// [`SEQ_WIDTH`](crate::frame::SEQ_WIDTH) digits, to be set by [`set_publish_seq`](crate::frame::set_publish_seq).
    EventMesh,
    /// A newline after it.
    Line,
    /// Nothing.
    Bare,
}

/// What every event of ours begins with.
const BEGIN: &[u8] = br#"{"specversion":"1.0","id":""#;

/// What stands before the time of an event that has one.
const TIME: &[u8] = br#","time":""#;

/// The attributes that do not change, prepared once for each source, type and subject.
#[derive(Debug, Clone)]
pub struct Template {
    framing: Framing,
    /// Size of the frame's head in `before`, 0 without one.
    head_size: usize,
    /// The frame's head, if any, and the event up to the id's opening quote.
    before: Vec<u8>,
    /// From the id's closing quote to the time's opening quote.
    after: Vec<u8>,
}

impl Template {
    /// Prepares the fixed text. `source` (a URI reference) and `event_type` must not be empty, or the events are no
    /// CloudEvents; `subject` is the topic for EventMesh.
    pub fn new(framing: Framing, source: &str, event_type: &str, subject: &str) -> Self {
        debug_assert!(!source.is_empty(), "a CloudEvent's source is not empty");
        debug_assert!(!event_type.is_empty(), "a CloudEvent's type is not empty");
        let mut before = Vec::new();
        if framing == Framing::EventMesh {
            crate::frame::write_publish_head(&mut before);
        }
        let head_size = before.len();
        before.extend_from_slice(BEGIN);

        let mut after = br#"","source":"#.to_vec();
        json::write_string(&mut after, source);
        after.extend_from_slice(br#","type":"#);
        json::write_string(&mut after, event_type);
        after.extend_from_slice(br#","datacontenttype":"#);
        json::write_string(&mut after, DATA_CONTENT_TYPE);
        after.extend_from_slice(br#","subject":"#);
        json::write_string(&mut after, subject);
        after.extend_from_slice(TIME);
        Self { framing, head_size, before, after }
    }

    /// What stands around the events made from this template.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Bytes of an event's JSON besides its id and what comes from its time on.
    pub fn fixed_size(&self) -> usize {
        self.before.len() - self.head_size + self.after.len()
    }
}

/// A finished event: where its parts lie in the output buffer, from its first byte.
///
/// Offsets are 32-bit because parcels are small. An event that ends beyond 4 GiB has its offsets saturated at
/// `u32::MAX`; its size is then beyond every limit and it must be rejected by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framed {
    /// First byte of the framed event (a frame's head, or the JSON itself where there is no head).
    pub start: u32,
    /// First byte of the JSON.
    pub body: u32,
    /// One past the JSON's last byte.
    pub body_end: u32,
    /// One past the framed event's last byte (a line's newline).
    pub end: u32,
    /// First byte of the id's value …
    pub id: u32,
    /// … and one past its last.
    pub id_end: u32,
    /// First of the digits that [`stamp`] sets; 0 where the event is not counted.
    pub stamp: u32,
}

impl Framed {
    /// The framed event's bytes in the buffer that it was written to.
    pub fn frame<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        &buffer[self.start as usize..self.end as usize]
    }

    /// The event's JSON.
    pub fn json<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        &buffer[self.body as usize..self.body_end as usize]
    }

    /// The event's `id` as it stands in the JSON. Ours never need escaping; somebody else's may hold escapes.
    pub fn id<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        &buffer[self.id as usize..self.id_end as usize]
    }

    /// The event's `id` without escapes.
    pub fn id_text<'a>(&self, buffer: &'a [u8]) -> Cow<'a, str> {
        json::unquote(self.id(buffer)).expect("an id is the inside of a JSON string")
    }

    /// The same event where its buffer has been copied to another place, `from` there being where it began.
    #[must_use]
    pub fn moved(&self, from: u32, to: u32) -> Self {
        let moved = |at: u32| at - from + to;
        Self {
            start: moved(self.start),
            body: moved(self.body),
            body_end: moved(self.body_end),
            end: moved(self.end),
            id: moved(self.id),
            id_end: moved(self.id_end),
            stamp: if self.stamp == 0 { 0 } else { moved(self.stamp) },
        }
    }
}

/// The part that the writer expects next; only checked in debug builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Id,
    Time,
    Attributes,
    Data,
}

/// Writes one event: [`begin`](Self::begin), [`id`](Self::id), [`time_us`](Self::time_us) or
/// [`time_written`](Self::time_written),
/// [`partition_key`](Self::partition_key), [`sequence`](Self::sequence) or [`snapshot_row`](Self::snapshot_row),
/// [`applied`](Self::applied) and [`extension`](Self::extension) where wanted, [`data`](Self::data), [`finish`](Self::finish). Another order is a mistake of the caller: a debug assertion fails, and a release build
/// writes a broken event.
#[derive(Debug)]
pub struct EventWriter<'a> {
    out: &'a mut Vec<u8>,
    template: &'a Template,
    start: usize,
    id: usize,
    id_end: usize,
    stamp: usize,
    data: usize,
    next: Part,
}

impl<'a> EventWriter<'a> {
    /// Starts an event at the end of `out`. Dropping the writer leaves a torn event behind: truncate `out` to the
    /// length it had.
    #[inline]
    pub fn begin(out: &'a mut Vec<u8>, template: &'a Template) -> Self {
        let start = out.len();
        out.extend_from_slice(&template.before);
        let id = out.len();
        Self { out, template, start, id, id_end: id, stamp: 0, data: 0, next: Part::Id }
    }

    /// Lets `write` append the id: not empty, and ASCII that needs no escaping in JSON.
    #[inline]
    pub fn id(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(self.out);
        debug_assert!(
            self.out[self.id..]
                .iter()
                .all(|byte| matches!(byte, 0x20..0x7f) && !matches!(byte, b'"' | b'\\')),
            "an id is ASCII that needs no escaping"
        );
        self.end_id();
    }

    /// Writes somebody else's id, which is not empty.
    #[inline]
    fn foreign_id(&mut self, id: &str) {
        json::write_escaped(self.out, id.as_bytes());
        self.end_id();
    }

    #[inline]
    fn end_id(&mut self) {
        debug_assert_eq!(self.next, Part::Id);
        self.id_end = self.out.len();
        debug_assert!(self.id_end > self.id, "an id is not empty");
        self.out.extend_from_slice(&self.template.after);
        self.next = Part::Time;
    }

    /// Writes `time`, in microseconds since 1970-01-01T00:00:00Z.
    #[inline]
    pub fn time_us(&mut self, time_us: i64) {
        debug_assert_eq!(self.next, Part::Time);
        time::write_rfc3339_us(self.out, time_us);
        self.out.push(b'"');
        self.next = Part::Attributes;
    }

    /// The same with a text of [`time::TimeText`].
    #[inline]
    pub fn time_written(&mut self, text: &[u8]) {
        debug_assert_eq!(self.next, Part::Time);
        debug_assert_eq!(text.len(), time::RFC3339_SIZE);
        self.out.extend_from_slice(text);
        self.out.push(b'"');
        self.next = Part::Attributes;
    }

    /// Writes `time` as it is, RFC 3339.
    #[inline]
    fn time_text(&mut self, time: &str) {
        debug_assert_eq!(self.next, Part::Time);
        json::write_escaped(self.out, time.as_bytes());
        self.out.push(b'"');
        self.next = Part::Attributes;
    }

    /// The event has no time: takes back what the template has before it.
    #[inline]
    fn no_time(&mut self) {
        debug_assert_eq!(self.next, Part::Time);
        self.out.truncate(self.out.len() - TIME.len());
        self.next = Part::Attributes;
    }

    /// Appends further attributes that are written already.
    #[inline]
    fn written(&mut self, attributes: &[u8]) {
        debug_assert_eq!(self.next, Part::Attributes);
        self.out.extend_from_slice(attributes);
    }

    /// Writes `partitionkey`: the text `key_json`, itself JSON, as a JSON string.
    #[inline]
    pub fn partition_key(&mut self, key_json: &[u8]) {
        debug_assert_eq!(self.next, Part::Attributes);
        self.out.extend_from_slice(br#","partitionkey":""#);
        json::write_escaped(self.out, key_json);
        self.out.push(b'"');
    }

    /// Writes an extension with a text value. `name` is made of `a-z` and `0-9`, and is not used twice.
    #[inline]
    pub fn extension(&mut self, name: &str, value: &str) {
        debug_assert_eq!(self.next, Part::Attributes);
        debug_assert!(view::is_attribute_name(name), "{name:?} is no name for an extension");
        self.out.extend_from_slice(br#",""#);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(br#"":"#);
        json::write_string(self.out, value);
    }

    /// Says that the source waits until the event is applied.
    #[inline]
    pub fn applied(&mut self) {
        self.extension("delivery", "applied");
    }

    /// Begins `data`: the caller appends exactly one JSON value to the buffer that it gets.
    #[inline]
    pub fn data(&mut self) -> &mut Vec<u8> {
        debug_assert_eq!(self.next, Part::Attributes);
        self.out.extend_from_slice(br#","data":"#);
        self.data = self.out.len();
        self.next = Part::Data;
        self.out
    }

    /// Closes the event and sets the frame's length.
    #[inline]
    pub fn finish(self) -> Framed {
        debug_assert_eq!(self.next, Part::Data);
        debug_assert!(self.out.len() > self.data, "data is one JSON value");
        self.out.push(b'}');
        let body = self.start + self.template.head_size;
        let body_end = self.out.len();
        match self.template.framing {
            Framing::EventMesh => {
                let header_size = self.template.head_size - FRAME_HEAD_SIZE;
                let length = FRAME_OVERHEAD + header_size + (body_end - body);
                put_lengths(&mut self.out[self.start..], length, header_size);
            }
            Framing::Line => self.out.push(b'\n'),
            Framing::Bare => {}
        }
        Framed {
            start: offset(self.start),
            body: offset(body),
            body_end: offset(body_end),
            end: offset(self.out.len()),
            id: offset(self.id),
            id_end: offset(self.id_end),
            stamp: offset(self.stamp),
        }
    }
}

/// Appends an event that [`EventWriter`] or [`carried`] wrote, given as its JSON, in another framing or by itself: a member
/// of a batch. `None` where it is no event of ours, and nothing is appended then.
pub fn frame_again(out: &mut Vec<u8>, framing: Framing, json: &[u8]) -> Option<Framed> {
    let after_begin = json.strip_prefix(BEGIN)?;
    let id_size = json::string_end(after_begin)?;
    let template = Template { framing, head_size: 0, before: Vec::new(), after: Vec::new() };
    let start = out.len();
    if framing == Framing::EventMesh {
        crate::frame::write_publish_head(out);
    }
    let head_size = out.len() - start;
    out.extend_from_slice(&json[..json.len() - 1]);
    let id = start + head_size + BEGIN.len();
    let writer = EventWriter {
        template: &Template { head_size, ..template },
        start,
        id,
        id_end: id + id_size,
        stamp: 0,
        data: 0,
        next: Part::Data,
        out,
    };
    Some(writer.finish())
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(framing: Framing, before: &[u8]) -> (Vec<u8>, Framed) {
        let template = Template::new(framing, "/flowd/mysql/orders", "flowd.change.c", "shop.orders");
        let mut out = before.to_vec();
        let mut writer = EventWriter::begin(&mut out, &template);
        writer.id(|out| out.extend_from_slice(b"g:1-2-3:shop.orders:0"));
        writer.time_us(1_764_028_800_000_001);
        writer.partition_key(br#"{"id":"a\"b"}"#);
        writer.extension("sequence", "00\"1");
        writer.data().extend_from_slice(br#"{"op":"c"}"#);
        let written = writer.finish();
        (out, written)
    }

    const JSON: &str = concat!(
        r#"{"specversion":"1.0","id":"g:1-2-3:shop.orders:0","source":"/flowd/mysql/orders","type":"flowd.change.c","#,
        r#""datacontenttype":"application/cloudevents+json","subject":"shop.orders","#,
        r#""time":"2025-11-25T00:00:00.000001Z","partitionkey":"{\"id\":\"a\\\"b\"}","sequence":"00\"1","#,
        r#""data":{"op":"c"}}"#
    );

    fn slice(out: &[u8], from: u32, to: u32) -> &str {
        std::str::from_utf8(&out[from as usize..to as usize]).expect("UTF-8")
    }

    #[test]
    fn the_json_is_the_same_in_every_framing_and_the_offsets_name_its_parts() {
        for framing in [Framing::EventMesh, Framing::Line, Framing::Bare] {
            let (out, at) = written(framing, b"earlier");
            assert_eq!(slice(&out, 0, at.start), "earlier");
            assert_eq!(slice(&out, at.body, at.body_end), JSON);
            assert_eq!(slice(&out, at.id, at.id_end), "g:1-2-3:shop.orders:0");
            assert_eq!(at.end as usize, out.len());
            let around = (at.body - at.start, slice(&out, at.body_end, at.end));
            match framing {
                Framing::EventMesh => assert_eq!((around.0 > 21, around.1), (true, "")),
                Framing::Line => assert_eq!(around, (0, "\n")),
                Framing::Bare => assert_eq!(around, (0, "")),
            }
        }
    }

    #[test]
    fn an_event_is_framed_again_from_its_json() {
        let (out, at) = written(Framing::EventMesh, b"");
        let (mut again, mut before) = (b"earlier".to_vec(), out.clone());
        let framed = frame_again(&mut again, Framing::EventMesh, at.json(&out)).expect("an event of ours");
        assert_eq!(framed.frame(&again), at.frame(&out));
        assert_eq!(at.moved(at.start, framed.start), framed);
        assert_eq!((framed.id(&again), framed.json(&again)), (at.id(&out), at.json(&out)));
        for foreign in [&b"{}"[..], b"", br#"{"id":"1","specversion":"1.0"}"#] {
            assert_eq!(frame_again(&mut before, Framing::EventMesh, foreign), None);
        }
        assert_eq!(before, out);
    }

    #[test]
    fn a_written_frame_decodes_to_a_publish_with_its_seq_and_three_properties() {
        let (mut out, at) = written(Framing::EventMesh, b"");
        crate::frame::set_publish_seq(&mut out, 18_446_744_073_709_551_615);
        let mut decoder = crate::frame::Decoder::new();
        decoder.feed(&out);
        let frame = decoder.next_frame().expect("valid").expect("whole");
        assert_eq!(frame.header.command, crate::frame::Command::AsyncMessageToServer);
        assert_eq!(frame.header.seq.as_deref(), Some("18446744073709551615"));
        let properties: Vec<_> = frame.header.properties.iter().collect();
        assert_eq!(
            properties,
            [("protocoltype", "cloudevents"), ("protocolversion", "1.0"), ("protocoldesc", "tcp")]
        );
        assert_eq!(frame.body, JSON.as_bytes());
        assert_eq!(at.end as usize, out.len());
        assert_eq!(decoder.next_frame(), Ok(None));
    }
}
