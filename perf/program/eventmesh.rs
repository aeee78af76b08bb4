//! `perf/eventmesh`: how many rows a second come over a mesh to a subscriber, by who publishes them and how.
//!
//! All publishers send the same rows, flowd from the binlog, the SDK from a file that flowd wrote. A figure is printed
//! with the count of rows that did not arrive; over a mesh that loses none, one that is missing is a failure.

// The table is this program's answer.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod arrivals;
mod database;
mod measure;
mod mesh;
mod outcome;
mod port;
mod publishers;
mod rates;
mod subscriber;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::outcome::Failure;
use crate::publishers::Bench;
use crate::rates::Rates;

/// Who publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Publisher {
    /// The Java SDK, which waits for each answer
    Sdk,
    /// flowd, an event for each row
    Flowd,
    /// flowd with batch events
    Batches,
}

#[derive(Debug, Clone, Parser)]
#[command(name = "eventmesh", about = "Measures rows a second to a subscriber over a mesh, and counts them")]
struct Arguments {
    #[arg(long, value_delimiter = ',', default_value = "sdk,flowd,batches")]
    publisher: Vec<Publisher>,
    #[arg(long, default_value_t = 300_000)]
    rows: u64,
    /// Rows for the SDK, which takes long for each
    #[arg(long, default_value_t = 20_000)]
    sdk_rows: u64,
    /// As scripts/servers.sh names them
    #[arg(long, default_value = "mariadb-11.8")]
    server: String,
    /// An EventMesh server besides the embedded mesh [default: what EVENTMESH_ADDR names]
    #[arg(long, value_name = "HOST:PORT")]
    named: Option<String>,
    /// Gives the embedded mesh a Java server's limits, with events of up to 4,000,000 characters
    #[arg(long)]
    java_limits: bool,
    #[arg(long, default_value_t = 8)]
    connections: u32,
    #[arg(long, default_value_t = 64)]
    window: u32,
    /// Connections of the subscriber where a Java server's limits hold: each takes 2000 frames a second, acks included
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    subscribers: u32,
    #[arg(long, default_value = "64KiB")]
    batch_bytes: String,
    /// Further `flowd` arguments, e.g. --flowd-arg=--pipeline.lanes=2
    #[arg(long, allow_hyphen_values = true)]
    flowd_arg: Vec<String>,
    /// Measured runs of each publisher; the median by rows a second is printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

fn main() -> ExitCode {
    outcome::of(run)
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let named = arguments.named.clone().or_else(|| std::env::var("EVENTMESH_ADDR").ok());
    let bench = Bench::prepare(arguments)?;
    rates::machine(arguments);
    for named in std::iter::once(None).chain(named.as_deref().map(Some)) {
        let mut rates = Rates::new(named, &bench.rows);
        for &publisher in &arguments.publisher {
            let pass = bench.median(publisher, named)?;
            rates.line(publisher, &pass);
            if named.is_none() && pass.lost > 0 {
                return Err(format!("{} rows did not arrive over the embedded mesh", pass.lost).into());
            }
        }
        rates.verdict();
    }
    Ok(())
}
