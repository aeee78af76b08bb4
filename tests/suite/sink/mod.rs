//! From a database over a mesh into another database or a file: the tables are equal, and each change is applied once.

mod applied;
mod batches;
mod columns;
mod files;
mod gaps;
mod kills;
mod order;
mod plain;
mod rejects;
mod sequence;
mod snapshots;
mod start;

use crate::harness::{Flow, Flowd, Kind};

/// Where behaviour that differs between the two families is tried.
const BOTH: [Kind; 2] = [Kind::MariaDb11, Kind::MySql9];

/// Ends a part in an orderly way.
fn stop(part: Flowd) {
    part.signal("TERM");
    part.wait().expect_code(0);
}

/// The sink of a flow, running.
fn sink(flow: &Flow<'_>) -> Flowd {
    flow.sink.start(&[])
}
