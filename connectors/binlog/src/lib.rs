//! The binlog of MySQL and MariaDB, decoded without I/O.
//!
//! [`event`] reads everything but the bulk, [`gtid`] is transaction ids and sets of them, [`read`] the checked reads
//! that both stand on.

pub mod event;
pub mod fuzz;
pub mod gtid;
pub mod read;
pub mod catalog;
pub mod charset;
mod jsonb;
pub mod row;
pub mod table;
mod value;
