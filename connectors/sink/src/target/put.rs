//! Putting into the store, through outages: a put whose answer was lost is compared with what the store has on record.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ahash::AHashMap;
use flowd_engine::back_off::BackOff;
use flowd_engine::failure::Failure;
use tracing::{info, warn};

use super::batch::Batch;
use super::tickets::Tickets;
use crate::stats::SinkStats;
use crate::store::{Applied, ChunkApplied, ChunksOver, LaneApplied, Refused, Store, StoreEvent};

const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

type LaneKey = (Arc<str>, Arc<str>, u16);
type ChunkKey = (Arc<str>, Arc<str>, u64, u64);

/// The store, and how far it has come by what it said.
pub(super) struct Putter<S> {
    store: S,
    /// Epoch and number of each lane on record.
    recorded: AHashMap<LaneKey, (u64, u64)>,
    stats: Arc<SinkStats>,
}

/// What became of a put whose answer was lost.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Committed,
    Lost,
}

impl<S: Store> Putter<S> {
    /// For a store that is open.
    pub(super) fn new(store: S, applied: Applied, stats: Arc<SinkStats>) -> Self {
        let recorded = applied.lanes.into_iter().map(|lane| (key(&lane), (lane.epoch, lane.sequence)));
        Self { store, recorded: recorded.collect(), stats }
    }

    /// Puts the batch with its records; what the store refused, each with its unit, and nothing is put then.
    pub(super) fn put(
        &mut self,
        batch: &Batch,
        tickets: &Tickets,
        records: &Applied,
    ) -> Result<Vec<(usize, Refused)>, Failure> {
        let (events, units) = batch.for_store(tickets);
        if events.is_empty() && records.is_empty() {
            return Ok(Vec::new());
        }
        let refused = self.put_through(&events, records)?;
        if refused.is_empty() {
            self.stats.puts.add(1);
            for lane in &records.lanes {
                self.recorded.insert(key(lane), (lane.epoch, lane.sequence));
            }
        }
        let unit_of = |refused: Refused| {
            let unit = units.get(refused.index).copied().ok_or_else(|| {
                Failure::Fatal(format!("the store refused event {} of {}", refused.index, units.len()))
            })?;
            Ok((unit, refused))
        };
        refused.into_iter().map(unit_of).collect()
    }

    fn put_through(&mut self, events: &[StoreEvent<'_>], records: &Applied) -> Result<Vec<Refused>, Failure> {
        let mut back_off = BackOff::new(WAIT_MIN, WAIT_MAX);
        loop {
            let failure = match self.store.put(events, records) {
                Err(Failure::Retry(text)) => text,
                other => return other,
            };
            let wait = back_off.wait();
            warn!(wait_ms = wait.as_millis(), "the target does not take events, trying again: {failure}");
            thread::sleep(wait);
            let applied = self.reopen(&mut back_off)?;
            if self.fate(&applied, records)? == Fate::Committed {
                info!("the target had committed what it did not answer for");
                return Ok(Vec::new());
            }
        }
    }

    /// Connects anew, however long that takes.
    fn reopen(&mut self, back_off: &mut BackOff) -> Result<Applied, Failure> {
        loop {
            match self.store.open() {
                Ok(applied) => {
                    self.stats.reopened.add(1);
                    return Ok(applied);
                }
                Err(Failure::Retry(text)) => {
                    let wait = back_off.wait();
                    warn!(wait_ms = wait.as_millis(), "the target cannot be reached, trying again: {text}");
                    thread::sleep(wait);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Compares what the store has on record with what a put would have changed: a put is all or nothing.
    fn fate(&self, applied: &Applied, records: &Applied) -> Result<Fate, Failure> {
        let lanes: AHashMap<LaneKey, (u64, u64)> =
            applied.lanes.iter().map(|lane| (key(lane), (lane.epoch, lane.sequence))).collect();
        let chunks: AHashMap<ChunkKey, &[u8]> =
            applied.chunks.iter().map(|chunk| (chunk_key(chunk), &chunk.rows[..])).collect();
        let (mut committed, mut lost) = (0, 0);
        for lane in &records.lanes {
            let (before, now) = (self.recorded.get(&key(lane)), lanes.get(&key(lane)));
            let after = (lane.epoch, lane.sequence);
            match now {
                _ if before == Some(&after) => {}
                Some(now) if *now == after => committed += 1,
                now if now == before => lost += 1,
                now => return Err(changed(lane, now)),
            }
        }
        // A put changes the record of every chunk that it has rows of, unless it forgets the chunk.
        let is_over = |chunk: &&ChunkApplied| {
            let of = |over: &ChunksOver| over.source == chunk.source && over.snapshot == chunk.snapshot;
            records.over.iter().any(|over| of(over) && chunk.run < over.run)
        };
        for chunk in records.chunks.iter().filter(|chunk| !is_over(chunk)) {
            match chunks.get(&chunk_key(chunk)) {
                Some(rows) if **rows == chunk.rows[..] => committed += 1,
                _ => lost += 1,
            }
        }
        match (committed, lost) {
            (0, _) => Ok(Fate::Lost),
            (_, 0) => Ok(Fate::Committed),
            _ => Err(Failure::Fatal(format!(
                "of one transaction the target has {committed} records and lacks {lost}; its tables must keep transactions \
                 (InnoDB), and nobody else may change its records"
            ))),
        }
    }

    pub(super) fn close(&mut self) {
        self.store.close();
    }
}

fn key(lane: &LaneApplied) -> LaneKey {
    (Arc::clone(&lane.source), Arc::clone(&lane.topic), lane.lane)
}

fn chunk_key(chunk: &ChunkApplied) -> ChunkKey {
    (Arc::clone(&chunk.source), Arc::clone(&chunk.snapshot), chunk.run, chunk.number)
}

fn changed(lane: &LaneApplied, now: Option<&(u64, u64)>) -> Failure {
    let LaneApplied { source, topic, lane: number, epoch, sequence } = lane;
    Failure::Fatal(format!(
        "the target's record of {source}, topic {topic}, lane {number} is {now:?} where epoch {epoch} up to about number \
         {sequence} is expected: the target was restored, failed over with a loss, or somebody changed the record; compare its rows \
         with the source's, then start again"
    ))
}
