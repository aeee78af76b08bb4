//! The mysql-cdc source.

pub mod auth;
pub mod check;
pub mod config;
pub mod connection;
pub mod error;
pub mod filter;
pub mod grants;
mod handshake;
pub mod packet;
pub mod query;
pub mod server;
pub mod status;
pub mod tls;
