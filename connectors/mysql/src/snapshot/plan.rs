//! What is still to be read and by whom: tables, ranges, leases, chunks. Pure bookkeeping, no I/O.
//!
//! Tables are opened in the order of their names. A worker leases a range, makes chunks of it from its beginning on,
//! and the source thread says when a chunk was handed on. Invariants: every key that a table had when it was opened is
//! in exactly one place, free, leased, in a chunk, or handed on, and [`Plan::state`] misses only what was handed on;
//! ids are never used twice, so whoever holds one from before a discard is told that it is stale.

use std::collections::{BTreeMap, BTreeSet};

use flowd_binlog::event;

use super::state::{EncodedState, SnapshotState};
use super::{Key, Range};
use ranges::Ranges;
use table::{Stage, Table, Whole};

pub use work::{ChunkId, Lease, LeaseId, Opened, TableId, Work};

mod ranges;
mod table;
mod work;

/// Bounds what is open at once, and with it the size of the state: tables so small that one worker opens the next and
/// the next while the chunks of all of them wait for their marks.
const OPEN_TABLES_MAX: usize = 128;

/// The whole of a snapshot.
#[derive(Debug)]
pub struct Plan {
    /// The names, counts and `through`; what changes with the tables is filled in by [`Plan::state`].
    base: SnapshotState,
    /// Not opened yet, in the order in which they will be.
    waiting: BTreeSet<(String, String)>,
    tables: BTreeMap<TableId, Table>,
    /// Statements by which tables may have got other names, and whether a worker looks into it.
    moves: Vec<(Vec<u8>, bool)>,
    last_table: TableId,
    /// Of leases and chunks.
    last_number: u64,
    encoded: Option<EncodedState>,
}

impl Plan {
    /// Goes on from a state, or begins with a new one; `captured` are the tables that the source has today.
    pub fn new(state: SnapshotState, captured: Vec<(String, String)>) -> Self {
        let mut base = state;
        let captured: BTreeSet<_> = captured.into_iter().collect();
        let (open, extra) = (std::mem::take(&mut base.open), std::mem::take(&mut base.extra));
        let moves = std::mem::take(&mut base.moves).into_iter().map(|statement| (statement, false)).collect();
        let is_ahead = |name: &&(String, String)| base.through.as_ref().is_none_or(|through| *name > through);
        let waiting = if base.finished {
            BTreeSet::new()
        } else {
            let extra = extra.into_iter().filter(|name| captured.contains(name));
            captured.iter().filter(is_ahead).cloned().chain(extra).collect()
        };
        let mut plan = Self {
            base,
            waiting,
            tables: BTreeMap::new(),
            moves,
            last_table: 0,
            last_number: 0,
            encoded: None,
        };
        for kept in open {
            let mut table = Table::new(kept.schema, kept.name, Stage::Closed(kept.remaining));
            (table.key, table.rows, table.rows_estimated) = (kept.key, kept.rows, kept.rows_estimated);
            let name = (table.schema.clone(), table.name.clone());
            if !captured.contains(&name) {
                plan.end(&mut table);
            } else if kept.whole {
                plan.settle(&mut table);
                plan.waiting.insert(name);
            } else {
                plan.add(table);
            }
        }
        plan
    }

    /// What the registry is to keep. It changes only when something is opened, handed on or discarded.
    pub fn state(&self) -> SnapshotState {
        let mut state = self.base.clone();
        for table in self.tables.values() {
            match table.state() {
                Some(open) => state.open.push(open),
                None => state.extra.push((table.schema.clone(), table.name.clone())),
            }
        }
        if let Some(through) = &state.through {
            state.extra.extend(self.waiting.range(..=through.clone()).cloned());
        }
        state.moves.extend(self.moves.iter().map(|(statement, _)| statement.clone()));
        state.tables = state.tables_done + len(self.tables.len()) + len(self.waiting.len());
        state.finished = self.is_finished();
        if state.finished {
            state.through = None;
        }
        state
    }

    /// The same as bytes; free of cost until the state changes.
    pub fn encoded(&mut self) -> EncodedState {
        match &self.encoded {
            Some(encoded) => encoded.clone(),
            None => self.encoded.insert(EncodedState::of(&self.state())).clone(),
        }
    }

    /// Work for a worker, while `idle` others wait: ranges of open tables first, then a new table.
    pub fn next(&mut self, idle: usize) -> Work {
        if let Some(lease) = self.lease_whole() {
            return Work::Read(lease);
        }
        if let Some(work) = self.reopen() {
            return work;
        }
        if let Some(lease) = self.lease_range(idle) {
            return Work::Read(lease);
        }
        if let Some(work) = self.open() {
            return work;
        }
        let has_more = !self.waiting.is_empty()
            || !self.moves.is_empty()
            || self.tables.values().any(Table::needs_workers);
        if has_more { Work::Wait } else { Work::Done }
    }

