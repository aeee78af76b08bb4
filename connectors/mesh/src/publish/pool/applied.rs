//! Delivery `applied`: an event counts as acknowledged once the sinks have applied it, and is published again until then.
//!
//! A counted event leaves the gate when it is published, and keeps its parcel until it is applied. A row of a snapshot
//! stays in the gate: it has no number of its own, so what the stream does to its key afterwards must wait until its chunk
//! is applied.

use std::collections::VecDeque;
use std::time::Duration;

use ahash::AHashMap;
use flowd_codec::applied::Report;
use flowd_codec::event::batch;
use flowd_codec::event::incoming::{self, Incoming, Order};
use flowd_codec::event::view::Data;
use flowd_engine::sequence::{Numbering, TopicId};
use tracing::warn;

use super::Pool;
use super::awaiting::{Awaiting, LaneKey};
use super::held::Place;
use super::slot::{Slot, Stage};
use crate::config::AppliedBy;

/// How often what is not applied is looked through, at most; often enough for the patience.
const LOOK_MS: u64 = 250;
/// Rows that are published again in one look.
const ROWS_AGAIN: usize = 1024;
/// When it is first said that a sink was never heard of, and how often then.
const UNHEARD_MS: u64 = 15_000;
const UNHEARD_AGAIN_MS: u64 = 60_000;

/// What is waited for.
pub(super) struct Applied {
    awaiting: Awaiting,
    /// To be published again as soon as the gate has room; each is held in its parcel.
    repeats: VecDeque<Place>,
    topics: AHashMap<Box<str>, TopicId>,
    /// Topics whose name is among `topics`, by number.
    learnt: Vec<bool>,
    /// Of the events that we publish, from the first one.
    source: Option<Box<str>>,
    epoch: Option<u64>,
    patience_ms: u64,
    next_look_ms: u64,
    next_word_ms: u64,
}

impl Applied {
    pub(super) fn new(by: &AppliedBy, patience: Duration) -> Self {
        let patience_ms = patience.as_millis() as u64;
        Self {
            awaiting: Awaiting::new(&by.by, patience_ms),
            repeats: VecDeque::new(),
            topics: AHashMap::new(),
            learnt: Vec::new(),
            source: None,
            epoch: None,
            patience_ms,
            next_look_ms: 0,
            next_word_ms: UNHEARD_MS,
        }
    }

    /// Takes note of the names that reports will use.
    fn learn(&mut self, topic: TopicId, json: &[u8]) {
        let at = topic.0 as usize;
        if self.learnt.get(at).is_some_and(|is_learnt| *is_learnt) {
            return;
        }
        self.learnt.resize(self.learnt.len().max(at + 1), false);
        self.learnt[at] = true;
        let Some(event) = first_of(json) else { return };
        if let Some(name) = &event.topic {
            self.topics.insert(name.as_ref().into(), topic);
        }
        self.source.get_or_insert_with(|| event.source.as_ref().into());
        let (Order::Counted { epoch, .. } | Order::Row { after: (epoch, _), .. }) = event.order else {
            return;
        };
        self.epoch = Some(epoch);
    }
}

/// The event, or the first member of a batch.
fn first_of(json: &[u8]) -> Option<Incoming<'_>> {
    let event = incoming::read(json).ok()?;
    match &event.data {
        Data::Json(data) if event.event_type == batch::EVENT_TYPE => {
            batch::members(data).next().and_then(|member| incoming::read(member).ok())
        }
        _ => Some(event),
    }
}

impl Pool {
    fn lane_of(&self, place: Place) -> (LaneKey, u64) {
        let (counted, number) = self.parcels.counted(place);
        ((counted.topic, counted.lane), number)
    }

    /// Takes note of an event that was admitted.
    pub(super) fn await_applied(&mut self, slot: u32) {
        let Some(applied) = &mut self.applied else { return };
        let Slot { admission, place, .. } = self.slots[slot as usize];
        let (counted, number) = self.parcels.counted(place);
        if counted.numbering == Numbering::None {
            return;
        }
        applied.learn(counted.topic, self.parcels.json(place));
        if counted.numbering != Numbering::Behind {
            if applied.awaiting.admit((counted.topic, counted.lane), number, place) {
                self.parcels.hold(place);
            }
        } else if let Some(Order::Row { snapshot, chunk, .. }) =
            first_of(self.parcels.json(place)).map(|event| event.order)
        {
            applied.awaiting.admit_row(&snapshot, chunk, admission);
            self.slots[slot as usize].awaits_chunk = true;
        }
        self.count_awaiting();
    }

