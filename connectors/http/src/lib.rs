//! CloudEvents over HTTP: [`source`] is a server that takes them, [`sink`] a client that delivers them.
//!
//! `binding` says how an event stands in a message, without I/O, and `tls` makes rustls' configurations; both directions
//! use both.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod binding;
mod tls;

pub mod source;

pub mod sink;
