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
    let log = tempfile::NamedTempFile::new()?;
    let begin = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.reopen()?).spawn()?;
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
fn watch(child: &Child, begin: Instant) -> Cost {
    let process = format!("/proc/{}", child.id());
    let mut rss_peak_bytes = 0;
    loop {
        let stat = fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        if matches!(fields.first().copied(), Some("Z") | Some("X") | Some("") | None) {
            let ticks = |field: usize| {
                fields.get(field).and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN)
            };
            return Cost {
                wall_s: begin.elapsed().as_secs_f64(),
                cpu_s: (ticks(11) + ticks(12)) * TICK,
                rss_peak_bytes,
            };
        }
        rss_peak_bytes = peak(&process).unwrap_or(rss_peak_bytes).max(rss_peak_bytes);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn peak(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}
