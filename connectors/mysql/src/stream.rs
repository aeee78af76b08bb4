//! The binlog as a state machine without I/O: whole events go in, records of captured rows come out, and at every
//! moment it can say where it stands.
//!
//! Not here: sockets and packets (`feed`), decoding of rows (`encode`). Invariants: a position is the end of a
//! transaction, plus the rows of the open one that were handed on; whatever is not understood stops the stream when
//! it may concern a captured table.

use std::sync::Arc;

use flowd_binlog::event::{self, BadEvent, Checksum, Header, Rotate, kind};
use flowd_binlog::row::{RowError, Rows};
use flowd_binlog::table::Table;
use flowd_engine::failure::Failure;
use flowd_engine::record::Span;

use crate::filter::TableFilter;
use crate::position::{BinlogPosition, Gtids, OpenTransaction, is_behind};
use crate::rows::{MySqlRecord, RowsEvent, Written};
use crate::tables::Tables;

mod bracket;
mod open;
mod refuse;

use open::{Savepoint, Transaction, TransactionKind};

/// What the stream counts for the metrics.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// Statements that may change definitions.
    pub ddl: u64,
    /// TRUNCATE statements.
    pub truncate: u64,
    /// Captured rows that were handed on.
    pub rows: u64,
}

/// The state machine.
#[derive(Debug)]
pub struct Stream {
    filter: TableFilter,
    /// Of `filter`.
    fingerprint: u64,
    checksum: Checksum,
    server: Arc<str>,
    gtids: Gtids,
    /// Whether the last transaction had no GTID, though the server counts them.
    by_place: bool,
    file: Arc<str>,
    /// End of the last event.
    offset: u64,
    /// Where a resumed reader begins: the last boundary between transactions.
    boundary: (Arc<str>, u64),
    transaction: Option<Transaction>,
    /// The last transaction's row counts, kept for their memory.
    counts: Vec<(u32, u64)>,
    /// Set until the transaction that was handed on in part comes by.
    resume: Option<OpenTransaction>,
    pub(crate) tables: Tables,
    /// Records that no batch holds yet.
    pub(crate) pending: Vec<MySqlRecord>,
    /// Commit time of the newest transaction that ended, µs.
    pub newest_us: i64,
    /// Whether a boundary was passed since the last batch.
    moved: bool,
    pub(crate) seen: Seen,
    /// Statements that may change or empty tables, met since they were last asked for; `None` where nobody asks.
    definitions: Option<Vec<Box<[u8]>>>,
    /// Whether nothing more may be handed on before all that was is acknowledged.
    must_settle: bool,
}

/// How much of the binlog has been received: what a snapshot must see in a table before it reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontier {
    /// The transactions, the open one among them.
    pub gtids: Gtids,
    /// A place that lies behind the last boundary and, where a transaction is open, behind its start: the server is
    /// past the open one when it is past this.
    pub place: (Arc<str>, u64),
}

impl Stream {
    /// Starts at a position; `tables` outlives reconnects.
    pub fn new(position: &BinlogPosition, filter: TableFilter, tables: Tables) -> Self {
        let file: Arc<str> = position.file.as_str().into();
        Self {
            fingerprint: filter.fingerprint(),
            filter,
            checksum: Checksum::None,
            server: position.server.as_str().into(),
            gtids: position.gtids.clone(),
            by_place: position.by_place,
            boundary: (file.clone(), position.offset),
            file,
            offset: position.offset,
            transaction: None,
            counts: Vec::new(),
            resume: position.open.clone(),
            tables,
            pending: Vec::new(),
            newest_us: 0,
            moved: false,
            seen: Seen::default(),
            definitions: None,
            must_settle: false,
        }
    }

    /// Whether a definition has just been passed behind which lanes or keys may be others: nothing behind it may go
    /// before all that was handed on is acknowledged.
    pub fn must_settle(&self) -> bool {
        self.must_settle
    }

    /// Everything that was handed on is acknowledged.
    pub fn settled(&mut self) {
        self.must_settle = false;
    }

    /// From now on keeps the statements that [`Self::take_definitions`] gives.
    pub fn note_definitions(&mut self) {
        self.definitions.get_or_insert_default();
    }

    /// They are of no use to anybody any more.
    pub fn ignore_definitions(&mut self) {
        self.definitions = None;
    }

