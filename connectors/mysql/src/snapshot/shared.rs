//! What the source's thread and the snapshot's workers share: the plan, the tracked keys, how far the stream has
//! received, and the room for chunks. One mutex, taken once a read and once a flush of the stream, never for a row.
//!
//! Invariant: a lease is given out together with the frontier that holds then, and from that moment the stream's changes
//! of its table are tracked, under the same lock. So every change is either behind the frontier or tracked.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::Key;
use super::mark::Mark;
use super::plan::{ChunkId, Lease, LeaseId, Plan, TableId, Work};
use super::query::SnapshotTable;
use super::track::Tracker;
use crate::captured::CapturedTable;
use crate::stream::Frontier;

/// Waits look up this often, so that nothing depends on being woken.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A table as it is read now.
#[derive(Debug)]
pub(super) struct OpenedTable {
    pub(super) look: SnapshotTable,
    pub(super) captured: Arc<CapturedTable>,
    pub(super) select_list: String,
    /// Mean size of the rows that came last, bytes.
    pub(super) row_bytes: AtomicU64,
}

/// A lease, with what its reader must see and from where on changes are tracked.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    pub(super) lease: Lease,
    pub(super) table: Arc<OpenedTable>,
    pub(super) frontier: Frontier,
    /// Changes from this transaction on are tracked.
    pub(super) since: u64,
}

/// What a worker is to do next.
pub(super) enum Task {
    Open {
        table: TableId,
        schema: String,
        name: String,
    },
    Read(Assignment),
    /// Tables may have got these names by this statement.
    Renamed(Vec<u8>),
    End,
}

/// Where the stream and the reader of a table without a usable key stand with each other. Only one such table is read
/// at a time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Hold {
    /// No such table is being read.
    #[default]
    None,
    /// The worker asks the stream to rest between two transactions.
    Wanted(LeaseId),
    /// It rests.
    Resting(LeaseId),
    /// The worker's view stands at this mark: the stream must go there.
    Marked(LeaseId, Mark),
    /// The stream is there, and the view is exact: rows may come.
    Exact(LeaseId),
}

impl Hold {
    fn lease(&self) -> Option<LeaseId> {
        match self {
            Self::None => None,
            Self::Wanted(lease) | Self::Resting(lease) | Self::Marked(lease, _) | Self::Exact(lease) => {
                Some(*lease)
            }
        }
    }
}

pub(super) struct Inner {
    pub(super) plan: Plan,
    pub(super) tracker: Tracker,
    /// `None` until the stream has passed what an earlier process handed on.
    pub(super) frontier: Option<Frontier>,
    pub(super) tables: HashMap<TableId, Arc<OpenedTable>>,
    /// From which transaction on the changes of leases and chunks are tracked.
    pub(super) leases: HashMap<LeaseId, (TableId, u64)>,
    pub(super) chunks: HashMap<ChunkId, (TableId, u64)>,
    pub(super) hold: Hold,
    /// Bytes of chunks that were not handed on yet …
    pub(super) waiting_bytes: usize,
    /// … and of chunks of the table that is read whole, which the resting stream takes at once.
    pub(super) whole_bytes: usize,
    /// Who asks for room, and who for the one row that may be larger than a worker's own share.
    room: Turns,
    large: Turns,
    idle: usize,
    ended: bool,
}

/// Who comes first is served first: without this a large request would wait for ever while small ones pass it.
#[derive(Debug, Default)]
struct Turns {
    given: u64,
    served: u64,
}

impl Turns {
    /// The next place in the row.
    fn take(&mut self) -> u64 {
        self.given += 1;
        self.given - 1
    }
}

pub(super) struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// What all waiting chunks may hold together, bytes.
    waiting_bytes_max: usize,
}