    fn count_awaiting(&self) {
        let count = self.applied.as_ref().map_or(0, |applied| applied.awaiting.count());
        self.stats.awaiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether something waits to be applied.
    pub(super) fn awaits(&self) -> bool {
        self.applied.as_ref().is_some_and(|applied| applied.awaiting.count() > 0)
    }

    /// Whether nothing of a topic waits to be applied.
    pub(super) fn is_applied(&self, topic: TopicId) -> bool {
        self.applied.as_ref().is_none_or(|applied| applied.awaiting.is_idle(topic))
    }

    /// Whether an event still has to be applied.
    pub(super) fn has_to_be_applied(&self, slot: u32) -> bool {
        let Slot { place, awaits_chunk, .. } = self.slots[slot as usize];
        let (lane, number) = self.lane_of(place);
        let is_waiting = |applied: &Applied| applied.awaiting.is_waiting(lane, number);
        let is_row = self.parcels.counted(place).0.numbering == Numbering::Behind;
        awaits_chunk || (!is_row && self.applied.as_ref().is_some_and(is_waiting))
    }

    /// All of an event is published: it leaves the gate, unless it is a row that is not applied yet.
    pub(super) fn published(&mut self, slot: u32, now_ms: u64) {
        let Slot { place, awaits_chunk, .. } = self.slots[slot as usize];
        if awaits_chunk {
            self.leave_stage(slot);
            self.mark_written(slot);
            self.slots[slot as usize].stage = Stage::Published { at_ms: now_ms };
            self.timed += 1;
            return;
        }
        let (lane, number) = self.lane_of(place);
        let is_row = self.parcels.counted(place).0.numbering == Numbering::Behind;
        if let Some(applied) = self.applied.as_mut().filter(|_| !is_row && number > 0) {
            applied.awaiting.published(lane, number, now_ms);
        }
        self.settle(slot);
    }

    /// Takes a sink's report.
    pub(crate) fn take_report(&mut self, report: &Report<'_>) {
        let Some(applied) = &mut self.applied else { return };
        // Before the first event nothing waits, and several sources may share a topic.
        if applied.source.as_deref() != Some(&*report.source) {
            return;
        }
        let Some(sink) = applied.awaiting.hear(&report.instance) else { return };
        let mut places = Vec::new();
        for mark in report.lanes.iter().filter(|mark| applied.epoch == Some(mark.epoch)) {
            let Some(topic) = applied.topics.get(&*mark.topic) else { continue };
            let lane = (*topic, flowd_engine::sequence::Lane(mark.lane));
            places.extend(applied.awaiting.mark(sink, lane, mark.sequence));
        }
        let awaiting = &mut applied.awaiting;
        let chunks = report.chunks.iter();
        let rows: Vec<u64> =
            chunks.flat_map(|mark| awaiting.mark_chunk(sink, &mark.snapshot, mark.chunk)).collect();
        for place in places {
            self.forget_pieces(place);
            self.parcels.settled(place);
        }
        rows.into_iter().for_each(|admission| self.row_applied(admission));
        self.count_awaiting();
        self.admit();
    }

    fn row_applied(&mut self, admission: u64) {
        let slot = self.gate.slot(admission);
        debug_assert_eq!(self.slots[slot as usize].admission, admission, "a row stays until it is applied");
        self.slots[slot as usize].awaits_chunk = false;
        match self.slots[slot as usize].stage {
            // It goes its way and leaves at its end.
            Stage::Idle | Stage::Rejected => {}
            Stage::Again | Stage::Later { .. } | Stage::Published { .. } | Stage::Sent { .. } => {
                self.forget_all_pieces(slot);
                self.settle(slot);
            }
        }
    }

    /// Admits what is published again.
    pub(super) fn admit_repeats(&mut self) {
        while self.gate.room() > 0 {
            let Some(place) = self.applied.as_mut().and_then(|applied| applied.repeats.pop_front()) else {
                return;
            };
            let (lane, number) = self.lane_of(place);
            let applied = self.applied.as_ref().expect("it had a repeat");
            if !applied.awaiting.is_waiting(lane, number) {
                self.parcels.settled(place);
                continue;
            }
            // It holds no key: what it could overtake is sorted out by its number.
            let admission = self.gate.admit([0; 2]);
            let slot = self.gate.slot(admission);
            let bytes_before = self.admitted_bytes;
            self.slots[slot as usize] =
                Slot { admission, place, bytes_before, written: true, ..Slot::default() };
            self.in_pieces_again(slot);
            self.stats.resent_unapplied.add(1);
        }
    }

    /// Finds what has waited for too long, and says which sinks were never heard of.
    pub(super) fn tick_applied(&mut self, now_ms: u64) {
        let Some(applied) = self.applied.as_mut().filter(|applied| now_ms >= applied.next_look_ms) else {
            return;
        };
        applied.next_look_ms = now_ms + LOOK_MS.min(applied.patience_ms / 4);
        let mut places = Vec::new();
        applied.awaiting.due(now_ms, &mut places);
        for place in &places {
            self.parcels.hold(*place);
        }
        applied.repeats.extend(places);
        let is_silent = applied.awaiting.count() > 0 && applied.awaiting.unheard().next().is_some();
        if is_silent && now_ms >= applied.next_word_ms {
            applied.next_word_ms = now_ms + UNHEARD_AGAIN_MS;
            let names: Vec<&str> = applied.awaiting.unheard().collect();
            warn!(
                sinks = names.join(", "),
                waiting = applied.awaiting.count(),
                "pipeline.appliedBy names sinks that were never heard of; the checkpoint waits for them"
            );
        }
        self.stats.unheard.set(applied.awaiting.unheard().count() as i64);
        self.rows_again(now_ms);
        self.admit();
    }

    fn rows_again(&mut self, now_ms: u64) {
        let Some(patience_ms) = self.applied.as_ref().map(|applied| applied.patience_ms) else { return };
        if !self.awaits() {
            return;
        }
        let mut left = ROWS_AGAIN;
        for admission in self.gate.admitted() {
            let slot = self.gate.slot(admission);
            let stage = self.slots[slot as usize].stage;
            if matches!(stage, Stage::Published { at_ms } if now_ms >= at_ms + patience_ms) {
                self.in_pieces_again(slot);
                self.send_again(slot);
                self.stats.resent_unapplied.add(1);
                left -= 1;
            }
            if left == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
