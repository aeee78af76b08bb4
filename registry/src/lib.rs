//! Where progress is kept: RocksDB, in a directory that one flowd at a time writes.
//!
//! [`RocksRegistry`] is the writer's side, behind the engine's [`Registry`] trait; [`read_checkpoint`] looks at a
//! directory without a lock, also while a flowd writes to it. `record` is the layout of what is stored.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod record;
mod rocks;

pub use record::Stored;
pub use rocks::{RocksRegistry, read_checkpoint};

#[doc(no_inline)]
pub use flowd_engine::checkpoint::{Checkpoint, Registry};
