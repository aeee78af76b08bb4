//! One event in flight.

use super::held::Place;

/// Where an event is on its way. What a slot that was never given out waits for is the gate's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stage {
    /// In the gate, or gone.
    #[default]
    Idle,
    /// To be sent again as soon as a line has room.
    Again,
    /// Waits after a refusal.
    Later { due_ms: u64 },
    /// A row of a snapshot that is published, until its chunk is applied.
    Published { at_ms: u64 },
    /// Given to a line, not answered.
    Sent { line: u32, at_ms: u64 },
    /// Waits for its dead letter.
    Rejected,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slot {
    pub(super) admission: u64,
    pub(super) place: Place,
    /// Bytes of all that was admitted before it.
    pub(super) bytes_before: u64,
    pub(super) id_hash: u64,
    pub(super) stage: Stage,
    /// How often it was given to a line.
    pub(super) sends: u32,
    pub(super) refusals: u8,
    pub(super) timeouts: u8,
    /// Whether it is a row of a snapshot that has to be applied before it leaves.
    pub(super) awaits_chunk: bool,
    /// Whether its frame was written whole once.
    pub(super) written: bool,
    /// Whether it can be found by its id.
    pub(super) is_known: bool,
    /// How many events stood in its place before this one.
    pub(super) piece: u16,
}

impl Slot {
    /// Whether no answer can change anything any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.stage, Stage::Idle | Stage::Rejected)
    }

    pub(super) fn is_sent_on(&self, line: usize) -> bool {
        matches!(self.stage, Stage::Sent { line: on, .. } if on as usize == line)
    }
}
