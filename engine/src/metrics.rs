//! What a pipeline counts: plain atomics, each on its own cache line, shared by all threads and read by whoever asks.
//!
//! The engine fills most of it; a source adds rows, reconnects, DDL and TRUNCATE. What a target counts besides is its own.
//! Names for the outside are made elsewhere. Everything is `Relaxed`: a reader wants recent numbers, not a snapshot.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(CachePadded<AtomicU64>);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(CachePadded<AtomicI64>);

impl Gauge {
    /// Adds `change`.
    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Ordering::Relaxed);
    }

    /// Replaces the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Raises the value to `value` if it is smaller.
    pub fn raise(&self, value: i64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    /// The value.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What has passed one stage.
#[derive(Debug, Default)]
pub struct Stage {
    /// Batches (at the source and after encoding) or parcels (with the target).
    pub batches: Counter,
    /// Rows; after encoding, events. A key change is one row and two events.
    pub rows: Counter,
    /// Bytes: off the wire at the source, of framed events after encoding.
    pub bytes: Counter,
}

impl Stage {
    /// Counts one batch or parcel.
    pub fn add(&self, rows: u64, bytes: u64) {
        self.batches.add(1);
        self.rows.add(rows);
        self.bytes.add(bytes);
    }
}

/// How far a snapshot has come. All zero where there is none.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// 0: none, 1: running, 2: finished.
    pub state: Gauge,
    /// Tables that it covers.
    pub tables: Gauge,
    /// Tables of which every row is handed on.
    pub tables_done: Gauge,
    /// Chunks handed on, those of earlier processes too.
    pub chunks: Gauge,
    /// Rows handed on, those of earlier processes too; some of them the stream had already and the lanes drop.
    pub rows: Gauge,
    /// Their bytes off the wire.
    pub bytes: Gauge,
    /// Rows that all tables together hold by the server's own estimate; 0 while unknown.
    pub rows_estimated: Gauge,
    /// Chunks that were read and thrown away, because their table changed under them.
    pub chunks_reread: Counter,
    /// Bytes that chunks hold now.
    pub chunk_bytes: Gauge,
    /// 1 while reading rests because the source runs more threads than it may.
    pub paused: Gauge,
}

/// All numbers of one pipeline.
#[derive(Debug, Default)]
pub struct Metrics {
    /// What the snapshot, if there is one, has handed on.
    pub snapshot: Snapshot,
    /// What the source handed on. The engine counts batches and bytes; **the source adds the rows**, since the engine
    /// does not know how many a record holds.
    pub read: Stage,
    /// What the lanes finished: batches, events, bytes of events.
    pub encoded: Stage,
    /// What the target has taken: parcels, events, bytes.
    pub taken: Stage,
    /// What the target says is with the far side: parcels, events, bytes.
    pub emitted: Stage,
    /// What is acknowledged: parcels, events, bytes.
    pub acked: Stage,
    /// Parcels that the lanes handed on.
    pub parcels: Counter,
    /// Parcels that the target's side took out of the rings, with those that held only rejects.
    pub collected: Counter,
    /// Events that went to the dead-letter file, or stopped the pipeline.
    pub rejects: Counter,
    /// The source's connections made anew. The source adds.
    pub source_reconnects: Counter,
    /// DDL statements seen. The source adds.
    pub ddl: Counter,
    /// TRUNCATE statements seen. The source adds.
    pub truncate: Counter,
    /// How far the source is behind its server, in bytes; −1 while it is not known. The source sets.
    pub source_lag_bytes: Gauge,
    /// How long the source's server keeps what is not read, seconds; 0 for ever or not known. The source sets.
    pub source_retention_s: Gauge,
    /// Bytes of source buffers that are out of their share.
    pub source_bytes: Gauge,
    /// Bytes of encoded parcels that are out of their share.
    pub parcel_bytes: Gauge,
    /// Batches that fit into the rings before the lanes, all lanes together.
    pub batches_queued_max: Gauge,
    /// Parcels that fit into the rings after the lanes, all lanes together.
    pub parcels_queued_max: Gauge,
    /// Time of the first change read in this run, µs since 1970 (0: none yet).
    pub first_time_us: Gauge,
    /// Time of the newest change read, µs since 1970 (0: none yet).
    pub read_time_us: Gauge,
    /// Time of the newest change acknowledged, µs since 1970 (0: none yet).
    pub acked_time_us: Gauge,
    /// When the last checkpoint was stored, µs since 1970 (0: none yet).
    pub checkpoint_time_us: Gauge,
    /// Checkpoints stored.
    pub checkpoints: Counter,
    /// How long storing the last checkpoint took, µs.
    pub checkpoint_store_us: Gauge,
}

