//! The figures of a snapshot, as a table that can be read and cut, and what they are held against.

use std::fs;

use crate::Arguments;
use crate::passes::Pass;
use crate::tables::{Size, Workload};

/// Of the bare SELECT's rows a second.
const RATIO_MIN: f64 = 0.8;
/// Of narrow rows.
const CPU_S_PER_MILLION_MAX: f64 = 1.0;
const PEAK_MIB_MAX: f64 = 128.0;

/// What the figures were taken with.
pub(crate) fn machine(arguments: &Arguments) {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let Arguments { server, memory, ssl_mode, runs, flowd_arg, .. } = arguments;
    println!("# {cpus} x {model}; load before {}", load.split(' ').next().unwrap_or_default());
    println!("# {server}; memory {memory}, sslMode {ssl_mode}; median of {runs}{}", more(flowd_arg));
}

fn more(arguments: &[String]) -> String {
    arguments.iter().map(|argument| format!("; {argument}")).collect()
}

/// The table of one workload.
pub(crate) struct Figures {
    workload: Workload,
    rows: u64,
    row_bytes: f64,
    bare_rows_per_s: f64,
    /// Of `drop` over the full table.
    dropped: Vec<(u32, Pass)>,
    /// Peaks of `drop` over the smaller table.
    part_peak_mib: Option<f64>,
}

impl Figures {
    pub(crate) fn new(workload: Workload, rows: u64, bytes: u64, bare: Pass) -> Self {
        let figures = Self {
            workload,
            rows,
            row_bytes: bytes as f64 / rows as f64,
            bare_rows_per_s: rows as f64 / bare.cost.wall_s,
            dropped: Vec::new(),
            part_peak_mib: None,
        };
        println!(
            "# {}: {rows} rows of {:.0} bytes in the result set",
            workload.table(Size::Full),
            figures.row_bytes
        );
        println!(
            "{:<22} {:>3} {:>9} {:>7} {:>7} {:>7} {:>12} {:>15} {:>9} {:>10}",
            "reader",
            "par",
            "rows/s",
            "MB/s",
            "wall s",
            "CPU s",
            "CPU s/M rows",
            "server s/M rows",
            "peak MiB",
            "of SELECT"
        );
        figures.line("bare SELECT", 1, &bare);
        figures
    }

    /// A run over the full table.
    pub(crate) fn line(&self, name: &str, parallelism: u32, pass: &Pass) {
        self.print(name, self.rows, parallelism, pass);
    }

    /// A run over the smaller table.
    pub(crate) fn part(&mut self, target: &str, rows: u64, parallelism: u32, pass: &Pass) {
        self.print(&format!("{target}, {rows} rows"), rows, parallelism, pass);
        if target == "drop" {
            self.part_peak_mib = Some(mib(pass.cost.rss_peak_bytes));
        }
    }

    /// A run of the target `drop` over the full table.
    pub(crate) fn dropped(&mut self, parallelism: u32, pass: &Pass) {
        self.line("drop", parallelism, pass);
        self.dropped.push((parallelism, *pass));
    }

    fn print(&self, name: &str, rows: u64, parallelism: u32, pass: &Pass) {
        let (cost, millions) = (pass.cost, rows as f64 / 1e6);
        let rows_per_s = rows as f64 / cost.wall_s;
        println!(
            "{name:<22} {parallelism:>3} {rows_per_s:>9.0} {:>7.1} {:>7.2} {:>7.2} {:>12.3} {:>15.3} {:>9.1} {:>8.0} %",
            rows_per_s * self.row_bytes / 1e6,
            cost.wall_s,
            cost.cpu_s,
            cost.cpu_s / millions,
            pass.server_cpu_s / millions,
            mib(cost.rss_peak_bytes),
            rows_per_s / self.bare_rows_per_s * 100.0,
        );
    }

    /// What was to be reached, and whether it was.
    pub(crate) fn verdict(&self) {
        let rate = |pass: &Pass| self.rows as f64 / pass.cost.wall_s;
        let Some((parallelism, fastest)) =
            self.dropped.iter().max_by(|one, other| rate(&one.1).total_cmp(&rate(&other.1)))
        else {
            return;
        };
        let ratio = rate(fastest) / self.bare_rows_per_s;
        judge(
            &format!(
                "drop at {:.0} % of the bare SELECT (parallelism {parallelism}), at least {:.0} %",
                ratio * 100.0,
                RATIO_MIN * 100.0
            ),
            ratio >= RATIO_MIN,
        );
        let peak = self.dropped.iter().map(|(_, pass)| mib(pass.cost.rss_peak_bytes)).fold(0.0, f64::max);
        let small =
            self.part_peak_mib.map_or(String::new(), |peak| format!(" ({peak:.1} MiB with fewer rows)"));
        judge(&format!("peak {peak:.1} MiB{small}, at most {PEAK_MIB_MAX:.0} MiB"), peak <= PEAK_MIB_MAX);
        if self.workload == Workload::Narrow {
            let cost = fastest.cost.cpu_s / self.rows as f64 * 1e6;
            judge(
                &format!("{cost:.3} CPU-seconds a million rows, at most {CPU_S_PER_MILLION_MAX:.1}"),
                cost <= CPU_S_PER_MILLION_MAX,
            );
        }
    }
}

fn judge(claim: &str, reached: bool) {
    println!("# {claim}: {}", if reached { "reached" } else { "missed" });
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
