//! Events on their way to a lane: copied once, behind each other into one buffer, with a record of where their parts lie.
//! A type, source, topic or content type that an event has in common with the one before it is not copied again.
//!
//! A batch is at most [`BYTES_FULL`] and one event or block, and no older than [`LINGER`] when the next event comes (or the next
//! few, while they come fast).

use std::time::{Duration, Instant};

use flowd_engine::record::{Batch, ConnectorRecord, Position, Span};

use crate::block::Block;
use crate::event::{Data, Event};

/// A batch of so many bytes is handed on.
pub(crate) const BYTES_FULL: usize = 64 * 1024;
/// So is one that is this old.
pub(crate) const LINGER: Duration = Duration::from_millis(5);
/// Which of many events looks at the clock.
const LOOK_EVERY: usize = 8;
/// What an event holds besides its bytes.
const RECORD_SIZE: usize = size_of::<Message>();

/// One event in a batch, or a block of them.
pub struct Message(pub(crate) Form);

impl ConnectorRecord for Message {}

pub(crate) enum Form {
    Parts(Parts),
    Structured {
        json: Span,
        topic: Span,
    },
    /// It can become no event.
    Rejected {
        reason: Span,
        raw: Span,
    },
    /// It makes its events itself.
    Block(Box<dyn Block>),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) id: Span,
    pub(crate) kind: Span,
    pub(crate) source: Option<Span>,
    pub(crate) topic: Span,
    pub(crate) time_us: Option<i64>,
    pub(crate) key: Option<Span>,
    pub(crate) content_type: Option<Span>,
    /// Names and values, each with its [`length`](length_text) before it.
    pub(crate) extensions: Span,
    pub(crate) form: DataForm,
    pub(crate) data: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataForm {
    None,
    Json,
    Text,
    Binary,
    Any,
}

/// A batch that is being filled.
pub(crate) struct Building {
    buffer: Vec<u8>,
    records: Vec<Message>,
    /// Bytes that its blocks hold.
    in_blocks: usize,
    position: Position,
    /// The position is not handed on yet.
    has_moved: bool,
    /// When its first event came.
    since: Option<Instant>,
    time_us: i64,
}

impl Building {
    /// Nothing yet, behind this position.
    pub(crate) fn new(position: Position) -> Self {
        Self {
            buffer: Vec::new(),
            records: Vec::new(),
            in_blocks: 0,
            position,
            has_moved: false,
            since: None,
            time_us: 0,
        }
    }

    /// Bytes that it holds, and will.
    pub(crate) fn size(&self) -> usize {
        self.buffer.len() + self.in_blocks + self.records.len() * RECORD_SIZE
    }

    /// Whether it is to be handed on before anything else is added. Of many events only some look at the clock, which costs
    /// more than a short event's copy.
    pub(crate) fn is_due(&self) -> bool {
        let count = self.records.len();
        let looks = || count < LOOK_EVERY || count.is_multiple_of(LOOK_EVERY);
        self.size() >= BYTES_FULL || looks() && self.due().is_some_and(|due| due <= Instant::now())
    }

