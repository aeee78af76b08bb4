//! From acknowledged deliveries to saved positions.
//!
//! The ledger remembers which position follows from which delivery. Three positions have names and never mix:
//! *read* (the source handed it on), *emitted* (everything before it is with the far side), *acked* (everything before
//! it is durable there). Only acked is where a new process begins; it never passes a batch that is not acknowledged.
//!
//! The checkpointer is a thread of its own, so that a slow disk slows nothing else. It stores at most once an interval
//! and only what changed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::ack::{AckedMark, Confirmed, Latest};
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::record::Position;
use crate::sequence::SequenceRecord;

/// What is stored, at once and whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// What the source has handed on. For information.
    pub read: Position,
    /// What is with the far side. For information.
    pub emitted: Position,
    /// What is durable at the far side: where a new process begins.
    pub acked: Position,
    /// When this was stored, µs since 1970.
    pub time_us: i64,
    /// How far events are counted at `acked`, as bytes that only `sequence` reads; empty where nothing is counted.
    pub extra: Bytes,
}

/// Where checkpoints are kept.
pub trait Registry: Send {
    /// The checkpoint stored last, `None` if there never was one.
    fn load(&self) -> Result<Option<Checkpoint>, Failure>;
    /// Stores a checkpoint in place of the last one, durably and atomically.
    fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), Failure>;
}

/// A registry that lives as long as the process: for a source that is told by the far end where to go on.
#[derive(Debug, Default)]
pub struct MemoryRegistry(Option<Checkpoint>);

impl Registry for MemoryRegistry {
    fn load(&self) -> Result<Option<Checkpoint>, Failure> {
        Ok(self.0.clone())
    }

    fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        self.0 = Some(checkpoint.clone());
        Ok(())
    }
}

/// Where the source stands after some deliveries.
struct Entry {
    /// How many deliveries must be through before the position holds.
    deliveries: u64,
    position: Position,
    time_us: i64,
    /// How many of the ledger's changes belong to it.
    changes: usize,
}

/// A position that is acknowledged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) position: Position,
    pub(crate) time_us: i64,
    /// How many of the ledger's changes, from the front, it brings.
    changes: usize,
}

/// Which position follows from which delivery.
///
/// Memory: one entry for each delivery in flight and one more. Batches that gave no delivery share the entry of the
/// delivery before them, so a source that only moves on adds nothing.
pub(crate) struct Ledger {
    entries: VecDeque<Entry>,
    /// How many of the entries, from the front, are emitted.
    emitted: usize,
    /// What the entries change in the counts of events: slots and their numbers, oldest first.
    changes: VecDeque<(u32, u64)>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { entries: VecDeque::with_capacity(256), emitted: 0, changes: VecDeque::with_capacity(256) }
    }

    /// A batch has ended: once `deliveries` deliveries are through, the source stands at `position`, and the counts of
    /// events that changed since the batch before have these numbers.
    pub(crate) fn push(
        &mut self,
        deliveries: u64,
        position: Position,
        time_us: i64,
        changes: impl IntoIterator<Item = (u32, u64)>,
    ) {
        let before = self.changes.len();
        self.changes.extend(changes);
        let entry = Entry { deliveries, position, time_us, changes: self.changes.len() - before };
        match self.entries.back_mut() {
            Some(last) if last.deliveries == deliveries => {
                *last = Entry { changes: last.changes + entry.changes, ..entry };
                self.emitted = self.emitted.min(self.entries.len() - 1);
            }
            last => {
                assert!(last.is_none_or(|last| last.deliveries < deliveries), "batches end in order");
                self.entries.push_back(entry);
            }
        }
    }

    /// `deliveries` deliveries are emitted. The newest position that this reaches, if it is a new one.
    pub(crate) fn settle_emitted(&mut self, deliveries: u64) -> Option<Position> {
        let before = self.emitted;
        while self.entries.get(self.emitted).is_some_and(|entry| entry.deliveries <= deliveries) {
            self.emitted += 1;
        }
        (self.emitted > before).then(|| self.entries[self.emitted - 1].position.clone())
    }

    /// `deliveries` deliveries are acknowledged. The newest position that this reaches, if it is new; take its
    /// [`changes`](Self::changes) then.
    pub(crate) fn settle_acked(&mut self, deliveries: u64) -> Option<Settled> {
        let mut newest = None;
        let mut changes = 0;
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.deliveries <= deliveries) {
            changes += entry.changes;
            newest = Some(entry);
            self.emitted = self.emitted.saturating_sub(1);
        }
        newest.map(|Entry { position, time_us, .. }| Settled { position, time_us, changes })
    }

    /// What a settled position changes in the counts of events.
    pub(crate) fn changes(&mut self, settled: &Settled) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.changes.drain(..settled.changes)
    }

    /// Positions that wait for an acknowledgement.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The three positions on their way to the checkpointer, and the acknowledged one on its way back to the source.
