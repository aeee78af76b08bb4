//! The mysql-sink: rows of a MySQL or MariaDB database made equal to what change events say, each event once.
//!
//! From the bottom up: what is asked of it ([`config`]); a session with the target (`session`) and the record that is kept
//! there (`applied`); what is MySQL's own of the target's tables (`dialect`, `table`) and how their values are written
//! (`value`, `sql`); how a row becomes SQL (`row`) and all of them few statements (`run`, `single`, `line`, `write`,
//! `truncate`, `fault`). [`store`] joins them, and [`look`] reads the record from outside. What an event does to a table,
//! order, duplicates and dead letters are not its business (`flowd-sink`). Invariant: no value is stored that is not exactly the event's.

use flowd_sink::deliver::{Connector, Opened};

use crate::sink::config::{MySqlSinkConfig, SETTINGS};
use crate::sink::look::MySqlLook;
use crate::sink::store::MySqlStore;

pub mod config;
pub mod look;
pub mod store;

mod applied;
mod dialect;
mod fault;
mod line;
mod row;
mod run;
mod session;
mod single;
mod sql;
mod table;
mod truncate;
mod value;
mod write;

/// The connector.
pub const CONNECTOR: Connector = Connector {
    name: "mysql-sink",
    help: "tables of MySQL and MariaDB: each change applied once, in the order of its lane",
    settings: SETTINGS,
    open: |settings, _| {
        let config = MySqlSinkConfig::read(settings)?;
        Ok(Opened::Rows {
            look: Box::new(MySqlLook::new(config.clone())),
            store: Box::new(MySqlStore::new(config)),
        })
    },
};
