//! The engine: batches flow one way, and a position is saved only when the far side has everything before it.
//!
//! ```text
//! source ─▶ ring ─▶ encode lanes ─▶ rings ─▶ target ─▶ acks ─▶ watermark ─▶ checkpoint
//! ```
//!
//! The engine knows no wire format and no connector. Its modules: [`record`] and [`parcel`] are what flows, [`worker`]
//! the traits that a connector implements, [`failure`] what may go wrong and what the caller does about it, [`pipeline`]
//! the whole. Inside, in the direction of the data: `lane` deals batches out and encodes them, `collect` gives parcels
//! to the target, [`ack`] and [`checkpoint`] turn what is acknowledged into saved positions. Threads meet in `ring`,
//! `budget` and `ack`, and sleep in `wake`. Outages are waited for with [`back_off`].
//!
//! The loom models of those four: `RUSTFLAGS="--cfg loom" cargo test --target-dir target/loom -p flowd-engine --release
//! --lib loom`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod ack;
pub mod back_off;
pub mod budget;
pub mod checkpoint;
mod collect;
pub mod failure;
mod lane;
pub mod metrics;
pub mod order;
pub mod parcel;
pub mod pipeline;
pub mod record;
pub mod reject;
mod ring;
pub mod start;
pub mod stop;
mod sync;
mod wake;
mod watch;
pub mod worker;
