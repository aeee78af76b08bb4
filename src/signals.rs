//! SIGINT and SIGTERM: the first asks for a clean stop, the second ends the process at once with 128 + its number.

use flowd_engine::stop::Stop;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{self, Ending};

/// A subcommand's event loop, on its own thread, with the signals caught.
pub(crate) fn event_loop() -> Result<(Runtime, Signals), Ending> {
    let failed = |error: std::io::Error| Ending::Unusable(format!("cannot start the event loop: {error}"));
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let signals = runtime.block_on(async { Signals::catch() }).map_err(failed)?;
    Ok((runtime, signals))
}

/// The two signals, caught from here on.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Catches them. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// What the system says.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The next one.
    pub async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        }
    }

    /// Passes the first on to `stop`, and ends the process with the second.
    pub async fn watch(mut self, stop: Stop) {
        let first = self.next().await.as_raw_value();
        tracing::info!(signal = first, "stopping: draining what was read; a second signal ends at once");
        // The hooks of a stop take locks of the pipeline's: not on this thread, which must hear the second signal.
        std::thread::spawn(move || stop.request());
        let second = self.next().await.as_raw_value();
        tracing::warn!(signal = second, "ending at once; progress is safe as of the last checkpoint");
        exit::at_once(u8::try_from(128 + second).unwrap_or(255));
    }
}
