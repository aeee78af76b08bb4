//! How a running snapshot is told: a bar on a terminal, a log line now and then elsewhere.

use std::time::{Duration, Instant};

use flowd_engine::metrics::Snapshot;
use indicatif::{ProgressBar, ProgressStyle};

use crate::logs::SCREEN;

/// Rates are those of about this long.
const MEMORY: Duration = Duration::from_secs(10);
/// Where there is no terminal, a running snapshot is logged this often.
const LOG_EVERY: Duration = Duration::from_secs(30);
/// What the gauge of the state says while a snapshot runs.
const RUNNING: i64 = 1;

/// The snapshot's numbers at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    tables: i64,
    tables_done: i64,
    chunks: i64,
    rows: i64,
    bytes: i64,
    /// 0 while unknown.
    rows_estimated: i64,
    paused: bool,
}

impl Reading {
    /// `None` while no snapshot runs.
    fn of(snapshot: &Snapshot) -> Option<Self> {
        (snapshot.state.value() == RUNNING).then(|| Self {
            tables: snapshot.tables.value(),
            tables_done: snapshot.tables_done.value(),
            chunks: snapshot.chunks.value(),
            rows: snapshot.rows.value(),
            bytes: snapshot.bytes.value(),
            rows_estimated: snapshot.rows_estimated.value(),
            paused: snapshot.paused.value() != 0,
        })
    }
}

/// How fast a snapshot runs, smoothed: chunks come in lumps.
#[derive(Debug, Default)]
struct Pace {
    last: Option<(Instant, i64)>,
    rows_per_second: Option<f64>,
}

impl Pace {
    fn rows(&mut self, now: Instant, rows: i64) -> f64 {
        if let Some((at, before)) = self.last {
            let seconds = now.duration_since(at).as_secs_f64().max(0.001);
            #[allow(clippy::cast_precision_loss, reason = "a rate for the eye")]
            let current = (rows - before).max(0) as f64 / seconds;
            let weight = 1.0 - (-seconds / MEMORY.as_secs_f64()).exp();
            let rate = self.rows_per_second.map_or(current, |rate| rate + weight * (current - rate));
            self.rows_per_second = Some(rate);
        }
        self.last = Some((now, rows));
        self.rows_per_second.unwrap_or(0.0)
    }
}

/// Seconds until the estimated rows are read; `None` where the estimate is unknown or passed, or nothing moves.
fn seconds_left(reading: &Reading, rows_per_second: f64) -> Option<u64> {
    let rows = reading.rows_estimated - reading.rows;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (rows > 0 && rows_per_second >= 1.0).then(|| (rows as f64 / rows_per_second).ceil() as u64)
}

fn in_words(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Three digits and a unit: the line is to fit a terminal of 80 columns.
fn short(number: i64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "for the eye")]
    let exact = number as f64;
    match number {
        ..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{:.1}k", exact / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2}M", exact / 1e6),
        _ => format!("{:.2}G", exact / 1e9),
    }
}

fn describe(reading: &Reading, rows_per_second: f64) -> String {
    let Reading { tables, tables_done, chunks, rows, bytes, rows_estimated, paused } = *reading;
    let estimate = if rows_estimated > 0 { format!("/{}", short(rows_estimated)) } else { String::new() };
    let left = match (paused, seconds_left(reading, rows_per_second)) {
        (true, _) => "  rests: snapshotMaxRunning".to_owned(),
        (false, Some(seconds)) => format!("  {} left", in_words(seconds)),
        (false, None) => String::new(),
    };
    #[allow(clippy::cast_possible_truncation, reason = "a rate that is not negative, for the eye")]
    let rate = short(rows_per_second.round() as i64);
    let (rows, bytes) = (short(rows), short(bytes));
    format!(
        "{tables_done}/{tables} tables  {rows}{estimate} rows  {rate} rows/s{left}  {bytes}B  {chunks} chunks"
    )
}

/// The snapshot's bar on a terminal; there while one runs.
#[derive(Default)]
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    pace: Pace,
}

