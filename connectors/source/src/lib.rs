//! What a source of messages implements: its events, made from parts or as they came, its positions and what is acknowledged.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]
