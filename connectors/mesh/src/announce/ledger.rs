//! What is applied, by source, and what of it is to be said. Pure.
//!
//! Bounds: a source's lanes are as many as its topics have; of chunks, [`CHUNKS_MAX`] are remembered, each for
//! [`SAID_MAX`] reports. One that was lost so often is said again when its rows come again.

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::AHashMap;
use flowd_codec::applied::{ChunkMark, LaneMark};
use flowd_codec::event::incoming::Chunk;

/// Chunks of a source that are remembered.
const CHUNKS_MAX: usize = 4096;
/// How often a chunk is said.
const SAID_MAX: u8 = 6;
/// Lanes that a repeat names; the others have their turn in the next ones.
const REPEATED_MAX: usize = 1024;

/// All sources.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    sources: Vec<Source>,
    is_over: bool,
}

/// One source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: Arc<str>,
    lanes: Vec<Lane>,
    index: AHashMap<Arc<str>, Vec<u32>>,
    chunks: VecDeque<Said>,
    /// Where the next repeat begins.
    cursor: usize,
}

#[derive(Debug)]
struct Lane {
    topic: Arc<str>,
    number: u16,
    epoch: u64,
    sequence: u64,
    is_new: bool,
}

#[derive(Debug)]
struct Said {
    snapshot: Arc<str>,
    chunk: Chunk,
    times: u8,
}

/// What a report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// What is new.
    News,
    /// What was said before as well.
    Again,
}

impl Ledger {
    fn source(&mut self, name: &str) -> &mut Source {
        let at = self.sources.iter().position(|source| &*source.name == name);
        let at = at.unwrap_or_else(|| {
            self.sources.push(Source::new(name));
            self.sources.len() - 1
        });
        &mut self.sources[at]
    }

    pub(super) fn lane(&mut self, source: &str, mark: &LaneMark<'_>) {
        self.source(source).lane(mark);
    }

    pub(super) fn chunk(&mut self, source: &str, mark: &ChunkMark<'_>) {
        self.source(source).chunk(mark);
    }

    /// Nothing more will come.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether there is something that was never said.
    pub(super) fn has_news(&self) -> bool {
        self.sources.iter().any(|source| {
            source.lanes.iter().any(|lane| lane.is_new) || source.chunks.iter().any(|said| said.times == 0)
        })
    }

    /// All sources, for their reports.
    pub(super) fn sources(&mut self) -> impl Iterator<Item = &mut Source> {
        self.sources.iter_mut()
    }
}

impl Source {
    fn new(name: &str) -> Self {
        Self { name: name.into(), lanes: vec![], index: AHashMap::new(), chunks: VecDeque::new(), cursor: 0 }
    }

    fn lane(&mut self, mark: &LaneMark<'_>) {
        let known = self.index.get(&*mark.topic).and_then(|lanes| {
            lanes.iter().find(|lane| self.lanes[**lane as usize].number == mark.lane).copied()
        });
        let Some(known) = known else { return self.add(mark) };
        let lane = &mut self.lanes[known as usize];
        if (lane.epoch, lane.sequence) <= (mark.epoch, mark.sequence) {
            // Said again by the sink, it is asked for again by the source.
            (lane.epoch, lane.sequence, lane.is_new) = (mark.epoch, mark.sequence, true);
        }
    }

    fn add(&mut self, mark: &LaneMark<'_>) {
        let topic = match self.index.get_key_value(&*mark.topic) {
            Some((topic, _)) => Arc::clone(topic),
            None => Arc::from(&*mark.topic),
        };
        let number = u32::try_from(self.lanes.len()).expect("fewer lanes than 32 bits count");
        self.index.entry(Arc::clone(&topic)).or_default().push(number);
        let (epoch, sequence) = (mark.epoch, mark.sequence);
        self.lanes.push(Lane { topic, number: mark.lane, epoch, sequence, is_new: true });
    }

    fn chunk(&mut self, mark: &ChunkMark<'_>) {
        let is_same = |said: &&mut Said| said.chunk == mark.chunk && *said.snapshot == *mark.snapshot;
        if let Some(said) = self.chunks.iter_mut().find(is_same) {
            said.times = 0;
            return;
        }
        if self.chunks.len() == CHUNKS_MAX {
            self.chunks.pop_front();
        }
        let last = self.chunks.back().map(|said| &said.snapshot);
        let snapshot = match last.filter(|last| ***last == *mark.snapshot) {
            Some(last) => Arc::clone(last),
            None => Arc::from(&*mark.snapshot),
        };
        self.chunks.push_back(Said { snapshot, chunk: mark.chunk, times: 0 });
    }

