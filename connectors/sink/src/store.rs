//! What a sink's database implements: events put in one transaction together with the record of how far they came.
//!
//! Kept by every [`Store`]: what [`open`](Store::open) loads is exactly what the committed puts have recorded, so that an
//! event that comes again after a crash, a lost answer or a replay is recognised. Not here: order, duplicates, waiting,
//! dead letters, parsing of events. All that is done before a store sees an event.

use std::sync::Arc;

use flowd_engine::failure::Failure;

/// What a change does to its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `r`: a row that was there already, read by a snapshot.
    Read,
    /// `c`: a row was inserted.
    Create,
    /// `u`: a row was changed; its key was not.
    Update,
    /// `d`: a row was deleted.
    Delete,
    /// `t`: all rows of the table were deleted.
    Truncate,
}

/// One event for a store, borrowed from the bytes that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreEvent<'a> {
    /// What it does; [`Op::Create`] for a plain event.
    pub op: Op,
    /// The source's database; empty for a plain event.
    pub db: &'a str,
    /// The source's table; empty for a plain event.
    pub table: &'a str,
    /// The row before the change: the text of a JSON object. It has balanced braces; whether it is JSON otherwise, the
    /// store finds out.
    pub before: Option<&'a [u8]>,
    /// The row after it, likewise.
    pub after: Option<&'a [u8]>,
    /// The data of an event that is no change event of ours, likewise; `before` and `after` are `None` then.
    pub plain: Option<&'a [u8]>,
    /// The event's id, a text, for messages.
    pub id: &'a [u8],
}

/// How far a lane is applied: everything of `epoch` up to `sequence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneApplied {
    /// The source, as the events name it.
    pub source: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The lane of the topic.
    pub lane: u16,
    /// The epoch.
    pub epoch: u64,
    /// The last number applied in that epoch.
    pub sequence: u64,
}

/// How far a lane is applied, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What is recorded.
    pub lane: LaneApplied,
    /// When it was, in UTC, as the server writes a time.
    pub updated: String,
}

/// A chunk of a snapshot that is applied, whole or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkApplied {
    /// The source, as the events name it.
    pub source: Arc<str>,
    /// The snapshot's id.
    pub snapshot: Arc<str>,
    /// The run of the source that read the chunk; a later run has a greater one.
    pub run: u64,
    /// The chunk's number in the run.
    pub number: u64,
    /// Which of its rows are applied, in a form that a store keeps and gives back as it is (at most
    /// [`CHUNK_ROWS_SIZE_MAX`] bytes); empty once it is whole.
    pub rows: Vec<u8>,
}

/// The most bytes of [`ChunkApplied::rows`]; they fit into a BLOB.
pub const CHUNK_ROWS_SIZE_MAX: usize = 33_000;

/// Chunks that are of no more use: those of a snapshot from runs before `run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunksOver {
    /// The source.
    pub source: Arc<str>,
    /// The snapshot's id.
    pub snapshot: Arc<str>,
    /// The first run whose chunks are kept.
    pub run: u64,
}

/// What is applied. From [`Store::open`]: all of it. For [`Store::put`]: what changes with the put.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// One for each (source, topic, lane); a put replaces what was recorded for it.
    pub lanes: Vec<LaneApplied>,
    /// One for each (source, snapshot, run, number); a put adds it, or replaces what was recorded for it.
    pub chunks: Vec<ChunkApplied>,
    /// Chunks that a put may forget. Empty from `open`.
    pub over: Vec<ChunksOver>,
}

impl Applied {
    /// Whether there is nothing to record.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.chunks.is_empty() && self.over.is_empty()
    }
}

/// An event that the store cannot take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Of the event among those of the put.
    pub index: usize,
    /// Why, in one sentence that names table and column.
    pub reason: String,
    /// It may be taken once other events are applied: a duplicate on another unique index than the key. It is tried
    /// again behind others, a few times, before it counts as refused.
    pub later: bool,
}

/// A database, or what else keeps rows and can record in the same transaction what it has.
///
/// One thread calls it. Blocking is fine.
pub trait Store: Send + 'static {
    /// Connects, refuses a second sink of the same name (`Failure::Unusable`), creates what the record needs and loads it.
    /// Called again after a `Failure::Retry` from `put`: what is left of the old connection goes, the lock is taken anew.
    ///
    /// # Errors
    /// `Retry` for what may heal; anything else ends the sink.
    fn open(&mut self) -> Result<Applied, Failure>;

    /// Puts the events, in order, and records `applied`, all in one transaction. There may be no event (only records).
    /// An event with [`Op::Truncate`] is alone in its put.
    ///
    /// With nothing refused, all is committed and durable when this returns. With anything refused **nothing is
    /// committed**: the whole transaction is rolled back, and as many of the refused events as can be found in one go
    /// are told. They are dead-lettered first (or tried later), then the rest is put again; else a crash between a commit and
    /// a dead letter would lose an event silently.
    ///
    /// # Errors
    /// `Retry` when the connection broke or the server gave up on the transaction, also when it is not known whether it
    /// was committed: the sink opens again and compares. Anything else ends the sink.
    fn put(&mut self, events: &[StoreEvent<'_>], applied: &Applied) -> Result<Vec<Refused>, Failure>;

    /// The sink ends: lets go of lock and connection.
    fn close(&mut self);
}

impl<S: Store + ?Sized> Store for Box<S> {
    fn open(&mut self) -> Result<Applied, Failure> {
        (**self).open()
    }

    fn put(&mut self, events: &[StoreEvent<'_>], applied: &Applied) -> Result<Vec<Refused>, Failure> {
        (**self).put(events, applied)
    }

    fn close(&mut self) {
        (**self).close();
    }
}
