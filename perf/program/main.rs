//! `perf/drain`: writes a backlog of changes, measures flowd catching up with it, and counts what arrived.
//!
//! A figure is printed only after the check that every row arrived: the mesh's events are read back and held against
//! the backlog, and the `drop` target's count and checksum of ids against those of a run that was read back.

// The table is this program's answer.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod backlog;
mod database;
mod dropped;
mod measure;
mod mesh;
mod outcome;
mod port;
mod report;
mod runs;
mod subscriber;

use std::process::ExitCode;

use clap::Parser;

use crate::backlog::Workload;
use crate::outcome::Failure;
use crate::report::Report;
use crate::runs::Bench;

#[derive(Debug, Clone, Parser)]
#[command(name = "drain", about = "Measures flowd catching up with a backlog, and counts what arrived")]
struct Arguments {
    /// W4: one transaction of wide rows; W2: one-row transactions; W6: inserts, updates, deletes over ten tables
    #[arg(long, value_delimiter = ',', default_value = "W4,W2,W6")]
    workload: Vec<Workload>,
    /// Rows of W4; W2 and W6 write a tenth of it, since each of their rows is a transaction
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    #[arg(long, value_delimiter = ',', default_value = "drop,mesh")]
    target: Vec<String>,
    /// As scripts/servers.sh names them
    #[arg(long, default_value = "mariadb-11.8")]
    server: String,
    #[arg(long, default_value = "64MiB")]
    memory: String,
    #[arg(long, default_value = "key")]
    order: String,
    #[arg(long, default_value_t = 64)]
    window: u32,
    #[arg(long, default_value_t = 4)]
    connections: u32,
    #[arg(long, default_value_t = 1000)]
    checkpoint_ms: u32,
    /// Further `flowd` arguments, e.g. --flowd-arg=--pipeline.lanes=2
    #[arg(long, allow_hyphen_values = true)]
    flowd_arg: Vec<String>,
    /// Measured runs of each target; the median by CPU time is printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

fn main() -> ExitCode {
    outcome::of(run)
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    report::machine(arguments);
    for &workload in &arguments.workload {
        let bench = Bench::prepare(arguments, workload)?;
        let report = Report::new(workload, &bench.backlog);
        report.head();
        match bench.bare()? {
            Some(cost) => report.line("bare reader", &cost),
            None => eprintln!("drain: no bare reader beside this program (perf/bare.rs): no ceiling printed"),
        }
        let reference = bench.reference()?;
        for target in &arguments.target {
            let cost = bench.target(target, reference)?;
            report.line(target, &cost);
        }
    }
    Ok(())
}
