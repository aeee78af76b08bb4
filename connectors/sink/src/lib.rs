//! The sink's side of a pipeline: CloudEvents that arrive in any order, twice or not at all go into a store in order and
//! once.
//!
//! [`store`] is what a database connector implements.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod store;
