//! Progress on a terminal: a line with rows/s, MB/s, lag and the last GTID, and above it a bar while a snapshot runs.
//! Where standard error is no terminal there is neither; a snapshot that takes long is then logged now and then.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flowd_engine::metrics::Metrics;
use indicatif::{ProgressBar, ProgressStyle};

use crate::logs::SCREEN;
use crate::time::now_us;

mod retention;
mod snapshot;

const EVERY: Duration = Duration::from_secs(1);

/// Where the acknowledged position is left, in words, for the line.
#[derive(Debug, Clone, Default)]
pub struct LastPosition(Arc<Mutex<String>>);

impl LastPosition {
    /// Leaves a new one.
    pub fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Line and bar, or the log lines in their place; they go away with this value.
pub struct Progress {
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Shows it from now on.
    pub fn show(metrics: Arc<Metrics>, last: LastPosition) -> Self {
        let (end, ended) = mpsc::channel();
        let body = move || match io::stderr().is_terminal() {
            true => draw(&metrics, &last, &ended),
            false => log(&metrics, &ended),
        };
        let thread = thread::Builder::new().name("flowd-progress".to_owned()).spawn(body);
        Self { thread: thread.ok().map(|thread| (end, thread)) }
    }
}

fn draw(metrics: &Metrics, last: &LastPosition, ended: &Receiver<()>) {
    let line = SCREEN.add(ProgressBar::new_spinner());
    line.set_style(ProgressStyle::with_template("{wide_msg}").expect("a template that is known"));
    let mut bar = snapshot::Bar::default();
    let mut before = Reading::now(metrics);
    let mut retention = retention::Retention::default();
    while goes_on(ended) {
        retention.look(metrics, now_us(), Instant::now());
        let now = Reading::now(metrics);
        let lag = (metrics.lag_us(now_us()), metrics.source_lag_bytes.value());
        bar.update(&metrics.snapshot, &line);
        line.set_message(describe(&before, &now, lag, &last.text()));
        before = now;
    }
    bar.clear();
    line.finish_and_clear();
}

fn log(metrics: &Metrics, ended: &Receiver<()>) {
    let mut lines = snapshot::Lines::default();
    let mut retention = retention::Retention::default();
    while goes_on(ended) {
        retention.look(metrics, now_us(), Instant::now());
        lines.update(&metrics.snapshot);
    }
}

/// Waits for the next look; false once the owner has dropped the other end.
fn goes_on(ended: &Receiver<()>) -> bool {
    ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout)
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            // A panic of the line's thread has ended the process already.
            drop(thread.join());
        }
    }
}

struct Reading {
    at: Instant,
    rows: u64,
    bytes: u64,
}

impl Reading {
    fn now(metrics: &Metrics) -> Self {
        Self { at: Instant::now(), rows: metrics.acked.rows.value(), bytes: metrics.acked.bytes.value() }
    }
}

/// The line's text. `lag` is µs and bytes (negative: not known).
fn describe(before: &Reading, now: &Reading, lag: (i64, i64), last: &str) -> String {
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
    #[allow(clippy::cast_precision_loss, reason = "rates for the eye")]
    let (rows, bytes) =
        ((now.rows - before.rows) as f64 / seconds, (now.bytes - before.bytes) as f64 / seconds);
    let behind = match lag.1 {
        ..0 => String::new(),
        bytes => format!(", {bytes} B"),
    };
    let lag_tenths = lag.0 / 100_000;
    let lag = format!("lag {}.{} s{behind}", lag_tenths / 10, lag_tenths % 10);
    format!("{rows:.0} rows/s  {:.1} MB/s  {lag}  {} rows  {last}", bytes / 1e6, now.rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_rates_lag_and_position() {
        let at = Instant::now();
        let before = Reading { at, rows: 100, bytes: 0 };
        let now = Reading { at: at + Duration::from_secs(2), rows: 3_100, bytes: 3_000_000 };
        let line = describe(&before, &now, (2_340_000, 512), "0-1-77");
        assert_eq!(line, "1500 rows/s  1.5 MB/s  lag 2.3 s, 512 B  3100 rows  0-1-77");
        assert!(describe(&before, &now, (0, -1), "").contains("lag 0.0 s  "));
    }
}
