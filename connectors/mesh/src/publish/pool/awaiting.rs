//! What is published and not applied yet, where the sinks that apply it are waited for.
//!
//! Counted events wait in their lanes, by number, until every sink's watermark has passed them; rows of a snapshot wait
//! by chunk, until every sink has the whole of it. What waits for too long is published again, a lane's oldest first: a
//! sink takes them in order, so one that is missing usually holds up many that are not. How many go at once doubles with
//! each time that all of them were applied.
//!
//! Pure: time comes in. Memory: 40 bytes an event, for those of the parcels that the pool holds.

use std::collections::VecDeque;

use ahash::AHashMap;
use flowd_codec::event::incoming::Chunk;
use flowd_engine::sequence::{Lane, TopicId};

use super::held::Place;

/// Events of a lane that are published again at once, at first and at most.
const BURST: std::ops::RangeInclusive<usize> = 256..=8192;
/// A lane of a topic.
pub(super) type LaneKey = (TopicId, Lane);

/// Which sinks are waited for, and what waits.
#[derive(Debug)]
pub(super) struct Awaiting {
    by: Vec<Sink>,
    lanes: AHashMap<LaneKey, Queue>,
    chunks: AHashMap<ChunkKey, Rows>,
    snapshots: Vec<Box<str>>,
    count: usize,
    patience_ms: u64,
    /// After a burst the sinks have this long to say that it is applied.
    answer_ms: u64,
}

#[derive(Debug)]
struct Sink {
    name: Box<str>,
    was_heard: bool,
}

#[derive(Debug)]
struct Queue {
    /// By number.
    entries: VecDeque<Entry>,
    /// What each sink has applied.
    marks: Box<[u64]>,
    burst: usize,
    /// The last number of the latest burst.
    burst_end: u64,
    /// No burst before this, unless the latest one is applied.
    not_before_ms: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    place: Place,
    /// When it was last published; none while it is on its way.
    published_ms: Option<u64>,
}

/// A chunk, with its snapshot's index.
type ChunkKey = (usize, Chunk);

#[derive(Debug)]
struct Rows {
    /// One bit for each sink that has it.
    applied_by: u64,
    admissions: Vec<u64>,
}

impl Awaiting {
    /// Waits for these sinks; what is not applied after `patience_ms` is published again.
    ///
    /// # Panics
    /// Without a sink, or with more than 64: the configuration refuses that.
    pub(super) fn new(by: &[String], patience_ms: u64) -> Self {
        assert!((1..=64).contains(&by.len()), "{} sinks to wait for", by.len());
        let sink = |name: &String| Sink { name: name.as_str().into(), was_heard: false };
        Self {
            by: by.iter().map(sink).collect(),
            lanes: AHashMap::new(),
            chunks: AHashMap::new(),
            snapshots: Vec::new(),
            count: 0,
            patience_ms,
            answer_ms: patience_ms * 3 / 10,
        }
    }

    /// Events that wait.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Sinks that never said anything.
    pub(super) fn unheard(&self) -> impl Iterator<Item = &str> {
        self.by.iter().filter(|sink| !sink.was_heard).map(|sink| &*sink.name)
    }

    /// The sink of this name speaks; none where nobody waits for it.
    pub(super) fn hear(&mut self, name: &str) -> Option<usize> {
        let index = self.by.iter().position(|sink| &*sink.name == name)?;
        self.by[index].was_heard = true;
        Some(index)
    }

    /// Whether no counted event of the topic waits.
    pub(super) fn is_idle(&self, topic: TopicId) -> bool {
        let of_topic = self.lanes.iter().filter(|((of, _), _)| *of == topic);
        of_topic.into_iter().all(|(_, queue)| queue.entries.is_empty())
    }

    fn queue(&mut self, lane: LaneKey) -> &mut Queue {
        let sinks = self.by.len();
        self.lanes.entry(lane).or_insert_with(|| Queue::new(sinks))
    }

    /// A counted event is on its way; numbers ascend. False where it is applied already.
    pub(super) fn admit(&mut self, lane: LaneKey, number: u64, place: Place) -> bool {
        let queue = self.queue(lane);
        if number <= queue.applied() {
            return false;
        }
        debug_assert!(queue.entries.back().is_none_or(|last| last.number < number), "numbers ascend");
        queue.entries.push_back(Entry { number, place, published_ms: None });
        self.count += 1;
        true
    }

    /// Whether a counted event waits.
    pub(super) fn is_waiting(&self, lane: LaneKey, number: u64) -> bool {
        let found = |queue: &Queue| queue.entries.binary_search_by_key(&number, |entry| entry.number).is_ok();
        self.lanes.get(&lane).is_some_and(found)
    }

