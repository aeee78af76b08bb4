//! What is in flight: every event between the parcel it came in and its acknowledgement.
//!
//! Pure: no socket, no clock (`now_ms` is passed in, chance is seeded), one owner. Events enter the order gate in the
//! order of their parcels, get a `seq` that is unique in the pool, are given to a line (a connection) with room in its
//! window, and leave when an answer for their id comes, on whichever line. The seq of an event is its admission number
//! plus a random base, so that an answer finds its event without a map. A line is charged for what it was given until
//! the answer, a time-out or its loss.
//!
//! Invariants: an event leaves the gate only when it is acknowledged or its dead letter is durable; a parcel is handed
//! back only when all its events have left and all parcels before it were handed back.
//!
//! Bounds: [`LOOK_AHEAD`] events (or all windows, if larger) and [`LOOK_AHEAD_BYTES`] from the oldest unacknowledged one,
//! at most one parcel that is not wholly admitted; about 130 bytes an event beside the parcels, which the engine bounds.

mod answers;
mod applied;
mod awaiting;
mod held;
mod line;
mod pieces;
mod rejects;
mod slot;

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::RandomState;
use flowd_codec::frame::set_publish_seq;
use flowd_engine::back_off::Waits;
use flowd_engine::order::{Gate, LOOK_AHEAD};
use flowd_engine::sequence::{Numbering, TopicId};
use flowd_engine::worker::Delivery;
use hashbrown::HashTable;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub(crate) use self::answers::Verdict;
use self::applied::Applied;
use self::held::{Parcels, Place};
use self::line::Line;
use self::pieces::{Pieces, seq};
pub(crate) use self::rejects::Rejected;
use self::slot::{Slot, Stage};
use crate::Outgoing;
use crate::config::MeshConfig;
use crate::muffler::Muffler;
use crate::publish::letter::Head;
use crate::publish::pack::Packed;
use crate::publish::stats::Stats;

/// Larger windows than this, all lines together, stay partly unused: about 9 MB of slots.
const LOOK_AHEAD_MAX: usize = 1 << 16;

/// Bytes of events that are admitted from the oldest unacknowledged one on; one more event may be admitted below it. A
/// subscriber that restores the order must have room for them: half of what a sink has with the memory it comes with.
const LOOK_AHEAD_BYTES: u64 = 16 * 1024 * 1024;

/// What a line is to write: an event, named by its admission number and the count of its sends so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) admission: u64,
    pub(crate) send: u32,
}

/// The pool.
pub(crate) struct Pool {
    gate: Gate,
    slots: Vec<Slot>,
    parcels: Parcels,
    lines: Vec<Line>,
    /// Admission numbers of events to be sent again, oldest need first; entries may be stale.
    again: VecDeque<u64>,
    /// Slots of the events that were given out at least once, by id.
    ids: HashTable<u32>,
    hasher: RandomState,
    rejected: VecDeque<Rejected>,
    /// What is left of batches that the mesh would not take whole.
    pieces: Pieces,
    /// What sinks have to apply, where they are waited for.
    applied: Option<Applied>,
    /// The topic that a barrier is under way in: nothing is admitted before it has left.
    barrier: Option<TopicId>,
    /// Events that wait for a time: in flight or after a refusal.
    timed: usize,
    seq_base: u64,
    /// Bytes of all events that were ever admitted …
    admitted_bytes: u64,
    /// … and how many of the newest of them the look-ahead may hold.
    look_ahead_bytes: u64,
    ack_timeout_ms: u64,
    max_event_bytes: usize,
    refused: Waits,
    chance: SmallRng,
    refusals: Muffler,
    timeouts: Muffler,
    aliens: Muffler,
    pub(crate) stats: Arc<Stats>,
}

