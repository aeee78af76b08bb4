//! The binlog of MySQL and MariaDB, decoded without I/O.
//!
//! [`event`] reads everything but the bulk, [`gtid`] is transaction ids and sets of them, [`read`] the checked reads
//! that both stand on.

pub mod catalog;
pub mod charset;
pub mod event;
pub mod fuzz;
pub mod gtid;
mod jsonb;
pub mod read;
pub mod result;
pub mod row;
mod statement;
pub mod table;
mod value;
