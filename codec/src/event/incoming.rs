//! An event as a sink reads it: who and what it is, where it stands in its lane, and its data untouched.
//!
//! Events that flowd wrote, and those that came back from a server, are read in one pass over their attributes; anything
//! else by [`decode_event`]. Invariant: both ways tell the same of the same text, and take and refuse the same
//! texts.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use super::members::{Members, Met};
use super::stamp::{EPOCH_WIDTH, NUMBER_WIDTH};
use super::view::{Data, EventError, EventView, ExtensionValue, decode_event, is_attribute_name};
use crate::{json, time};

/// An event, borrowed from its JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming<'a> {
    /// `id`
    pub id: Cow<'a, str>,
    /// `source`
    pub source: Cow<'a, str>,
    /// `type`
    pub event_type: Cow<'a, str>,
    /// `subject`, EventMesh's topic.
    pub topic: Option<Cow<'a, str>>,
    /// `time`, RFC 3339.
    pub time: Option<Cow<'a, str>>,
    /// `partitionkey`
    pub partition_key: Option<PartitionKey<'a>>,
    /// Where it stands among the events of its lane.
    pub order: Order<'a>,
    /// Whether its source waits until it is applied.
    pub applied: bool,
    /// `data` or `data_base64`.
    pub data: Data<'a>,
}

/// Where an event stands among those of its source, topic and lane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Order<'a> {
    /// It says nothing, or nothing whole.
    #[default]
    None,
    /// It is one of the events that are counted.
    Counted {
        /// When counting began.
        epoch: u64,
        /// Its lane.
        lane: u16,
        /// Its number there, from 1.
        sequence: u64,
    },
    /// It is a row of a snapshot.
    Row {
        /// The snapshot.
        snapshot: Cow<'a, str>,
        /// The chunk of it.
        chunk: Chunk,
        /// Which of the chunk's rows, from 0.
        number: u32,
        /// How many the chunk has.
        size: u32,
        /// Its lane.
        lane: u16,
        /// Epoch and number of the lane's counted event that it comes after; number 0 is before the first.
        after: (u64, u64),
    },
}

/// A chunk of a snapshot. A later run of the source has a greater `run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chunk {
    /// When the process that read it began, µs since 1970.
    pub run: u64,
    /// Which of that process's chunks.
    pub number: u64,
}

/// As on the wire.
impl fmt::Display for Chunk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:0width$}-{}", self.run, self.number, width = EPOCH_WIDTH)
    }
}

/// The text of `partitionkey`; for an event of ours the row's key as JSON.
#[derive(Debug, Clone)]
pub struct PartitionKey<'a>(KeyText<'a>);

#[derive(Debug, Clone)]
enum KeyText<'a> {
    /// The inside of a JSON string, with simple escapes.
    Escaped(&'a str),
    Plain(Cow<'a, str>),
}

impl<'a> PartitionKey<'a> {
    /// The text. Memory is asked for only where it holds an escape, which a key in JSON always does.
    pub fn text(&self) -> Cow<'a, str> {
        match &self.0 {
            KeyText::Plain(text) => text.clone(),
            KeyText::Escaped(inside) => {
                json::unquote(inside.as_bytes()).expect("escapes were checked when it was read")
            }
        }
    }
}

impl PartialEq for PartitionKey<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

/// Reads one event.
///
/// # Errors
/// See [`EventError`].
pub fn read(json: &[u8]) -> Result<Incoming<'_>, EventError> {
    match read_plain(json) {
        Some(event) => Ok(event),
        None => decode_event(json).map(Incoming::from),
    }
}

impl<'a> From<EventView<'a>> for Incoming<'a> {
    fn from(view: EventView<'a>) -> Self {
        let mut extensions = Extensions::default();
        let mut partition_key = None;
        for (name, value) in view.extensions {
            let ExtensionValue::String(value) = value else { continue };
            if name == "partitionkey" {
                partition_key = Some(PartitionKey(KeyText::Plain(value)));
            } else if let Some(slot) = extensions.slot(&name) {
                *slot = Some(value);
            }
        }
        Self {
            id: view.id,
            source: view.source,
            event_type: view.event_type,
            topic: view.subject,
            time: view.time,
            partition_key,
            applied: extensions.is_applied(),
            order: extensions.into_order(),
            data: view.data,
        }
    }
}

/// The extensions that say where an event stands.
#[derive(Default)]
struct Extensions<'a> {
    epoch: Option<Cow<'a, str>>,
    lane: Option<Cow<'a, str>>,
    sequence: Option<Cow<'a, str>>,
    snapshot: Option<Cow<'a, str>>,
    chunk: Option<Cow<'a, str>>,
    number: Option<Cow<'a, str>>,
    chunk_size: Option<Cow<'a, str>>,
    after: Option<Cow<'a, str>>,
    delivery: Option<Cow<'a, str>>,
}

