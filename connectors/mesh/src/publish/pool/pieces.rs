//! Batches that the mesh will not take whole: smaller events go out one after another in the place of one.
//!
//! Invariants: the place keeps all its keys until the last piece has left, so order holds; an answer to one piece never
//! counts for another, since each has its own id and seq.

use std::collections::VecDeque;

use ahash::AHashMap;
use flowd_codec::event::view::Data;
use flowd_codec::event::{Framed, Framing, Template, batch, frame_again, incoming};
use flowd_codec::session::Reason;
use tracing::warn;

use super::Pool;
use super::held::Place;
use super::slot::Slot;
use crate::publish::pack::{template_for, time_of};

/// A seq has the admission number in its lower bits: more than a hundred thousand events a second for five years.
const ADMISSION_BITS: u32 = 44;

/// The pool's number for a piece of an event.
pub(super) fn seq(admission: u64, piece: u16) -> u64 {
    debug_assert!(admission < 1 << ADMISSION_BITS, "admission {admission}");
    admission | u64::from(piece) << ADMISSION_BITS
}

/// The admission number and the piece of a number that [`seq`] made; of any other number something that is not known.
pub(super) fn of_seq(seq: u64) -> (u64, u64) {
    (seq & ((1 << ADMISSION_BITS) - 1), seq >> ADMISSION_BITS)
}

/// What is left to be sent, and how large batches may be.
pub(super) struct Pieces {
    /// By admission number.
    left: AHashMap<u64, VecDeque<Framed>>,
    /// What stood in a place one after another, as long as it may have to be published again.
    sent: AHashMap<Place, VecDeque<Framed>>,
    bytes_max: usize,
}

impl Default for Pieces {
    fn default() -> Self {
        Self { left: AHashMap::new(), sent: AHashMap::new(), bytes_max: usize::MAX }
    }
}

impl Pool {
    /// What the mesh has been found to take, bytes of a batch's JSON.
    pub(crate) fn batch_bytes_max(&self) -> usize {
        self.pieces.bytes_max
    }

    /// The event is published, or given up; the next piece takes its place if there is one.
    pub(super) fn finish(&mut self, slot: u32, now_ms: u64) {
        let Slot { admission, place, piece, .. } = self.slots[slot as usize];
        if piece > 0 && self.has_to_be_applied(slot) {
            let event = self.parcels.framed(place);
            self.pieces.sent.entry(place).or_default().push_back(event);
        }
        match self.pieces.left.get_mut(&admission).and_then(VecDeque::pop_front) {
            Some(next) => self.replace(slot, next),
            None => {
                self.pieces.left.remove(&admission);
                self.published(slot, now_ms);
            }
        }
    }

    /// What is published again is so in the pieces in which it was before.
    pub(super) fn in_pieces_again(&mut self, slot: u32) {
        let Slot { admission, place, .. } = self.slots[slot as usize];
        let Some(mut pieces) = self.pieces.sent.remove(&place) else { return };
        let first = pieces.pop_front().expect("what is remembered was sent");
        self.pieces.left.insert(admission, pieces);
        self.parcels.put(place, first);
        self.forget_id(slot);
        let found = &mut self.slots[slot as usize];
        found.piece = found.piece.wrapping_add(1);
    }

    /// Nothing that is left of an event is needed any more.
    pub(super) fn forget_all_pieces(&mut self, slot: u32) {
        let Slot { admission, place, .. } = self.slots[slot as usize];
        self.pieces.left.remove(&admission);
        self.forget_pieces(place);
    }

    /// The place is over.
    pub(super) fn forget_pieces(&mut self, place: Place) {
        self.pieces.sent.remove(&place);
    }

    /// Puts an event that was appended to the parcel in the place of another, and sends it.
    pub(super) fn replace(&mut self, slot: u32, event: Framed) {
        self.forget_id(slot);
        let found = &mut self.slots[slot as usize];
        found.piece = found.piece.wrapping_add(1);
        found.refusals = 0;
        found.timeouts = 0;
        self.parcels.put(found.place, event);
        self.send_again(slot);
    }

    /// Sends a batch that was refused for good in pieces: in halves where it was too large, else member by member. False
    /// where it is no batch.
    pub(super) fn split(&mut self, slot: u32, reason: &Reason<'_>) -> bool {
        let place = self.slots[slot as usize].place;
        let json = self.parcels.json(place).to_vec();
        let members = members_of(&json);
        if members.is_empty() {
            return false;
        }
        let each = if reason.is_size_limit() { members.len().div_ceil(2) } else { 1 };
        let template = template_for(members[0].json);
        let mut pieces = VecDeque::new();
        for members in members.chunks(each) {
            let piece = self.parcels.append(place, |out| piece(out, &template, members));
            let Some(piece) = piece else { return false };
            pieces.push_back(piece);
        }
        if reason.is_size_limit() {
            self.lower_limit(json.len(), reason);
        }
        let first = pieces.pop_front().expect("a batch has members");
        let left = self.pieces.left.entry(self.slots[slot as usize].admission).or_default();
        pieces.extend(left.drain(..));
        *left = pieces;
        self.replace(slot, first);
        true
    }

    fn lower_limit(&mut self, size: usize, reason: &Reason<'_>) {
        let limit = size / 2;
        if limit < self.pieces.bytes_max {
            warn!(
                bytes = size,
                bytes_max = limit,
                "the mesh refused a batch for its size; batches are smaller from now on: {reason}"
            );
            self.pieces.bytes_max = limit;
        }
    }
}

/// The members of a batch event; none where it is something else.
fn members_of(json: &[u8]) -> Vec<batch::Member<'_>> {
    let Ok(event) = incoming::read(json) else { return Vec::new() };
    let Data::Json(data) = event.data else { return Vec::new() };
    if event.event_type != batch::EVENT_TYPE {
        return Vec::new();
    }
    batch::members(data).filter_map(member_of).collect()
}

fn member_of(json: &[u8]) -> Option<batch::Member<'_>> {
    match incoming::read(json).ok()?.id {
        std::borrow::Cow::Borrowed(id) => Some(batch::Member { id: id.as_bytes(), json }),
        std::borrow::Cow::Owned(_) => None,
    }
}

/// Some members as an event: a batch, or the one as it is.
fn piece(out: &mut Vec<u8>, template: &Template, members: &[batch::Member<'_>]) -> Option<Framed> {
    match members {
        [one] => frame_again(out, Framing::EventMesh, one.json),
        _ => Some(batch::write(out, template, time_of(members[0].json), members)),
    }
}
