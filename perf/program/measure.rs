//! What a process costs: wall time, processor time, peak memory, read from `/proc` while it runs and at its end.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// The kernel's tick in `/proc/PID/stat`, on every Linux of today.
const TICK: f64 = 0.01;

/// One run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) rss_peak_bytes: u64,
}

/// Runs a command to its end; gives its cost and its stderr. Anything but exit code 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<(Cost, String), Failure> {
    run_into(Stdio::null(), command)
}

/// The same, with its stdout kept.
pub(crate) fn run_into(stdout: Stdio, command: &mut Command) -> Result<(Cost, String), Failure> {
    let log = tempfile::NamedTempFile::new()?;
    let begin = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(stdout).stderr(log.reopen()?).spawn()?;
    let mut cost = watch(&child, begin);
    let status = child.wait()?;
    cost.wall_s = cost.wall_s.max(0.001);
    let log = fs::read_to_string(log.path())?;
    if status.success() {
        Ok((cost, log))
    } else {
        Err(format!("{command:?} ended with {status}:\n{log}").into())
    }
}

/// Watches until the process has ended. It is not reaped yet then, so that its last figures can still be read.
pub(crate) fn watch(child: &Child, begin: Instant) -> Cost {
    let process = child.id();
    let mut rss_peak_bytes = 0;
    loop {
        let fields = stat(process);
        if matches!(fields.first().map(String::as_str), Some("Z" | "X" | "") | None) {
            return Cost { wall_s: begin.elapsed().as_secs_f64(), cpu_s: cpu_s(&fields), rss_peak_bytes };
        }
        rss_peak_bytes = peak(process).unwrap_or(rss_peak_bytes).max(rss_peak_bytes);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The fields of `/proc/PID/stat` from the state on; empty where there is no such process.
pub(crate) fn stat(process: u32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().unwrap_or_default().split(' ').map(str::to_owned).collect()
}

/// User and system time of a process so far; not a number where the fields do not tell.
pub(crate) fn cpu_s(stat: &[String]) -> f64 {
    let ticks = |field: usize| stat.get(field).and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
    (ticks(11) + ticks(12)) * TICK
}

/// Peak resident memory of a process so far.
pub(crate) fn peak(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}