impl Pool {
    /// A pool for the configured number of lines, none of them open. `seed` decides seqs and jitter.
    pub(crate) fn new(config: &MeshConfig, stats: Arc<Stats>, seed: u64) -> Self {
        let windows = config.connections.saturating_mul(config.window).min(LOOK_AHEAD_MAX);
        // Rows of snapshots hold their slots until they are applied.
        let look_ahead = if config.applied.is_some() { LOOK_AHEAD_MAX } else { LOOK_AHEAD.max(windows) };
        let gate = Gate::new(config.order, look_ahead);
        let capacity = gate.capacity();
        let mut chance = SmallRng::seed_from_u64(seed);
        Self {
            slots: vec![Slot::default(); capacity],
            parcels: Parcels::default(),
            lines: (0..config.connections).map(|_| Line::new(config.window)).collect(),
            again: VecDeque::with_capacity(capacity),
            ids: HashTable::with_capacity(capacity * 2),
            hasher: RandomState::with_seeds(
                chance.random(),
                chance.random(),
                chance.random(),
                chance.random(),
            ),
            rejected: VecDeque::new(),
            pieces: Pieces::default(),
            applied: config.applied.as_ref().map(|applied| Applied::new(applied, config.timing.applied)),
            barrier: None,
            timed: 0,
            // Far from overflow, and far from what another client of the server counts.
            seq_base: chance.random::<u64>() >> 2,
            admitted_bytes: 0,
            // A sink that has applied to tell drops what it has no room for, and gets it again; and a chunk must be
            // wholly admitted before it can be applied.
            look_ahead_bytes: if config.applied.is_some() { u64::MAX } else { LOOK_AHEAD_BYTES },
            ack_timeout_ms: config.ack_timeout.as_millis() as u64,
            max_event_bytes: config.max_event_bytes,
            refused: Waits::new(config.timing.refused, config.timing.refused_max),
            chance,
            refusals: Muffler::default(),
            timeouts: Muffler::default(),
            aliens: Muffler::default(),
            gate,
            stats,
        }
    }

    /// Whether the look-ahead has room that only another parcel can fill.
    pub(crate) fn wants_parcel(&self) -> bool {
        self.parcels.is_admitted() && self.has_room()
    }

    /// Whether every event has left and every parcel was handed back.
    pub(crate) fn is_empty(&self) -> bool {
        self.parcels.is_empty() && self.gate.is_empty()
    }

    /// Whether time may change anything: something is in flight, or waits after a refusal, or for a line to be opened
    /// or its pause to end.
    pub(crate) fn is_timed(&self) -> bool {
        self.timed > 0 || !self.again.is_empty() || self.gate.has_ready() || self.awaits()
    }

    /// Whether there is something to report or to reject.
    pub(crate) fn has_news(&self) -> bool {
        self.parcels.has_news() || !self.rejected.is_empty()
    }

    /// Takes the next parcel in.
    pub(crate) fn push(&mut self, packed: Packed) {
        self.parcels.push(packed);
        self.admit();
    }

    /// Admits events while there is room, first what is published again.
    fn admit(&mut self) {
        self.admit_repeats();
        while self.has_room() {
            let Some(place) = self.parcels.next_event() else { return };
            if !self.may_pass(place) {
                return;
            }
            self.parcels.advance();
            let (keys, members) = self.parcels.keys(place);
            let admission = self.gate.admit_all(keys, members);
            let slot = self.gate.slot(admission);
            let bytes_before = self.admitted_bytes;
            self.slots[slot as usize] = Slot { admission, place, bytes_before, ..Slot::default() };
            self.admitted_bytes += self.parcels.frame(place).len() as u64;
            self.await_applied(slot);
        }
    }

    /// Whether the look-ahead holds one more event.
    fn has_room(&self) -> bool {
        let oldest = &self.slots[self.gate.slot(self.gate.admitted().start) as usize];
        let is_small = || self.admitted_bytes - oldest.bytes_before < self.look_ahead_bytes;
        self.gate.is_empty() || (self.gate.room() > 0 && is_small())
    }

    /// Whether an event may be admitted: nothing passes a barrier, and a barrier passes nothing of its topic. What is of
    /// other topics waits too; barriers are rare.
    fn may_pass(&mut self, place: Place) -> bool {
        if self.barrier.is_some_and(|topic| !self.is_clear(topic)) {
            return false;
        }
        self.barrier = None;
        let (counted, _) = self.parcels.counted(place);
        if counted.numbering != Numbering::Barrier {
            return true;
        }
        let is_clear = self.is_clear(counted.topic);
        self.barrier = is_clear.then_some(counted.topic);
        is_clear
    }

