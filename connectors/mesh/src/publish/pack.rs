//! Packing: events of one topic and lane become one batch event, on the way from the engine to the pool.
//!
//! Parcels are taken in rounds. A round ends when enough is collected, or when nothing more comes and its first parcel
//! has waited long enough; it then leaves as parcels of batches, and is acknowledged as a whole. Invariants: events of a
//! lane keep their order, and so do events that share a key; a batch's members are of one topic, one lane and, as rows
//! of a snapshot, one chunk; what a batch holds in the order gate is all that its members would.
//!
//! Memory: a round's bytes twice while it is being packed, and a few emptied parcels; afterwards the packed bytes, which
//! are fewer, stand for those that the engine counts.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use flowd_codec::frame::PUBLISH_HEAD_SIZE;
use flowd_engine::failure::Failure;
use flowd_engine::order::Order;
use flowd_engine::parcel::{BYTES_FULL, Parcel};
use flowd_engine::sequence::Numbering;
use flowd_engine::worker::{Delivery, Outlet};
use tokio::time::{Instant, Sleep, sleep};

use crate::Outgoing;
use crate::config::Batching;

mod foreign;
mod groups;
mod output;

use groups::{Groups, Member};
use output::Output;
pub(crate) use output::{template_for, time_of};

/// A round ends with this many times the limit of a batch, so that few batches are small …
const ROUND_BATCHES: usize = 8;
/// … but within these bounds.
const ROUND_BYTES: std::ops::Range<usize> = BYTES_FULL..4 * 1024 * 1024;

/// A parcel on its way to the pool.
pub(crate) struct Packed {
    pub(crate) delivery: Delivery<Outgoing>,
    pub(crate) keys: MemberKeys,
}

/// The keys that batches hold besides their own two.
#[derive(Debug, Default)]
pub(crate) struct MemberKeys {
    keys: Vec<u64>,
    /// Where each event's keys end; empty where no event has any.
    ends: Vec<u32>,
}

impl MemberKeys {
    /// Those of a parcel of one event.
    #[cfg(test)]
    pub(crate) fn of_one(keys: Vec<u64>) -> Self {
        Self { ends: vec![keys.len() as u32], keys }
    }

    /// Those of an event.
    pub(crate) fn of(&self, index: u32) -> &[u64] {
        let end = |index: usize| self.ends.get(index).map_or(self.keys.len(), |end| *end as usize);
        let start = index.checked_sub(1).map_or(0, |before| end(before as usize));
        &self.keys[start..end(index as usize)]
    }
}

/// Between the engine's outlet and the pool; packs, where it is told to.
pub(crate) struct Packer<'a> {
    inner: &'a mut dyn Outlet<Outgoing>,
    packing: Option<Packing>,
}

impl<'a> Packer<'a> {
    /// Without `batching` parcels pass as they are, batch events of others with their members' keys. `event_bytes_max` is what a frame may have.
    pub(crate) fn new(
        inner: &'a mut dyn Outlet<Outgoing>,
        batching: Option<Batching>,
        order: Order,
        event_bytes_max: usize,
    ) -> Self {
        let packing = batching.map(|batching| Packing::new(batching, order, event_bytes_max));
        Self { inner, packing }
    }

    /// From now on batches have at most so many bytes.
    pub(crate) fn limit(&mut self, bytes_max: usize) {
        if let Some(packing) = &mut self.packing {
            packing.bytes_max = packing.bytes_max.min(bytes_max);
        }
    }

