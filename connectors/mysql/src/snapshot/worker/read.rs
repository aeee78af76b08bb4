//! One lease: a mark, a SELECT, and what comes of it cut into chunks.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use flowd_binlog::result;
use flowd_engine::failure::Failure;
use rand::Rng;

use super::{Message, PREPARED_MAX, Trouble, Worker};
use crate::connection::Connection;
use crate::error::WireError;
use crate::snapshot::mark::{self, Mark};
use crate::snapshot::plan::LeaseId;
use crate::snapshot::shared::{Assignment, Chunk, Hold, LargeRow};
use crate::snapshot::throttle::OURS_RUNNING;
use crate::snapshot::{Key, Range, query, split, throttle};
use crate::statement::{RowBounds, RowReader, rows};

/// How long a server that is behind the stream is left alone, and one that is busy.
const BEHIND_WAIT: Duration = Duration::from_millis(5);
const BUSY_WAIT: Duration = Duration::from_millis(500);
/// Rows that one SELECT may ask for.
const LIMIT_MAX: u64 = 1_000_000;
/// What a row is taken to have where the server has no idea: a table that was filled a moment ago, say.
const ROW_BYTES_UNKNOWN: u64 = 128;
/// How often a view of a table without usable key is opened anew because it is not exact.
const EXACT_TRIES: u32 = 1_000;

/// Parts that one SELECT under locks may give.
const PARTS_LOCKED_MAX: usize = 2;

/// Rows as they came.
struct Taken {
    bytes: Vec<u8>,
    rows: u64,
    oversize: Option<u64>,
    /// The SELECT gives no more.
    ended: bool,
    /// A row comes next that may not be read now.
    large_left: bool,
    /// To hold the one row, where it is larger than a worker's own share.
    right: Option<LargeRow>,
}

/// What is done with a row that is larger than a worker's own share of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Large {
    /// It is read. The reader of a table without usable key has to: others may hold the right to a large row until the
    /// stream goes on, which rests until this reader is done. There is one such reader.
    Read,
    /// It is read once nobody else has one.
    Await,
    /// It is left to another SELECT: nobody may wait while rows are locked.
    Leave,
}

/// A chunk's worth, and where the lease goes on behind it; nowhere without a key.
struct Part {
    taken: Taken,
    last: Option<Key>,
}

impl Worker {
    /// Reads of a lease what one SELECT gives, and hands it on.
    pub(super) fn read(&mut self, connection: &mut Connection, work: &Assignment) -> Result<(), Trouble> {
        self.await_quiet(connection)?;
        if work.lease.whole {
            return self.read_whole(connection, work);
        }
        let range = self.divided(connection, work)?;
        // Until all is handed on; under locks only, where it must be there before the first lock is.
        let mut right = None;
        let (view, large) = if self.is_locking(connection) {
            right = self.expects_large(work).then(|| self.place.shared.large_row()).flatten();
            connection.execute("START TRANSACTION")?;
            (None, if right.is_some() { Large::Read } else { Large::Leave })
        } else {
            let Some(mark) = self.view(connection, work)? else { return Ok(()) };
            (Some(mark), Large::Await)
        };
        let parts = self.read_range(connection, work, range, view.as_ref(), large)?;
        let mark = match view {
            Some(mark) => mark,
            None => mark::under_locks(connection)?,
        };
        connection.execute("COMMIT")?;
        // Without a transaction, so that nobody waits for us: neither for rows nor for the table's definition.
        for part in parts {
            if !self.hand_on(work, part, &mark) {
                break;
            }
        }
        drop(right);
        self.rest();
        Ok(())
    }

    /// Rests while the source runs more threads than it may.
    fn await_quiet(&self, connection: &mut Connection) -> Result<(), Trouble> {
        let Some(running_max) = self.place.config.snapshot.max_running else { return Ok(()) };
        // One worker asks at a time: they would count each other's questions, and none would ever go on.
        let _asking = self.place.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let paused = &self.place.metrics.snapshot.paused;
        loop {
            let running = throttle::threads_running(connection)?.saturating_sub(OURS_RUNNING);
            if running <= running_max || self.place.shared.is_ended() {
                paused.set(0);
                return Ok(());
            }
            if paused.value() == 0 {
                tracing::info!(
                    "the source runs {running} threads beside the stream's, and \
                     connectorConfig.snapshotMaxRunning is {running_max}: the snapshot waits"
                );
            }
            paused.set(1);
            self.pause(BUSY_WAIT);
        }
    }

