//! PostgreSQL as a sink: each change applied once, in the order of its lane.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]
