//! An event on its way through a sink: offsets into its parcel's buffer, and what order and content they have.

use flowd_codec::event::incoming::Chunk;
use flowd_engine::record::Span;

use crate::store::Op;

/// One event, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkEvent {
    /// The whole event as it came, without the batch event that it may have come in.
    pub json: Span,
    /// `id`; empty for what is no CloudEvent.
    pub id: Span,
    /// `source`, likewise.
    pub source: Span,
    /// `subject`; empty where there is none.
    pub topic: Span,
    /// Where it stands.
    pub order: Order,
    /// Its source waits until it is applied.
    pub is_applied: bool,
    /// What it says.
    pub content: Content,
}

/// Where an event stands among those of its source and topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Nowhere: it is taken as it comes.
    None,
    /// It is counted.
    Counted {
        /// When counting began.
        epoch: u64,
        /// Its lane.
        lane: u16,
        /// Its number there.
        sequence: u64,
    },
    /// It is a row of a snapshot.
    Row {
        /// The snapshot's id.
        snapshot: Span,
        /// The chunk.
        chunk: Chunk,
        /// Which of its rows.
        number: u32,
        /// How many it has.
        size: u32,
        /// Its lane.
        lane: u16,
        /// Epoch and number of the counted event that it comes after.
        after: (u64, u64),
    },
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A row has changed.
    Change {
        /// How.
        op: Op,
        /// The source's database.
        db: Span,
        /// The source's table.
        table: Span,
        /// The row before, a JSON object.
        before: Option<Span>,
        /// The row after, likewise.
        after: Option<Span>,
    },
    /// It stands in the place of an event that was rejected at the source.
    Marker,
    /// It is none of ours.
    Plain {
        /// Its data, a JSON object.
        data: Span,
    },
    /// It cannot be understood.
    Bad {
        /// Why.
        reason: String,
    },
}

impl SinkEvent {
    /// The event with bytes of its own, taken out of its parcel's buffer.
    pub(crate) fn detached(&self, buffer: &[u8]) -> (Self, Box<[u8]>) {
        let mut bytes = self.json.of(buffer).to_vec();
        let whole = self.json;
        let mut own = |span: Span| {
            if whole.start <= span.start && span.end <= whole.end {
                return Span { start: span.start - whole.start, end: span.end - whole.start };
            }
            // A text that was written behind the event, without its escapes.
            let start = u32::try_from(bytes.len()).expect("an event is smaller than its parcel");
            bytes.extend_from_slice(span.of(buffer));
            Span { start, end: start + (span.end - span.start) }
        };
        let order = match self.order {
            Order::Row { snapshot, chunk, number, size, lane, after } => {
                Order::Row { snapshot: own(snapshot), chunk, number, size, lane, after }
            }
            other => other,
        };
        let content = match &self.content {
            Content::Change { op, db, table, before, after } => Content::Change {
                op: *op,
                db: own(*db),
                table: own(*table),
                before: before.map(&mut own),
                after: after.map(&mut own),
            },
            Content::Plain { data } => Content::Plain { data: own(*data) },
            other => other.clone(),
        };
        let (json, id, source, topic) = (own(whole), own(self.id), own(self.source), own(self.topic));
        let is_applied = self.is_applied;
        (Self { json, id, source, topic, order, is_applied, content }, bytes.into_boxed_slice())
    }
}