    /// A counted event is published.
    pub(super) fn published(&mut self, lane: LaneKey, number: u64, now_ms: u64) {
        let queue = self.queue(lane);
        // It may be applied already.
        if let Ok(at) = queue.entries.binary_search_by_key(&number, |entry| entry.number) {
            queue.entries[at].published_ms = Some(now_ms);
        }
    }

    /// A sink has applied a lane up to a number: the places that wait no longer.
    pub(super) fn mark(&mut self, sink: usize, lane: LaneKey, number: u64) -> Vec<Place> {
        let queue = self.queue(lane);
        queue.marks[sink] = queue.marks[sink].max(number);
        let applied = queue.applied();
        let done = queue.entries.partition_point(|entry| entry.number <= applied);
        let places: Vec<Place> = queue.entries.drain(..done).map(|entry| entry.place).collect();
        self.count -= places.len();
        places
    }

    /// Adds the places of the counted events that are to be published again now.
    pub(super) fn due(&mut self, now_ms: u64, places: &mut Vec<Place>) {
        for queue in self.lanes.values_mut() {
            queue.due(now_ms, (self.patience_ms, self.answer_ms), places);
        }
    }

    /// A row of a snapshot waits for its chunk.
    pub(super) fn admit_row(&mut self, snapshot: &str, chunk: Chunk, admission: u64) {
        let key = self.chunk(snapshot, chunk);
        let rows = self.chunks.entry(key).or_insert_with(|| Rows { applied_by: 0, admissions: Vec::new() });
        rows.admissions.push(admission);
        self.count += 1;
    }

    fn chunk(&mut self, snapshot: &str, chunk: Chunk) -> ChunkKey {
        let known = self.snapshots.iter().position(|known| **known == *snapshot);
        let index = known.unwrap_or_else(|| {
            self.snapshots.push(snapshot.into());
            self.snapshots.len() - 1
        });
        (index, chunk)
    }

    /// A sink has a chunk: the admissions of the rows that wait no longer.
    pub(super) fn mark_chunk(&mut self, sink: usize, snapshot: &str, chunk: Chunk) -> Vec<u64> {
        let Some(index) = self.snapshots.iter().position(|known| **known == *snapshot) else { return vec![] };
        let Some(rows) = self.chunks.get_mut(&(index, chunk)) else { return vec![] };
        rows.applied_by |= 1 << sink;
        if rows.applied_by.count_ones() as usize != self.by.len() {
            return vec![];
        }
        let admissions = self.chunks.remove(&(index, chunk)).map_or_else(Vec::new, |rows| rows.admissions);
        self.count -= admissions.len();
        admissions
    }
}

