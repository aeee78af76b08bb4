//! What the mesh will never take: a dead letter, and a marker in its place, so that its lane has no gap.

use flowd_codec::event::incoming::{self, Order};
use flowd_codec::event::{Framed, Framing, marker};
use flowd_engine::sequence::Numbering;

use super::Pool;
use super::slot::{Slot, Stage};
use crate::publish::letter::Head;

/// An event that is to become a dead letter.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub(crate) admission: u64,
    pub(crate) reason: String,
}

impl Pool {
    pub(super) fn reject(&mut self, slot: u32, reason: String) {
        self.leave_stage(slot);
        self.slots[slot as usize].stage = Stage::Rejected;
        self.rejected.push_back(Rejected { admission: self.slots[slot as usize].admission, reason });
    }

    /// The next event for `onReject`, with its dead-letter line. It stays until [`Pool::dead_letter_written`].
    pub(crate) fn next_rejected(&mut self) -> Option<(Rejected, Vec<u8>)> {
        let mut rejected = self.rejected.pop_front()?;
        let place = self.slots[self.gate.slot(rejected.admission) as usize].place;
        let (event, id) = (self.parcels.json(place), self.parcels.id(place));
        let head = Head::of(event);
        let line = head.dead_letter(&rejected.reason, &id, event);
        rejected.reason = head.with_place(&rejected.reason);
        Some((rejected, line))
    }

    /// The dead letter is durable. Where the event has a number, a marker takes it.
    pub(crate) fn dead_letter_written(&mut self, rejected: &Rejected, now_ms: u64) {
        let slot = self.gate.slot(rejected.admission);
        assert_eq!(self.slots[slot as usize].stage, Stage::Rejected);
        self.stats.rejected.add(1);
        match self.marker_for(slot, &rejected.reason) {
            Some(marker) => self.replace(slot, marker),
            None => self.finish(slot, now_ms),
        }
    }

    /// A marker in the place of an event that has a number and is none itself.
    fn marker_for(&mut self, slot: u32, reason: &str) -> Option<Framed> {
        let place = self.slots[slot as usize].place;
        if self.parcels.counted(place).0.numbering == Numbering::None {
            return None;
        }
        let json = self.parcels.json(place).to_vec();
        let event = incoming::read(&json).ok()?;
        let has_number = event.order != Order::None && event.event_type != marker::EVENT_TYPE;
        let write = |out: &mut Vec<u8>| marker::replace(out, Framing::EventMesh, &event, reason);
        has_number.then(|| self.parcels.append(place, write))
    }

    pub(super) fn is_marker(&self, slot: u32) -> bool {
        let Slot { place, piece, .. } = self.slots[slot as usize];
        let event = || incoming::read(self.parcels.json(place)).ok();
        piece > 0 && event().is_some_and(|event| event.event_type == marker::EVENT_TYPE)
    }
}
