//! The mysql-sink: rows of a MySQL or MariaDB database made equal to what change events say, each event once.

pub mod config;
