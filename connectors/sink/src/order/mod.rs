//! Order: which event goes now, which waits, which is dropped. Pure: no I/O, no clock, no log; time comes in.
//!
//! What comes may be lost, doubled, reordered, from an epoch that is over, from a snapshot's earlier run. Kept, whatever
//! comes: a lane's counted events go in the order of their numbers, each once; a row of a snapshot goes once, behind the
//! counted event that it names. With applied delivery no number is passed over: the source sends again what is not
//! applied. With published delivery a gap is given up after a while, or when the buffer is full, and counted.
//!
//! Memory: what waits is bounded by [`Settings::buffer_bytes`] (its size is the caller's word, which should add
//! [`HELD_OVERHEAD`]); besides, 100 bytes a lane and what `snapshots` says.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::store::{Applied, ChunkApplied, LaneApplied};

mod place;

mod barrier;
mod epoch;
mod gap;
mod lane;

mod names;
mod rows;
mod snapshots;

pub(crate) use names::LaneId;
pub(crate) use place::{Counts, Gap, HELD_OVERHEAD, Number, Place, Settings, Verdict, Why};
pub(crate) use snapshots::{Row, SnapshotId};

use barrier::Topic;
use epoch::Source;
use gap::{due_of, over_before};
use lane::{At, Held, Lane, Standing};
use names::Names;
use snapshots::Snapshots;

/// The state of all lanes. `T` is what the caller keeps of an event that waits.
#[derive(Debug)]
pub(crate) struct Order<T> {
    settings: Settings,
    names: Names,
    snapshots: Snapshots,
    lanes: Vec<Lane<T>>,
    topics: Vec<Topic>,
    sources: Vec<Source>,
    /// Lanes in which something waits.
    waiting: BTreeSet<LaneId>,
    /// Lanes whose first waiting event may have its turn.
    stirred: Vec<LaneId>,
    /// Those where a TRUNCATE could go, and nothing else may with it.
    barred: Vec<LaneId>,
    /// When to look at the waiting lanes again.
    due_ms: u64,
    held_bytes: usize,
    held_count: usize,
    counts: Counts,
    dropped: Vec<T>,
}

