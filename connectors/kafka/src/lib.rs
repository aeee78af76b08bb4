//! Apache Kafka: [`source`] takes the records of topics in a consumer group, [`sink`] produces events.
//!
//! `access` is what both share: the settings of a connection, the connection itself, and what its failures mean. The
//! protocol is that of the `krafka` crate. Pure, and tested without a broker: `source::message` and `sink::message`, how a
//! record is read as an event and written as one, and `source::offsets`, the positions.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
pub mod sink;
pub mod source;