    /// The lease's range, or the first half of it where others wait for the second.
    fn divided(&self, connection: &mut Connection, work: &Assignment) -> Result<Range, Trouble> {
        let mut range = work.lease.range.clone();
        if !work.lease.divide || !self.is_worth_dividing(connection, work, &range)? {
            return Ok(range);
        }
        let Some(middle) = split::split(connection, &work.table.look, &range)? else {
            return Ok(range);
        };
        if self.place.shared.lock().plan.divide(work.lease.id, middle.clone()) {
            range.upto = Some(middle);
            self.place.shared.notify();
        }
        Ok(range)
    }

    /// Whether a range gives two workers something to do: more than two SELECTs, as far as estimates go.
    fn is_worth_dividing(
        &self,
        connection: &mut Connection,
        work: &Assignment,
        range: &Range,
    ) -> Result<bool, Trouble> {
        let worth = 2 * self.limit(work);
        if work.table.look.rows_estimated < worth {
            return Ok(false);
        }
        Ok(query::estimate(connection, &work.table.look, range)?.is_none_or(|rows| rows >= worth))
    }

    /// Whether rows are read under locks, because nothing else would tell what a read sees.
    pub(super) fn is_locking(&self, connection: &Connection) -> bool {
        self.place.config.snapshot.for_share && !self.place.has_gtids && connection.server().is_mysql()
    }

    /// A read view that sees what the stream had received, as soon as the server can give one; `None` at the end.
    fn view(&self, connection: &mut Connection, work: &Assignment) -> Result<Option<Mark>, Trouble> {
        loop {
            if let Some(mark) = mark::open_view(connection, &work.frontier)? {
                return Ok(Some(mark));
            }
            connection.execute("ROLLBACK")?;
            self.pause(BEHIND_WAIT);
            if self.place.shared.is_ended() {
                return Ok(None);
            }
        }
    }

    /// One SELECT over the beginning of a range, cut into parts as it comes. Only the last is kept: mostly there is no
    /// other. Without a mark nothing can be handed on yet: what is behind the second part is read by another SELECT,
    /// which knows how large the rows are.
    fn read_range(
        &mut self,
        connection: &mut Connection,
        work: &Assignment,
        mut range: Range,
        mark: Option<&Mark>,
        large: Large,
    ) -> Result<Vec<Part>, Trouble> {
        let limit = self.limit(work);
        let (table, locking) = (&work.table, mark.is_none());
        let (sql, mut parameters) = query::chunk(&table.look, &table.select_list, &range, locking);
        parameters.push(query::unsigned(limit));
        let statement = self.prepared(connection, sql)?;
        let mut reader = connection.execute_statement(&self.prepared[statement].1, &parameters)?;
        let (mut parts, mut sum) = (Vec::new(), 0);
        loop {
            let taken = self.take(&mut reader, large)?;
            if taken.large_left {
                self.expect_large(work);
                drain(&mut reader)?;
                return Ok(parts);
            }
            sum += taken.rows;
            self.learn(work, &taken);
            if let Some(size) = taken.oversize {
                drain(&mut reader)?;
                let last = oversize_key(connection, work, size, &range)?;
                parts.push(Part { taken, last: Some(last) });
                return Ok(parts);
            }
            let ended = taken.ended;
            let exhausted = ended && sum < limit;
            let last = if exhausted { None } else { last_key(work, &taken)? };
            if last.is_some() {
                range.after.clone_from(&last);
            }
            if exhausted || last.is_some() {
                parts.push(Part { taken, last });
            }
            if ended {
                return Ok(parts);
            }
            if locking && parts.len() == PARTS_LOCKED_MAX {
                drain(&mut reader)?;
                return Ok(parts);
            }
            if let Some(mark) = mark {
                for part in parts.drain(..) {
                    if !self.hand_on(work, part, mark) {
                        drain(&mut reader)?;
                        return Ok(Vec::new());
                    }
                }
            }
            self.rest();
        }
    }

