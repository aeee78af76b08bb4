//! A running snapshot, as the source's thread sees it: what it shows the snapshot of the stream, and what it takes from
//! it to hand on.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use flowd_binlog::event;
use flowd_binlog::row::{RowError, Rows, Scratch};
use flowd_engine::failure::Failure;
use flowd_engine::metrics::Metrics;
use flowd_engine::record::Span;

use super::buffers::Buffers;
use super::plan::{ChunkId, Plan, TableId};
use super::settings::Settings;
use super::shared::{Chunk, Hold, Inner, Shared};
use super::state::{EncodedState, SnapshotState};
use super::throttle::Throttle;
use super::track::{Place, Tracker};
use super::worker::{Message, Worker, Workplace};
use crate::captured::{Phase, TableEvents};
use crate::key_hash::KeyHasher;
use crate::lanes::Lanes;
use crate::position::is_behind;
use crate::rows::{ChunkRows, MySqlRecord, Origin, RowsEvent, RunBeginning};
use crate::stream::Stream;

/// What a tracked key takes, bytes.
const TRACKED_BYTES: usize = 32;
/// Tracked keys below which nothing is forgotten on purpose.
const KEEP_MIN: usize = 64 << 10;

/// What became of a ROWS event's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tracked {
    All,
    /// There is no room for them.
    Full,
    /// They are noted, but the rows after the change are not whole.
    Partial,
}

/// A chunk whose moment has come.
#[derive(Debug)]
pub struct Ready {
    /// The record for the batch; `None` where the chunk has no row.
    pub record: Option<ChunkRows>,
    /// The batch's bytes.
    pub bytes: Bytes,
    /// Rows in it.
    pub rows: u64,
    id: ChunkId,
    whole: bool,
}

impl Ready {
    /// Whether it is of a table that is read in one go.
    pub fn is_of_whole(&self) -> bool {
        self.whole
    }
}

/// A running snapshot, as the source's thread sees it.
pub struct Snapshot {
    place: Arc<Workplace>,
    messages: Receiver<Message>,
    /// Chunks that wait for the stream to pass their marks.
    waiting: Vec<Chunk>,
    origin: Arc<Origin>,
    run: u64,
    /// The next chunk's number. Number 0 is what the run begins with where it is not the first.
    chunks: u64,
    hasher: KeyHasher,
    scratch: Scratch,
    /// Where the stream must stop between two transactions, and from which transaction on a table is watched that has
    /// no usable key.
    rest_at: Option<(String, u64)>,
    watched_since: u64,
    /// Tracked keys after the last time that some were forgotten.
    kept: usize,
    is_open: bool,
}

impl Snapshot {
    /// Starts the workers; they read as soon as the first [`Snapshot::observe`] says how far the stream has received.
    pub fn begin(
        settings: Settings,
        state: SnapshotState,
        captured: Vec<(String, String)>,
    ) -> Result<Self, Failure> {
        let origin = Arc::new(Origin {
            snapshot: state.id.as_str().into(),
            id: state.id.as_str().into(),
            time_us: state.time_us,
            file: state.file.as_str().into(),
            offset: state.offset,
        });
        let chunk_bytes = settings.chunk_bytes();
        let share = settings.memory_bytes / 4;
        let shared = Shared::new(Plan::new(state, captured), Tracker::new(share / TRACKED_BYTES), share);
        let (spare_max, row_bytes_own) = (settings.memory_bytes / chunk_bytes, settings.row_bytes_own());
        let (rates, run) = (&settings.config.snapshot, settings.run);
        let place = Arc::new(Workplace {
            throttle: Throttle::new(rates.rows_per_second, rates.bytes_per_second),
            asking: Mutex::new(()),
            settings: settings.tables,
            shared: Arc::new(shared),
            row_bytes_own,
            metrics: settings.metrics,
            has_gtids: settings.has_gtids,
            buffers: Buffers::new(chunk_bytes, spare_max),
            chunk_bytes,
            row_bytes_max: settings.row_bytes_max,
            config: settings.config,
        });
        let (sender, messages) = mpsc::channel();
        for number in 0..place.config.snapshot.parallelism {
            let worker = Worker::new(place.clone(), sender.clone());
            thread::Builder::new().name(format!("snapshot {number}")).spawn(move || worker.run()).map_err(
                |error| Failure::Fatal(format!("a thread of the snapshot cannot be started: {error}")),
            )?;
        }
        let snapshot = Self {
            place,
            messages,
            waiting: Vec::new(),
            origin,
            run,
            chunks: 1,
            hasher: KeyHasher::new(),
            scratch: Scratch::new(),
            rest_at: None,
            watched_since: 0,
            kept: 0,
            is_open: false,
        };
        snapshot.show();
        Ok(snapshot)
    }

