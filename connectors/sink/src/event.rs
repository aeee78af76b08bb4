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
