//! Tells sources what a sink has applied: reports on each source's control topic, at every change but at most once a
//! second, and again every few seconds.
//!
//! It has a thread and a connection of its own. Nothing here holds the sink up or ends it: a report that cannot be sent
//! costs its source only time, since later ones say the same and more.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flowd_codec::applied::{ChunkMark, LaneMark};
use flowd_engine::failure::Failure;
use flowd_engine::metrics::{Counter, Gauge};
use tokio::sync::Notify;

use crate::config::MeshConfig;
use crate::event_loop::block_on;

mod ledger;
mod speaker;

use ledger::Ledger;

/// How long the end waits for the last report.
const LAST_REPORT: Duration = Duration::from_secs(2);

/// Who announces, where and how often.
#[derive(Debug, Clone)]
pub struct AnnounceSettings {
    /// The sink's connectorName, which a source names in `appliedBy`.
    pub instance: String,
    /// The control topic; `None` for the one of each source.
    pub topic: Option<String>,
    /// Between two reports, at least.
    pub every: Duration,
    /// Between two repeats of what was said before.
    pub again: Duration,
}

impl AnnounceSettings {
    /// As a sink of that name does it.
    pub fn new(instance: impl Into<String>) -> Self {
        let (every, again) = (Duration::from_secs(1), Duration::from_secs(5));
        Self { instance: instance.into(), topic: None, every, again }
    }
}

/// What the announcer has done so far. Its thread writes, anybody reads.
#[derive(Debug, Default)]
pub struct Stats {
    /// Events of reports that were sent.
    pub sent: Counter,
    /// Events of reports that the server refused.
    pub refused: Counter,
    /// 1 while there is a connection.
    pub connected: Gauge,
}

/// The announcer. Dropping it sends what is not said yet, if that takes no more than a moment.
#[derive(Debug)]
pub struct Announcer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the sink's thread and the announcer's share.
#[derive(Debug)]
struct Shared {
    ledger: Mutex<Ledger>,
    /// Something is new, or it is the end.
    changed: Notify,
}

impl Shared {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Announcer {
    /// Starts the thread. It connects by itself, and again whenever it has to.
    ///
    /// # Errors
    /// `Fatal` where the system gives no thread.
    pub fn start(config: MeshConfig, settings: AnnounceSettings, stats: Arc<Stats>) -> Result<Self, Failure> {
        let shared = Arc::new(Shared { ledger: Mutex::new(Ledger::default()), changed: Notify::new() });
        let speaker = speaker::Speaker::new(config, settings, Arc::clone(&shared), stats, now_us());
        let thread = thread::Builder::new().name("flowd-announcer".to_owned()).spawn(move || {
            let spoken = block_on(async {
                speaker.run().await;
                Ok(())
            });
            if let Err(failure) = spoken {
                tracing::error!(%failure, "what is applied is not announced");
            }
        });
        let thread = thread
            .map_err(|error| Failure::Fatal(format!("the announcer's thread cannot be started: {error}")))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// So far the lanes and chunks of a source are applied. Never fails, and waits for nothing but a moment's lock.
    pub fn applied<'a>(
        &self,
        source: &str,
        lanes: impl IntoIterator<Item = LaneMark<'a>>,
        chunks: impl IntoIterator<Item = ChunkMark<'a>>,
    ) {
        let mut ledger = self.shared.ledger();
        lanes.into_iter().for_each(|lane| ledger.lane(source, &lane));
        chunks.into_iter().for_each(|chunk| ledger.chunk(source, &chunk));
        drop(ledger);
        self.shared.changed.notify_one();
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.shared.ledger().end();
        self.shared.changed.notify_one();
        let Some(thread) = self.thread.take() else { return };
        let by = Instant::now() + LAST_REPORT;
        while !thread.is_finished() && Instant::now() < by {
            thread::sleep(Duration::from_millis(2));
        }
        if thread.is_finished() {
            drop(thread.join());
        }
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