impl Bar {
    /// Draws it anew above `line`, or takes it away.
    pub(super) fn update(&mut self, snapshot: &Snapshot, line: &ProgressBar) {
        let Some(reading) = Reading::of(snapshot) else { return self.clear() };
        let rate = self.pace.rows(Instant::now(), reading.rows);
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("snapshot [{bar:8}] {wide_msg}")
                .expect("a template that is known");
            SCREEN.insert_before(line, ProgressBar::new(1).with_style(style.progress_chars("=> ")))
        });
        let rows = u64::try_from(reading.rows).unwrap_or(0);
        bar.set_length(u64::try_from(reading.rows_estimated).unwrap_or(0).max(rows).max(1));
        bar.set_position(rows);
        bar.set_message(describe(&reading, rate));
    }

    /// Takes it away.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            SCREEN.remove(&bar);
        }
    }
}

/// The snapshot's log lines where there is no terminal.
#[derive(Default)]
pub(super) struct Lines {
    pace: Pace,
    logged: Option<Instant>,
}

impl Lines {
    /// Logs one, if it is time.
    pub(super) fn update(&mut self, snapshot: &Snapshot) {
        let Some(reading) = Reading::of(snapshot) else {
            self.logged = None;
            return;
        };
        let now = Instant::now();
        let rate = self.pace.rows(now, reading.rows);
        // The first one is due when the snapshot has run that long: a short one is not worth a line.
        let since = *self.logged.get_or_insert(now);
        if now.duration_since(since) < LOG_EVERY {
            return;
        }
        self.logged = Some(now);
        #[allow(clippy::cast_possible_truncation, reason = "a rate that is not negative, for the eye")]
        let rows_per_second = rate.round() as i64;
        tracing::info!(
            tables_done = reading.tables_done,
            tables = reading.tables,
            chunks = reading.chunks,
            rows = reading.rows,
            rows_estimated = reading.rows_estimated,
            bytes = reading.bytes,
            rows_per_second,
            seconds_left = seconds_left(&reading, rate),
            paused = reading.paused,
            "the snapshot runs"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Snapshot {
        let snapshot = Snapshot::default();
        snapshot.state.set(RUNNING);
        snapshot.tables.set(7);
        snapshot.tables_done.set(3);
        snapshot.chunks.set(12);
        snapshot.rows.set(1_200_000);
        snapshot.bytes.set(712_340_000);
        snapshot.rows_estimated.set(5_000_000);
        snapshot
    }

    fn described(snapshot: &Snapshot, rows_per_second: f64) -> String {
        describe(&Reading::of(snapshot).expect("it runs"), rows_per_second)
    }

    #[test]
    fn a_running_snapshot_tells_tables_rows_rate_time_left_bytes_and_chunks() {
        let expected = "3/7 tables  1.20M/5.00M rows  50.0k rows/s  1 min 16 s left  712.34MB  12 chunks";
        assert_eq!(described(&running(), 50_000.0), expected);
    }

    #[test]
    fn no_snapshot_and_a_finished_one_tell_nothing() {
        let snapshot = running();
        for state in [0, 2] {
            snapshot.state.set(state);
            assert_eq!(Reading::of(&snapshot), None);
        }
    }

    #[test]
    fn no_time_is_promised_without_an_estimate_or_without_movement() {
        let snapshot = running();
        assert!(!described(&snapshot, 0.0).contains("left"));
        snapshot.rows_estimated.set(1_000_000);
        assert!(!described(&snapshot, 10.0).contains("left"), "the estimate is passed");
        snapshot.rows_estimated.set(0);
        let line = described(&snapshot, 10.0);
        assert!(line.contains(" 1.20M rows  10 rows/s  712"), "{line}");
    }

    #[test]
    fn a_resting_snapshot_says_why() {
        let snapshot = running();
        snapshot.paused.set(1);
        assert!(described(&snapshot, 10.0).contains("rests: snapshotMaxRunning"));
    }

    #[test]
    fn what_earlier_processes_read_is_no_pace_and_lumps_are_smoothed() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let at = |second| start + Duration::from_secs(second);
        assert!(pace.rows(at(0), 1_000_000) < 0.5);
        assert!((pace.rows(at(1), 1_010_000) - 10_000.0).abs() < 0.5);
        let after_a_lull = pace.rows(at(2), 1_010_000);
        assert!((5_000.0..10_000.0).contains(&after_a_lull), "{after_a_lull}");
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in
            [(0, "0"), (9_999, "9999"), (10_000, "10.0k"), (1_234_567, "1.23M"), (5 << 30, "5.37G")]
        {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn times_read_like_times() {
        for (seconds, words) in [(0, "0 s"), (59, "59 s"), (60, "1 min 00 s"), (7_505, "2 h 05 min")] {
            assert_eq!(in_words(seconds), words);
        }
    }
}
