//! The figures, as a table that can be read and cut, and what they are held against.

use std::fs;

use crate::publishers::{Pass, Rows};
use crate::{Arguments, Publisher};

/// With batches, over a Java server.
const BATCHES_MIN: f64 = 45_000.0;
/// Events a second that a Java server takes, from all together; measured where it was alone on two cores.
const CEILING: f64 = 15_800.0;
/// Of that, with an event for each row.
const SHARE_MIN: f64 = 0.9;

/// What the figures were taken with.
pub(crate) fn machine(arguments: &Arguments) {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let Arguments { server, connections, window, batch_bytes, runs, java_limits, .. } = arguments;
    println!("# {cpus} x {model}; load before {}", load.split(' ').next().unwrap_or_default());
    println!(
        "# {server}; connections {connections}, window {window}, batch.bytes {batch_bytes}; median of {runs}{}",
        if *java_limits { "; embedded mesh with --java-limits" } else { "" }
    );
}

/// The table of one mesh.
pub(crate) struct Rates<'a> {
    named: Option<&'a str>,
    rows: &'a Rows,
    flowd: Option<f64>,
    batches: Option<f64>,
}

impl<'a> Rates<'a> {
    pub(crate) fn new(named: Option<&'a str>, rows: &'a Rows) -> Self {
        println!("# {}: events of {:.0} bytes", named.unwrap_or("embedded mesh"), rows.event_bytes);
        println!(
            "{:<22} {:>8} {:>6} {:>9} {:>7} {:>7} {:>7} {:>12} {:>9}",
            "publisher", "rows", "lost", "rows/s", "MB/s", "wall s", "CPU s", "CPU s/M rows", "peak MiB"
        );
        Self { named, rows, flowd: None, batches: None }
    }

    /// Rates are of what arrived at the subscriber, the rest is of the publisher's process.
    pub(crate) fn line(&mut self, publisher: Publisher, pass: &Pass) {
        let name = match publisher {
            Publisher::Sdk => "Java SDK, one at a time",
            Publisher::Flowd => "flowd",
            Publisher::Batches => "flowd, batch events",
        };
        match publisher {
            Publisher::Sdk => {}
            Publisher::Flowd => self.flowd = Some(pass.rows_per_s),
            Publisher::Batches => self.batches = Some(pass.rows_per_s),
        }
        println!(
            "{name:<22} {:>8} {:>6} {:>9.0} {:>7.1} {:>7.2} {:>7.2} {:>12.3} {:>9.1}",
            pass.rows,
            pass.lost,
            pass.rows_per_s,
            pass.rows_per_s * self.rows.event_bytes / 1e6,
            pass.cost.wall_s,
            pass.cost.cpu_s,
            pass.cost.cpu_s / pass.rows as f64 * 1e6,
            pass.cost.rss_peak_bytes as f64 / (1024.0 * 1024.0),
        );
    }

    /// What was to be reached over a Java server, and whether it was.
    pub(crate) fn verdict(&self) {
        if self.named.is_none() {
            return;
        }
        if let Some(rate) = self.flowd {
            judge(&format!("{rate:.0} rows/s without batches"), rate, CEILING * SHARE_MIN);
        }
        if let Some(rate) = self.batches {
            judge(&format!("{rate:.0} rows/s with batches"), rate, BATCHES_MIN);
        }
    }
}

fn judge(claim: &str, rate: f64, least: f64) {
    println!("# {claim}, at least {least:.0}: {}", if rate >= least { "reached" } else { "missed" });
}