impl Shared {
    pub(super) fn new(plan: Plan, tracker: Tracker, waiting_bytes_max: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                plan,
                tracker,
                frontier: None,
                tables: HashMap::new(),
                leases: HashMap::new(),
                chunks: HashMap::new(),
                hold: Hold::None,
                waiting_bytes: 0,
                whole_bytes: 0,
                room: Turns::default(),
                large: Turns::default(),
                idle: 0,
                ended: false,
            }),
            changed: Condvar::new(),
            waiting_bytes_max,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for something to change.
    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Nobody gets anything to do any more.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.notify();
    }

    pub(super) fn is_ended(&self) -> bool {
        self.lock().ended
    }

    /// Waits a little, or until something changes.
    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        self.changed
            .wait_timeout(inner, LOOK_EVERY)
            .map_or_else(|error| error.into_inner().0, |woken| woken.0)
    }

    /// Waits for something to do.
    pub(super) fn next(&self) -> Task {
        let mut inner = self.lock();
        inner.idle += 1;
        let task = loop {
            if inner.ended {
                break Task::End;
            }
            if let Some(task) = inner.next() {
                break task;
            }
            inner = self.wait(inner);
        };
        inner.idle -= 1;
        task
    }

    /// Waits until `done` says so; `None` at the end.
    pub(super) fn wait_for<T>(&self, mut done: impl FnMut(&mut Inner) -> Option<T>) -> Option<T> {
        let mut inner = self.lock();
        loop {
            if inner.ended {
                return None;
            }
            if let Some(value) = done(&mut inner) {
                return Some(value);
            }
            inner = self.wait(inner);
        }
    }

    /// Waits until a chunk of so many bytes has room, and counts it; false at the end. A chunk larger than all the room
    /// waits until it is alone, and nobody who came later passes it.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let turn = self.lock().room.take();
        let granted = self.wait_for(|inner| {
            let fits = inner.waiting_bytes + bytes <= self.waiting_bytes_max || inner.waiting_bytes == 0;
            (fits && inner.room.served == turn).then(|| {
                inner.waiting_bytes += bytes;
                inner.room.served += 1;
            })
        });
        self.notify();
        granted.is_some()
    }

    /// The same for a chunk of the table that is read whole: one waits at a time.
    pub(super) fn reserve_whole(&self, bytes: usize) -> bool {
        self.wait_for(|inner| (inner.whole_bytes == 0).then(|| inner.whole_bytes = bytes)).is_some()
    }

    /// Waits until no other worker reads a row that is larger than its own share; `None` at the end.
    pub(super) fn large_row(self: &Arc<Self>) -> Option<LargeRow> {
        let turn = self.lock().large.take();
        self.wait_for(|inner| (inner.large.served == turn).then_some(()))?;
        Some(LargeRow { shared: self.clone() })
    }
}

/// The right to hold a row that is larger than a worker's own share. One at a time has it, until the row has room among
/// the waiting chunks.
pub(super) struct LargeRow {
    shared: Arc<Shared>,
}

impl Drop for LargeRow {
    fn drop(&mut self) {
        self.shared.lock().large.served += 1;
        self.shared.notify();
    }
}

impl Inner {
    fn next(&mut self) -> Option<Task> {
        let frontier = self.frontier.clone()?;
        if let Some(text) = self.plan.next_moved() {
            return Some(Task::Renamed(text));
        }
        match self.plan.next(self.idle - 1) {
            Work::Open { table, schema, name } => Some(Task::Open { table, schema, name }),
            Work::Read(lease) => {
                let since = self.tracker.now();
                self.leases.insert(lease.id, (lease.table, since));
                let table = self.tables.get(&lease.table).expect("what is leased was opened").clone();
                Some(Task::Read(Assignment { lease, table, frontier, since }))
            }
            Work::Wait | Work::Done => None,
        }
    }

    /// A chunk of a lease; `None`: the lease is over.
    pub(super) fn chunk(&mut self, work: &Assignment, last: Option<Key>) -> Option<ChunkId> {
        let id = self.plan.chunk(work.lease.id, last)?;
        self.chunks.insert(id, (work.lease.table, work.since));
        Some(id)
    }

    /// A chunk of so many bytes is through, however.
    pub(super) fn forget(&mut self, id: ChunkId, bytes: usize, whole: bool) {
        self.chunks.remove(&id);
        let held = if whole { &mut self.whole_bytes } else { &mut self.waiting_bytes };
        *held = held.saturating_sub(bytes);
        self.close_if_done(id.table());
    }

