//! TRUNCATE of a table, once, although it commits by itself.
//!
//! It is announced first, with what is applied once it is done; a crash in between leaves the announcement, and
//! [`finish_truncates`] does it again before anything else is put. Invariant: between announcement and record nothing else
//! is put, so doing it twice is doing it once.

use std::time::Duration;

use flowd_engine::failure::Failure;
use flowd_sink::rows::mapping::TableName;
use flowd_sink::store::{Applied, Refused, StoreEvent};

use crate::error::WireError;
use crate::sink::applied::Record;
use crate::sink::fault::Fault;
use crate::sink::session::Session;
use crate::sink::sql;
use crate::sink::write::{Writer, unrecorded};

/// How long all rows of a table may take to go.
pub(super) const TRUNCATE_WAIT: Duration = Duration::from_secs(3600);

impl Writer<'_> {
    /// Empties the event's table and records it.
    pub(super) fn truncate(
        &mut self,
        event: &StoreEvent<'_>,
        applied: &Applied,
    ) -> Result<Vec<Refused>, Failure> {
        let table = match self.tables.of(self.session, event.db, event.table, self.now) {
            Ok(table) => self.tables.at(table).definition.name.clone(),
            Err(trouble) => return Ok(vec![trouble.refuse(0)?]),
        };
        if !applied.lanes.is_empty() {
            self.session.run(b"START TRANSACTION")?;
            self.record.begin_truncate(self.session, &table, &applied.lanes).map_err(unrecorded)?;
            self.session.run(b"COMMIT")?;
        }
        let refused = truncate_table(self.session, &table)?;
        self.session.run(b"START TRANSACTION")?;
        self.record.end_truncates(self.session).map_err(unrecorded)?;
        if let Some(reason) = refused {
            self.session.run(b"COMMIT")?;
            return Ok(vec![Refused { index: 0, reason, later: false }]);
        }
        self.commit(applied)?;
        Ok(Vec::new())
    }
}

/// Does again what was announced and may not have been done, and records it.
pub(super) fn finish_truncates(session: &mut Session, record: &Record) -> Result<(), Failure> {
    let begun = record.begun_truncates(session)?;
    if begun.is_empty() {
        return Ok(());
    }
    for begun in &begun {
        if let Some(reason) = truncate_table(session, &begun.table)? {
            tracing::warn!(table = %begun.table, reason, "a TRUNCATE that was begun cannot be finished");
        }
    }
    let applied =
        Applied { lanes: begun.into_iter().map(|begun| begun.lane).collect(), ..Applied::default() };
    session.run(b"START TRANSACTION")?;
    record.write(session, &applied).map_err(unrecorded)?;
    record.end_truncates(session).map_err(unrecorded)?;
    session.run(b"COMMIT")?;
    Ok(())
}

/// Empties a table; `Some` says why that cannot be. Where the server does not truncate (no DROP right, an old version kept
/// of each row), its rows are deleted.
fn truncate_table(session: &mut Session, table: &TableName) -> Result<Option<String>, Failure> {
    let name = sql::table(table);
    let error = match session.run_long(format!("TRUNCATE TABLE {name}").as_bytes(), TRUNCATE_WAIT) {
        Ok(_) => return Ok(None),
        Err(error @ WireError::Server { .. }) if !error.heals() => error,
        Err(error) => return Err(error.into()),
    };
    tracing::debug!(%error, table = name, "not truncated: its rows are deleted");
    match session.run_long(format!("DELETE FROM {name}").as_bytes(), TRUNCATE_WAIT).map_err(Fault::from) {
        Ok(_) => Ok(None),
        Err(Fault::Failed(failure)) => Err(failure),
        Err(Fault::Duplicate(reason) | Fault::Refused(reason) | Fault::Altered(reason)) => Ok(Some(reason)),
    }
}
