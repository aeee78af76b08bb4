//! The mysql-cdc source.

pub mod auth;
pub mod config;
pub mod connection;
pub mod error;
pub mod filter;
mod handshake;
pub mod packet;
pub mod query;
pub mod server;
pub mod tls;
