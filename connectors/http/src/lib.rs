//! CloudEvents over HTTP: [`source`] is a server that takes them, [`sink`] a client that delivers them.
//!
//! Both use `binding`, which says how an event stands in a message, without I/O.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod binding;

pub mod source;

pub mod sink;
