//! The promises, a module a subject.

mod access;
mod bounds;
mod clash;
mod cli;
mod columns;
mod connectors;
mod crash;
mod guide;
mod java;
mod json_columns;
mod lanes;
mod mesh;
mod mesh_faults;
mod positions;
mod rows;
mod schema;
mod shutdown;
mod sink;
mod sink_values;
mod sink_writes;
mod snapshot;
mod snapshot_defaults;
mod snapshot_index;
mod snapshot_versioned;
mod source;
mod startup;

use crate::harness::{ALL, Kind, Server};

/// Runs a check on every kind of server, side by side, and names the kind that failed.
fn on_every_server(check: impl Fn(&mut Server) + Sync) {
    on(&ALL, &[], check);
}

/// The same with server options, on some kinds.
fn on(kinds: &[Kind], arguments: &[&str], check: impl Fn(&mut Server) + Sync) {
    std::thread::scope(|scope| {
        // The server is started and dropped by the thread that uses it: it ends with its parent thread.
        let run = |kind: Kind| {
            let check = &check;
            scope.spawn(move || check(&mut Server::start_with(kind, arguments)))
        };
        let threads: Vec<_> = kinds.iter().map(|&kind| (kind, run(kind))).collect();
        for (kind, thread) in threads {
            assert!(thread.join().is_ok(), "failed on {}; the reason is above", kind.name());
        }
    });
}