impl Metrics {
    /// Batches in the rings before the lanes or being encoded.
    pub fn batches_queued(&self) -> u64 {
        self.read.batches.value().saturating_sub(self.encoded.batches.value())
    }

    /// Parcels in the rings after the lanes.
    pub fn parcels_queued(&self) -> u64 {
        self.parcels.value().saturating_sub(self.collected.value())
    }

    /// Events with the target that are not acknowledged yet.
    pub fn in_flight(&self) -> u64 {
        self.taken.rows.value().saturating_sub(self.acked.rows.value())
    }

    /// The time of a change that was read, by the one thread that reads.
    pub(crate) fn saw(&self, time_us: i64) {
        if self.first_time_us.value() == 0 {
            self.first_time_us.set(time_us);
        }
        self.read_time_us.raise(time_us);
    }

    /// How far acknowledgement is behind the newest change read, µs; 0 when everything read is acknowledged. Before the
    /// first acknowledgement of a run it is behind by the age of the first change. A source may count in whole seconds, so
    /// that what waits can be as old as what does not.
    pub fn lag_us(&self, now_us: i64) -> i64 {
        let (read, acked) = (self.read_time_us.value(), self.acked_time_us.value());
        let behind = if acked == 0 { self.first_time_us.value() } else { acked };
        let waits = acked < read || self.acked.batches.value() < self.taken.batches.value();
        if read != 0 && waits { (now_us - behind).max(0) } else { 0 }
    }

    /// Age of the last checkpoint, µs; `None` before the first.
    pub fn checkpoint_age_us(&self, now_us: i64) -> Option<i64> {
        let stored = self.checkpoint_time_us.value();
        (stored != 0).then(|| (now_us - stored).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_lag_before_the_first_acknowledgement_of_a_run() {
        let metrics = Metrics::default();
        assert_eq!(metrics.lag_us(10_000), 0);
        metrics.saw(3_000);
        metrics.saw(5_000);
        assert_eq!(metrics.lag_us(10_000), 7_000);
    }

    #[test]
    fn what_waits_and_is_of_the_same_second_as_what_is_acknowledged_has_lag() {
        let metrics = Metrics::default();
        metrics.saw(5_000);
        metrics.acked_time_us.raise(5_000);
        metrics.taken.add(1, 100);
        assert_eq!(metrics.lag_us(10_000), 5_000);
        metrics.acked.add(1, 100);
        assert_eq!(metrics.lag_us(10_000), 0);
    }

    #[test]
    fn there_is_no_lag_once_everything_read_is_acknowledged() {
        let metrics = Metrics::default();
        metrics.saw(5_000);
        metrics.acked_time_us.raise(4_000);
        assert_eq!(metrics.lag_us(10_000), 6_000);
        metrics.acked_time_us.raise(5_000);
        assert_eq!(metrics.lag_us(10_000), 0);
    }

    #[test]
    fn a_stage_counts_what_passed_it() {
        let metrics = Metrics::default();
        metrics.taken.add(10, 1_000);
        metrics.acked.add(4, 400);
        assert_eq!(metrics.in_flight(), 6);
    }
}
