//! RabbitMQ: [`source`] takes the messages of a queue, [`sink`] publishes events with confirms.
//!
//! `access` is what both share: the settings of a connection, the connection itself, and what its failures mean. The wire
//! protocol is that of the `lapin` crate. Pure, and tested without a broker: `source::message` and `sink::message`, how a
//! message is read as an event and written as one.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
pub mod sink;
pub mod source;
