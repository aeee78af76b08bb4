//! The figures, as a table that can be read and cut.

use std::fs;

use crate::Arguments;
use crate::backlog::{Backlog, Workload};
use crate::measure::Cost;

/// What the figures were taken with.
pub(crate) fn machine(arguments: &Arguments) {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        model.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown").to_owned();
    let congestion = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let Arguments { server, memory, order, window, connections, checkpoint_ms, runs, .. } = arguments;
    println!(
        "# {cpus} x {model}; TCP {}; load before {}",
        congestion.trim(),
        load.split(' ').next().unwrap_or_default()
    );
    println!(
        "# {server}; memory {memory}, order {order}, window {window}, connections {connections}, checkpointMs {checkpoint_ms}; median of {runs}"
    );
}

/// The table of one workload.
pub(crate) struct Report {
    workload: Workload,
    events: u64,
    binlog_bytes: u64,
}

impl Report {
    pub(crate) fn new(workload: Workload, backlog: &Backlog) -> Self {
        Self { workload, events: backlog.expected.events, binlog_bytes: backlog.binlog_bytes }
    }

    pub(crate) fn head(&self) {
        println!("# {:?}: {} rows, {:.1} MB of binlog", self.workload, self.events, self.megabytes());
        println!(
            "{:<12} {:>10} {:>8} {:>8} {:>8} {:>12} {:>9}",
            "target", "rows/s", "MB/s", "wall s", "CPU s", "CPU s/M rows", "peak MiB"
        );
    }

    /// Rates of what arrived; the bare reader's are of what it read.
    pub(crate) fn line(&self, name: &str, cost: &Cost) {
        let events = self.events as f64;
        println!(
            "{name:<12} {:>10.0} {:>8.1} {:>8.2} {:>8.2} {:>12.3} {:>9.1}",
            events / cost.wall_s,
            self.megabytes() / cost.wall_s,
            cost.wall_s,
            cost.cpu_s,
            cost.cpu_s / events * 1e6,
            cost.rss_peak_bytes as f64 / (1024.0 * 1024.0),
        );
    }

    fn megabytes(&self) -> f64 {
        self.binlog_bytes as f64 / 1e6
    }
}
