//! The parcels that events in flight point into, in the order of their tickets.

use std::borrow::Cow;
use std::collections::VecDeque;

use flowd_codec::event::Framed;
use flowd_engine::sequence;
use flowd_engine::worker::Delivery;

use crate::Outgoing;
use crate::publish::pack::{MemberKeys, Packed};

/// Where an event lies: its parcel's ticket and its index there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) ticket: u64,
    pub(super) index: u32,
}

#[derive(Debug)]
struct Held {
    delivery: Delivery<Outgoing>,
    keys: MemberKeys,
    /// Events not yet written once.
    unwritten: usize,
    /// What keeps the parcel: each event until it is acknowledged, and where it has to be applied, until it is.
    unacked: usize,
}

#[derive(Debug, Default)]
pub(super) struct Parcels {
    held: VecDeque<Held>,
    /// Ticket of `held`'s first.
    first: u64,
    /// The next event to be admitted.
    next: Place,
    /// Ticket of the first parcel that is not reported as emitted.
    unemitted: u64,
}

impl Parcels {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether every event of every parcel is behind `advance`.
    pub(super) fn is_admitted(&self) -> bool {
        self.next.ticket == self.first + self.held.len() as u64
    }

    pub(super) fn push(&mut self, packed: Packed) {
        let Packed { delivery, keys } = packed;
        assert_eq!(delivery.ticket, self.first + self.held.len() as u64, "parcels come in order");
        let count = delivery.parcel.events.len();
        self.held.push_back(Held { delivery, keys, unwritten: count, unacked: count });
        self.skip_ended();
    }

    /// Goes on to the next parcel where one has no more events.
    fn skip_ended(&mut self) {
        while let Some(held) = self.held.get((self.next.ticket - self.first) as usize)
            && held.delivery.parcel.events.len() == self.next.index as usize
        {
            self.next = Place { ticket: self.next.ticket + 1, index: 0 };
        }
    }

    /// The next event's place.
    pub(super) fn next_event(&self) -> Option<Place> {
        let place = self.next;
        let held = self.held.get((place.ticket - self.first) as usize)?;
        held.delivery.parcel.events.get(place.index as usize).map(|_| place)
    }

    /// Goes on behind the next event.
    pub(super) fn advance(&mut self) {
        self.next.index += 1;
        self.skip_ended();
    }

    /// Where an event is counted, and its number.
    pub(super) fn counted(&self, place: Place) -> (sequence::Place, u64) {
        let keyed = &self.held(place).delivery.parcel.events[place.index as usize];
        (keyed.place, keyed.sequence)
    }

    /// The event is needed for one more reason, until it is settled once more.
    pub(super) fn hold(&mut self, place: Place) {
        self.held_mut(place).unacked += 1;
    }

    /// The keys that an event holds: its own, and as a batch its members'.
    pub(super) fn keys(&self, place: Place) -> ([u64; 2], &[u64]) {
        let held = self.held(place);
        (held.delivery.parcel.events[place.index as usize].keys, held.keys.of(place.index))
    }

    /// Lets `write` append an event to the parcel of another, to be put in its place later.
    pub(super) fn append<T>(&mut self, place: Place, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        write(&mut self.held_mut(place).delivery.parcel.buffer)
    }

    /// Puts an appended event in the place of one.
    pub(super) fn put(&mut self, place: Place, event: Framed) {
        self.held_mut(place).delivery.parcel.events[place.index as usize].event = event;
    }

    fn held(&self, place: Place) -> &Held {
        &self.held[(place.ticket - self.first) as usize]
    }

    fn held_mut(&mut self, place: Place) -> &mut Held {
        &mut self.held[(place.ticket - self.first) as usize]
    }

    /// An event and the buffer that it lies in.
    fn event(&self, place: Place) -> (Framed, &[u8]) {
        let parcel = &self.held(place).delivery.parcel;
        (parcel.events[place.index as usize].event, &parcel.buffer)
    }

    pub(super) fn framed(&self, place: Place) -> Framed {
        self.event(place).0
    }

    pub(super) fn frame(&self, place: Place) -> &[u8] {
        let (event, buffer) = self.event(place);
        event.frame(buffer)
    }

    pub(super) fn frame_mut(&mut self, place: Place) -> &mut [u8] {
        let parcel = &mut self.held_mut(place).delivery.parcel;
        let event = parcel.events[place.index as usize].event;
        &mut parcel.buffer[event.start as usize..event.end as usize]
    }

    pub(super) fn json(&self, place: Place) -> &[u8] {
        let (event, buffer) = self.event(place);
        event.json(buffer)
    }

    pub(super) fn id(&self, place: Place) -> Cow<'_, str> {
        let (event, buffer) = self.event(place);
        event.id_text(buffer)
    }

    pub(super) fn written(&mut self, place: Place) {
        self.held_mut(place).unwritten -= 1;
    }

    pub(super) fn settled(&mut self, place: Place) {
        self.held_mut(place).unacked -= 1;
    }

    /// Whether `emitted` or `next_acked` has something.
    pub(super) fn has_news(&self) -> bool {
        let is_written = |held: &Held| held.unwritten == 0;
        self.held.front().is_some_and(|held| held.unacked == 0)
            || self.held.get((self.unemitted - self.first) as usize).is_some_and(is_written)
    }

    pub(super) fn emitted(&mut self) -> Option<u64> {
        let before = self.unemitted;
        while let Some(held) = self.held.get((self.unemitted - self.first) as usize)
            && held.unwritten == 0
        {
            self.unemitted += 1;
        }
        (self.unemitted > before).then(|| self.unemitted - 1)
    }

    /// Call `emitted` first, so that nothing is acknowledged before it counts as emitted.
    pub(super) fn next_acked(&mut self) -> Option<Delivery<Outgoing>> {
        if self.unemitted == self.first || self.held.front()?.unacked > 0 {
            return None;
        }
        self.first += 1;
        self.held.pop_front().map(|held| held.delivery)
    }
}
