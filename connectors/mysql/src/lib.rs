//! The mysql-cdc source.
//!
//! From the bottom up: a connection ([`packet`], [`tls`], [`connection`], [`query`]), what the server is and has
//! ([`server`], [`status`], [`catalog`], [`check`]), the binlog's way in ([`dump`], [`feed`], [`stream`], [`tables`]),
//! its way out ([`rows`], [`encode`]), and the [`source`] that joins them.

pub mod config;
pub mod filter;

pub mod error;
pub mod packet;
pub mod tls;
pub mod auth;
mod handshake;
pub mod connection;
pub mod query;

pub mod server;
pub mod status;
pub mod grants;
pub mod catalog;
pub mod check;

pub mod position;
pub mod begin;
pub mod dump;
pub mod feed;
pub mod transaction;
pub mod captured;
pub mod tables;
pub mod rows;
pub mod stream;
pub mod encode;
pub mod source;
