//! `perf/sink`: how many rows a second mysql-sink applies that wait for it in a mesh, beside bare multi-row INSERTs of the same
//! rows into the same server.
//!
//! A figure is printed only after the check that the copy holds the rows of the source: their number, the sum of their keys
//! and of the checksums of their texts.

// The table is this program's answer.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod applying;
mod database;
mod measure;
mod mesh;
mod outcome;
mod port;

use std::fs;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::applying::{Bench, Pass};
use crate::outcome::Failure;

/// What waits in the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Rows of some 200 bytes, inserted
    Insert,
    /// The same, and then an update of each second row and a delete of each fourth
    Mixed,
}

#[derive(Debug, Clone, Parser)]
#[command(name = "sink", about = "Measures mysql-sink applying what waits in a mesh, and checks every row")]
struct Arguments {
    #[arg(long, value_delimiter = ',', default_value = "insert,mixed")]
    workload: Vec<Workload>,
    #[arg(long, default_value_t = 300_000)]
    rows: u64,
    /// As scripts/servers.sh names them
    #[arg(long, default_value = "mariadb-11.8")]
    server: String,
    /// Rows of one bare INSERT, and of its transaction
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    insert_rows: u64,
    /// Further arguments of the sink, e.g. --flowd-arg=--pipeline.memory=64MiB
    #[arg(long, allow_hyphen_values = true)]
    flowd_arg: Vec<String>,
    /// Measured runs; the one in the middle by wall time is printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

fn main() -> ExitCode {
    outcome::of(run)
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let Arguments { server, rows, insert_rows, runs, .. } = arguments;
    println!("# {cpus} CPUs; load before {}", load.split(' ').next().unwrap_or_default());
    println!(
        "# {server}, which is source and target; {rows} rows, {insert_rows} a bare INSERT; median of {runs}"
    );
    println!(
        "{:<26} {:>9} {:>9} {:>7} {:>14} {:>17} {:>9} {:>9}",
        "writer", "changes", "changes/s", "wall s", "CPU s/M", "server CPU s/M", "peak MiB", "of bare"
    );
    for &workload in &arguments.workload {
        let bench = Bench::prepare(arguments, workload)?;
        let bare = bench.median(Bench::bare)?;
        line("bare INSERTs", &bare, &bare);
        let name = format!("mysql-sink, {workload:?}").to_lowercase();
        line(&name, &bench.median(Bench::applied)?, &bare);
    }
    Ok(())
}

fn line(name: &str, pass: &Pass, bare: &Pass) {
    let millions = pass.changes as f64 / 1e6;
    let rate = |pass: &Pass| pass.changes as f64 / pass.cost.wall_s;
    println!(
        "{name:<26} {:>9} {:>9.0} {:>7.2} {:>14.2} {:>17.2} {:>9.1} {:>7.0} %",
        pass.changes,
        rate(pass),
        pass.cost.wall_s,
        pass.cost.cpu_s / millions,
        pass.server_cpu_s / millions,
        pass.cost.rss_peak_bytes as f64 / (1024.0 * 1024.0),
        rate(pass) / rate(bare) * 100.0,
    );
}