impl<T> Order<T> {
    /// Nothing known yet.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            names: Names::default(),
            snapshots: Snapshots::default(),
            lanes: Vec::new(),
            topics: Vec::new(),
            sources: Vec::new(),
            waiting: BTreeSet::new(),
            stirred: Vec::new(),
            barred: Vec::new(),
            due_ms: u64::MAX,
            held_bytes: 0,
            held_count: 0,
            counts: Counts::default(),
            dropped: Vec::new(),
        }
    }

    /// Goes on from what a store has on record. Only before the first event.
    pub(crate) fn load(&mut self, applied: &Applied) {
        for record in &applied.lanes {
            let Some(lane) = self.lane(&record.source, &record.topic, record.lane) else { continue };
            let lane = &mut self.lanes[lane.0 as usize];
            lane.epoch = record.epoch;
            lane.next = record.sequence.saturating_add(1);
            let source = &mut self.sources[lane.source.0 as usize];
            source.epoch = source.epoch.max(record.epoch);
        }
        for chunk in &applied.chunks {
            if self.load_given_up(chunk) {
                continue;
            }
            let of_source = applied.lanes.iter().filter(|lane| lane.source == chunk.source);
            let epoch = of_source.map(|lane| lane.epoch).max().unwrap_or(0);
            self.snapshots.load(chunk, epoch);
        }
    }

    /// The lane of that name; `None` when there are too many topics.
    pub(crate) fn lane(&mut self, source: &str, topic: &str, number: u16) -> Option<LaneId> {
        let (id, topic) = self.names.intern(source, topic, number)?;
        if id.0 as usize == self.lanes.len() {
            let source = self.names.name(topic).source_id;
            self.lanes.push(Lane::new(number, topic, source));
            if source.0 as usize == self.sources.len() {
                self.sources.push(Source::default());
            }
        }
        if topic.0 as usize == self.topics.len() {
            self.topics.push(Topic::default());
        }
        if self.topics[topic.0 as usize].barrier.is_some() && self.lanes[id.0 as usize].epoch == 0 {
            // It begins behind the TRUNCATE.
            self.lanes[id.0 as usize].limit = Some((0, 0));
        }
        Some(id)
    }

    /// The snapshot of that name; `None` when there are too many.
    pub(crate) fn snapshot(&mut self, source: &str, name: &str) -> Option<SnapshotId> {
        self.snapshots.intern(source, name)
    }

    /// What is done with an event that arrives now, which takes so many bytes if it has to wait.
    pub(crate) fn judge(&mut self, place: &Place, size: usize, now_ms: u64) -> Verdict {
        let verdict = self.consider(place, size);
        match verdict {
            Verdict::Drop(why) => self.count(why),
            Verdict::Go | Verdict::Wait => self.hear(place.lane, now_ms),
        }
        verdict
    }

    fn consider(&mut self, place: &Place, size: usize) -> Verdict {
        let at = At::of(place);
        if let Some(why) = self.is_over(place, &at) {
            return Verdict::Drop(why);
        }
        self.turn_to_epoch(place, &at);
        let lane = &mut self.lanes[place.lane.0 as usize];
        if at.row.is_none() && at.epoch == lane.epoch && lane.given_up.contains(at.sequence) {
            lane.given_up.remove(at.sequence);
            return Verdict::Drop(Why::Late);
        }
        let is_given_up = at.row.is_none() && lane.gap_around(&at).is_some();
        if lane.held.contains_key(&at) || is_given_up {
            return Verdict::Drop(Why::Duplicate);
        }
        // What waits of an epoch before goes first.
        let standing = if at.epoch == lane.epoch { lane.standing(&at, None) } else { Standing::Beyond };
        match standing {
            Standing::Gone => Verdict::Drop(Why::Duplicate),
            Standing::Over => Verdict::Drop(Why::Outdated),
            Standing::Next if self.may_go(place, &at) => self.go(place, &at),
            Standing::Next | Standing::Beyond
                if place.is_applied && self.held_bytes + size > self.settings.buffer_bytes =>
            {
                Verdict::Drop(Why::Full)
            }
            Standing::Next | Standing::Beyond => Verdict::Wait,
        }
    }

    /// Whether the event's row has gone, or its epoch or run is over. Takes note of the run.
    fn is_over(&mut self, place: &Place, at: &At) -> Option<Why> {
        if let Some(row) = &at.row {
            if self.snapshots.has_gone(row) {
                return Some(Why::Duplicate);
            }
            if self.snapshots.is_over(row, place.is_applied) {
                return Some(Why::Outdated);
            }
        }
        if at.epoch < self.epoch_of(place.lane) {
            return Some(Why::Outdated);
        }
        if let Some(row) = &at.row {
            self.snapshots.saw_run(row, place.is_applied);
        }
        None
    }

    /// Whether nothing keeps an event back whose turn it is in its lane.
    fn may_go(&mut self, place: &Place, at: &At) -> bool {
        let lane = &self.lanes[place.lane.0 as usize];
        // What waits before it has its turn too, and goes first.
        let is_first = lane.first().is_none_or(|(first, _)| first >= *at);
        let may = is_first && lane.is_open_to(at) && !self.source_of(place.lane).holds_older_than(at.epoch);
        may && (!place.is_barrier || self.is_barrier_clear(place.lane, at.epoch))
    }

    fn go(&mut self, place: &Place, at: &At) -> Verdict {
        if let Some(row) = &at.row {
            if place.is_applied && self.snapshots.is_too_far(row) {
                return Verdict::Drop(Why::Full);
            }
            self.counts.missing += self.snapshots.went(row, at.epoch);
        }
        let lane = &mut self.lanes[place.lane.0 as usize];
        lane.went(at);
        let topic = lane.topic;
        let source = &mut self.sources[lane.source.0 as usize];
        source.epoch = source.epoch.max(at.epoch);
        if !lane.held.is_empty() {
            self.stirred.push(place.lane);
        }
        if place.is_barrier {
            self.end_barrier(topic);
            for (_, id) in &self.names.name(topic).lanes {
                let lane = &mut self.lanes[id.0 as usize];
                lane.rows_from = lane.next.saturating_sub(1);
            }
        } else if let Some(barrier) = self.topics[topic.0 as usize].barrier {
            self.stirred.push(barrier);
        }
        Verdict::Go
    }

    /// Keeps an event that has to wait.
    pub(crate) fn hold(&mut self, place: Place, size: usize, item: T, now_ms: u64) {
        let at = At::of(&place);
        let lane = &mut self.lanes[place.lane.0 as usize];
        let source = &mut self.sources[lane.source.0 as usize];
        let since_heard_ms = source.heard.total_ms;
        let old = lane.held.insert(at, Held { place, size, since_ms: now_ms, since_heard_ms, item });
        debug_assert!(old.is_none(), "{at:?} waits already");
        *source.held.entry(at.epoch).or_default() += 1;
        self.held_bytes += size;
        self.held_count += 1;
        self.waiting.insert(place.lane);
        self.stirred.push(place.lane);
    }

    /// Whether an event that went can still be taken back: not once a newer epoch has begun behind it.
    pub(crate) fn may_give_back(&self, place: &Place) -> bool {
        At::of(place).epoch >= self.epoch_of(place.lane)
    }

    /// Takes back events that went and were not put after all, which are tried again at `until_ms`, each before all that
    /// is behind it in its lane. Of a lane, all that went behind the first of them must be among them.
    pub(crate) fn give_back(&mut self, place: Place, size: usize, item: T, now_ms: u64, until_ms: u64) {
        let at = At::of(&place);
        if let Some(row) = &at.row {
            self.snapshots.came_back(row);
        }
        let lane = &mut self.lanes[place.lane.0 as usize];
        if at.row.is_none() && (at.epoch, at.sequence) < (lane.epoch, lane.next) {
            (lane.epoch, lane.next) = (at.epoch, at.sequence);
        }
        lane.blocked_until_ms = Some(until_ms);
        self.hold(place, size, item, now_ms);
    }

    /// The next waiting event that may go now; it counts as gone. A barrier goes only where it `may_be_barrier`.
    pub(crate) fn release(&mut self, now_ms: u64, may_be_barrier: bool) -> Option<(Place, T)> {
        if may_be_barrier {
            self.stirred.append(&mut self.barred);
        }
        loop {
            while let Some(lane) = self.stirred.pop() {
                if let Some(found) = self.pop(lane, may_be_barrier) {
                    self.stirred.push(lane);
                    return Some(found);
                }
            }
            let has_acted = now_ms >= self.due_ms && self.look(now_ms);
            let has_passed = !has_acted && self.held_bytes > self.settings.buffer_bytes && self.relieve();
            if !has_acted && !has_passed {
                return None;
            }
        }
    }

    /// Whether `release` keeps a barrier back that could go.
    pub(crate) fn has_barrier(&self) -> bool {
        !self.barred.is_empty()
    }

    /// The first waiting event of a lane, if it may go.
    fn pop(&mut self, id: LaneId, may_be_barrier: bool) -> Option<(Place, T)> {
        loop {
            let lane = &mut self.lanes[id.0 as usize];
            let (at, held) = lane.first()?;
            let place = held.place;
            if let Some(until_ms) = lane.blocked_until_ms {
                self.due_ms = self.due_ms.min(until_ms);
                return None;
            }
            let source = &self.sources[lane.source.0 as usize];
            if source.holds_older_than(at.epoch) {
                return None;
            }
            if at.epoch > lane.epoch {
                lane.begin(at.epoch, place.is_applied);
            }
            let outdated = at.epoch < source.epoch.max(lane.epoch)
                || at.row.is_some_and(|row| self.snapshots.is_over(&row, place.is_applied));
            let standing = if outdated { Standing::Over } else { lane.standing(&at, place.gap) };
            match standing {
                Standing::Beyond => {
                    let due_ms = due_of(lane, &self.settings, &self.sources[lane.source.0 as usize].heard);
                    self.due_ms = self.due_ms.min(due_ms.unwrap_or(u64::MAX));
                    return None;
                }
                Standing::Next if !self.may_go(&place, &at) => return None,
                Standing::Next if place.is_barrier && !may_be_barrier => {
                    self.barred.push(id);
                    return None;
                }
                Standing::Next => {
                    let held = self.take(id, &at);
                    if self.go(&place, &at) == Verdict::Go {
                        return Some((place, held));
                    }
                    self.counts.full += 1;
                    self.dropped.push(held);
                }
                Standing::Gone => self.discard(id, &at, Why::Duplicate),
                Standing::Over => self.discard(id, &at, Why::Outdated),
            }
        }
    }

    fn take(&mut self, id: LaneId, at: &At) -> T {
        let lane = &mut self.lanes[id.0 as usize];
        let held = lane.held.remove(at).expect("the caller found it");
        if lane.held.is_empty() {
            self.waiting.remove(&id);
            lane.blocked_until_ms = None;
        }
        self.held_bytes -= held.size;
        self.held_count -= 1;
        let source = &mut self.sources[lane.source.0 as usize];
        let count = source.held.get_mut(&at.epoch).expect("counted when it was held");
        *count -= 1;
        if *count == 0 {
            source.held.remove(&at.epoch);
            if !source.held.is_empty() {
                // A newer epoch may begin, in whatever lane.
                self.stirred.extend(&self.waiting);
            }
        }
        held.item
    }

    fn discard(&mut self, id: LaneId, at: &At, why: Why) {
        let item = self.take(id, at);
        self.count(why);
        self.dropped.push(item);
    }

    fn count(&mut self, why: Why) {
        match why {
            Why::Duplicate => self.counts.duplicates += 1,
            Why::Late => self.counts.late += 1,
            Why::Outdated => self.counts.outdated += 1,
            Why::Full => self.counts.full += 1,
        }
    }

    /// What was let go of since the last call: it waited, and is of no use any more.
    pub(crate) fn drain_dropped(&mut self) -> impl Iterator<Item = T> + '_ {
        self.dropped.drain(..)
    }

    /// What was met since the last call.
    pub(crate) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Whether anything was given back and is not tried again yet.
    pub(crate) fn is_any_blocked(&self) -> bool {
        self.waiting.iter().any(|id| self.lanes[id.0 as usize].blocked_until_ms.is_some())
    }

    /// When `release` is worth a call although nothing has come.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        (self.due_ms != u64::MAX && !self.waiting.is_empty()).then_some(self.due_ms)
    }

    /// Events that wait, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.held_count, self.held_bytes)
    }

    /// Whether more waits than should, and nothing can be given up: what comes must wait outside.
    pub(crate) fn is_full(&self) -> bool {
        self.held_bytes > self.settings.buffer_bytes
    }

    /// Since when the longest waiting event waits, with its lane.
    pub(crate) fn oldest_wait(&self) -> Option<(u64, LaneApplied)> {
        let firsts = self.waiting.iter().filter_map(|id| {
            let (_, held) = self.lanes[id.0 as usize].first()?;
            Some((held.since_ms, *id))
        });
        let (since_ms, id) = firsts.min()?;
        Some((since_ms, self.record(id)))
    }

    /// How far a lane has come.
    pub(crate) fn record(&self, id: LaneId) -> LaneApplied {
        let lane = &self.lanes[id.0 as usize];
        let name = self.names.name(lane.topic);
        LaneApplied {
            source: Arc::clone(&name.source),
            topic: Arc::clone(&name.topic),
            lane: lane.number,
            epoch: lane.epoch,
            sequence: lane.next.saturating_sub(1),
        }
    }

    /// All lanes of a source that have come anywhere.
    pub(crate) fn lanes_of(&self, source: &str) -> Vec<LaneId> {
        let ids = (0..self.lanes.len()).map(|index| LaneId(u32::try_from(index).expect("ids are 32 bits")));
        ids.filter(|id| {
            let lane = &self.lanes[id.0 as usize];
            lane.epoch != 0 && *self.names.name(lane.topic).source == *source
        })
        .collect()
    }

    /// How far a row's chunk has come; `None` where its run is of no more use.
    pub(crate) fn chunk_record(&self, row: &Row) -> Option<ChunkApplied> {
        self.snapshots.record(row)
    }

    /// The records of these lanes and of the chunks of these rows, and what may be forgotten with them.
    pub(crate) fn records(&self, lanes: &[LaneId], rows: &[Row]) -> Applied {
        let mut over = self.snapshots.over(rows);
        let mut last = None;
        for id in lanes {
            // What is in the record, and has begun for all lanes: rows of older epochs are outdated then, here and after a
            // restart.
            let lane = &self.lanes[id.0 as usize];
            let epoch = lane.epoch.min(self.source_of(*id).epoch);
            if last.replace((lane.source, epoch)) != Some((lane.source, epoch)) {
                over.extend(self.snapshots.of_older_epochs(&self.names.name(lane.topic).source, epoch));
            }
        }
        let mut chunks: Vec<_> = rows.iter().filter_map(|row| self.snapshots.record(row)).collect();
        for record in lanes.iter().filter_map(|id| self.given_up_record(*id)) {
            over.push(over_before(&record));
            chunks.push(record);
        }
        let lanes = lanes.iter().map(|lane| self.record(*lane)).collect();
        Applied { lanes, chunks, over }
    }

    /// The records are in the store: what may be forgotten with them is forgotten here too.
    pub(crate) fn recorded(&mut self, records: &Applied) {
        records.over.iter().for_each(|over| self.snapshots.forget(over));
        records.chunks.iter().for_each(|chunk| self.given_up_recorded(chunk));
    }
}

#[cfg(test)]
mod tests;
