//! The postgres-sink: rows of a PostgreSQL database made equal to what change events say, each event once.
//!
//! From the bottom up: what is asked of it ([`config`]); a session with the target (`session`, `tls`, `fault`) and the
//! record that is kept there (`applied`); what is PostgreSQL's own of the target's tables (`dialect`, `catalog`) and how a
//! value becomes the text that a column's type reads (`value`, `texts`); the statement of a step (`plan`) and how events
//! become few of them (`run`, `write`). [`store`] joins them, [`look`] reads the record from outside, and [`sink`] is what
//! the program knows of it. What an event does to a table, order, duplicates and dead letters are not its business
//! (`flowd-sink`). Invariant: no value is stored that is not exactly the event's.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
pub mod look;
pub mod sink;
pub mod store;

mod applied;
mod catalog;
mod dialect;
mod fault;
mod plan;
mod run;
mod session;
mod sql;
mod texts;
mod tls;
mod value;
mod write;