    /// Whether all that was admitted of a topic has left, and is applied where it has to be.
    fn is_clear(&self, topic: TopicId) -> bool {
        self.gate.is_empty() && self.is_applied(topic)
    }

    /// Opens a line for sending.
    pub(crate) fn open(&mut self, line: usize) {
        self.lines[line].open();
    }

    /// Gives a line nothing more; its answers still count.
    pub(crate) fn drain(&mut self, line: usize) {
        self.lines[line].close();
    }

    /// The line is gone: what it had in flight is sent again, on any line.
    pub(crate) fn lost(&mut self, line: usize) {
        self.lines[line].close();
        for admission in self.gate.admitted() {
            let slot = self.gate.slot(admission);
            if self.slots[slot as usize].is_sent_on(line) {
                self.send_again(slot);
            }
        }
        debug_assert_eq!(self.lines[line].in_flight, 0);
    }

    /// Publishes without answer on a line.
    pub(crate) fn in_flight(&self, line: usize) -> usize {
        self.lines[line].in_flight
    }

    /// Whether anything that was sent on a line was acknowledged since it was opened.
    pub(crate) fn has_acked(&self, line: usize) -> bool {
        self.lines[line].has_acked
    }

    /// Whether `give` would give this line something.
    pub(crate) fn has_work(&self, line: usize, now_ms: u64) -> bool {
        (self.gate.has_ready() || !self.again.is_empty()) && self.lines[line].has_room(now_ms)
    }

    /// The next event for a line, with its seq set, charged to its window.
    pub(crate) fn give(&mut self, line: usize, now_ms: u64) -> Option<Given> {
        if !self.lines[line].has_room(now_ms) {
            return None;
        }
        loop {
            let slot = self.next_slot()?;
            let Slot { admission, place, sends, is_known, piece, .. } = self.slots[slot as usize];
            if !is_known && !self.first_send(slot) {
                continue;
            }
            set_publish_seq(self.parcels.frame_mut(place), self.seq_base + seq(admission, piece));
            self.slots[slot as usize].sends = sends + 1;
            self.slots[slot as usize].stage = Stage::Sent { line: line as u32, at_ms: now_ms };
            self.timed += 1;
            self.lines[line].in_flight += 1;
            self.stats.in_flight.add(1);
            self.stats.published.add(1);
            if is_known {
                self.stats.resent.add(1);
            }
            return Some(Given { admission, send: sends + 1 });
        }
    }

    fn next_slot(&mut self) -> Option<u32> {
        while let Some(admission) = self.again.pop_front() {
            let slot = self.gate.slot(admission);
            let found = &self.slots[slot as usize];
            if found.admission == admission && found.stage == Stage::Again {
                return Some(slot);
            }
        }
        self.gate.take()
    }

    /// Makes the event known by its id; false if it is too large to be sent at all.
    fn first_send(&mut self, slot: u32) -> bool {
        let place = self.slots[slot as usize].place;
        let size = self.parcels.frame(place).len();
        if size > self.max_event_bytes {
            let head = Head::of(self.parcels.json(place));
            let topic = head.topic();
            let reason = format!(
                "an event of topic {topic} is {size} bytes as a frame, over the {} bytes that EventMesh carries",
                self.max_event_bytes
            );
            self.reject(slot, reason);
            return false;
        }
        let hash = self.hasher.hash_one(self.parcels.id(place).as_bytes());
        self.slots[slot as usize].id_hash = hash;
        self.slots[slot as usize].is_known = true;
        let slots = &self.slots;
        self.ids.insert_unique(hash, slot, |other| slots[*other as usize].id_hash);
        true
    }