    /// Whether the workers know how far the stream has received, and may read.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Looks at what the stream is about to hand on; `bytes` are what the spans of its records point into.
    ///
    /// # Errors
    /// A row whose key cannot be read.
    pub fn observe(&mut self, stream: &mut Stream, bytes: &[u8]) -> Result<(), Failure> {
        let place = self.place.clone();
        let mut inner = place.shared.lock();
        for text in stream.take_definitions() {
            self.defined(&mut inner, &text);
        }
        let mut tracked = tracked_tables(&inner);
        for record in &mut stream.pending {
            let MySqlRecord::Rows(rows) = record else { continue };
            let of = &rows.table.table;
            rows.is_covered = !of.has_key() && inner.plan.has_to_read(of.schema(), of.name());
            let Some(table) = tracked.get(&rows.table.number).copied() else { continue };
            if let Some(reason) = self.track(&mut inner, table, rows, bytes)? {
                tracing::info!(table = %rows.table.events.id_part, "{reason}: what the snapshot has read of it is read again");
                self.discard(&mut inner, table);
                tracked.remove(&rows.table.number);
            }
        }
        if let Some(frontier) = stream.frontier() {
            inner.frontier = Some(frontier);
            self.is_open = true;
        }
        drop(inner);
        place.shared.notify();
        Ok(())
    }

