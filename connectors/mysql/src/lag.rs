//! How many bytes of binlog the source is behind its server, asked now and then over a connection of its own.
//!
//! A thread beside the reading, because the server may be slow to answer. Only a measurement: what fails here is tried
//! again and never stops anything.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use flowd_engine::metrics::Metrics;
use flowd_engine::stop::Stop;

use crate::config::MySqlConfig;
use crate::connection::Connection;
use crate::error::WireError;
use crate::status::{BinaryLog, binary_logs};

/// Time until the first question: the stream has begun by then.
const ASK_FIRST: Duration = Duration::from_millis(300);
/// Time between two questions.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Where the source reads. The thread ends with the meter or the stop.
#[derive(Debug)]
pub struct LagMeter {
    place: Arc<Mutex<(String, u64)>>,
}

impl LagMeter {
    /// Starts the thread. Without one (no thread to be had) the lag stays unknown.
    pub fn start(config: MySqlConfig, metrics: Arc<Metrics>, stop: Stop) -> Self {
        let place = Arc::new(Mutex::new((String::new(), 0)));
        let shared = Arc::downgrade(&place);
        let body = move || watch(&config, &metrics, &stop, &shared);
        if let Err(error) = thread::Builder::new().name("flowd-lag".into()).spawn(body) {
            tracing::warn!(%error, "the lag in bytes cannot be measured");
        }
        Self { place }
    }

    /// The source stands here now.
    pub fn at(&self, (file, offset): (&str, u64)) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.0 != file {
            file.clone_into(&mut place.0);
        }
        place.1 = offset;
    }
}

fn watch(config: &MySqlConfig, metrics: &Metrics, stop: &Stop, place: &Weak<Mutex<(String, u64)>>) {
    let mut connection = None;
    let mut pause = ASK_FIRST;
    while !stop.wait(pause) {
        pause = ASK_EVERY;
        let logs = ask(config, &mut connection);
        let Some(place) = place.upgrade() else { return };
        let place = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lag = logs.ok().and_then(|logs| behind(&logs, (&place.0, place.1)));
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
}
