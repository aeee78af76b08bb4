//! How many bytes of binlog the source is behind its server, asked now and then over a connection of its own.
//!
//! A thread beside the reading, because the server may be slow to answer. What fails here is tried again and never stops
//! anything. It also sees what the stream cannot: a server that was reset leaves the old stream waiting for ever.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use flowd_engine::metrics::Metrics;
use flowd_engine::stop::Stop;

use crate::config::MySqlConfig;
use crate::connection::Connection;
use crate::error::WireError;
use crate::position::is_behind;
use crate::status::{BinaryLog, binary_logs};

/// Time until the first question: the stream has begun by then.
const ASK_FIRST: Duration = Duration::from_millis(300);
/// Time between two questions.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Where the source reads. The thread ends with the meter or the stop.
#[derive(Debug)]
pub struct LagMeter {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    place: (String, u64),
    /// How the server contradicts the place.
    reset: Option<String>,
}

impl LagMeter {
    /// Starts the thread. Without one (no thread to be had) the lag stays unknown.
    pub fn start(config: MySqlConfig, metrics: Arc<Metrics>, stop: Stop) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let weak = Arc::downgrade(&shared);
        let body = move || watch(&config, &metrics, &stop, &weak);
        if let Err(error) = thread::Builder::new().name("flowd-lag".into()).spawn(body) {
            tracing::warn!(%error, "the lag in bytes cannot be measured");
        }
        Self { shared }
    }

    /// The source stands here now.
    pub fn at(&self, (file, offset): (&str, u64)) {
        let place = &mut self.shared.lock().unwrap_or_else(PoisonError::into_inner).place;
        if place.0 != file {
            file.clone_into(&mut place.0);
        }
        place.1 = offset;
    }

    /// How the server was seen to have less than was read of it, once.
    pub fn take_reset(&self) -> Option<String> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).reset.take()
    }
}

fn watch(config: &MySqlConfig, metrics: &Metrics, stop: &Stop, shared: &Weak<Mutex<Shared>>) {
    let mut connection = None;
    let mut pause = ASK_FIRST;
    while !stop.wait(pause) {
        pause = ASK_EVERY;
        // Before the answer: a server has no less later, unless it was reset.
        let place =
            |shared: Arc<Mutex<Shared>>| shared.lock().unwrap_or_else(PoisonError::into_inner).place.clone();
        let Some(before) = shared.upgrade().map(place) else { return };
        let logs = ask(config, &mut connection);
        let Some(shared) = shared.upgrade() else { return };
        if let Some(text) = logs.as_ref().ok().and_then(|logs| reset(logs, (&before.0, before.1))) {
            shared.lock().unwrap_or_else(PoisonError::into_inner).reset = Some(text);
        }
        let now = place(shared);
        let lag = logs.ok().and_then(|logs| behind(&logs, (&now.0, now.1)));
        metrics.source_lag_bytes.set(lag.and_then(|lag| i64::try_from(lag).ok()).unwrap_or(-1));
    }
}

fn ask(config: &MySqlConfig, connection: &mut Option<Connection>) -> Result<Vec<BinaryLog>, WireError> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(config)?,
    };
    let logs = binary_logs(&mut open)?;
    *connection = Some(open);
    Ok(logs)
}

/// Bytes between a place and the end of the last file; `None` where the server does not have the place's file.
fn behind(logs: &[BinaryLog], (file, offset): (&str, u64)) -> Option<u64> {
    let at = logs.iter().position(|log| log.file == file)?;
    let here = logs[at].size.saturating_sub(offset);
    Some(here + logs[at + 1..].iter().map(|log| log.size).sum::<u64>())
}

/// How the server's files contradict a place that was read: it lies behind their end.
fn reset(logs: &[BinaryLog], (file, offset): (&str, u64)) -> Option<String> {
    let last = logs.last().filter(|_| !file.is_empty())?;
    let shorter = logs.iter().any(|log| log.file == file && log.size < offset);
    (shorter || is_behind((&last.file, last.size), (file, offset))).then(|| {
        format!(
            "{file}:{offset} was read, but the server's binlog ends at {}:{}: it was reset",
            last.file, last.size
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_what_lies_between_the_place_and_the_end_of_the_last_file() {
        let logs = [("b.1", 100), ("b.2", 50), ("b.3", 7)];
        let logs = logs.map(|(file, size)| BinaryLog { file: file.into(), size });
        assert_eq!(behind(&logs, ("b.1", 90)), Some(67));
        assert_eq!(behind(&logs, ("b.3", 7)), Some(0));
        assert_eq!(behind(&logs, ("b.3", 9)), Some(0));
        assert_eq!(behind(&logs, ("b.0", 4)), None);
    }

    #[test]
    fn a_server_that_has_less_than_was_read_was_reset() {
        let logs = [("b.2", 50), ("b.3", 7)].map(|(file, size)| BinaryLog { file: file.into(), size });
        for place in [("b.2", 50), ("b.3", 7), ("b.1", 900), ("", 0)] {
            assert_eq!(reset(&logs, place), None, "{place:?}");
        }
        for place in [("b.2", 51), ("b.3", 8), ("b.4", 4), ("b.10", 4)] {
            assert!(reset(&logs, place).is_some(), "{place:?}");
        }
        assert_eq!(reset(&[], ("b.1", 4)), None);
    }
}