    /// When it has to be handed on.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + LINGER)
    }

    /// Everything so far belongs to this position.
    pub(crate) fn mark(&mut self, position: Position) {
        self.position = position;
        self.has_moved = true;
    }

    pub(crate) fn push(&mut self, event: &Event<'_>) {
        let form = match event {
            Event::Structured { json, topic } => {
                let before = match self.records.last() {
                    Some(Message(Form::Structured { topic, .. })) => Some(*topic),
                    _ => None,
                };
                Form::Structured { topic: self.add_unless(before, topic), json: self.add(json) }
            }
            Event::Parts { .. } => Form::Parts(self.parts(event)),
        };
        self.record(form);
    }

    pub(crate) fn reject(&mut self, reason: &str, raw: &[u8]) {
        let form = Form::Rejected { reason: self.add(reason.as_bytes()), raw: self.add(raw) };
        self.record(form);
    }

    pub(crate) fn block(&mut self, block: Box<dyn Block>) {
        self.in_blocks += block.size();
        self.record(Form::Block(block));
    }

    fn record(&mut self, form: Form) {
        self.since.get_or_insert_with(Instant::now);
        self.records.push(Message(form));
    }

    fn parts(&mut self, event: &Event<'_>) -> Parts {
        let Event::Parts { id, kind, source, topic, time_us, key, content_type, extensions, data } = event
        else {
            unreachable!("asked for parts only")
        };
        self.time_us = self.time_us.max(time_us.unwrap_or(0));
        let form = match data {
            Data::None => DataForm::None,
            Data::Json(_) => DataForm::Json,
            Data::Text(_) => DataForm::Text,
            Data::Binary(_) => DataForm::Binary,
            Data::Any(_) => DataForm::Any,
        };
        let before = match self.records.last() {
            Some(Message(Form::Parts(parts))) => Some(*parts),
            _ => None,
        };
        Parts {
            id: self.add(id.as_bytes()),
            kind: self.add_unless(before.map(|parts| parts.kind), kind),
            source: source.map(|text| self.add_unless(before.and_then(|parts| parts.source), text)),
            topic: self.add_unless(before.map(|parts| parts.topic), topic),
            time_us: *time_us,
            key: key.map(|text| self.add(text.as_bytes())),
            content_type: content_type
                .map(|text| self.add_unless(before.and_then(|parts| parts.content_type), text)),
            extensions: self.extensions(extensions),
            form,
            data: self.add(data.bytes()),
        }
    }

    fn extensions(&mut self, extensions: &[(&str, &str)]) -> Span {
        let start = self.end();
        for text in extensions.iter().flat_map(|(name, value)| [name, value]) {
            self.buffer.extend_from_slice(&length_text(text.len()));
            self.buffer.extend_from_slice(text.as_bytes());
        }
        Span { start, end: self.end() }
    }

    /// A text that the event before has, too, is there already.
    fn add_unless(&mut self, before: Option<Span>, text: &str) -> Span {
        match before {
            Some(span) if span.of(&self.buffer) == text.as_bytes() => span,
            _ => self.add(text.as_bytes()),
        }
    }

    fn add(&mut self, bytes: &[u8]) -> Span {
        let start = self.end();
        self.buffer.extend_from_slice(bytes);
        Span { start, end: self.end() }
    }

    fn end(&self) -> u32 {
        u32::try_from(self.buffer.len()).expect("a batch has fewer than 4 GiB")
    }

    /// What is to be handed on, if anything is.
    pub(crate) fn take(&mut self) -> Option<Batch<Message>> {
        if self.records.is_empty() && !self.has_moved {
            return None;
        }
        self.since = None;
        self.has_moved = false;
        self.in_blocks = 0;
        // The next batch will be about as large.
        let (bytes, records) =
            (Vec::with_capacity(self.buffer.len()), Vec::with_capacity(self.records.len()));
        Some(Batch {
            bytes: std::mem::replace(&mut self.buffer, bytes).into(),
            records: std::mem::replace(&mut self.records, records),
            position: self.position.clone(),
            time_us: std::mem::take(&mut self.time_us),
        })
    }
}

/// The bytes that a block asks for.
pub(crate) fn size_of_block(block: &dyn Block) -> usize {
    RECORD_SIZE + block.size()
}

/// The bytes that an event asks for.
pub(crate) fn size_of_event(event: &Event<'_>) -> usize {
    RECORD_SIZE
        + match event {
            Event::Structured { json, topic } => json.len() + topic.len(),
            Event::Parts { id, kind, source, topic, key, content_type, extensions, data, .. } => {
                let optional = [source, key, content_type].into_iter().flatten().map(|text| text.len());
                let extensions = extensions.iter().map(|(name, value)| name.len() + value.len() + 10);
                let optional = optional.chain(extensions).sum::<usize>();
                id.len() + kind.len() + topic.len() + optional + data.bytes().len()
            }
        }
}

/// A length below 4 GiB in characters of seven bits, so that a batch of texts is a text.
fn length_text(length: usize) -> [u8; 5] {
    [0, 7, 14, 21, 28].map(|bits| (length >> bits) as u8 & 0x7f)
}

/// Where the texts lie that [`Building::push`] wrote for extensions: names, each with its value behind it.
pub(crate) fn extensions(buffer: &[u8], written: Span) -> impl Iterator<Item = (Span, Span)> {
    let mut at = written.start;
    std::iter::from_fn(move || {
        let is_more = at < written.end;
        let mut text = || {
            let length = Span { start: at, end: at + 5 };
            let length =
                length.of(buffer).iter().rev().fold(0, |length, &byte| length << 7 | u32::from(byte));
            let start = at + 5;
            at = start + length;
            Span { start, end: at }
        };
        is_more.then(|| (text(), text()))
    })
}
