//! What the program knows of the postgres-sink.

use flowd_sink::deliver::{Connector, Opened};

use crate::config::{PostgresConfig, SETTINGS};
use crate::look::PostgresLook;
use crate::store::PostgresStore;

/// The connector.
pub const CONNECTOR: Connector = Connector {
    name: "postgres-sink",
    help: "tables of PostgreSQL 12 and later: each change applied once, in the order of its lane",
    settings: SETTINGS,
    open: |settings, _| {
        let config = PostgresConfig::read(settings)?;
        Ok(Opened::Rows {
            look: Box::new(PostgresLook::new(config.clone())),
            store: Box::new(PostgresStore::new(config)),
        })
    },
};
