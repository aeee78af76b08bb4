//! One table of a snapshot between the moment when somebody first looks at it and its last chunk.

use std::collections::VecDeque;

use super::ranges::Ranges;
use crate::snapshot::state::OpenTable;
use crate::snapshot::{Key, Range};

/// A table and how far it has come.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
    /// The key's columns, as they were told when it was opened.
    pub(super) key: Vec<String>,
    pub(super) rows: u64,
    pub(super) rows_estimated: u64,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Read in part before; somebody must look at it again.
    Closed(Vec<Range>),
    /// A worker looks at it; with what is left of it if it was read in part before.
    Opening(Option<Vec<Range>>),
    Keyed(Ranges),
    Whole(Whole),
}

/// A table that is read in one go.
#[derive(Debug, Default)]
pub(super) struct Whole {
    reading: Reading,
    /// On their way.
    chunks: VecDeque<u64>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Reading {
    #[default]
    NotYet,
    /// Under this lease.
    By(u64),
    Done,
}

impl Table {
    pub(super) fn new(schema: String, name: String, stage: Stage) -> Self {
        Self { schema, name, key: Vec::new(), rows: 0, rows_estimated: 0, stage }
    }

    /// What the registry keeps of it; `None` where its name is all there is.
    pub(super) fn state(&self) -> Option<OpenTable> {
        let remaining = match &self.stage {
            Stage::Opening(None) => return None,
            Stage::Closed(ranges) | Stage::Opening(Some(ranges)) => ranges.clone(),
            Stage::Keyed(ranges) => ranges.remaining(),
            Stage::Whole(_) => vec![Range::default()],
        };
        Some(OpenTable {
            schema: self.schema.clone(),
            name: self.name.clone(),
            key: self.key.clone(),
            whole: matches!(self.stage, Stage::Whole(_)),
            remaining,
            rows: self.rows,
            rows_estimated: self.rows_estimated,
        })
    }

    /// What a lease has still to read.
    pub(super) fn rest(&self, lease: u64) -> Option<&Range> {
        const ALL: &Range = &Range { after: None, upto: None };
        match &self.stage {
            Stage::Keyed(ranges) => ranges.rest(lease),
            Stage::Whole(whole) if whole.reading == Reading::By(lease) => Some(ALL),
            _ => None,
        }
    }

    /// Makes a chunk of what a lease has read; false where there is no such lease.
    pub(super) fn chunk(&mut self, lease: u64, last: Option<Key>, chunk: u64) -> bool {
        match &mut self.stage {
            Stage::Keyed(ranges) => ranges.chunk(lease, last, chunk),
            Stage::Whole(whole) if whole.reading == Reading::By(lease) => {
                if last.is_none() {
                    whole.reading = Reading::Done;
                }
                whole.chunks.push_back(chunk);
                true
            }
            _ => false,
        }
    }

    /// A chunk was handed on; false where there is none such.
    pub(super) fn emitted(&mut self, chunk: u64) -> bool {
        match &mut self.stage {
            Stage::Keyed(ranges) => ranges.emitted(chunk),
            Stage::Whole(whole) => whole.chunks.pop_front_if(|first| *first == chunk).is_some(),
            _ => false,
        }
    }

    pub(super) fn has_chunk(&self, chunk: u64) -> bool {
        match &self.stage {
            Stage::Keyed(ranges) => ranges.has_chunk(chunk),
            Stage::Whole(whole) => whole.chunks.contains(&chunk),
            _ => false,
        }
    }

    /// How many chunks are on their way.
    pub(super) fn chunks(&self) -> u64 {
        match &self.stage {
            Stage::Keyed(ranges) => ranges.chunks(),
            Stage::Whole(whole) => u64::try_from(whole.chunks.len()).expect("a length"),
            _ => 0,
        }
    }

    pub(super) fn is_leased(&self) -> bool {
        match &self.stage {
            Stage::Keyed(ranges) => ranges.is_leased(),
            Stage::Whole(whole) => matches!(whole.reading, Reading::By(_)),
            _ => false,
        }
    }

    /// Whether there is, or may come to be, something to do for a worker.
    pub(super) fn needs_workers(&self) -> bool {
        match &self.stage {
            Stage::Closed(_) | Stage::Opening(_) => true,
            Stage::Keyed(ranges) => ranges.has_free() || ranges.is_leased(),
            Stage::Whole(whole) => whole.reading != Reading::Done,
        }
    }

    /// Whether everything was handed on.
    pub(super) fn is_done(&self) -> bool {
        match &self.stage {
            Stage::Closed(_) | Stage::Opening(_) => false,
            Stage::Keyed(ranges) => ranges.is_empty(),
            Stage::Whole(whole) => whole.reading == Reading::Done && whole.chunks.is_empty(),
        }
    }
}

impl Whole {
    pub(super) fn is_waiting(&self) -> bool {
        self.reading == Reading::NotYet
    }

    pub(super) fn lease(&mut self, lease: u64) {
        self.reading = Reading::By(lease);
    }

    /// Ends a lease in the middle: what was read is void, for nobody can go on where it stopped. False where there is
    /// no such lease.
    pub(super) fn release(&mut self, lease: u64) -> bool {
        let is_mine = self.reading == Reading::By(lease);
        if is_mine {
            *self = Self::default();
        }
        is_mine
    }
}