    /// Lets go of what is known of a table that is done.
    pub(super) fn close_if_done(&mut self, table: TableId) {
        if !self.plan.is_open(table) {
            self.tables.remove(&table);
            self.tracker.keep(table, None);
        }
    }

    /// A stale chunk is not handed on.
    pub(super) fn give_up(&mut self, chunk: &Chunk) {
        self.forget(chunk.id, chunk.bytes.len(), chunk.whole.is_some());
    }

    /// Forgets changes that no lease and no chunk asks for any more.
    pub(super) fn keep_tracked(&mut self) {
        let mut oldest: HashMap<TableId, u64> = HashMap::new();
        for (table, since) in self.leases.values().chain(self.chunks.values()) {
            oldest.entry(*table).and_modify(|known| *known = (*known).min(*since)).or_insert(*since);
        }
        let tables: Vec<TableId> = self.tables.keys().copied().collect();
        for table in tables {
            self.tracker.keep(table, oldest.get(&table).copied());
        }
    }

    /// Asks the stream to rest for a lease once nobody else does; false where the lease is over.
    pub(super) fn want_rest(&mut self, lease: LeaseId) -> Option<bool> {
        if !self.leases.contains_key(&lease) {
            return Some(false);
        }
        (self.hold == Hold::None).then(|| {
            self.hold = Hold::Wanted(lease);
            true
        })
    }

    /// Says where the view stands that was opened while the stream rests; false where the lease is over.
    pub(super) fn mark_rest(&mut self, lease: LeaseId, mark: &Mark) -> bool {
        let is_resting = self.hold == Hold::Resting(lease);
        if is_resting {
            self.hold = Hold::Marked(lease, mark.clone());
        }
        is_resting
    }

    /// A lease has ended, however.
    pub(super) fn released(&mut self, lease: LeaseId) {
        self.leases.remove(&lease);
        if self.hold.lease() == Some(lease) {
            self.hold = Hold::None;
        }
    }

    /// A table got its name just now: it is read from its beginning.
    pub(super) fn renamed(&mut self, schema: &str, name: &str) {
        if let Some(table) = self.plan.id_of(schema, name) {
            self.discard(table);
        }
        self.plan.rename(schema, name);
    }

    /// A table's definition or content was changed by a statement: what was read of it is void.
    pub(super) fn discard(&mut self, table: TableId) -> u64 {
        self.tables.remove(&table);
        self.chunks.retain(|_, chunk| chunk.0 != table);
        self.tracker.clear(table);
        let void: Vec<LeaseId> =
            self.leases.iter().filter(|(_, lease)| lease.0 == table).map(|(id, _)| *id).collect();
        for lease in void {
            self.released(lease);
        }
        self.plan.discard(table)
    }
}

/// Rows on their way from a worker to the source's thread.
pub(super) struct Chunk {
    pub(super) id: ChunkId,
    pub(super) table: TableId,
    pub(super) captured: Arc<CapturedTable>,
    /// Rows, each with its length before it.
    pub(super) bytes: Bytes,
    pub(super) rows: u64,
    pub(super) oversize: Vec<u64>,
    pub(super) mark: Mark,
    /// Changes from this transaction on are tracked for it.
    pub(super) since: u64,
    /// Of a table that is read whole: its own id, and the number of the chunk's first row.
    pub(super) whole: Option<(Arc<str>, u64)>,
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::super::plan::Opened;
    use super::super::state::SnapshotState;
    use super::*;
    use crate::position::Gtids;

    const WHOLE: Opened = Opened::Whole { rows_estimated: 1 };

