//! `perf/connectors`: how many messages a second a connector moves, beside what a bare loop of the same client does in the
//! same run.
//!
//! The bare loop is this program again, in a process of its own, so that both are measured in the same way. A sink's loop
//! runs a second time beside a bare subscriber that takes as many messages from a mesh: a sink must do both, and on these
//! processors. A figure is printed only after the check that every message came: the loop says what it counted, flowd's
//! metrics what is acknowledged, and a sink's system what it holds.

// The table is this program's answer.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod flows;
mod measure;
mod mesh;
mod outcome;
mod port;
mod systems;

use std::fs;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::flows::{Bench, Pass};
use crate::outcome::Failure;
use crate::systems::{Connector, Way, Work};

/// What is to be reached, of the bare loop's rate.
const RATIO_MIN: f64 = 0.8;

#[derive(Debug, Parser)]
#[command(
    name = "connectors",
    about = "Measures connectors beside bare loops of their clients, and counts the messages"
)]
struct Arguments {
    /// Which, comma-separated [default: all]
    #[arg(long, value_delimiter = ',')]
    connector: Vec<String>,
    #[arg(long, default_value_t = 500_000)]
    messages: u64,
    /// Bytes of a message
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// Further `flowd` arguments, e.g. --flowd-arg=--pipeline.memory=64MiB
    #[arg(long, allow_hyphen_values = true)]
    flowd_arg: Vec<String>,
    /// Rounds, in each of which all are measured; the medians by messages a second are printed, and those of the ratios
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The bare loop of one connector's client; tells on stderr how many messages it moved
    #[command(hide = true)]
    Bare { connector: String, messages: u64, bytes: usize, arguments: Vec<String> },
}

fn main() -> ExitCode {
    outcome::of(run)
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(Role::Bare { connector, messages, bytes, arguments }) = &arguments.role {
        let work = Work { messages: *messages, bytes: *bytes };
        eprintln!("{}", (systems::named(connector)?.bare)(work, arguments)?);
        return Ok(());
    }
    let work = Work { messages: arguments.messages, bytes: arguments.bytes };
    let chosen: Vec<&Connector> = match &arguments.connector[..] {
        [] => systems::ALL.iter().collect(),
        names => names.iter().map(|name| systems::named(name)).collect::<Result<_, _>>()?,
    };
    head(arguments);
    for connector in chosen {
        let work = Work { messages: work.messages * connector.times, ..work };
        let mut bench = Bench::begin(connector, work, &arguments.flowd_arg)?;
        let rounds = (0..arguments.runs).map(|_| Round::of(&mut bench)).collect::<Result<Vec<_>, _>>()?;
        let bare = median(rounds.iter().map(|round| round.bare));
        line(&format!("{}, bare loop", connector.name), work, &bare, &[]);
        let mut ratios = vec![ratio(&rounds, |round| Some(round.bare))];
        if connector.way == Way::Sink {
            let both = median(rounds.iter().filter_map(|round| round.both));
            line("  beside a bare subscriber", work, &both, &[]);
            ratios.push(ratio(&rounds, |round| round.both));
        }
        line(connector.name, work, &median(rounds.iter().map(|round| round.flowd)), &ratios);
    }
    Ok(())
}

/// One pass of each, one after the other, so that an hour in which the machine is slow is slow for all.
struct Round {
    bare: Pass,
    /// A sink's, beside a bare subscriber.
    both: Option<Pass>,
    flowd: Pass,
}

impl Round {
    fn of(bench: &mut Bench<'_>) -> Result<Self, Failure> {
        let bare = bench.bare()?;
        let both = (bench.way() == Way::Sink).then(|| bench.bare_beside_subscriber()).transpose()?;
        Ok(Self { bare, both, flowd: bench.flowd()? })
    }
}

/// The one in the middle by messages a second.
fn median(passes: impl Iterator<Item = Pass>) -> Pass {
    let mut passes: Vec<Pass> = passes.collect();
    passes.sort_by(|one, other| one.cost.wall_s.total_cmp(&other.cost.wall_s));
    passes[passes.len() / 2]
}

/// flowd's rate by that of another pass of the same round; the one in the middle.
fn ratio(rounds: &[Round], limit: impl Fn(&Round) -> Option<Pass>) -> f64 {
    let of = |round: &Round| Some(limit(round)?.cost.wall_s / round.flowd.cost.wall_s);
    let mut ratios: Vec<f64> = rounds.iter().filter_map(of).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn head(arguments: &Arguments) {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let Arguments { messages, bytes, runs, flowd_arg, .. } = arguments;
    println!("# {cpus} x {model}; load before {}", load.split(' ').next().unwrap_or_default());
    println!(
        "# {messages} messages of {bytes} bytes (fast connectors some times as many); median of {runs} rounds {}",
        flowd_arg.join(" ")
    );
    println!(
        "# of loop: of the bare loop's rate, to reach is {:.0} %; of both: of the rate that it has beside a bare subscriber",
        RATIO_MIN * 100.0
    );
    println!(
        "{:<28} {:>10} {:>8} {:>7} {:>7} {:>8} {:>9} {:>8} {:>8}",
        "connector", "messages/s", "MB/s", "wall s", "CPU s", "CPU s/M", "peak MiB", "of loop", "of both"
    );
}

/// `ratios` are those to the passes that it is held against.
fn line(name: &str, work: Work, pass: &Pass, ratios: &[f64]) {
    let cost = pass.cost;
    let rate = work.messages as f64 / cost.wall_s;
    let ratios: String = ratios.iter().map(|ratio| format!(" {:>6.0} %", ratio * 100.0)).collect();
    println!(
        "{name:<28} {:>10.0} {:>8.1} {:>7.2} {:>7.2} {:>8.3} {:>9.1}{ratios}",
        rate,
        rate * work.bytes as f64 / 1e6,
        cost.wall_s,
        cost.cpu_s,
        cost.cpu_s / work.messages as f64 * 1e6,
        cost.rss_peak_bytes as f64 / (1024.0 * 1024.0),
    );
}