    /// Whether one more worker would have nothing to do: a lease that is worth it should be divided.
    pub fn is_all_given(&self) -> bool {
        let may_open = !self.waiting.is_empty() && self.tables.len() < OPEN_TABLES_MAX;
        let may_read_whole = !self.is_reading_whole();
        let has_work = |table: &Table| match &table.stage {
            Stage::Closed(_) => true,
            Stage::Opening(_) => false,
            Stage::Keyed(ranges) => ranges.has_free(),
            Stage::Whole(_) => may_read_whole,
        };
        !may_open && !self.tables.values().any(has_work)
    }

    /// The tables that nobody has looked at yet.
    pub fn unopened(&self) -> impl Iterator<Item = &(String, String)> {
        self.waiting.iter()
    }

    /// The answer to [`Work::Open`]. False: the table was discarded since and must be looked at again.
    pub fn opened(&mut self, id: TableId, opened: Opened) -> bool {
        let Some(mut table) = self.tables.remove(&id) else { return false };
        let Stage::Opening(kept) = &mut table.stage else {
            self.tables.insert(id, table);
            return false;
        };
        let kept = kept.take();
        self.encoded = None;
        let (columns, estimated, stage) = match opened {
            // Without a row there is nothing to read, whatever was left: later rows come with the stream.
            Opened::Gone | Opened::Keyed { upto: None, .. } => {
                self.end(&mut table);
                return true;
            }
            Opened::Keyed { columns, upto, rows_estimated } => {
                let ranges = match kept {
                    Some(ranges) if table.key == columns => ranges,
                    _ => {
                        self.settle(&mut table);
                        vec![Range { after: None, upto }]
                    }
                };
                (columns, rows_estimated, Stage::Keyed(Ranges::new(ranges)))
            }
            Opened::Whole { rows_estimated } => {
                self.settle(&mut table);
                (Vec::new(), rows_estimated, Stage::Whole(Whole::default()))
            }
        };
        (table.key, table.stage) = (columns, stage);
        self.estimate(&mut table, estimated);
        self.tables.insert(id, table);
        self.end_if_done(id);
        true
    }

    /// A worker could not look at a table: somebody else must.
    pub fn give_back(&mut self, id: TableId) {
        if self.tables.get(&id).is_some_and(|table| matches!(table.stage, Stage::Opening(_))) {
            self.void(id);
        }
    }

    /// A lease goes on up to `at` only; what is behind is free. False: stale, or one of the parts would be empty.
    pub fn divide(&mut self, lease: LeaseId, at: Key) -> bool {
        match self.tables.get_mut(&lease.table).map(|table| &mut table.stage) {
            Some(Stage::Keyed(ranges)) => ranges.divide(lease.number, at),
            _ => false,
        }
    }

    /// What a lease has still to read; `None`: it is stale, or ended.
    pub fn rest(&self, lease: LeaseId) -> Option<&Range> {
        self.tables.get(&lease.table)?.rest(lease.number)
    }

    /// Rows up to `last` are in one chunk and the lease goes on behind it; without a `last` the range is exhausted and
    /// the lease ends (a chunk without rows then stands for the certainty that there are none). In a table that is
    /// read in one go an empty key says that there are more rows. `None`: the lease is stale.
    pub fn chunk(&mut self, lease: LeaseId, last: Option<Key>) -> Option<ChunkId> {
        let table = self.tables.get_mut(&lease.table)?;
        let number = self.last_number + 1;
        if !table.chunk(lease.number, last, number) {
            return None;
        }
        self.last_number = number;
        Some(ChunkId { table: lease.table, number })
    }

    /// Ends a lease, also after a lost connection: the rest of its range is free again. A table that is read in one go
    /// starts again, and its chunks are stale.
    pub fn release(&mut self, lease: LeaseId) {
        let Some(table) = self.tables.get_mut(&lease.table) else { return };
        let starts_again = match &mut table.stage {
            Stage::Keyed(ranges) => {
                ranges.release(lease.number);
                false
            }
            Stage::Whole(whole) => whole.release(lease.number),
            Stage::Closed(_) | Stage::Opening(_) => false,
        };
        if starts_again {
            let mut table = self.tables.remove(&lease.table).expect("found above");
            let estimated = table.rows_estimated;
            self.settle(&mut table);
            self.estimate(&mut table, estimated);
            self.tables.insert(lease.table, table);
        }
        self.encoded = None;
        self.end_if_done(lease.table);
    }