#[derive(Clone)]
pub(crate) struct Marks {
    pub(crate) read: Latest<Position>,
    pub(crate) emitted: Latest<Position>,
    pub(crate) acked: AckedMark,
    pub(crate) confirmed: Confirmed,
}

impl Marks {
    pub(crate) fn new() -> Self {
        Self {
            read: Latest::new(),
            emitted: Latest::new(),
            acked: AckedMark::new(),
            confirmed: Confirmed::new(),
        }
    }
}

/// Stores checkpoints.
pub(crate) struct Checkpointer {
    pub(crate) registry: Box<dyn Registry>,
    /// What was stored last, or would have been.
    pub(crate) current: Checkpoint,
    /// The counts that belong to `current.acked`, where events are counted.
    pub(crate) sequence: Option<SequenceRecord>,
    pub(crate) marks: Marks,
    pub(crate) every: Duration,
    pub(crate) metrics: Arc<Metrics>,
    /// The wall clock, µs since 1970.
    pub(crate) clock: fn() -> i64,
    /// How a store that failed waits before it is tried again.
    pub(crate) sleep: fn(Duration),
}

impl Checkpointer {
    /// Waits between the tries of a store that failed.
    const RETRY_WAITS: [Duration; 3] =
        [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(1_000)];

    /// Stores every interval until `end` is dropped, then once more. Returns with the first store that fails for good.
    pub(crate) fn run(mut self, end: &Receiver<()>) -> Result<(), Failure> {
        loop {
            let wait = end.recv_timeout(self.every);
            if self.refresh() {
                self.store()?;
            }
            if wait == Err(RecvTimeoutError::Disconnected) {
                return Ok(());
            }
        }
    }

    /// Takes over what is new; whether anything was. Acked is taken first: each later mark is at least as far.
    fn refresh(&mut self) -> bool {
        let mut uncounted = Vec::new();
        let counts = self.sequence.as_mut().map_or(&mut uncounted, |sequence| &mut sequence.counts);
        let acked = self.marks.acked.take(counts);
        let emitted = self.marks.emitted.take();
        let read = self.marks.read.take();
        let changed = acked.is_some() || emitted.is_some() || read.is_some();
        if let Some(position) = acked {
            self.current.acked = position;
            self.current.extra = self.sequence.as_ref().map(SequenceRecord::encode).unwrap_or_default();
        }
        emitted.into_iter().for_each(|position| self.current.emitted = position);
        read.into_iter().for_each(|position| self.current.read = position);
        changed
    }

    /// Stores the current checkpoint, trying again a few times.
    pub(crate) fn store(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        self.current.time_us = (self.clock)();
        let mut waits = Self::RETRY_WAITS.into_iter();
        while let Err(failure) = self.registry.store(&self.current) {
            let Some(wait) = waits.next() else {
                let text = format!(
                    "the checkpoint cannot be stored after {} tries: {failure}",
                    Self::RETRY_WAITS.len() + 1
                );
                return Err(Failure::Fatal(text));
            };
            tracing::warn!(%failure, wait_ms = wait.as_millis(), "the checkpoint could not be stored, trying again");
            (self.sleep)(wait);
        }
        self.metrics.checkpoints.add(1);
        self.metrics.checkpoint_time_us.set(self.current.time_us);
        self.metrics
            .checkpoint_store_us
            .set(i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX));
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(number: u64) -> Position {
        Position(Bytes::copy_from_slice(&number.to_be_bytes()))
    }

