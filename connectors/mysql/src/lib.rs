//! The mysql-cdc source and the mysql-sink ([`sink`]).
//!
//! From the bottom up: a connection ([`packet`], [`tls`], [`connection`], [`query`]), what the server is and has
//! ([`server`], [`status`], [`catalog`], [`check`]), the binlog's way in ([`dump`], [`feed`], [`stream`], [`tables`]),
//! its way out ([`rows`], [`encode`]), and the [`source`] that joins them.

pub mod config;
pub mod filter;

pub mod auth;
pub mod connection;
pub mod error;
mod handshake;
pub mod packet;
pub mod query;
pub mod tls;

pub mod catalog;
pub mod check;
pub mod grants;
pub mod server;
pub mod status;

pub mod begin;
pub mod captured;
pub mod dump;
pub mod encode;
pub mod feed;
mod inflate;
pub mod key_hash;
pub mod lag;
pub mod lanes;
pub mod position;
mod preflight;
mod retention;
pub mod rows;
pub mod scan;
pub mod snapshot;
pub mod source;
pub mod statement;
pub mod stream;
pub mod tables;
pub mod transaction;

pub mod sink;
