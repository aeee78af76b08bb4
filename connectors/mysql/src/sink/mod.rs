//! The mysql-sink: rows of a MySQL or MariaDB database made equal to what change events say, each event once.
//!
//! From the bottom up: what is asked of it ([`config`]); a session with the target (`session`) and the record that is kept
//! there (`applied`); how the target's tables look (`table`, `tables`) and how their values are written (`value`, `sql`);
//! what an event does to them (`layout`, `change`) and how that becomes few statements (`run`, `single`, `line`,
//! `write`, `truncate`, `fault`). [`store`] joins them, and [`look`] reads the record from outside. Order, duplicates and
//! dead letters are not its business (`flowd-sink`). Invariant: no value is stored that is not exactly the event's.

pub mod config;
pub mod look;
pub mod store;

mod applied;
mod change;
mod fault;
mod layout;
mod line;
mod run;
mod session;
mod single;
mod sql;
mod table;
mod tables;
mod truncate;
mod value;
mod write;