    /// A table `shop.k` without a usable key under a lease.
    fn leased() -> (Shared, TableId, LeaseId) {
        let state = SnapshotState::new("s".into(), 1, "binlog.000001".into(), 4);
        let plan = Plan::new(state, vec![("shop".into(), "k".into())]);
        let shared = Shared::new(plan, Tracker::new(100), 1000);
        let mut inner = shared.lock();
        inner.frontier = Some(Frontier { gtids: Gtids::None, place: ("binlog.000001".into(), 4) });
        let Work::Open { table, .. } = inner.plan.next(0) else { panic!("a table to open") };
        assert!(inner.plan.opened(table, WHOLE));
        let Work::Read(lease) = inner.plan.next(0) else { panic!("a lease") };
        inner.leases.insert(lease.id, (table, 0));
        drop(inner);
        (shared, table, lease.id)
    }

    fn mark() -> Mark {
        Mark::Place { file: "binlog.000001".into(), offset: 4 }
    }

    /// Asks in a thread of its own, and says so once it has been given; returns when its turn is taken.
    fn asking(
        shared: &Arc<Shared>,
        granted: &mpsc::Sender<usize>,
        bytes: usize,
        place: u64,
    ) -> thread::JoinHandle<()> {
        let (own, granted) = (shared.clone(), granted.clone());
        let thread = thread::spawn(move || {
            assert!(own.reserve(bytes));
            granted.send(bytes).expect("somebody listens");
        });
        while shared.lock().room.given < place {
            thread::yield_now();
        }
        thread
    }

    #[test]
    fn a_large_chunk_gets_its_room_before_small_ones_that_came_later() {
        let (shared, ..) = leased();
        let shared = Arc::new(shared);
        assert!(shared.reserve(600));
        let (sender, granted) = mpsc::channel();
        let large = asking(&shared, &sender, 2000, 2);
        let small = asking(&shared, &sender, 300, 3);
        let free = |bytes: usize| {
            shared.lock().waiting_bytes -= bytes;
            shared.notify();
        };
        // The small one has room all along, but the other came first.
        free(600);
        assert_eq!(granted.recv(), Ok(2000));
        assert_eq!(granted.try_recv(), Err(mpsc::TryRecvError::Empty));
        free(2000);
        assert_eq!(granted.recv(), Ok(300));
        for thread in [large, small] {
            thread.join().expect("no panic");
        }
        assert_eq!(shared.lock().waiting_bytes, 300);
    }

    #[test]
    fn one_worker_at_a_time_holds_a_large_row_and_nobody_waits_beyond_the_end() {
        let (shared, ..) = leased();
        let shared = Arc::new(shared);
        let first = shared.large_row().expect("nobody has it");
        let other = shared.clone();
        let second = thread::spawn(move || other.large_row().map(drop).is_some());
        while shared.lock().large.given < 2 {
            thread::yield_now();
        }
        assert_eq!(shared.lock().large.served, 0);
        drop(first);
        assert!(second.join().expect("no panic"));
        let _held = shared.large_row().expect("given back");
        let other = shared.clone();
        let third = thread::spawn(move || other.large_row().is_some());
        shared.end();
        assert!(!third.join().expect("no panic"));
    }

    #[test]
    fn the_stream_rests_for_one_lease_at_a_time() {
        let (shared, _, lease) = leased();
        let mut inner = shared.lock();
        assert_eq!(inner.want_rest(lease), Some(true));
        assert_eq!(inner.want_rest(lease), None, "somebody asks already");
        inner.hold = Hold::Resting(lease);
        assert!(inner.mark_rest(lease, &mark()));
        assert_eq!(inner.hold, Hold::Marked(lease, mark()));
    }

    #[test]
    fn a_lease_that_is_over_stops_the_stream_no_more() {
        let (shared, table, lease) = leased();
        let mut inner = shared.lock();
        // A statement changed the table before its reader asked …
        inner.discard(table);
        assert_eq!(inner.want_rest(lease), Some(false));
        assert_eq!(inner.hold, Hold::None);
        drop(inner);
        // … or while the stream rested for it, and somebody else asks meanwhile.
        let (shared, table, lease) = leased();
        let mut inner = shared.lock();
        assert_eq!(inner.want_rest(lease), Some(true));
        inner.hold = Hold::Resting(lease);
        inner.discard(table);
        assert_eq!(inner.hold, Hold::None);
        assert!(!inner.mark_rest(lease, &mark()));
        assert_eq!(inner.hold, Hold::None);
    }
}