impl<'a> Extensions<'a> {
    fn slot(&mut self, name: &str) -> Option<&mut Option<Cow<'a, str>>> {
        Some(match name {
            "epoch" => &mut self.epoch,
            "lane" => &mut self.lane,
            "sequence" => &mut self.sequence,
            "snapshot" => &mut self.snapshot,
            "chunk" => &mut self.chunk,
            "number" => &mut self.number,
            "chunksize" => &mut self.chunk_size,
            "after" => &mut self.after,
            "delivery" => &mut self.delivery,
            _ => return None,
        })
    }

    fn is_applied(&self) -> bool {
        self.delivery.as_deref() == Some("applied")
    }

    fn into_order(self) -> Order<'a> {
        self.counted().or_else(|| self.row()).unwrap_or_default()
    }

    fn counted(&self) -> Option<Order<'a>> {
        let epoch = fixed(self.epoch.as_deref()?, EPOCH_WIDTH)?;
        let sequence = fixed(self.sequence.as_deref()?, NUMBER_WIDTH).filter(|sequence| *sequence > 0)?;
        Some(Order::Counted { epoch, lane: self.lane()?, sequence })
    }

    fn row(self) -> Option<Order<'a>> {
        let lane = self.lane()?;
        let (run, chunk) = self.chunk.as_deref()?.split_once('-')?;
        let (epoch, sequence) = self.after.as_deref()?.split_once('-')?;
        let size = u32::try_from(digits(self.chunk_size.as_deref()?)?).ok()?;
        let number = u32::try_from(digits(self.number.as_deref()?)?).ok().filter(|number| *number < size)?;
        Some(Order::Row {
            chunk: Chunk { run: fixed(run, EPOCH_WIDTH)?, number: digits(chunk)? },
            number,
            size,
            lane,
            after: (fixed(epoch, EPOCH_WIDTH)?, fixed(sequence, NUMBER_WIDTH)?),
            snapshot: self.snapshot?,
        })
    }

    fn lane(&self) -> Option<u16> {
        fixed(self.lane.as_deref()?, 2).and_then(|lane| u16::try_from(lane).ok())
    }
}

/// A number of exactly this many digits.
fn fixed(text: &str, width: usize) -> Option<u64> {
    (text.len() == width).then(|| digits(text)).flatten()
}

/// A number of digits alone. (`parse` would take a sign.)
fn digits(text: &str) -> Option<u64> {
    let mut number = 0_u64;
    for byte in text.bytes() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(digit.into())?;
    }
    (!text.is_empty()).then_some(number)
}

/// The attributes of an event in the plain form, as they are found.
#[derive(Default)]
struct Plain<'a> {
    spec_version: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    event_type: Option<Cow<'a, str>>,
    content_type: Option<Cow<'a, str>>,
    schema: Option<Cow<'a, str>>,
    topic: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
    partition_key: Option<&'a str>,
    extensions: Extensions<'a>,
    others: Others<'a>,
}

/// Reads an event of version 1.0 whose `data` is JSON and whose other attributes are all texts without escapes but the
/// partition key; see [`Members`]. `None` where it is anything else.
fn read_plain(json: &[u8]) -> Option<Incoming<'_>> {
    let mut members = Members::of(json)?;
    let (mut plain, mut data) = (Plain::default(), None);
    while let Some(name) = members.name()? {
        match name {
            "data" => set(&mut data, members.value()?)?,
            "partitionkey" => set(&mut plain.partition_key, members.escaped_text()?)?,
            _ => plain.add(name, members.text()?)?,
        }
    }
    plain.into_event(data?)
}

impl<'a> Plain<'a> {
    fn add(&mut self, name: &'a str, text: &'a str) -> Option<()> {
        let slot = match name {
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.event_type,
            "datacontenttype" => &mut self.content_type,
            "dataschema" => &mut self.schema,
            "subject" => &mut self.topic,
            "time" => &mut self.time,
            "specversion" => &mut self.spec_version,
            _ => match self.extensions.slot(name) {
                Some(slot) => slot,
                None => return self.others.add(name),
            },
        };
        set(slot, Cow::Borrowed(text))
    }

    fn into_event(self, data: &'a RawValue) -> Option<Incoming<'a>> {
        let required = |text: Option<Cow<'a, str>>| text.filter(|text| !text.is_empty());
        (self.spec_version? == "1.0").then_some(())?;
        if let Some(time) = &self.time {
            time::parse_rfc3339_us(time)?;
        }
        Some(Incoming {
            id: required(self.id)?,
            source: required(self.source)?,
            event_type: required(self.event_type)?,
            topic: self.topic,
            time: self.time,
            partition_key: self.partition_key.map(|inside| PartitionKey(KeyText::Escaped(inside))),
            applied: self.extensions.is_applied(),
            order: self.extensions.into_order(),
            data: Data::Json(data),
        })
    }
}

fn set<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.is_none().then(|| *slot = Some(value))
}

/// The names of extensions that nobody asks for, since none may come twice. A Java server adds eleven.
#[derive(Default)]
struct Others<'a> {
    names: [&'a str; 24],
    count: usize,
    met: Met,
}

impl<'a> Others<'a> {
    fn add(&mut self, name: &'a str) -> Option<()> {
        let is_twice = self.met.may_have(name) && self.names[..self.count].contains(&name);
        if is_twice || !is_attribute_name(name) {
            return None;
        }
        *self.names.get_mut(self.count)? = name;
        self.count += 1;
        Some(())
    }
}

/// That both ways of reading say the same, for fuzzing and tests.
#[doc(hidden)]
pub fn check_ways_agree(json: &[u8]) {
    if let Some(plain) = read_plain(json) {
        let view = decode_event(json).expect("what one way takes the other takes");
        assert_eq!(plain, Incoming::from(view));
    }
    super::view::check_ways_agree(json);
}

#[cfg(test)]
mod tests;
