//! `perf/snapshot`: measures flowd reading whole tables, next to a bare SELECT and to dump programs of the same tables.
//!
//! A figure of flowd is printed only after the check that every row arrived exactly once: the rows that came out are
//! held against the table by number, sum of keys and checksum of texts, and the ids that the `drop` target counted
//! against those of a run that was read.

// The table is this program's answer.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod cargo;
mod database;
mod dropped;
mod figures;
mod measure;
mod mesh;
mod outcome;
mod passes;
mod port;
mod subscriber;
mod tables;

use std::process::ExitCode;

use clap::Parser;

use crate::figures::Figures;
use crate::outcome::Failure;
use crate::passes::Passes;
use crate::tables::{Size, Tables, Workload};

#[derive(Debug, Clone, Parser)]
#[command(name = "snapshot", about = "Measures flowd reading whole tables, and checks every row")]
struct Arguments {
    /// W3: rows of about 600 bytes; narrow: rows of about 40
    #[arg(long, value_delimiter = ',', default_value = "W3,narrow")]
    workload: Vec<Workload>,
    /// Rows of W3
    #[arg(long, default_value_t = 2_000_000)]
    wide_rows: u64,
    /// Rows of the narrow table
    #[arg(long, default_value_t = 5_000_000)]
    narrow_rows: u64,
    /// Rows of the smaller tables: the mesh's, and those that show that memory does not grow with the table
    #[arg(long, default_value_t = 1_000_000)]
    part_rows: u64,
    #[arg(long, value_delimiter = ',', default_value = "drop,mesh")]
    target: Vec<String>,
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    parallelism: Vec<u32>,
    /// As scripts/servers.sh names them
    #[arg(long, default_value = "mariadb-11.8")]
    server: String,
    /// Of flowd's and the bare reader's connections
    #[arg(long, default_value = "disabled")]
    ssl_mode: String,
    /// `pipeline.memory`; as it stands without a setting
    #[arg(long, default_value = "256MiB")]
    memory: String,
    /// Further `flowd` arguments, e.g. --flowd-arg=--connectorConfig.chunkBytes=1MiB
    #[arg(long, allow_hyphen_values = true)]
    flowd_arg: Vec<String>,
    /// Measured runs, of the mesh and the dump programs one; the median by wall time is printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Leave mydumper and mariadb-dump out
    #[arg(long)]
    no_dumpers: bool,
}

fn main() -> ExitCode {
    outcome::of(run)
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let tables = Tables::open(arguments)?;
    figures::machine(arguments);
    for &workload in &arguments.workload {
        measure(arguments, &tables, workload)?;
    }
    tables.close()
}

/// All runs over one workload's tables.
fn measure(arguments: &Arguments, tables: &Tables, workload: Workload) -> Result<(), Failure> {
    let passes = Passes::prepare(arguments, tables, workload)?;
    let (bare, bytes) = passes.bare(arguments.runs)?;
    let mut figures = Figures::new(workload, passes.expected(Size::Full).rows, bytes, bare);
    if !arguments.no_dumpers {
        dump(arguments, &passes, &mut figures)?;
    }
    if arguments.target.iter().any(|target| target == "drop") {
        let ids = passes.reference(Size::Full)?;
        for &parallelism in &arguments.parallelism {
            figures.dropped(parallelism, &passes.dropped(Size::Full, parallelism, &ids)?);
        }
        let parallelism = arguments.parallelism.iter().copied().max().unwrap_or(1);
        let ids = passes.reference(Size::Part)?;
        let rows = passes.expected(Size::Part).rows;
        figures.part("drop", rows, parallelism, &passes.dropped(Size::Part, parallelism, &ids)?);
    }
    if arguments.target.iter().any(|target| target == "mesh") {
        let rows = passes.expected(Size::Part).rows;
        for &parallelism in &arguments.parallelism {
            figures.part("mesh", rows, parallelism, &passes.published(parallelism)?);
        }
    }
    figures.verdict();
    Ok(())
}

fn dump(arguments: &Arguments, passes: &Passes<'_>, figures: &mut Figures) -> Result<(), Failure> {
    if let Err(failure) = passes::fetch_dumpers() {
        println!("# mydumper and mariadb-dump are not here: {failure}");
        return Ok(());
    }
    figures.line("mariadb-dump", 1, &passes.mariadb_dump()?);
    for &threads in &arguments.parallelism {
        figures.line("mydumper", threads, &passes.mydumper(threads)?);
    }
    Ok(())
}
