//! What opens and closes transactions: GTID events, QUERY, XID, XA_PREPARE.

use flowd_binlog::event::{self, Gtid, Header, MariaGtidEvent, Query, Statement, kind};
use flowd_engine::failure::Failure;

use super::{Savepoint, Stream, Transaction, TransactionKind};
use crate::inflate;
use crate::position::Gtids;
use crate::rows::{MySqlRecord, Truncation, Written};
use crate::transaction::TransactionId;

impl Stream {
    /// GTID, ANONYMOUS_GTID, GTID_TAGGED.
    pub(super) fn mysql_gtid(&mut self, header: &Header, body: &[u8]) -> Result<(), Failure> {
        self.refuse_unclosed(header)?;
        let parsed =
            if header.kind == kind::GTID_TAGGED { Gtid::parse_tagged(body) } else { Gtid::parse(body) };
        let gtid = parsed.map_err(|bad| self.bad(&bad))?;
        let commit_us = gtid.original_commit_us.and_then(|time| i64::try_from(time).ok());
        let id = match (header.kind, gtid.tag) {
            (kind::ANONYMOUS_GTID, _) => self.place_id(header),
            (_, "") => TransactionId::MySql(gtid.uuid, gtid.number),
            (_, tag) => TransactionId::Tagged(gtid.uuid, tag.into(), gtid.number),
        };
        self.open(header, id, commit_us, TransactionKind::Announced);
        self.advance(header);
        Ok(())
    }

    /// MariaDB's GTID: opens a group, or announces a single statement.
    pub(super) fn maria_gtid(&mut self, header: &Header, body: &[u8]) -> Result<(), Failure> {
        self.refuse_unclosed(header)?;
        let event = MariaGtidEvent::parse(header, body).map_err(|bad| self.bad(&bad))?;
        let group = match event {
            _ if event.is_prepared_xa() => TransactionKind::Xa,
            _ if event.is_standalone() => TransactionKind::Standalone,
            _ => TransactionKind::Open,
        };
        let commit_us = i64::from(header.timestamp) * 1_000_000;
        self.open(header, TransactionId::MariaDb(event.gtid), Some(commit_us), group);
        self.advance(header);
        Ok(())
    }

