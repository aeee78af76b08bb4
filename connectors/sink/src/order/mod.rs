//! Order: which event goes now, which waits, which is dropped. Pure: no I/O, no clock, no log; time comes in.
//!
//! What comes may be lost, doubled, reordered, from an epoch that is over, from a snapshot's earlier run. Kept, whatever
//! comes: a lane's counted events go in the order of their numbers, each once; a row of a snapshot goes once, behind the
//! counted event that it names. With applied delivery no number is passed over: the source sends again what is not
//! applied. With published delivery a gap is given up after a while, or when the buffer is full, and counted.
//!
//! Memory: what waits is bounded by [`Settings::buffer_bytes`] (its size is the caller's word, which should add
//! [`HELD_OVERHEAD`]); besides, 100 bytes a lane and what `snapshots` says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::store::{Applied, ChunkApplied, LaneApplied};

mod lane;
mod names;
mod rows;
mod snapshots;

pub(crate) use names::LaneId;
pub(crate) use snapshots::{Row, SnapshotId};

use lane::{At, Held, Lane, Standing};
use names::{Names, TopicId};
use snapshots::Snapshots;

/// What a waiting event costs besides its bytes.
pub(crate) const HELD_OVERHEAD: usize = 512;

/// Bounds and waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// What waiting events may hold.
    pub(crate) buffer_bytes: usize,
    /// How long a gap is waited for with published delivery.
    pub(crate) gap_wait_ms: u64,
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
    first: u64,
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
    /// Its epoch, or the run that read it, is over.
    Outdated,
    /// The buffer is full; it will be sent again.
    Full,
}

/// What was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) duplicates: u64,
    pub(crate) outdated: u64,
    pub(crate) full: u64,
    /// Numbers and rows that were given up.
    pub(crate) missing: u64,
}

/// The epoch is one for all lanes of a source: with another number of lanes a key is in another lane.
#[derive(Debug, Default)]
struct Source {
    /// The newest epoch that anything went of; with applied delivery that anything came of.
    epoch: u64,
    /// How many events wait, by epoch.
    held: BTreeMap<u64, usize>,
}

impl Source {
    /// Whether something waits that is older, and goes first.
    fn holds_older_than(&self, epoch: u64) -> bool {
        self.held.first_key_value().is_some_and(|(first, _)| *first < epoch)
    }
}

