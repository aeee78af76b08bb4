//! How far a snapshot has come, as the registry keeps it beside the stream's position.
//!
//! It holds what is open, not what there is: its size goes with the number of workers, whatever the number of tables.
//! Invariant: a row whose chunk was not handed on is in one of the ranges here, or in a table that is not done yet.

use std::sync::Arc;

use flowd_binlog::result::{KeyKind, KeyValue};
use rkyv::with::Map;

use super::{Key, Range};

/// A snapshot between its first table and its last.
#[derive(Debug, Clone, PartialEq, Eq, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct SnapshotState {
    /// Names this snapshot for ever: the ids of its rows begin with it.
    pub id: String,
    /// When it began, µs since 1970.
    pub time_us: i64,
    /// Binlog file where it began …
    pub file: String,
    /// … and the offset in it.
    pub offset: u64,
    /// Whether every row was handed on.
    pub finished: bool,
    /// Tables up to this one, in the order of (schema, name), were opened; those of them not in `open` or `extra`
    /// are done.
    pub through: Option<(String, String)>,
    /// Tables that are read in part.
    pub open: Vec<OpenTable>,
    /// Tables to be read from their beginning although they are not behind `through`: somebody is looking at them
    /// right now, or they got their name meanwhile.
    pub extra: Vec<(String, String)>,
    /// Statements by which tables may have got other names, and nobody has looked yet which.
    pub moves: Vec<Vec<u8>>,
    /// How many tables the snapshot has.
    pub tables: u64,
    /// How many of them are done.
    pub tables_done: u64,
    /// Chunks handed on.
    pub chunks: u64,
    /// Rows handed on. Those of a table that started again count again, here and in `rows_estimated`.
    pub rows: u64,
    /// Bytes of the rows handed on.
    pub bytes: u64,
    /// How many rows the tables opened so far have, done or not; guessed for those that are open.
    pub rows_estimated: u64,
}

/// A table that is read in part.
#[derive(Debug, Clone, PartialEq, Eq, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct OpenTable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The key's columns, as they were told when it was opened.
    pub key: Vec<String>,
    /// Whether it has no usable key: its rows are read in one go, or from the beginning again.
    pub whole: bool,
    /// What was not handed on yet, in key order; ranges that touch are one.
    #[rkyv(with = Map<StoredRange>)]
    pub remaining: Vec<Range>,
    /// Rows handed on.
    pub rows: u64,
    /// How many it has, guessed.
    pub rows_estimated: u64,
}

impl SnapshotState {
    /// A snapshot of which nothing was read yet.
    pub fn new(id: String, time_us: i64, file: String, offset: u64) -> Self {
        Self { id, time_us, file, offset, ..Self::default() }
    }
}

/// The bytes of a [`SnapshotState`]: made when it changes, copied into each batch's position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedState(Arc<[u8]>);

impl EncodedState {
    /// Writes the state.
    pub fn of(state: &SnapshotState) -> Self {
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(state).expect("texts and numbers always serialise");
        Self(bytes.as_slice().into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads what [`Self::of`] wrote; the error says what is wrong with it.
    pub(crate) fn read(bytes: &[u8]) -> Result<SnapshotState, String> {
        rkyv::from_bytes::<SnapshotState, rkyv::rancor::Error>(bytes).map_err(|error| error.to_string())
    }
}

/// Appends the range that follows in key order; one that touches the last is joined to it, an empty one is left out.
pub(crate) fn append(ranges: &mut Vec<Range>, range: &Range) {
    if range.is_empty() {
        return;
    }
    match ranges.last_mut() {
        Some(last) if last.upto.is_some() && last.upto == range.after => last.upto.clone_from(&range.upto),
        _ => ranges.push(range.clone()),
    }
}

impl Range {
    /// Whether nothing can be in it. Bounds of two spellings may be equal to the server: that is not seen here.
    pub(crate) fn is_empty(&self) -> bool {
        self.after.is_some() && self.after == self.upto
    }
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(remote = Range)]
struct StoredRange {
    #[rkyv(with = Map<Map<StoredValue>>)]
    after: Option<Key>,
    #[rkyv(with = Map<Map<StoredValue>>)]
    upto: Option<Key>,
}

impl From<StoredRange> for Range {
    fn from(stored: StoredRange) -> Self {
        Self { after: stored.after, upto: stored.upto }
    }
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(remote = KeyValue)]
struct StoredValue {
    #[rkyv(with = StoredKind)]
    kind: KeyKind,
    bytes: Box<[u8]>,
}

impl From<StoredValue> for KeyValue {
    fn from(stored: StoredValue) -> Self {
        Self { kind: stored.kind, bytes: stored.bytes }
    }
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(remote = KeyKind)]
enum StoredKind {
    Signed,
    Unsigned,
    Float,
    Double,
    Decimal,
    Date,
    Time,
    DateTime,
    Text,
    Bytes,
    Ascii,
}

impl From<StoredKind> for KeyKind {
    fn from(stored: StoredKind) -> Self {
        match stored {
            StoredKind::Signed => Self::Signed,
            StoredKind::Unsigned => Self::Unsigned,
            StoredKind::Float => Self::Float,
            StoredKind::Double => Self::Double,
            StoredKind::Decimal => Self::Decimal,
            StoredKind::Date => Self::Date,
            StoredKind::Time => Self::Time,
            StoredKind::DateTime => Self::DateTime,
            StoredKind::Text => Self::Text,
            StoredKind::Bytes => Self::Bytes,
            StoredKind::Ascii => Self::Ascii,
        }
    }
}