    /// A transaction must be closed before the next one opens; one without a row of ours may end unseen.
    fn refuse_unclosed(&mut self, header: &Header) -> Result<(), Failure> {
        match &self.transaction {
            Some(open) if open.rows > 0 => {
                let text = format!("transaction {} has no end before the next one", open.id);
                Err(self.fatal(header, &text))
            }
            Some(_) => {
                self.close(header);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn open(&mut self, header: &Header, id: TransactionId, commit_us: Option<i64>, group: TransactionKind) {
        let start = self.event_offset(header);
        // What the server skipped between two transactions is behind us.
        self.offset = start;
        self.pass_boundary();
        let skip = match self.resume.take() {
            Some(resume) if resume.id == id.to_string() => resume.rows,
            _ => 0,
        };
        let mut by_table = std::mem::take(&mut self.counts);
        by_table.clear();
        self.transaction = Some(Transaction {
            id,
            commit_us,
            start,
            thread: None,
            kind: group,
            rows: 0,
            kept: 0,
            sent: 0,
            savepoints: Vec::new(),
            skip,
            by_table,
            first_pending: self.pending.len(),
            partly_sent: false,
        });
    }

    fn place_id(&self, header: &Header) -> TransactionId {
        let offset = self.event_offset(header);
        TransactionId::Place { server: self.server.clone(), file: self.file.clone(), offset }
    }

    /// Rows or BEGIN without a GTID event before them: servers before MySQL 5.7 and MariaDB 10.
    pub(super) fn open_implicitly(&mut self, header: &Header) {
        if self.transaction.is_none() {
            let id = self.place_id(header);
            self.open(header, id, None, TransactionKind::Open);
        }
    }

    /// QUERY, QUERY_COMPRESSED.
    pub(super) fn query(&mut self, header: &Header, body: &[u8]) -> Result<(), Failure> {
        let mut text = Vec::new();
        let query = inflate::query(header, body, &mut text).map_err(|bad| self.bad(&bad))?;
        match Statement::of(query.text) {
            Statement::Begin => {
                self.open_implicitly(header);
                let open = self.transaction.as_mut().expect("opened above");
                open.thread = matches!(self.gtids, Gtids::None | Gtids::MySql(_)).then_some(query.thread);
                open.kind = TransactionKind::Open;
            }
            Statement::Commit | Statement::XaClose => {
                self.commit(header);
                return Ok(());
            }
            Statement::Rollback => return self.rollback(header),
            Statement::XaOpen => {
                self.open_implicitly(header);
                self.transaction.as_mut().expect("opened above").kind = TransactionKind::Xa;
            }
            Statement::Savepoint => self.set_savepoint(event::savepoint(query.text)),
            Statement::RollbackTo => self.rollback_to(header, &event::savepoint(query.text))?,
            Statement::RowChange => self.refuse_statement(header, &query)?,
            Statement::Truncate => self.truncate(header, &query)?,
            Statement::Definition => self.definition(header, &query),
            Statement::Other => {}
        }
        self.end_single_statement(header);
        Ok(())
    }

    /// A statement alone in its group ends it: there is no BEGIN before and no XID behind.
    fn end_single_statement(&mut self, header: &Header) {
        self.advance(header);
        let alone = |kind| matches!(kind, TransactionKind::Announced | TransactionKind::Standalone);
        if self.transaction.as_ref().is_some_and(|open| alone(open.kind)) {
            self.close(header);
        }
    }

    fn definition(&mut self, header: &Header, query: &Query<'_>) {
        self.seen.ddl += 1;
        self.log_statement(header, query, "DDL: it gives no event");
        let schema = String::from_utf8_lossy(query.schema);
        self.must_settle |= self.tables.define(query.text, &schema, &self.filter);
        self.note_definition(query);
    }

    /// A TRUNCATE of a captured table is an event: one row of its transaction.
    fn truncate(&mut self, header: &Header, query: &Query<'_>) -> Result<(), Failure> {
        self.seen.truncate += 1;
        self.note_definition(query);
        let session = String::from_utf8_lossy(query.schema);
        let Some(named) = event::truncated(query.text) else {
            let text = String::from_utf8_lossy(query.text);
            return Err(self.fatal(header, &format!("a TRUNCATE of which the table cannot be told: {text}")));
        };
        let schema = named.schema.as_deref().unwrap_or(&session);
        let table = self.tables.truncated(schema, &named.table, &self.filter);
        let Some(table) = table.map_err(|text| self.fatal(header, &text))? else { return Ok(()) };
        self.log_statement(header, query, "TRUNCATE");
        if self.transaction.is_none() {
            let id = self.place_id(header);
            self.open(header, id, None, TransactionKind::Standalone);
        }
        let written = Written { thread: None, ..self.written(header, self.event_offset(header)) };
        let open = self.transaction.as_mut().expect("opened above");
        open.rows += 1;
        open.kept = open.rows;
        if open.rows > open.skip {
            self.seen.rows += 1;
            self.pending.push(MySqlRecord::Truncation(Truncation { table, written }));
        }
        Ok(())
    }

    fn log_statement(&self, header: &Header, query: &Query<'_>, what: &str) {
        let text: String = String::from_utf8_lossy(query.text).chars().take(200).collect();
        let (place, schema) = (self.describe_place(header), String::from_utf8_lossy(query.schema));
        tracing::info!(%place, %schema, statement = %text, "{what}");
    }

    fn note_definition(&mut self, query: &Query<'_>) {
        if let Some(definitions) = &mut self.definitions {
            definitions.push(query.text.into());
        }
    }

    pub(super) fn commit(&mut self, header: &Header) {
        self.advance(header);
        self.close(header);
    }

    /// Nothing of the transaction counts. What is still in memory is dropped; more cannot be taken back.
    fn rollback(&mut self, header: &Header) -> Result<(), Failure> {
        if let Some(open) = &self.transaction {
            if open.partly_sent || (open.skip > 0 && open.rows > 0) {
                let text = format!("transaction {} ends in ROLLBACK after rows of it were emitted", open.id);
                return Err(self.fatal(header, &text));
            }
            self.pending.truncate(open.first_pending);
        }
        self.commit(header);
        Ok(())
    }

    fn set_savepoint(&mut self, name: String) {
        if let Some(open) = &mut self.transaction {
            open.savepoints.retain(|savepoint| savepoint.name != name);
            open.savepoints.push(Savepoint { name, rows: open.rows, pending: self.pending.len() });
        }
    }

    /// A server keeps what it takes back in the binlog where the transaction also changed something that it cannot take
    /// back. Those changes stand in transactions of their own: all rows here count for nothing.
    fn rollback_to(&mut self, header: &Header, name: &str) -> Result<(), Failure> {
        let Some(open) = &mut self.transaction else { return Ok(()) };
        let Some(index) = open.savepoints.iter().position(|savepoint| savepoint.name == name) else {
            let text = format!("ROLLBACK TO {name}, a savepoint that transaction {} did not set", open.id);
            return if open.rows > 0 { Err(self.fatal(header, &text)) } else { Ok(()) };
        };
        open.savepoints.truncate(index + 1);
        let Savepoint { rows, pending, .. } = open.savepoints[index];
        // A process before us that skipped more rows than there are here passed this place well.
        let before_us = open.skip > rows && open.skip <= open.rows;
        if open.sent > rows || before_us {
            let text = format!(
                "transaction {} takes rows back (ROLLBACK TO {name}) that were emitted already",
                open.id
            );
            return Err(self.fatal(header, &text));
        }
        open.kept = rows;
        self.pending.truncate(pending);
        Ok(())
    }

    fn close(&mut self, header: &Header) {
        let Some(open) = self.transaction.take() else {
            self.pass_boundary();
            return;
        };
        open.id.add_to(&mut self.gtids);
        self.by_place = !open.id.is_gtid() && self.gtids != Gtids::None;
        self.newest_us = open.commit_us.unwrap_or(i64::from(header.timestamp) * 1_000_000);
        self.counts = open.by_table;
        self.boundary = (self.file.clone(), self.offset);
        self.moved = true;
    }
}