    /// A table without usable key, in one read view, while the stream rests at the view's place.
    fn read_whole(&mut self, connection: &mut Connection, work: &Assignment) -> Result<(), Trouble> {
        self.refuse_inexact(connection, work)?;
        let Some(mark) = self.exact_view(connection, work)? else {
            connection.execute("ROLLBACK")?;
            return Ok(());
        };
        let id: Arc<str> = format!("{:016x}", rand::rng().random::<u64>()).into();
        let (sql, mut number) = (query::whole(&work.table.look, &work.table.select_list), 0);
        let statement = self.prepared(connection, sql)?;
        let mut reader = connection.execute_statement(&self.prepared[statement].1, &[])?;
        loop {
            let taken = self.take(&mut reader, Large::Read)?;
            let (rows, ended) = (taken.rows, taken.ended);
            let last = if ended { None } else { Some(Key::new()) };
            if !self.send(work, Part { taken, last }, &mark, Some((id.clone(), number))) {
                // Whoever discarded the table has it read again, over another connection.
                return Err(Trouble::Failed(Failure::Retry("its read was given up".into())));
            }
            if ended {
                break;
            }
            number += rows;
            self.rest();
        }
        connection.execute("COMMIT")?;
        Ok(())
    }

    /// Without a usable key nothing but the view itself tells which changes a read saw.
    fn refuse_inexact(&self, connection: &Connection, work: &Assignment) -> Result<(), Trouble> {
        let (why, remedy) = if self.is_locking(connection) {
            ("the server counts no GTIDs", "set gtid_mode=ON")
        } else if !work.table.look.transactional {
            ("its engine knows no transactions", "ALTER TABLE … ENGINE=InnoDB")
        } else {
            return Ok(());
        };
        Err(Trouble::Failed(Failure::Unusable(format!(
            "it has no usable key (a primary key, or a unique index of NOT NULL columns, without prefixes and DESC), and \
             {why}, so that nothing tells what a read of it sees: give it a key, or {remedy}, or leave it out by \
             connectorConfig.tableExcludeList"
        ))))
    }

    /// A read view, and the stream resting exactly where it stands; `None` where the lease is over.
    fn exact_view(&self, connection: &mut Connection, work: &Assignment) -> Result<Option<Mark>, Trouble> {
        let (shared, lease) = (&self.place.shared, work.lease.id);
        if shared.wait_for(|inner| inner.want_rest(lease)) != Some(true) {
            return Ok(None);
        }
        for _ in 0..EXACT_TRIES {
            let Some(frontier) = self.resting(lease) else { return Ok(None) };
            let work = Assignment { frontier, ..work.clone() };
            let Some(mark) = self.view(connection, &work)? else { return Ok(None) };
            if !shared.lock().mark_rest(lease, &mark) {
                return Ok(None);
            }
            shared.notify();
            let exact = shared.wait_for(|inner| match &inner.hold {
                Hold::Marked(holder, _) if *holder == lease => None,
                Hold::Exact(holder) => Some(*holder == lease),
                _ => Some(false),
            });
            if exact == Some(true) {
                return Ok(Some(mark));
            }
            connection.execute("ROLLBACK")?;
        }
        Err(Trouble::Failed(Failure::Unusable(format!(
            "it has no usable key and changes so often that {EXACT_TRIES} tries found no moment at which what a read of \
             it sees is certain: give it a primary key, read it at a quieter time, or leave it out by \
             connectorConfig.tableExcludeList"
        ))))
    }

    /// Waits until the stream rests for this lease; `None` where the lease is over.
    fn resting(&self, lease: LeaseId) -> Option<crate::stream::Frontier> {
        let rests = self.place.shared.wait_for(|inner| match &inner.hold {
            Hold::Resting(holder) if *holder == lease => Some(inner.frontier.clone()),
            Hold::Wanted(holder) if *holder == lease => None,
            _ => Some(None),
        });
        rests.flatten()
    }

    /// A statement of this connection, prepared once.
    fn prepared(&mut self, connection: &mut Connection, sql: String) -> Result<usize, WireError> {
        if let Some(index) = self.prepared.iter().position(|(known, _)| *known == sql) {
            return Ok(index);
        }
        if self.prepared.len() == PREPARED_MAX
            && let Some((_, oldest)) = self.prepared.pop_front()
        {
            connection.close_statement(oldest)?;
        }
        let statement = connection.prepare(&sql)?;
        self.prepared.push_back((sql, statement));
        Ok(self.prepared.len() - 1)
    }