    /// A chunk was handed on. False: it is stale, nothing was counted. The last one of a table ends the table.
    pub fn emitted(&mut self, chunk: ChunkId, rows: u64, bytes: u64) -> bool {
        let Some(table) = self.tables.get_mut(&chunk.table) else { return false };
        if !table.emitted(chunk.number) {
            return false;
        }
        self.encoded = None;
        table.rows += rows;
        let more = table.rows.saturating_sub(table.rows_estimated);
        table.rows_estimated += more;
        self.base.rows_estimated += more;
        self.base.chunks += 1;
        self.base.rows += rows;
        self.base.bytes += bytes;
        self.end_if_done(chunk.table);
        true
    }

    /// Whether a chunk must not be handed on any more.
    pub fn is_stale(&self, chunk: ChunkId) -> bool {
        !self.tables.get(&chunk.table).is_some_and(|table| table.has_chunk(chunk.number))
    }

    /// A table was changed: its leases and chunks are void, their ranges free, and it must be looked at again under
    /// another id. Returns how many chunks are void.
    pub fn discard(&mut self, id: TableId) -> u64 {
        let chunks = self.tables.get(&id).map_or(0, Table::chunks);
        self.void(id);
        chunks
    }

    /// A statement may have given tables other names: until a worker has looked which, the snapshot is not finished,
    /// and a process that goes on from the state looks as well. Once the snapshot is finished nothing is read any more.
    pub fn moved(&mut self, statement: &[u8]) {
        if !self.is_finished() {
            self.moves.push((statement.to_owned(), false));
            self.encoded = None;
        }
    }

    /// A statement for a worker to look into: it says [`Plan::rename`] for each name that may be meant, then
    /// [`Plan::settled`].
    pub fn next_moved(&mut self) -> Option<Vec<u8>> {
        let (statement, is_given) = self.moves.iter_mut().find(|(_, is_given)| !is_given)?;
        *is_given = true;
        Some(statement.clone())
    }

    /// A worker has looked into a statement.
    pub fn settled(&mut self, statement: &[u8]) {
        if let Some(index) = self.moves.iter().position(|(known, is_given)| *is_given && known == statement) {
            self.moves.remove(index);
            self.encoded = None;
        }
    }

    /// A worker could not look into a statement: somebody else must.
    pub fn not_settled(&mut self, statement: &[u8]) {
        if let Some((_, is_given)) = self.moves.iter_mut().find(|(known, given)| *given && known == statement)
        {
            *is_given = false;
        }
    }

    /// A captured table got its name just now: its rows were never seen, so it is read from its beginning even if a
    /// table of that name was read before. Returns how many chunks are void. Once the snapshot is finished nothing is
    /// read any more.
    pub fn rename(&mut self, schema: &str, name: &str) -> u64 {
        if self.is_finished() {
            return 0;
        }
        self.encoded = None;
        let mut chunks = 0;
        if let Some(mut table) = self.id_of(schema, name).and_then(|id| self.tables.remove(&id)) {
            chunks = table.chunks();
            self.settle(&mut table);
        }
        self.waiting.insert((schema.to_owned(), name.to_owned()));
        chunks
    }

    /// The id of a table that somebody has looked at, or is looking at, and that is not done.
    pub fn id_of(&self, schema: &str, name: &str) -> Option<TableId> {
        let mut tables = self.tables.iter();
        tables.find(|(_, table)| table.name == name && table.schema == schema).map(|(id, _)| *id)
    }

    /// A table whose rows are still to be handed on.
    pub fn any_table(&self) -> Option<(&str, &str)> {
        let open = self.tables.values().map(|table| (&*table.schema, &*table.name));
        open.chain(self.waiting.iter().map(|(schema, name)| (&**schema, &**name))).next()
    }

    /// Whether the rows of a table of that name, all or some of them, are still to be handed on.
    pub fn has_to_read(&self, schema: &str, name: &str) -> bool {
        self.id_of(schema, name).is_some()
            || self.waiting.contains(&(schema.to_owned(), name.to_owned()))
            || self.moves.iter().any(|(statement, _)| event::defines(statement, name))
    }

    /// Whether a table of that id has rows that were not handed on.
    pub fn is_open(&self, id: TableId) -> bool {
        self.tables.contains_key(&id)
    }

    /// Tables with leases or with chunks that were not handed on: those are tracked.
    pub fn in_flight(&self) -> impl Iterator<Item = TableId> {
        let tables = self.tables.iter().filter(|(_, table)| table.is_leased() || table.chunks() > 0);
        tables.map(|(id, _)| *id)
    }

