//! The store of the postgres-sink: a session with the target, what is known of its tables, and the record of what is
//! applied.

use std::time::Instant;

use flowd_engine::failure::Failure;
use flowd_sink::store::{Applied, Refused, Store, StoreEvent};

use crate::applied::Record;
use crate::config::PostgresConfig;
use crate::dialect::{Postgres, Tables};
use crate::fault::Fault;
use crate::session::Session;
use crate::write::Writer;

/// Puts change events into a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    config: PostgresConfig,
    record: Record,
    open: Option<Open>,
    /// The server's process of the session that was ours last: after a failure it may still hold the lock.
    last: Option<i32>,
}

#[derive(Debug)]
struct Open {
    session: Session,
    tables: Tables,
}

impl PostgresStore {
    /// A store that is not connected yet.
    pub fn new(config: PostgresConfig) -> Self {
        let record = Record::new(config.schema(), &config.connector_name);
        Self { config, record, open: None, last: None }
    }
}

impl Store for PostgresStore {
    fn open(&mut self) -> Result<Applied, Failure> {
        self.close();
        let mut session = Session::open(&self.config, self.last)?;
        self.last = Some(session.pid());
        let context = |failure: Failure| failure.context(&self.config.address());
        self.record.create(&mut session).map_err(context)?;
        let applied = self.record.load(&mut session).map_err(Fault::into_failure).map_err(context)?;
        let tables = Tables::new(Postgres::new(&self.config), self.config.mapping.clone());
        self.open = Some(Open { session, tables });
        Ok(applied)
    }

    fn put(&mut self, events: &[StoreEvent<'_>], applied: &Applied) -> Result<Vec<Refused>, Failure> {
        let Some(Open { session, tables }) = &mut self.open else {
            return Err(Failure::Retry(format!("{}: not connected", self.config.address())));
        };
        let mut writer = Writer { session, tables, record: &self.record, now: Instant::now() };
        let context = |failure: Failure| failure.context(&self.config.address());
        writer.put(events, applied).map_err(context)
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.session.close();
        }
    }
}