    /// The frame of something given, unless it was answered or given again in the meantime.
    pub(crate) fn frame(&self, line: usize, given: Given) -> Option<&[u8]> {
        let slot = &self.slots[self.gate.slot(given.admission) as usize];
        let current = slot.admission == given.admission && slot.sends == given.send && slot.is_sent_on(line);
        current.then(|| self.parcels.frame(slot.place))
    }

    /// The frame was written whole.
    pub(crate) fn written(&mut self, given: Given) {
        let slot = self.gate.slot(given.admission);
        if self.slots[slot as usize].admission == given.admission {
            self.mark_written(slot);
        }
    }

    fn mark_written(&mut self, slot: u32) {
        let slot = &mut self.slots[slot as usize];
        if !std::mem::replace(&mut slot.written, true) {
            self.parcels.written(slot.place);
        }
    }

    /// Moves on what its time has come for: time-outs and the ends of back-offs.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        self.tick_applied(now_ms);
        if self.timed == 0 {
            return;
        }
        let mut timed_out = 0;
        for admission in self.gate.admitted() {
            let slot = self.gate.slot(admission);
            match self.slots[slot as usize].stage {
                Stage::Later { due_ms } if due_ms <= now_ms => self.send_again(slot),
                Stage::Sent { at_ms, .. } if now_ms >= at_ms + self.patience_ms(slot) => {
                    let timeouts = &mut self.slots[slot as usize].timeouts;
                    *timeouts = timeouts.saturating_add(1);
                    timed_out += 1;
                    self.send_again(slot);
                }
                _ => {}
            }
        }
        self.stats.timed_out.add(timed_out);
        if timed_out > 0
            && let Some(unsaid) = self.timeouts.speak(now_ms)
        {
            tracing::warn!(
                count = timed_out,
                unsaid,
                "publishes were not answered in time and are sent again"
            );
        }
    }

    /// How long to wait for this event's answer: longer each time, so that a slow server is not buried in repeats.
    fn patience_ms(&self, slot: u32) -> u64 {
        self.ack_timeout_ms << self.slots[slot as usize].timeouts.min(3)
    }

    /// Takes a slot out of whatever it waits for.
    fn leave_stage(&mut self, slot: u32) {
        match std::mem::replace(&mut self.slots[slot as usize].stage, Stage::Idle) {
            Stage::Sent { line, .. } => {
                self.lines[line as usize].in_flight -= 1;
                self.stats.in_flight.add(-1);
                self.timed -= 1;
            }
            Stage::Later { .. } | Stage::Published { .. } => self.timed -= 1,
            Stage::Idle | Stage::Again | Stage::Rejected => {}
        }
    }

    fn send_again(&mut self, slot: u32) {
        self.leave_stage(slot);
        self.slots[slot as usize].stage = Stage::Again;
        self.again.push_back(self.slots[slot as usize].admission);
    }

    fn send_later(&mut self, slot: u32, due_ms: u64) {
        self.leave_stage(slot);
        self.slots[slot as usize].stage = Stage::Later { due_ms };
        self.timed += 1;
    }

    /// The event is acknowledged, or its dead letter is durable: it leaves.
    fn settle(&mut self, slot: u32) {
        self.leave_stage(slot);
        self.mark_written(slot);
        self.forget_id(slot);
        let place = self.slots[slot as usize].place;
        self.gate.release(slot);
        self.parcels.settled(place);
        self.admit();
    }

    /// The event cannot be found by its id any more.
    fn forget_id(&mut self, slot: u32) {
        let Slot { id_hash, is_known, .. } = self.slots[slot as usize];
        if is_known && let Ok(entry) = self.ids.find_entry(id_hash, |other| *other == slot) {
            entry.remove();
        }
        self.slots[slot as usize].is_known = false;
    }

    /// The last ticket up to which everything was written once, if that moved.
    pub(crate) fn emitted(&mut self) -> Option<u64> {
        self.parcels.emitted()
    }

    /// The next parcel, in order, whose events have all left.
    pub(crate) fn next_acked(&mut self) -> Option<Delivery<Outgoing>> {
        self.parcels.next_acked()
    }
}

#[cfg(test)]
mod tests;