    /// Whether chunks of a table that is read in one go are on their way.
    pub fn is_handing_on_whole(&self) -> bool {
        self.tables.values().any(|table| matches!(table.stage, Stage::Whole(_)) && table.chunks() > 0)
    }

    /// Whether every row of every table was handed on.
    pub fn is_finished(&self) -> bool {
        self.waiting.is_empty() && self.tables.is_empty() && self.moves.is_empty()
    }

    /// One table at a time: its rows are handed on while the stream stands.
    fn lease_whole(&mut self) -> Option<Lease> {
        if self.is_reading_whole() {
            return None;
        }
        let number = self.last_number + 1;
        for (table, of) in &mut self.tables {
            if let Stage::Whole(whole) = &mut of.stage {
                whole.lease(number);
                self.last_number = number;
                let id = LeaseId { table: *table, number };
                return Some(Lease {
                    id,
                    table: *table,
                    range: Range::default(),
                    divide: false,
                    whole: true,
                });
            }
        }
        None
    }

    fn is_reading_whole(&self) -> bool {
        let is_busy = |table: &Table| match &table.stage {
            Stage::Whole(whole) => !whole.is_waiting(),
            _ => false,
        };
        self.tables.values().any(is_busy)
    }

    fn reopen(&mut self) -> Option<Work> {
        for (id, table) in &mut self.tables {
            if let Stage::Closed(ranges) = &mut table.stage {
                table.stage = Stage::Opening(Some(std::mem::take(ranges)));
                let (schema, name) = (table.schema.clone(), table.name.clone());
                return Some(Work::Open { table: *id, schema, name });
            }
        }
        None
    }

    fn lease_range(&mut self, idle: usize) -> Option<Lease> {
        let number = self.last_number + 1;
        let mut found = None;
        for (id, table) in &mut self.tables {
            if let Stage::Keyed(ranges) = &mut table.stage
                && let Some(range) = ranges.lease(number)
            {
                found = Some((*id, range));
                break;
            }
        }
        let (table, range) = found?;
        self.last_number = number;
        let divide = idle > 0 && self.is_all_given();
        Some(Lease { id: LeaseId { table, number }, table, range, divide, whole: false })
    }

    fn open(&mut self) -> Option<Work> {
        if self.tables.len() >= OPEN_TABLES_MAX {
            return None;
        }
        let (schema, name) = self.waiting.pop_first()?;
        if self.base.through.as_ref().is_none_or(|(s, n)| (s, n) < (&schema, &name)) {
            self.base.through = Some((schema.clone(), name.clone()));
        }
        self.encoded = None;
        let table = self.add(Table::new(schema.clone(), name.clone(), Stage::Opening(None)));
        Some(Work::Open { table, schema, name })
    }

    /// Takes a table back to before somebody looked at it, keeping what is left of it.
    fn void(&mut self, id: TableId) {
        let Some(mut table) = self.tables.remove(&id) else { return };
        self.encoded = None;
        let kept = match table.stage {
            Stage::Closed(ranges) | Stage::Opening(Some(ranges)) => ranges,
            Stage::Keyed(ranges) => ranges.remaining(),
            Stage::Opening(None) | Stage::Whole(_) => {
                table.stage = Stage::Opening(None);
                self.settle(&mut table);
                self.waiting.insert((table.schema, table.name));
                return;
            }
        };
        table.stage = Stage::Closed(kept);
        self.add(table);
    }

    fn add(&mut self, table: Table) -> TableId {
        self.last_table += 1;
        self.tables.insert(self.last_table, table);
        self.last_table
    }

    fn end_if_done(&mut self, id: TableId) {
        if self.tables.get(&id).is_some_and(Table::is_done) {
            let mut table = self.tables.remove(&id).expect("found above");
            self.end(&mut table);
        }
    }

    fn end(&mut self, table: &mut Table) {
        self.settle(table);
        self.base.tables_done += 1;
        self.encoded = None;
    }

    /// Puts the rows that a table really had in the place of the guess, and starts counting again.
    fn settle(&mut self, table: &mut Table) {
        self.base.rows_estimated = self.base.rows_estimated.saturating_sub(table.rows_estimated) + table.rows;
        (table.rows, table.rows_estimated) = (0, 0);
    }

    /// Puts a better guess in the place of the last one.
    fn estimate(&mut self, table: &mut Table, rows: u64) {
        let rows = rows.max(table.rows);
        self.base.rows_estimated = self.base.rows_estimated.saturating_sub(table.rows_estimated) + rows;
        table.rows_estimated = rows;
    }
}

fn len(length: usize) -> u64 {
    u64::try_from(length).expect("a length")
}

#[cfg(test)]
mod tests;