#[derive(Debug, Default)]
struct Topic {
    /// A TRUNCATE of this lane has its turn there, and waits for the other lanes.
    barrier: Option<LaneId>,
}

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
        applied.chunks.iter().for_each(|chunk| self.snapshots.load(chunk));
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

    /// What is done with an event that arrives, which takes so many bytes if it has to wait.
    pub(crate) fn judge(&mut self, place: &Place, size: usize) -> Verdict {
        let verdict = self.consider(place, size);
        if let Verdict::Drop(why) = verdict {
            self.count(why);
        }
        verdict
    }

    fn consider(&mut self, place: &Place, size: usize) -> Verdict {
        let at = At::of(place);
        if let Some(why) = self.is_over(place, &at) {
            return Verdict::Drop(why);
        }
        self.turn_to_epoch(place, &at);
        let lane = &self.lanes[place.lane.0 as usize];
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

    /// A newer epoch ends the older ones; with published delivery, behind what waits of them.
    fn turn_to_epoch(&mut self, place: &Place, at: &At) {
        if place.is_applied && at.epoch > self.source_of(place.lane).epoch {
            self.end_older_epochs(place.lane, at.epoch);
        }
        let is_last = !self.source_of(place.lane).holds_older_than(at.epoch);
        let lane = &mut self.lanes[place.lane.0 as usize];
        if at.epoch > lane.epoch && is_last {
            lane.begin(at.epoch, place.is_applied);
        } else if place.is_applied && lane.next == 0 {
            lane.next = 1;
        }
    }

    /// Drops what waits of older epochs in all lanes of the source.
    fn end_older_epochs(&mut self, id: LaneId, epoch: u64) {
        let source = self.lanes[id.0 as usize].source;
        self.sources[source.0 as usize].epoch = epoch;
        let is_of_source = |id: &&LaneId| self.lanes[id.0 as usize].source == source;
        let waiting: Vec<LaneId> = self.waiting.iter().filter(is_of_source).copied().collect();
        for id in waiting {
            while let Some((at, _)) = self.lanes[id.0 as usize].first().filter(|(at, _)| at.epoch < epoch) {
                self.discard(id, &at, Why::Outdated);
            }
        }
        let ended =
            (0..self.topics.len()).map(|index| TopicId(u32::try_from(index).expect("ids are 32 bits")));
        for topic in ended {
            if self.names.name(topic).source_id == source && self.topics[topic.0 as usize].barrier.is_some() {
                self.end_barrier(topic);
            }
        }
    }

    /// The epoch before which events of the lane are over.
    fn epoch_of(&self, lane: LaneId) -> u64 {
        self.source_of(lane).epoch.max(self.lanes[lane.0 as usize].epoch)
    }

    fn source_of(&self, lane: LaneId) -> &Source {
        &self.sources[self.lanes[lane.0 as usize].source.0 as usize]
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
            self.counts.missing += self.snapshots.went(row);
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
        let old = lane.held.insert(at, Held { place, size, since_ms: now_ms, item });
        debug_assert!(old.is_none(), "{at:?} waits already");
        *self.sources[lane.source.0 as usize].held.entry(at.epoch).or_default() += 1;
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
                    self.due_ms = self.due_ms.min(due_of(lane, &self.settings).unwrap_or(u64::MAX));
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
            Why::Outdated => self.counts.outdated += 1,
            Why::Full => self.counts.full += 1,
        }
    }

    /// Unblocks lanes and gives gaps up whose time has come; whether there were any. Finds out when to look again.
    fn look(&mut self, now_ms: u64) -> bool {
        let mut due_ms = u64::MAX;
        let before = self.stirred.len();
        for id in &self.waiting {
            let lane = &mut self.lanes[id.0 as usize];
            let Some(lane_due_ms) = due_of(lane, &self.settings) else { continue };
            if lane_due_ms > now_ms {
                due_ms = due_ms.min(lane_due_ms);
                continue;
            }
            self.stirred.push(*id);
            if lane.blocked_until_ms.take().is_none() {
                self.counts.missing += pass_gap(lane, &self.snapshots);
            }
            // What comes behind may have a time of its own.
            due_ms = due_ms.min(due_of(lane, &self.settings).unwrap_or(u64::MAX).max(now_ms + 1));
        }
        self.due_ms = due_ms;
        self.stirred.len() > before
    }

    /// Gives up the oldest gap of published delivery; whether there was one.
    fn relieve(&mut self) -> bool {
        let settings = Settings { gap_wait_ms: 0, first_wait_ms: 0, ..self.settings };
        let gaps = self.waiting.iter().filter_map(|id| {
            let lane = &self.lanes[id.0 as usize];
            let due_ms = lane.blocked_until_ms.is_none().then(|| due_of(lane, &settings))??;
            Some((due_ms, *id))
        });
        let Some((_, id)) = gaps.min() else { return false };
        self.counts.missing += pass_gap(&mut self.lanes[id.0 as usize], &self.snapshots);
        self.stirred.push(id);
        true
    }

    /// Whether a TRUNCATE that has its turn in its lane may go. If not, whatever comes from now on waits behind it.
    fn is_barrier_clear(&mut self, id: LaneId, epoch: u64) -> bool {
        let topic = self.lanes[id.0 as usize].topic;
        let is_new = self.topics[topic.0 as usize].barrier.is_none();
        // What waits of a newer epoch is behind it.
        let is_before = |lane: &Lane<T>, at: &At| {
            at.epoch <= epoch && (is_new || lane.limit.is_none_or(|limit| (at.epoch, at.sequence) <= limit))
        };
        let others =
            || self.names.name(topic).lanes.iter().map(|(_, other)| *other).filter(|other| *other != id);
        let is_clear = others().all(|other| {
            let lane = &self.lanes[other.0 as usize];
            !lane.first().is_some_and(|(at, _)| is_before(lane, &at))
        });
        if is_clear || !is_new {
            return is_clear;
        }
        self.topics[topic.0 as usize].barrier = Some(id);
        for other in others() {
            let lane = &mut self.lanes[other.0 as usize];
            let last = lane.held.keys().rfind(|at| at.epoch <= epoch).map(|at| (at.epoch, at.sequence));
            // What comes late of an older epoch is before it too.
            lane.limit = Some(last.unwrap_or((lane.epoch, lane.next.saturating_sub(1))).max((epoch, 0)));
        }
        false
    }

    fn end_barrier(&mut self, topic: TopicId) {
        self.topics[topic.0 as usize].barrier = None;
        for (_, id) in &self.names.name(topic).lanes {
            let lane = &mut self.lanes[id.0 as usize];
            lane.limit = None;
            if !lane.held.is_empty() {
                self.stirred.push(*id);
            }
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
        Applied {
            lanes: lanes.iter().map(|lane| self.record(*lane)).collect(),
            chunks: rows.iter().filter_map(|row| self.snapshots.record(row)).collect(),
            over: self.snapshots.over(rows),
        }
    }

    /// The records are in the store: what may be forgotten with them is forgotten here too.
    pub(crate) fn recorded(&mut self, records: &Applied) {
        records.over.iter().for_each(|over| self.snapshots.forget(over));
    }
}

/// When something is to be done about what waits in a lane: it is unblocked, or its gap is given up.
fn due_of<T>(lane: &Lane<T>, settings: &Settings) -> Option<u64> {
    if lane.blocked_until_ms.is_some() {
        return lane.blocked_until_ms;
    }
    let (at, held) = lane.first()?;
    let is_gap = at.epoch == lane.epoch && lane.standing(&at, held.place.gap) == Standing::Beyond;
    let is_waited_for = held.place.is_applied || !lane.is_open_to(&at);
    let wait_ms = if lane.next == 0 { settings.first_wait_ms } else { settings.gap_wait_ms };
    (is_gap && !is_waited_for).then(|| held.since_ms + wait_ms)
}

/// Gives up what is missing before the first that waits; not for one that is of no more use itself.
fn pass_gap<T>(lane: &mut Lane<T>, snapshots: &Snapshots) -> u64 {
    let is_over = lane.first().is_some_and(|(at, held)| {
        at.row.is_some_and(|row| snapshots.is_over(&row, held.place.is_applied))
            || at.sequence < lane.rows_from
    });
    if is_over { 0 } else { lane.pass_gap() }
}

#[cfg(test)]
mod tests;