    /// Notes the keys that a ROWS event changes. The answer is a reason to read again what is in flight of the table.
    fn track(
        &mut self,
        inner: &mut Inner,
        table: TableId,
        rows: &RowsEvent,
        bytes: &[u8],
    ) -> Result<Option<&'static str>, Failure> {
        if rows.oversize.is_some() {
            return Ok(Some("a change that is too large to be looked at"));
        }
        let failed = |error: RowError| {
            let written = &rows.written;
            Failure::Fatal(format!(
                "{error}; at {}:{} ({})",
                written.file, written.offset, written.transaction
            ))
        };
        let mut tracked = self.touch(inner, table, rows, bytes).map_err(failed)?;
        if tracked == Tracked::Full {
            inner.keep_tracked();
            tracked = self.touch(inner, table, rows, bytes).map_err(failed)?;
        }
        Ok(match tracked {
            Tracked::All => None,
            Tracked::Full => Some("more changes than pipeline.memory can track"),
            Tracked::Partial => Some("a change whose row image lacks columns"),
        })
    }

    fn touch(
        &mut self,
        inner: &mut Inner,
        table: TableId,
        rows: &RowsEvent,
        bytes: &[u8],
    ) -> Result<Tracked, RowError> {
        let written = &rows.written;
        let place = Place { file: written.file.clone(), offset: written.offset };
        inner.tracker.transaction(&written.transaction, place);
        let (number, hasher, tracker) = (rows.table.number, &self.hasher, &mut inner.tracker);
        let mut full = false;
        let mut touch = |key: &[u8]| full |= tracker.touch(table, hasher.hash(number, key)).is_err();
        if !rows.table.table.has_key() {
            touch(b"");
        }
        let mut cursor = Rows::open(&rows.table.table, rows.kind, rows.payload.of(bytes))?;
        let partial = cursor.keys(&mut self.scratch, touch)?;
        Ok(match (full, partial) {
            (true, _) => Tracked::Full,
            (_, true) => Tracked::Partial,
            _ => Tracked::All,
        })
    }

    /// A statement may change or empty tables.
    fn defined(&self, inner: &mut Inner, text: &[u8]) {
        if moves_names(text) {
            inner.plan.moved(text);
        }
        let named: Vec<TableId> = inner
            .tables
            .iter()
            .filter(|(_, table)| event::defines(text, &table.look.catalog.name))
            .map(|(id, _)| *id)
            .collect();
        for table in named {
            self.discard(inner, table);
        }
    }

    fn discard(&self, inner: &mut Inner, table: TableId) {
        let void = inner.discard(table);
        self.place.metrics.snapshot.chunks_reread.add(void);
    }

    /// The next chunk that may be handed on where the stream stands now.
    ///
    /// # Errors
    /// What stopped a worker for good.
    pub fn ready(&mut self, stream: &Stream) -> Result<Option<Ready>, Failure> {
        let place = stream.passed();
        while let Ok(message) = self.messages.try_recv() {
            self.take(message)?;
        }
        let workplace = self.place.clone();
        let mut inner = workplace.shared.lock();
        while let Some(index) = self
            .waiting
            .iter()
            .position(|chunk| chunk.mark.is_reached(place) || inner.plan.is_stale(chunk.id))
        {
            let chunk = self.waiting.remove(index);
            if inner.plan.is_stale(chunk.id) {
                inner.give_up(&chunk);
                workplace.shared.notify();
                continue;
            }
            return Ok(Some(self.make_ready(&inner, chunk, stream.tables.lanes())));
        }
        Ok(None)
    }

    fn make_ready(&mut self, inner: &Inner, chunk: Chunk, lanes: &Lanes) -> Ready {
        let Chunk { id, table, captured, bytes, rows, oversize, mark, since, whole } = chunk;
        let outdated = match &whole {
            None => inner.tracker.touched(table, since, |touch| mark.sees(touch)),
            Some(_) => Vec::new(),
        };
        let is_whole = whole.is_some();
        let (origin, first_row) = match whole {
            None => (self.origin.clone(), None),
            Some((id, number)) => {
                (Arc::new(Origin { id: (&*id).into(), ..(*self.origin).clone() }), Some(number))
            }
        };
        let table = &captured.table;
        let lanes = if table.has_exact_key() { lanes.of(table.schema(), table.name()) } else { 1 };
        let name = self.chunk_name(self.chunks);
        self.chunks += 1;
        let has_any = rows > 0 || !oversize.is_empty();
        let record = has_any.then(|| ChunkRows {
            payload: Span {
                start: 0,
                end: u32::try_from(bytes.len()).expect("a chunk is smaller than 4 GiB"),
            },
            table: captured,
            origin,
            rows: u32::try_from(rows).expect("a chunk is smaller than 4 GiB"),
            chunk: name.into(),
            lanes,
            outdated: outdated.into(),
            first_row,
            oversize: oversize.into(),
        });
        Ready { record, bytes, rows, id, whole: is_whole }
    }

    fn chunk_name(&self, number: u64) -> String {
        format!("{:016}-{number}", self.run)
    }

    /// What a run begins with that is not the first of the snapshot; `None` where there is no table.
    pub fn beginning(&self) -> Option<RunBeginning> {
        let inner = self.place.shared.lock();
        let (schema, name) = inner.plan.any_table()?;
        let table = TableEvents::new(schema, name, Phase::Snapshot, &self.place.settings.events);
        let chunk = self.chunk_name(0).into();
        Some(RunBeginning { table: table.into(), origin: self.origin.clone(), chunk })
    }

    /// A chunk is about to be handed on: the state from now on counts it. Call it with the size that it had, and
    /// [`show`](Self::show) once it was.
    pub fn handed_on(&mut self, ready: &Ready) {
        let workplace = self.place.clone();
        let mut inner = workplace.shared.lock();
        let bytes = ready.bytes.len();
        inner.plan.emitted(ready.id, ready.rows, bytes as u64);
        inner.forget(ready.id, bytes, ready.whole);
        if inner.tracker.len() > 2 * self.kept.max(KEEP_MIN) {
            inner.keep_tracked();
            self.kept = inner.tracker.len();
        }
        drop(inner);
        workplace.shared.notify();
    }

    fn take(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Chunk(chunk) => self.waiting.push(chunk),
            Message::Failed(failure) => return Err(failure.context("snapshot")),
        }
        Ok(())
    }

    /// Waits a little for a worker.
    ///
    /// # Errors
    /// What stopped a worker for good.
    pub fn wait(&mut self, wait: Duration) -> Result<(), Failure> {
        match self.messages.recv_timeout(wait) {
            Ok(message) => self.take(message),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Failure::Fatal("every thread of the snapshot is gone".into()))
            }
        }
    }

    /// Whether the stream, which has handed on all that it understood, must rest here for a table without usable key.
    pub fn must_rest(&mut self, stream: &Stream) -> bool {
        let workplace = self.place.clone();
        let mut inner = workplace.shared.lock();
        self.rest_at = None;
        let hold = std::mem::take(&mut inner.hold);
        let (next, must_rest) = match hold {
            Hold::Wanted(lease) if stream.is_between() => {
                self.begin_rest(&mut inner, stream);
                (Hold::Resting(lease), true)
            }
            Hold::Marked(lease, mark) if mark.is_reached(stream.passed()) => {
                let table = inner.leases.get(&lease).map(|(table, _)| *table);
                let unseen = table
                    .map(|table| inner.tracker.touched(table, self.watched_since, |touch| mark.sees(touch)));
                if unseen.is_some_and(|keys| keys.is_empty()) {
                    (Hold::Exact(lease), true)
                } else {
                    self.begin_rest(&mut inner, stream);
                    (Hold::Resting(lease), true)
                }
            }
            Hold::Marked(lease, mark) => {
                let (file, offset) = mark.high();
                self.rest_at = Some((file.to_owned(), offset));
                (Hold::Marked(lease, mark), false)
            }
            Hold::Resting(_) | Hold::Exact(_) => (hold, true),
            // The reader is done, but not all that it read is handed on: changes come behind it.
            Hold::None if inner.plan.is_handing_on_whole() => (hold, true),
            Hold::None | Hold::Wanted(_) => (hold, false),
        };
        inner.hold = next;
        drop(inner);
        workplace.shared.notify();
        must_rest
    }

    fn begin_rest(&mut self, inner: &mut Inner, stream: &Stream) {
        self.watched_since = inner.tracker.now();
        if let Some(frontier) = stream.frontier() {
            inner.frontier = Some(frontier);
        }
    }

    /// Whether the stream must not go further before the next [`Snapshot::must_rest`].
    pub fn is_rest_due(&self, stream: &Stream) -> bool {
        let due = |at: &(String, u64)| !is_behind(stream.passed(), (&at.0, at.1));
        stream.is_between() && self.rest_at.as_ref().is_some_and(due)
    }

    /// Whether every row was handed on.
    pub fn is_finished(&self) -> bool {
        self.place.shared.lock().plan.is_finished()
    }

    /// For the batch at hand.
    pub fn encoded(&self) -> EncodedState {
        self.place.shared.lock().plan.encoded()
    }

    /// How far it has come.
    pub fn state(&self) -> SnapshotState {
        self.place.shared.lock().plan.state()
    }

    /// Shows in the metrics how far it has come.
    pub fn show(&self) {
        let (state, waiting) = {
            let inner = self.place.shared.lock();
            (inner.plan.state(), inner.waiting_bytes + inner.whole_bytes)
        };
        count(&state, &self.place.metrics);
        self.place.metrics.snapshot.chunk_bytes.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}

