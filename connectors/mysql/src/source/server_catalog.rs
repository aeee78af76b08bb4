//! The catalog as the stream asks for it: over a connection of its own, each time a new one, because it is asked
//! rarely.

use flowd_engine::failure::Failure;
use flowd_engine::stop::Stop;

use super::back_off;
use crate::catalog::read_table;
use crate::config::MySqlConfig;
use crate::connection::Connection;
use crate::scan::{self, Definition};
use crate::tables::{Catalog, Reading};

/// Outages are waited for; see the module.
pub(super) struct ServerCatalog {
    pub(super) config: MySqlConfig,
    pub(super) stop: Stop,
}

impl ServerCatalog {
    /// Tries until it succeeds or fails for good, or a stop is requested.
    fn persist<T>(&self, what: &str, attempt: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut back_off = back_off();
        loop {
            match attempt() {
                Err(Failure::Retry(text)) if !self.stop.is_requested() => {
                    tracing::warn!("{what}: {text}");
                    self.stop.wait(back_off.wait());
                }
                done => return done,
            }
        }
    }
}

impl Catalog for ServerCatalog {
    fn read(&mut self, schema: &str, table: &str) -> Result<Reading, Failure> {
        self.persist(&format!("reading the catalog for {schema}.{table}"), || {
            let mut connection = Connection::connect(&self.config)?;
            let reading = read_table(&mut connection, schema, table)?;
            connection.close();
            Ok(Reading { table: reading.value, place: (reading.place.file, reading.place.position) })
        })
    }

    fn definitions(&mut self, from: (&str, u64), to: (&str, u64)) -> Result<Vec<Definition>, Failure> {
        self.persist("looking ahead for changes of definitions", || scan::definitions(&self.config, from, to))
    }
}
