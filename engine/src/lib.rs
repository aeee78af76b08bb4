//! The engine: batches flow one way, and a position is saved only when the far side has everything before it.
//!
//! ```text
//! source ─▶ ring ─▶ encode lanes ─▶ rings ─▶ target ─▶ acks ─▶ watermark ─▶ checkpoint
//! ```
//!
//! The engine knows no wire format and no connector. Its modules: [`record`] and [`parcel`] are what flows, [`worker`]
//! the traits that a connector implements, [`failure`] what may go wrong and what the caller does about it, [`pipeline`]
//! the whole, which [`mod@start`] and [`stop`] begin and end and `watch` brings down. Inside, in the direction of the data:
//! `lane` deals batches out and encodes them, `collect` gives parcels to the target, [`sequence`] counts their events and
//! [`reject`] deals with what cannot be sent, [`ack`] and [`checkpoint`] turn what is acknowledged into saved positions. Of use to
//! connectors too: [`order`], the gate of a target, [`arrival`], its wait for parcels, [`back_off`], with which outages are
//! waited for, [`line_file`] and [`standard_output`], which lines go to, [`setting`] and [`finding`], what connectors are told and tell.
//!
//! Threads meet in `ring`, [`budget`] and [`ack`], and sleep in `wake`. The loom models of those four:
//! `RUSTFLAGS="--cfg loom" cargo test --target-dir target/loom -p flowd-engine --release --lib loom`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod failure;
pub mod parcel;
pub mod record;
pub mod worker;

pub mod pipeline;
pub mod start;
pub mod stop;
mod watch;

pub mod ack;
pub mod checkpoint;
mod collect;
mod lane;
pub mod metrics;
pub mod reject;
pub mod sequence;

pub mod budget;
mod ring;
mod sync;
mod wake;

pub mod arrival;
pub mod back_off;
pub mod finding;
pub mod line_file;
pub mod order;
pub mod setting;
pub mod standard_output;
