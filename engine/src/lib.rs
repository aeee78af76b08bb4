//! The engine: batches flow one way, and a position is saved only when the far side has everything before it.
//!
//! ```text
//! source ─▶ ring ─▶ encode lanes ─▶ rings ─▶ target ─▶ acks ─▶ watermark ─▶ checkpoint
//! ```
//!
//! The engine knows no wire format and no connector. Its modules, in the direction of the data:
//! [`record`] and [`parcel`] are what flows, [`worker`] the traits that a connector implements, [`failure`] what may
//! go wrong and what the caller does about it; [`order`] keeps events of one key from overtaking each other.

pub mod failure;
pub mod order;
pub mod parcel;
pub mod record;
pub mod worker;