    /// Reads a chunk's worth, and accounts for it. A row larger than a worker's own share is a chunk of its own.
    fn take(&mut self, reader: &mut RowReader<'_>, large: Large) -> Result<Taken, Trouble> {
        let place = &self.place;
        let mut bytes = place.buffers.take();
        let own = if large == Large::Read { usize::MAX } else { place.row_bytes_own };
        let bounds = RowBounds { now: own, ever: place.row_bytes_max };
        let mut filled = reader.read(&mut bytes, place.chunk_bytes, bounds)?;
        let mut right = None;
        if filled.large && large == Large::Await {
            right = place.shared.large_row();
            if right.is_some() {
                filled = reader.read(&mut bytes, 0, RowBounds::upto(place.row_bytes_max))?;
            }
        }
        let rows = u64::from(filled.rows);
        let now = Instant::now();
        self.rest_until = now + place.throttle.take(rows, bytes.len() as u64, now);
        let (oversize, ended, large_left) = (filled.oversize, filled.ended, filled.large);
        Ok(Taken { bytes, rows, oversize, ended, large_left, right })
    }

    /// Waits until more may be read.
    fn rest(&self) {
        let wait = self.rest_until.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            self.pause(wait);
        }
    }

    /// Rows that should fill a chunk, by the size of those that came before.
    fn limit(&self, work: &Assignment) -> u64 {
        let row_bytes = match work.table.row_bytes.load(Ordering::Relaxed) {
            0 => ROW_BYTES_UNKNOWN,
            known => known,
        };
        (self.place.chunk_bytes as u64 / row_bytes).clamp(1, LIMIT_MAX)
    }

    /// The next SELECT of the table meets a row larger than a worker's own share: it asks for one row, with the right.
    fn expect_large(&self, work: &Assignment) {
        work.table.row_bytes.store(self.place.row_bytes_own as u64 + 1, Ordering::Relaxed);
    }

    fn expects_large(&self, work: &Assignment) -> bool {
        work.table.row_bytes.load(Ordering::Relaxed) > self.place.row_bytes_own as u64
    }

    fn learn(&self, work: &Assignment, taken: &Taken) {
        if let Some(mean) = (taken.bytes.len() as u64).checked_div(taken.rows) {
            work.table.row_bytes.store(mean, Ordering::Relaxed);
        }
    }

    /// Hands a chunk of a keyed table on, once there is room for it. False: the lease is over.
    fn hand_on(&self, work: &Assignment, part: Part, mark: &Mark) -> bool {
        self.send(work, part, mark, None)
    }

    fn send(&self, work: &Assignment, part: Part, mark: &Mark, whole: Option<(Arc<str>, u64)>) -> bool {
        let shared = &self.place.shared;
        let Part { taken, last } = part;
        let Taken { bytes, rows, oversize, right, .. } = taken;
        let Some(id) = shared.lock().chunk(work, last) else { return false };
        let buffers = &self.place.buffers;
        let bytes = buffers.lend(buffers.fitted(bytes));
        let reserved = match whole {
            None => shared.reserve(bytes.len()),
            Some(_) => shared.reserve_whole(bytes.len()),
        };
        drop(right);
        let chunk = Chunk {
            id,
            table: work.lease.table,
            captured: work.table.captured.clone(),
            bytes,
            rows,
            oversize: oversize.into_iter().collect(),
            mark: mark.clone(),
            since: work.since,
            whole,
        };
        reserved && self.messages.send(Message::Chunk(chunk)).is_ok()
    }
}

/// Reads on to the end of the rows, and keeps none: the connection is of use again.
fn drain(reader: &mut RowReader<'_>) -> Result<(), Trouble> {
    const PORTION: usize = 1 << 20;
    let mut bytes = Vec::with_capacity(PORTION);
    while !reader.read(&mut bytes, PORTION, RowBounds::upto(PORTION))?.ended {
        bytes.clear();
    }
    Ok(())
}

/// The key of a row that is too large to be kept: the first one of the range that is left.
fn oversize_key(
    connection: &mut Connection,
    work: &Assignment,
    size: u64,
    range: &Range,
) -> Result<Key, Trouble> {
    query::first_key(connection, &work.table.look, range)?
        .ok_or_else(|| Trouble::Changed(format!("a row of {size} bytes is gone under its own read view")))
}

/// The key of the last row; none where there is no row.
fn last_key(work: &Assignment, taken: &Taken) -> Result<Option<Key>, Trouble> {
    let Some(row) = rows(&taken.bytes).last() else { return Ok(None) };
    // A statement may have changed the table under the prepared SELECT.
    let key = result::key(&work.table.captured.table, row);
    key.map(Some).map_err(|error| Trouble::Changed(error.to_string()))
}
