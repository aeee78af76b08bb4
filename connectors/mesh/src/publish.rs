//! Publishing to EventMesh: a pool of connections, and the target that fills it.

pub mod stats;
pub mod target;

mod applied;
mod bell;
mod connection;
mod letter;
mod pack;
mod pool;
mod session;
mod shared;