    fn number(position: &Position) -> u64 {
        u64::from_be_bytes(position.0[..].try_into().unwrap())
    }

    #[test]
    fn batches_without_deliveries_move_the_position_and_take_no_room() {
        let mut ledger = Ledger::new();
        ledger.push(1, position(1), 0, []);
        for batch in 2..1_000 {
            ledger.push(1, position(batch), 0, []);
        }
        assert_eq!(ledger.len(), 1);
        assert_eq!(ledger.settle_acked(0), None);
        assert_eq!(ledger.settle_acked(1).map(|settled| settled.position), Some(position(999)));
    }

    #[test]
    fn a_position_that_moved_on_after_it_was_emitted_is_told_again() {
        let mut ledger = Ledger::new();
        ledger.push(1, position(1), 0, []);
        assert_eq!(ledger.settle_emitted(1), Some(position(1)));
        assert_eq!(ledger.settle_emitted(1), None);
        ledger.push(1, position(2), 0, []);
        assert_eq!(ledger.settle_emitted(1), Some(position(2)));
    }

    proptest! {
        #[test]
        fn a_position_never_passes_an_unacked_delivery(steps in prop::collection::vec((0u64..3, 0u64..4, 0u64..4), 1..200)) {
            let mut ledger = Ledger::new();
            let (mut delivered, mut emitted, mut acked) = (0u64, 0u64, 0u64);
            let (mut saved_emitted, mut saved_acked) = (0u64, 0u64);
            for (deliveries, more_emitted, more_acked) in steps {
                delivered += deliveries;
                // The position is the number of deliveries that it needs.
                ledger.push(delivered, position(delivered), 0, []);
                emitted = (emitted + more_emitted).min(delivered);
                acked = (acked + more_acked).min(emitted);
                if let Some(settled) = ledger.settle_emitted(emitted) {
                    saved_emitted = number(&settled);
                }
                if let Some(settled) = ledger.settle_acked(acked) {
                    saved_acked = number(&settled.position);
                }
                prop_assert!(saved_acked <= acked);
                prop_assert!(saved_emitted <= emitted);
                prop_assert!(saved_acked <= saved_emitted);
                prop_assert!(ledger.len() as u64 <= delivered - acked + 1);
            }
            ledger.settle_emitted(delivered);
            let last = ledger.settle_acked(delivered).map_or(saved_acked, |settled| number(&settled.position));
            prop_assert_eq!(last, delivered);
        }
    }

    struct Flaky {
        fails: usize,
    }

    impl Registry for Flaky {
        fn load(&self) -> Result<Option<Checkpoint>, Failure> {
            Ok(None)
        }

        fn store(&mut self, _: &Checkpoint) -> Result<(), Failure> {
            if self.fails == 0 {
                return Ok(());
            }
            self.fails -= 1;
            Err(Failure::Retry("disk full".into()))
        }
    }

    fn checkpointer(fails: usize) -> Checkpointer {
        Checkpointer {
            registry: Box::new(Flaky { fails }),
            current: Checkpoint::default(),
            sequence: None,
            marks: Marks::new(),
            every: Duration::from_secs(1),
            metrics: Arc::default(),
            clock: || 7,
            sleep: |_| {},
        }
    }

    #[test]
    fn a_failed_store_is_tried_again_and_then_fatal() {
        let mut heals = checkpointer(2);
        heals.store().unwrap();
        assert_eq!(heals.metrics.checkpoint_time_us.value(), 7);
        let failure = checkpointer(9).store().unwrap_err();
        assert!(matches!(failure, Failure::Fatal(text) if text.contains("4 tries: disk full")));
    }
}