impl Queue {
    fn new(sinks: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            marks: vec![0; sinks].into(),
            burst: *BURST.start(),
            burst_end: 0,
            not_before_ms: 0,
        }
    }

    /// What all sinks have applied.
    fn applied(&self) -> u64 {
        self.marks.iter().copied().min().unwrap_or(0)
    }

    fn due(&mut self, now_ms: u64, (patience_ms, answer_ms): (u64, u64), places: &mut Vec<Place>) {
        let is_due = |entry: &Entry| entry.published_ms.is_some_and(|at_ms| now_ms >= at_ms + patience_ms);
        let was_applied = self.burst_end <= self.applied();
        if !self.entries.front().is_some_and(is_due) || (!was_applied && now_ms < self.not_before_ms) {
            return;
        }
        if self.burst_end > 0 {
            let next = if was_applied { self.burst.saturating_mul(2) } else { self.burst / 2 };
            self.burst = next.clamp(*BURST.start(), *BURST.end());
        }
        for entry in self.entries.iter_mut().filter(|entry| is_due(entry)).take(self.burst) {
            entry.published_ms = None;
            self.burst_end = entry.number;
            places.push(entry.place);
        }
        self.not_before_ms = now_ms + answer_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: LaneKey = (TopicId(0), Lane(3));
    const PATIENCE_MS: u64 = 5000;
    const ANSWER_MS: u64 = 1500;

    fn awaiting(by: &[&str]) -> Awaiting {
        Awaiting::new(&by.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), PATIENCE_MS)
    }

    fn place(number: u64) -> Place {
        Place { ticket: number / 10, index: (number % 10) as u32 }
    }

    fn places(numbers: std::ops::RangeInclusive<u64>) -> Vec<Place> {
        numbers.map(place).collect()
    }

    /// Numbers 1 to `count` are published at time 0.
    fn publish(awaiting: &mut Awaiting, count: u64) {
        for number in 1..=count {
            assert!(awaiting.admit(LANE, number, place(number)));
            awaiting.published(LANE, number, 0);
        }
    }

    fn due(awaiting: &mut Awaiting, now_ms: u64) -> Vec<Place> {
        let mut places = Vec::new();
        awaiting.due(now_ms, &mut places);
        places
    }

    #[test]
    fn an_event_waits_until_every_sink_has_applied_it() {
        let mut awaiting = awaiting(&["a", "b"]);
        publish(&mut awaiting, 5);
        assert_eq!((awaiting.hear("a"), awaiting.hear("b"), awaiting.hear("c")), (Some(0), Some(1), None));
        assert_eq!(awaiting.mark(0, LANE, 4), []);
        assert_eq!(awaiting.mark(1, LANE, 2), places(1..=2));
        assert_eq!(awaiting.mark(1, LANE, 1), [], "a watermark does not go back");
        assert!(!awaiting.is_idle(LANE.0) && awaiting.is_idle(TopicId(1)));
        assert_eq!(awaiting.mark(1, LANE, 9), places(3..=4));
        assert_eq!(awaiting.mark(0, LANE, 5), places(5..=5));
        assert!(awaiting.is_idle(LANE.0));
        assert_eq!(awaiting.count(), 0);
    }

    #[test]
    fn what_was_applied_before_it_came_does_not_wait() {
        let mut awaiting = awaiting(&["a"]);
        awaiting.mark(0, LANE, 7);
        assert!(!awaiting.admit(LANE, 7, place(7)));
        assert!(awaiting.admit(LANE, 8, place(8)));
    }

    #[test]
    fn what_is_not_applied_in_time_is_due_once_until_it_is_published_again() {
        let mut awaiting = awaiting(&["a"]);
        publish(&mut awaiting, 3);
        assert_eq!(due(&mut awaiting, PATIENCE_MS - 1), []);
        assert_eq!(due(&mut awaiting, PATIENCE_MS), places(1..=3));
        assert_eq!(due(&mut awaiting, PATIENCE_MS * 3), [], "they are on their way");
        awaiting.published(LANE, 1, 16_000);
        assert_eq!(due(&mut awaiting, 16_000 + PATIENCE_MS), places(1..=1));
        awaiting.mark(0, LANE, 3);
        assert_eq!(due(&mut awaiting, PATIENCE_MS * 10), []);
    }

    #[test]
    fn the_oldest_go_first_and_more_at_once_when_they_were_what_was_missing() {
        let mut awaiting = awaiting(&["a"]);
        publish(&mut awaiting, 3000);
        assert_eq!(due(&mut awaiting, PATIENCE_MS), places(1..=256));
        assert_eq!(due(&mut awaiting, PATIENCE_MS + 1), [], "the sink has time to answer");
        assert_eq!(awaiting.mark(0, LANE, 256).len(), 256);
        assert_eq!(due(&mut awaiting, PATIENCE_MS + 2), places(257..=768));
        // No answer: fewer at once.
        let later = PATIENCE_MS + 2 + ANSWER_MS;
        assert_eq!(due(&mut awaiting, later), [], "the oldest are on their way");
        (257..=768).for_each(|number| awaiting.published(LANE, number, later));
        assert_eq!(due(&mut awaiting, later + PATIENCE_MS), places(257..=512));
    }

    #[test]
    fn rows_wait_for_their_whole_chunk_at_every_sink() {
        let mut awaiting = awaiting(&["a", "b"]);
        let chunk = |number| Chunk { run: 1, number };
        for (number, admission) in [(1, 10), (1, 11), (2, 12)] {
            awaiting.admit_row("s", chunk(number), admission);
        }
        assert_eq!(awaiting.mark_chunk(0, "s", chunk(1)), [0; 0]);
        assert_eq!(awaiting.mark_chunk(0, "s", chunk(1)), [0; 0], "the same sink twice");
        assert_eq!(awaiting.mark_chunk(1, "t", chunk(1)), [0; 0], "another snapshot");
        assert_eq!(awaiting.mark_chunk(1, "s", chunk(1)), [10, 11]);
        assert_eq!(awaiting.mark_chunk(1, "s", chunk(1)), [0; 0]);
    }

    #[test]
    fn a_sink_that_was_never_heard_of_is_named() {
        let mut awaiting = awaiting(&["a", "b"]);
        awaiting.hear("b");
        assert_eq!(awaiting.unheard().collect::<Vec<_>>(), ["a"]);
    }
}