    /// The next parcel, if there is one.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Packed>> {
        let Some(packing) = &mut self.packing else {
            let unpacked = |delivery: Delivery<Outgoing>| {
                let keys = foreign::keys_of(&delivery.parcel);
                Packed { delivery, keys }
            };
            return self.inner.poll_next(context).map(|next| next.map(unpacked));
        };
        loop {
            if let Some(packed) = packing.ready.pop_front() {
                return Poll::Ready(Some(packed));
            }
            if packing.has_ended {
                return Poll::Ready(None);
            }
            match self.inner.poll_next(context) {
                Poll::Ready(Some(delivery)) => packing.take(delivery),
                Poll::Ready(None) => {
                    packing.has_ended = true;
                    packing.end_round();
                }
                Poll::Pending if packing.is_due(context) => packing.end_round(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Everything up to this parcel is sent.
    pub(crate) fn emitted(&mut self, ticket: u64) {
        match &mut self.packing {
            None => self.inner.emitted(ticket),
            Some(packing) => {
                packing.emitted(ticket).into_iter().for_each(|ticket| self.inner.emitted(ticket));
            }
        }
    }

    /// Everything up to this parcel is acknowledged.
    pub(crate) fn acked(&mut self, ticket: u64) {
        match &mut self.packing {
            None => self.inner.acked(ticket),
            Some(packing) => {
                packing.acked(ticket).into_iter().for_each(|ticket| self.inner.acked(ticket));
            }
        }
    }

    /// Gives an acknowledged parcel back.
    pub(crate) fn recycle(&mut self, parcel: Parcel<Outgoing>) {
        if self.packing.as_mut().is_none_or(Packing::owes_parcel) {
            self.inner.recycle(parcel);
        } else if let Some(packing) = &mut self.packing {
            packing.output.keep(parcel);
        }
    }

    /// As [`Outlet::reject`].
    pub(crate) fn reject(&mut self, reason: &str, line: &[u8]) -> Result<(), Failure> {
        self.inner.reject(reason, line)
    }
}

/// A round that has left.
struct Round {
    /// The ticket of its last parcel …
    last: u64,
    /// … and that of the last of the engine's parcels in it.
    inner: u64,
    /// How many of those there were.
    parcels: usize,
}

struct Packing {
    bytes_max: usize,
    linger: Duration,
    is_total: bool,
    /// The engine's parcels of this round, and their bytes.
    taken: Vec<Delivery<Outgoing>>,
    taken_bytes: usize,
    /// When the round's first parcel has waited long enough.
    due: Pin<Box<Sleep>>,
    groups: Groups,
    output: Output,
    /// Packed, for the pool.
    ready: VecDeque<Packed>,
    next_ticket: u64,
    /// The first ticket that is not acknowledged.
    acked_upto: u64,
    /// Rounds that have left and are not acknowledged, oldest first.
    rounds: VecDeque<Round>,
    /// How many of them, from the front, are emitted.
    rounds_emitted: usize,
    /// Parcels that the engine may be given back.
    owed: usize,
    has_ended: bool,
}

impl Packing {
    fn new(batching: Batching, order: Order, event_bytes_max: usize) -> Self {
        Self {
            bytes_max: batching.bytes.min(event_bytes_max.saturating_sub(PUBLISH_HEAD_SIZE)),
            linger: batching.linger,
            is_total: order == Order::Total,
            taken: Vec::new(),
            taken_bytes: 0,
            due: Box::pin(sleep(batching.linger)),
            groups: Groups::default(),
            output: Output::default(),
            ready: VecDeque::new(),
            next_ticket: 0,
            acked_upto: 0,
            rounds: VecDeque::new(),
            rounds_emitted: 0,
            owed: 0,
            has_ended: false,
        }
    }

    fn take(&mut self, delivery: Delivery<Outgoing>) {
        if self.taken.is_empty() {
            self.due.as_mut().reset(Instant::now() + self.linger);
        }
        self.taken_bytes += delivery.parcel.buffer.len();
        let (parcel, count) = (self.taken.len(), delivery.parcel.events.len());
        self.taken.push(delivery);
        for event in 0..count {
            self.sort((parcel, event));
        }
        let round_bytes = (self.bytes_max * ROUND_BATCHES).clamp(ROUND_BYTES.start, ROUND_BYTES.end);
        if self.taken_bytes >= round_bytes {
            self.end_round();
        }
    }

    /// Whether a round has begun that has waited long enough; arranges to be woken when it has.
    fn is_due(&mut self, context: &mut Context<'_>) -> bool {
        !self.taken.is_empty() && self.due.as_mut().poll(context).is_ready()
    }

    /// Puts an event with those that it can be packed with.
    fn sort(&mut self, at: At) {
        let (keyed, buffer) = event_at(&self.taken, at);
        // A half of a key change shares keys with events of two lanes.
        let is_alone =
            keyed.keys[1] != 0 || matches!(keyed.place.numbering, Numbering::None | Numbering::Barrier);
        if is_alone {
            self.flush();
            let (keyed, buffer) = event_at(&self.taken, at);
            self.output.copy(keyed, buffer);
            self.hand_on_full();
            return;
        }
        let lane = (keyed.place.topic, keyed.place.lane);
        let member = Member::of(keyed, buffer);
        let group = self.groups.of(lane, || self.output.fixed_size(keyed, buffer));
        if self.groups.is_held_elsewhere(member.key, group) || (self.is_total && self.groups.has_other(group))
        {
            self.flush();
        }
        if !self.groups.all[group].takes(&member, self.bytes_max) {
            self.write(group);
        }
        self.groups.add(group, at, &member);
    }

    fn write(&mut self, group: usize) {
        self.output.write(&self.taken, &self.groups.all[group]);
        self.groups.all[group].clear();
        self.hand_on_full();
    }

    /// Writes all that is open, the group that was opened first before the others.
    fn flush(&mut self) {
        for index in 0..self.groups.open.len() {
            let group = self.groups.open[index];
            self.write(group);
            self.groups.all[group].is_open = false;
        }
        self.groups.open.clear();
        self.groups.holders.clear();
    }

    fn hand_on_full(&mut self) {
        if self.output.parcel.is_full() {
            self.hand_on();
        }
    }

    fn hand_on(&mut self) {
        let (parcel, keys) = self.output.finish();
        self.ready.push_back(Packed { delivery: Delivery { ticket: self.next_ticket, parcel }, keys });
        self.next_ticket += 1;
    }

    fn end_round(&mut self) {
        let Some(inner) = self.taken.last().map(|delivery| delivery.ticket) else { return };
        self.flush();
        // A round without events leaves as a parcel without events.
        let is_first = self.rounds.back().map_or(self.acked_upto, |round| round.last + 1) == self.next_ticket;
        if is_first || !self.output.parcel.events.is_empty() {
            self.hand_on();
        }
        self.rounds.push_back(Round { last: self.next_ticket - 1, inner, parcels: self.taken.len() });
        self.taken_bytes = 0;
        for delivery in self.taken.drain(..) {
            self.output.keep(delivery.parcel);
        }
    }

    /// The engine's ticket up to which all is sent, if that moved.
    fn emitted(&mut self, ticket: u64) -> Option<u64> {
        let before = self.rounds_emitted;
        while self.rounds.get(self.rounds_emitted).is_some_and(|round| round.last <= ticket) {
            self.rounds_emitted += 1;
        }
        (self.rounds_emitted > before).then(|| self.rounds[self.rounds_emitted - 1].inner)
    }

    /// The engine's ticket up to which all is acknowledged, if that moved.
    fn acked(&mut self, ticket: u64) -> Option<u64> {
        let mut newest = None;
        while let Some(round) = self.rounds.pop_front_if(|round| round.last <= ticket) {
            self.rounds_emitted = self.rounds_emitted.saturating_sub(1);
            self.owed += round.parcels;
            self.acked_upto = round.last + 1;
            newest = Some(round.inner);
        }
        newest
    }

    /// Whether the engine is to be given a parcel back; it is given no more than it gave.
    fn owes_parcel(&mut self) -> bool {
        let owes = self.owed > 0;
        self.owed -= usize::from(owes);
        owes
    }
}

/// An event's parcel in the round, and its index there.
type At = (usize, usize);

fn event_at(taken: &[Delivery<Outgoing>], (parcel, event): At) -> (Outgoing, &[u8]) {
    let parcel = &taken[parcel].parcel;
    (parcel.events[event], &parcel.buffer)
}

#[cfg(test)]
mod tests;