    /// What is to be said now; it counts as said.
    pub(super) fn report(&mut self, scope: Scope) -> (Vec<LaneMark<'static>>, Vec<ChunkMark<'static>>) {
        let count = self.lanes.len();
        let repeated = match scope {
            Scope::News => 0,
            Scope::Again => REPEATED_MAX.min(count),
        };
        let in_turn = |at: usize| (at + count - self.cursor) % count.max(1) < repeated;
        let named = (0..count).filter(|at| self.lanes[*at].is_new || in_turn(*at)).collect::<Vec<_>>();
        self.cursor = (self.cursor + repeated) % count.max(1);
        let mark = |lane: &mut Lane| {
            lane.is_new = false;
            let topic = lane.topic.to_string().into();
            LaneMark { epoch: lane.epoch, topic, lane: lane.number, sequence: lane.sequence }
        };
        let lanes = named.into_iter().map(|at| mark(&mut self.lanes[at])).collect();
        let mut chunks = Vec::new();
        for said in self.chunks.iter_mut().filter(|said| said.times == 0 || scope == Scope::Again) {
            said.times += 1;
            chunks.push(ChunkMark { snapshot: said.snapshot.to_string().into(), chunk: said.chunk });
        }
        self.chunks.retain(|said| said.times < SAID_MAX);
        (lanes, chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(topic: &str, number: u16, epoch: u64, sequence: u64) -> LaneMark<'_> {
        LaneMark { epoch, topic: topic.into(), lane: number, sequence }
    }

    fn chunk(number: u64) -> ChunkMark<'static> {
        ChunkMark { snapshot: "s".into(), chunk: Chunk { run: 1, number } }
    }

    fn report(ledger: &mut Ledger, scope: Scope) -> (Vec<LaneMark<'static>>, Vec<ChunkMark<'static>>) {
        ledger.sources().next().expect("one source").report(scope)
    }

    #[test]
    fn what_is_new_is_said_once_and_all_is_said_again() {
        let mut ledger = Ledger::default();
        ledger.lane("/s", &lane("a", 0, 5, 1));
        ledger.lane("/s", &lane("a", 1, 5, 7));
        ledger.lane("/s", &lane("a", 0, 5, 3));
        assert!(ledger.has_news());
        let all = vec![lane("a", 0, 5, 3), lane("a", 1, 5, 7)];
        assert_eq!(report(&mut ledger, Scope::News).0, all);
        assert!(!ledger.has_news());
        assert_eq!(report(&mut ledger, Scope::News).0, []);
        assert_eq!(report(&mut ledger, Scope::Again).0, all);
        ledger.lane("/s", &lane("a", 1, 6, 1));
        assert_eq!(report(&mut ledger, Scope::News).0, [lane("a", 1, 6, 1)]);
    }

    #[test]
    fn a_lane_never_goes_back_and_what_is_told_again_is_said_again() {
        let mut ledger = Ledger::default();
        ledger.lane("/s", &lane("a", 0, 5, 3));
        report(&mut ledger, Scope::News);
        ledger.lane("/s", &lane("a", 0, 5, 2));
        ledger.lane("/s", &lane("a", 0, 4, 9));
        assert!(!ledger.has_news());
        ledger.lane("/s", &lane("a", 0, 5, 3));
        assert_eq!(report(&mut ledger, Scope::News).0, [lane("a", 0, 5, 3)]);
    }

    #[test]
    fn every_lane_has_its_turn_in_the_repeats() {
        let mut ledger = Ledger::default();
        let count = REPEATED_MAX as u64 * 2 + 5;
        let names: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        names.iter().for_each(|name| ledger.lane("/s", &lane(name, 0, 1, 1)));
        assert_eq!(report(&mut ledger, Scope::News).0.len() as u64, count);
        let mut said: Vec<_> = (0..3).flat_map(|_| report(&mut ledger, Scope::Again).0).collect();
        assert_eq!(said.len(), REPEATED_MAX * 3);
        said.sort_by(|a, b| a.topic.cmp(&b.topic));
        said.dedup();
        assert_eq!(said.len() as u64, count);
    }

    #[test]
    fn a_chunk_is_said_a_few_times_and_again_when_it_is_told_again() {
        let mut ledger = Ledger::default();
        ledger.chunk("/s", &chunk(1));
        assert_eq!(report(&mut ledger, Scope::News).1, [chunk(1)]);
        ledger.chunk("/s", &chunk(2));
        assert_eq!(report(&mut ledger, Scope::News).1, [chunk(2)]);
        for _ in 1..SAID_MAX {
            assert_eq!(report(&mut ledger, Scope::Again).1, [chunk(1), chunk(2)]);
        }
        assert_eq!(report(&mut ledger, Scope::Again).1, []);
        ledger.chunk("/s", &chunk(1));
        assert_eq!(report(&mut ledger, Scope::News).1, [chunk(1)]);
        (0..CHUNKS_MAX as u64 * 2).for_each(|number| ledger.chunk("/s", &chunk(number)));
        assert_eq!(report(&mut ledger, Scope::News).1.len(), CHUNKS_MAX);
    }
}
