//! The store of the mysql-sink: a session with the target, what is known of its tables, and the record of what is applied.

use std::time::Instant;

use flowd_engine::failure::Failure;
use flowd_sink::store::{Applied, Refused, Store, StoreEvent};

use crate::sink::applied::Record;
use crate::sink::config::MySqlSinkConfig;
use crate::sink::dialect::{MySql, NewRow, Tables};
use crate::sink::session::Session;
use crate::sink::truncate::finish_truncates;
use crate::sink::write::Writer;

/// Puts change events into a MySQL or MariaDB database.
#[derive(Debug)]
pub struct MySqlStore {
    config: MySqlSinkConfig,
    record: Record,
    open: Option<Open>,
    /// The connection that was ours last, in the server's numbers: after a failure it may still hold the lock.
    last: Option<u32>,
    /// The statement at hand; its memory stays.
    sql: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    session: Session,
    tables: Tables,
}

impl MySqlStore {
    /// A store that is not connected yet.
    pub fn new(config: MySqlSinkConfig) -> Self {
        let record = Record::new(config.database(), config.connector_name());
        Self { config, record, open: None, last: None, sql: Vec::new() }
    }
}

impl Store for MySqlStore {
    fn open(&mut self) -> Result<Applied, Failure> {
        self.close();
        let mut session = Session::open(&self.config, self.last)?;
        self.last = Some(session.id());
        self.record.create(&mut session)?;
        finish_truncates(&mut session, &self.record)?;
        let applied = self.record.load(&mut session)?;
        // The view of that reading must not stay open while nothing comes.
        session.run(b"ROLLBACK")?;
        let new_row = if session.names_new_row() { NewRow::Named } else { NewRow::Values };
        self.open =
            Some(Open { session, tables: Tables::new(MySql { new_row }, self.config.mapping.clone()) });
        Ok(applied)
    }

    fn put(&mut self, events: &[StoreEvent<'_>], applied: &Applied) -> Result<Vec<Refused>, Failure> {
        let Some(Open { session, tables }) = &mut self.open else {
            return Err(Failure::Retry(format!("{}: not connected", self.config.server.address())));
        };
        let mut writer =
            Writer { session, tables, record: &self.record, sql: &mut self.sql, now: Instant::now() };
        let context = |failure: Failure| failure.context(&self.config.server.address());
        writer.put(events, applied).map_err(context)
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.session.close();
        }
    }
}
