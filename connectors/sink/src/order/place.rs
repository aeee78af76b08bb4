//! Where an event stands, and what is said of it.

use super::names::LaneId;
use super::snapshots::Row;

/// What a waiting event costs besides its bytes.
pub(crate) const HELD_OVERHEAD: usize = 512;

/// Bounds and waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// What waiting events may hold.
    pub(crate) buffer_bytes: usize,
    /// How long its source is heard before a gap is given up, with published delivery …
    pub(crate) gap_wait_ms: u64,
    /// … and how long the gap is waited for where the source is silent.
    pub(crate) silent_wait_ms: u64,
    /// How long a lane that is new with a number over 1 is waited for the ones before.
    pub(crate) first_wait_ms: u64,
}

/// Where an event stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) lane: LaneId,
    pub(crate) number: Number,
    /// The source sends again what is not applied.
    pub(crate) is_applied: bool,
    /// It goes when nothing of its topic waits that came before it, and nothing that came behind it goes before it: a
    /// TRUNCATE. Only in lane 0.
    pub(crate) is_barrier: bool,
    /// What was given up for it; `None` for an event that arrives.
    pub(crate) gap: Option<Gap>,
}

/// Numbers that were given up, up to the one that they were given up for. It stays with that one, so that they are
/// counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The first of them.
    pub(super) first: u64,
}

/// Its number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    /// One of those that are counted; epoch and sequence are not 0 and below 2^63.
    Counted { epoch: u64, sequence: u64 },
    /// A row of a snapshot, behind epoch and number of a counted event; number 0 is before the first.
    Row { row: Row, after: (u64, u64) },
}

/// What is done with an event that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is its turn; it counts as gone.
    Go,
    /// It is to be handed to [`Order::hold`].
    Wait,
    /// It is of no use.
    Drop(Why),
}

/// Why an event is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It has gone, or waits already.
    Duplicate,
    /// It was given up before it came: what was behind it has gone.
    Late,
    /// Its epoch, or the run that read it, is over.
    Outdated,
    /// The buffer is full; it will be sent again.
    Full,
}

/// What was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) duplicates: u64,
    pub(crate) late: u64,
    pub(crate) outdated: u64,
    pub(crate) full: u64,
    /// Numbers and rows that were given up.
    pub(crate) missing: u64,
}