impl Drop for Snapshot {
    /// The workers end with what they do now; nobody waits for them.
    fn drop(&mut self) {
        self.place.shared.end();
    }
}

/// Shows a state in the metrics.
pub fn count(state: &SnapshotState, metrics: &Metrics) {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let shown = &metrics.snapshot;
    shown.state.set(if state.finished { 2 } else { 1 });
    shown.tables.set(number(state.tables));
    shown.tables_done.set(number(state.tables_done));
    shown.chunks.set(number(state.chunks));
    shown.rows.set(number(state.rows));
    shown.bytes.set(number(state.bytes));
    shown.rows_estimated.set(number(state.rows_estimated));
}

/// The tables whose changes are tracked, by their numbers.
fn tracked_tables(inner: &Inner) -> HashMap<u32, TableId> {
    let table = |id: TableId| inner.tables.get(&id).map(|table| (table.captured.number, id));
    inner.plan.in_flight().filter_map(table).collect()
}

/// Whether a statement gives a table another name: RENAME TABLE, ALTER TABLE … RENAME, not of a column or an index.
fn moves_names(text: &[u8]) -> bool {
    let words: Vec<&[u8]> = event::words(text).collect();
    let is = |word: &[u8], any: &[&str]| any.iter().any(|other| word.eq_ignore_ascii_case(other.as_bytes()));
    words.iter().enumerate().any(|(index, word)| {
        let inside = words.get(index + 1).is_some_and(|next| is(next, &["COLUMN", "INDEX", "KEY"]));
        is(word, &["RENAME"]) && !inside
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statements_that_give_tables_other_names_count_as_renames() {
        for text in ["RENAME TABLE a TO b", "alter table a rename to b", "ALTER TABLE a ADD x INT, RENAME b"]
        {
            assert!(moves_names(text.as_bytes()), "{text}");
        }
        for text in
            ["ALTER TABLE a RENAME COLUMN b TO c", "ALTER TABLE a RENAME INDEX b TO c", "DROP TABLE a"]
        {
            assert!(!moves_names(text.as_bytes()), "{text}");
        }
    }
}
