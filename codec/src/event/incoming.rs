//! An event as a sink reads it: who and what it is, where it stands in its lane, and its data untouched.
//!
//! Events that flowd wrote, and those that came back from a server, are read in one pass over their attributes; anything
//! else by [`decode_event`]. Invariant: both ways tell the same of the same text, and take and refuse the same
//! texts.

use std::borrow::Cow;
use std::fmt;

use super::members::Members;
use super::name::{Name, Texts};
use super::stamp::{EPOCH_WIDTH, NUMBER_WIDTH};
use super::view::{Data, EventError, EventView, ExtensionValue, decode_event};
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
        let mut texts = Texts::default();
        for (name, value) in view.extensions {
            if let (Some(name), ExtensionValue::String(value)) = (Name::of(&name), value) {
                texts.put(name, value);
            }
        }
        Self {
            id: view.id,
            source: view.source,
            event_type: view.event_type,
            topic: view.subject,
            time: view.time,
            partition_key: texts.take(Name::PartitionKey).map(|key| PartitionKey(KeyText::Plain(key))),
            applied: is_applied(&texts),
            order: Order::of(&mut texts),
            data: view.data,
        }
    }
}

fn is_applied(texts: &Texts<'_>) -> bool {
    texts.get(Name::Delivery) == Some("applied")
}

impl<'a> Order<'a> {
    fn of(texts: &mut Texts<'a>) -> Self {
        Self::counted(texts).or_else(|| Self::row(texts)).unwrap_or_default()
    }

    fn counted(texts: &Texts<'_>) -> Option<Self> {
        let epoch = fixed(texts.get(Name::Epoch)?, EPOCH_WIDTH)?;
        let sequence = fixed(texts.get(Name::Sequence)?, NUMBER_WIDTH).filter(|sequence| *sequence > 0)?;
        Some(Self::Counted { epoch, lane: lane(texts)?, sequence })
    }

    fn row(texts: &mut Texts<'a>) -> Option<Self> {
        let lane = lane(texts)?;
        let (run, chunk) = texts.get(Name::Chunk)?.split_once('-')?;
        let (epoch, sequence) = texts.get(Name::After)?.split_once('-')?;
        let size = u32::try_from(digits(texts.get(Name::ChunkSize)?)?).ok()?;
        let number = u32::try_from(digits(texts.get(Name::Number)?)?).ok().filter(|number| *number < size)?;
        Some(Self::Row {
            chunk: Chunk { run: fixed(run, EPOCH_WIDTH)?, number: digits(chunk)? },
            number,
            size,
            lane,
            after: (fixed(epoch, EPOCH_WIDTH)?, fixed(sequence, NUMBER_WIDTH)?),
            snapshot: texts.take(Name::Snapshot)?,
        })
    }
}

fn lane(texts: &Texts<'_>) -> Option<u16> {
    fixed(texts.get(Name::Lane)?, 2).and_then(|lane| u16::try_from(lane).ok())
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

/// Reads an event of version 1.0 whose `data` is JSON and whose other attributes are all texts without escapes but the
/// partition key; see [`Members`]. `None` where it is anything else.
fn read_plain(json: &[u8]) -> Option<Incoming<'_>> {
    let mut members = Members::original(json)?;
    let (mut texts, mut data, mut key) = (Texts::default(), None, None);
    while let Some((name, _)) = members.next()? {
        match name {
            Name::Data => data = Some(members.value()?),
            Name::DataBase64 => return None,
            Name::PartitionKey => key = Some(members.escaped_text()?),
            _ => texts.put(name, Cow::Borrowed(members.text()?)),
        }
    }
    (texts.get(Name::SpecVersion)? == "1.0").then_some(())?;
    let time = texts.take(Name::Time);
    time.as_deref().is_none_or(time::is_rfc3339).then_some(())?;
    let mut required = |name| texts.take(name).filter(|text| !text.is_empty());
    Some(Incoming {
        id: required(Name::Id)?,
        source: required(Name::Source)?,
        event_type: required(Name::Type)?,
        topic: texts.take(Name::Subject),
        time,
        partition_key: key.map(|inside| PartitionKey(KeyText::Escaped(inside))),
        applied: is_applied(&texts),
        order: Order::of(&mut texts),
        data: Data::Json(data?),
    })
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
