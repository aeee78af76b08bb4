//! EventMesh, both ways, and the other places where finished events go: [`target`] publishes to EventMesh, [`subscribe`]
//! listens to it, [`jsonl`] and [`stdout`] write lines, [`mod@drop`] only counts.
//!
//! A target runs on one thread of its own. The mesh target keeps that: one thread, on it one event loop, in it all
//! connections, which share the pool without a lock.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod announce;
pub mod bridge;
pub mod config;
pub mod drop;
pub mod jsonl;
pub mod publish;
pub mod stdout;
pub mod subscribe;

mod address;
mod event_loop;
mod link;
mod muffler;
#[cfg(test)]
mod testing;
mod wire;

/// What every target here takes: a framed CloudEvent, and the keys that it holds until it is acknowledged.
pub type Outgoing = flowd_engine::order::Keyed<flowd_codec::event::Framed>;

pub use config::MeshConfig;
pub use publish::stats;
pub use publish::target::{self, MeshTarget};
pub use subscribe::MeshSource;