    /// The statements since the last call that may change or empty tables.
    pub fn take_definitions(&mut self) -> Vec<Box<[u8]>> {
        self.definitions.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What has been received; `None` while a transaction is passed over that an earlier connection or process handed
    /// on, because its rows are not met again.
    pub fn frontier(&self) -> Option<Frontier> {
        let passing = self.transaction.as_ref().is_some_and(|open| open.skip > open.rows);
        if self.resume.is_some() || passing {
            return None;
        }
        let mut gtids = self.gtids.clone();
        let place = match &self.transaction {
            Some(open) => {
                open.id.add_to(&mut gtids);
                (self.file.clone(), open.start + 1)
            }
            None => self.boundary.clone(),
        };
        Some(Frontier { gtids, place })
    }

    /// Where the stream stands, everything in `pending` counted as handed on.
    pub fn position(&self) -> BinlogPosition {
        let open = match &self.transaction {
            Some(open) => Some(OpenTransaction { id: open.id.to_string(), rows: open.kept.max(open.skip) }),
            None => self.resume.clone(),
        };
        BinlogPosition {
            server: self.server.to_string(),
            gtids: self.gtids.clone(),
            file: self.boundary.0.to_string(),
            offset: self.boundary.1,
            open: open.filter(|open| open.rows > 0),
            filter: self.fingerprint,
            by_place: self.by_place,
        }
    }

    /// The transactions behind the stream.
    pub fn gtids(&self) -> &Gtids {
        &self.gtids
    }

    /// File and offset behind the last event.
    pub fn place(&self) -> (&str, u64) {
        (&self.file, self.offset)
    }

    /// The place before which everything has been handed on or is in `pending`: [`Self::place`], unless the server looks
    /// for a GTID from the head of a file and is not back yet where we were.
    pub fn passed(&self) -> (&str, u64) {
        let boundary = (&*self.boundary.0, self.boundary.1);
        if is_behind(self.place(), boundary) { boundary } else { self.place() }
    }

    /// Whether no transaction is open.
    pub fn is_between(&self) -> bool {
        self.transaction.is_none()
    }

    /// Whether a transaction is open of which nothing was handed on yet and something could be.
    pub fn holds_whole_transaction(&self) -> bool {
        self.transaction
            .as_ref()
            .is_some_and(|open| !open.partly_sent && open.first_pending < self.pending.len())
    }

    /// Whether there is anything for a batch: records, or a boundary passed. Clears the mark.
    pub fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// The records that no batch holds yet, for one.
    pub fn take_pending(&mut self) -> Vec<MySqlRecord> {
        if let Some(open) = &mut self.transaction {
            open.partly_sent |= open.first_pending < self.pending.len();
            open.first_pending = 0;
            if open.rows > open.skip {
                open.sent = open.kept;
            }
            open.savepoints.iter_mut().for_each(|savepoint| savepoint.pending = 0);
        }
        // As many again are likely.
        let next = Vec::with_capacity(self.pending.len().next_power_of_two());
        std::mem::replace(&mut self.pending, next)
    }

    /// A connection was lost: the next one begins at [`Self::position`].
    pub fn reconnect(&mut self) {
        debug_assert!(self.pending.is_empty(), "records without their bytes");
        let position = self.position();
        self.transaction = None;
        self.resume = position.open;
        self.offset = self.boundary.1;
        self.file = self.boundary.0.clone();
        self.tables.forget_ids();
    }

    /// Takes one whole event, which stands at `start` in the buffer that the next batch will share.
    pub fn event(&mut self, event: &[u8], start: u32) -> Result<(), Failure> {
        let header = Header::parse(event).map_err(|bad| self.bad(&bad))?;
        if header.kind == kind::FORMAT_DESCRIPTION {
            self.checksum = event::format_description(event).map_err(|bad| self.bad(&bad))?;
            self.tables.forget_ids();
            // A dump that begins inside a file is given the file's description first, which stands at its head.
            if header.log_pos != 0 {
                self.advance(&header);
            }
            return Ok(());
        }
        let checksum = match header.kind {
            kind::ROTATE if header.is_artificial() => event::detect_checksum(event),
            _ => self.checksum,
        };
        let body = event::body(&header, event, checksum).map_err(|bad| self.bad(&bad))?;
        let body_start = start + u32::try_from(event::HEADER_BYTES).expect("19");
        let body_end = body_start + u32::try_from(body.len()).expect("an event is shorter than 4 GiB");
        self.dispatch(&header, body, Span { start: body_start, end: body_end }, None)
    }

    /// Takes the head of an event that is too large to be buffered; `size` is the whole of it.
    pub fn oversize_event(&mut self, head: &[u8], size: u64) -> Result<(), Failure> {
        let mut whole = head.to_vec();
        let length = u32::try_from(head.len()).expect("a head is short");
        whole[9..13].copy_from_slice(&length.to_le_bytes());
        let mut header = Header::parse(&whole).map_err(|bad| self.bad(&bad))?;
        header.length =
            u32::try_from(size).map_err(|_| Failure::Fatal(format!("an event of {size} bytes")))?;
        self.dispatch(&header, &head[event::HEADER_BYTES..], Span { start: 0, end: 0 }, Some(size))
    }

    fn dispatch(
        &mut self,
        header: &Header,
        body: &[u8],
        span: Span,
        oversize: Option<u64>,
    ) -> Result<(), Failure> {
        if oversize.is_some() && needs_body(header.kind) {
            return Err(self.refuse_oversize(header));
        }
        match header.kind {
            kind::ROTATE => self.rotate(header, body)?,
            kind::HEARTBEAT => self.heartbeat(header, body),
            kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED => self.mysql_gtid(header, body)?,
            kind::MARIA_GTID => self.maria_gtid(header, body)?,
            kind::QUERY | kind::MARIA_QUERY_COMPRESSED => self.query(header, body)?,
            kind::EXECUTE_LOAD_QUERY => self.load_query(header, body)?,
            // XA_PREPARE ends the first half of an XA transaction; rows of ours in it were refused when they came.
            kind::XID | kind::XA_PREPARE => self.commit(header),
            kind::TABLE_MAP => {
                let place = self.describe_place(header);
                let start = self.transaction.as_ref().map_or(self.offset, |open| open.start);
                self.tables
                    .table_map(body, &self.filter, (&self.file, start))
                    .map_err(|text| Failure::Fatal(format!("{text}; at {place}")))?;
                self.advance(header);
            }
            code if is_rows(code) => self.rows(header, body, span, oversize)?,
            _ => self.other(header, body)?,
        }
        Ok(())
    }

    fn rotate(&mut self, header: &Header, body: &[u8]) -> Result<(), Failure> {
        let rotate = Rotate::parse(body).map_err(|bad| self.bad(&bad))?;
        if !(header.is_artificial() && *rotate.file == *self.file) {
            self.tables.forget_ids();
        }
        if *rotate.file != *self.file {
            self.file = rotate.file.into();
        }
        self.offset = rotate.position;
        self.pass_boundary();
        Ok(())
    }

    /// A heartbeat tells how far the server has looked without finding anything for us.
    fn heartbeat(&mut self, header: &Header, body: &[u8]) {
        let same_file = std::str::from_utf8(body).is_ok_and(|file| *file == *self.file);
        if same_file && self.transaction.is_none() && header.log_pos != 0 {
            let offset = header.end_offset(self.offset);
            if offset > self.offset {
                self.offset = offset;
                self.pass_boundary();
            }
        }
    }

    fn rows(
        &mut self,
        header: &Header,
        body: &[u8],
        span: Span,
        oversize: Option<u64>,
    ) -> Result<(), Failure> {
        self.open_implicitly(header);
        let table = self.tables.of_rows(body).map_err(|text| self.fatal(header, &text))?;
        let Some(table) = table else {
            self.advance(header);
            return Ok(());
        };
        let event_offset = self.event_offset(header);
        let operation = self.operation(header, &table)?;
        let rows = match oversize {
            // Only a row that is large by itself makes an event that large: servers cut events near 8 KiB.
            Some(_) => 1,
            None => count(&table.table, header.kind, body)
                .map_err(|error| self.fatal(header, &error.to_string()))?,
        };
        let written = self.written(header, event_offset);
        let open = self.transaction.as_mut().expect("opened above");
        if open.kind == TransactionKind::Xa {
            let text = format!("an XA transaction changes {}", table.events.id_part);
            return Err(self.fatal(
                header,
                &format!(
                    "{text}; XA is not supported yet: leave the table out by connectorConfig.tableExcludeList"
                ),
            ));
        }
        let first_row = open.count(table.number, u64::from(rows));
        let before = open.rows;
        open.rows += u64::from(rows);
        open.kept = open.rows;
        if open.rows > open.skip {
            self.seen.rows += open.rows - before.max(open.skip);
            self.pending.push(MySqlRecord::Rows(RowsEvent {
                operation,
                payload: span,
                kind: header.kind,
                table,
                written,
                first_row,
                skip: u32::try_from(open.skip.saturating_sub(before)).unwrap_or(0),
                oversize,
                is_covered: false,
            }));
        }
        self.advance(header);
        Ok(())
    }

    /// Where a change of the open transaction stands.
    fn written(&self, header: &Header, offset: u64) -> Written {
        let open = self.transaction.as_ref().expect("changes stand in transactions");
        Written {
            transaction: open.id.clone(),
            time_us: open.commit_us.unwrap_or(i64::from(header.timestamp) * 1_000_000),
            thread: open.thread,
            server_id: header.server_id,
            file: self.file.clone(),
            offset,
        }
    }

    /// Where the event starts; on MariaDB 11.8, which does not tell, where its transaction does.
    fn event_offset(&self, header: &Header) -> u64 {
        match (header.log_pos, &self.transaction) {
            (0, Some(open)) => open.start,
            (0, None) => self.offset,
            _ => header.end_offset(self.offset).saturating_sub(header.length.into()),
        }
    }

    /// Moves behind the event.
    fn advance(&mut self, header: &Header) {
        if header.is_artificial() {
            return;
        }
        self.offset = header.end_offset(self.offset);
        if self.transaction.is_none() {
            self.pass_boundary();
        }
    }

    fn pass_boundary(&mut self) {
        // A server that looks for a GTID begins at the head of a file: that is no step back.
        let ahead = if Arc::ptr_eq(&self.boundary.0, &self.file) {
            self.boundary.1 < self.offset
        } else {
            is_behind((&self.boundary.0, self.boundary.1), (&self.file, self.offset))
        };
        if self.transaction.is_none() && ahead {
            self.boundary = (self.file.clone(), self.offset);
            self.moved = true;
        }
    }

    fn bad(&self, bad: &BadEvent) -> Failure {
        Failure::Fatal(format!("{bad}; behind {}:{}", self.file, self.offset))
    }

    fn fatal(&self, header: &Header, text: &str) -> Failure {
        Failure::Fatal(format!("{text}; at {}", self.describe_place(header)))
    }

    fn describe_place(&self, header: &Header) -> String {
        let place = format!("{}:{}", self.file, self.event_offset(header));
        match &self.transaction {
            Some(open) if open.id.is_gtid() => format!("{place} (GTID {})", open.id),
            _ => place,
        }
    }
}

/// Rows of a ROWS event: ids count them, so they must be known before the next event of the table.
fn count(table: &Table, kind: u8, body: &[u8]) -> Result<u32, RowError> {
    let mut rows = Rows::open(table, kind, body)?;
    let mut before = rows.mark();
    while rows.skip()? {
        if rows.mark().offset == before.offset {
            // An image without any column takes no byte: how many rows there are cannot be known.
            return Err(RowError::Header { what: "rows without any column", offset: before.offset });
        }
        before = rows.mark();
    }
    Ok(before.row)
}

/// Whether an event must be known whole: of one that was too large to be read there is only the head.
fn needs_body(code: u8) -> bool {
    matches!(
        code,
        kind::ROTATE
            | kind::HEARTBEAT
            | kind::GTID
            | kind::ANONYMOUS_GTID
            | kind::GTID_TAGGED
            | kind::MARIA_GTID
            | kind::QUERY
            | kind::MARIA_QUERY_COMPRESSED
            | kind::EXECUTE_LOAD_QUERY
            | kind::TABLE_MAP
    )
}

/// Whether the code is a ROWS event that is decoded here.
fn is_rows(code: u8) -> bool {
    matches!(code, kind::WRITE_ROWS_V1..=kind::DELETE_ROWS_V1 | kind::WRITE_ROWS_V2..=kind::DELETE_ROWS_V2)
}

#[cfg(test)]
pub(crate) mod tests;
