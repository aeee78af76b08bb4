//! The sink's side of a pipeline: CloudEvents that arrive in any order, twice or not at all go into a store in order and
//! once.
//!
//! In the direction of the data: [`decode`] reads what was pushed into [`event`]s, `order` says which of them goes now,
//! [`target`] puts them into a [`store`], which is what a database connector implements, and [`announce`] tells the source
//! how far that is. [`mod@file`] and [`stdout`] are sinks without order and store: they write down what comes. [`deliver`] is
//! what connectors implement: sinks of messages, or a store; [`rows`] is what stores of rows have in common.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod decode;
pub mod encode;
mod envelope;
pub mod event;

mod order;

mod letter;
pub mod target;

pub mod file;
mod lines;
pub mod stdout;

pub mod announce;
pub mod binding;
pub mod deliver;
pub mod image;
pub mod rows;
pub mod stats;
pub mod store;

#[cfg(test)]
mod testing;
