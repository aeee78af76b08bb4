//! The one small runtime beside the data path: signals and the metrics endpoint. It has its own thread, so that it
//! answers whatever the pipeline does.

use std::sync::mpsc;
use std::thread;

use flowd_engine::failure::Failure;
use flowd_engine::stop::Stop;

use crate::config::Pipeline;
use crate::metrics::endpoint;
use crate::metrics::text::Numbers;
use crate::signals::Signals;
use crate::time::now_us;

/// Starts it; it lives until the process ends. When this returns, signals are caught.
///
/// # Errors
/// `Unusable` where the metrics address cannot be had.
pub(crate) fn start(pipeline: &Pipeline, numbers: &Numbers, stop: &Stop) -> Result<(), Failure> {
    let listener = pipeline.metrics.as_deref().map(endpoint::bind).transpose()?;
    if let Some(listener) = &listener {
        let address = listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string());
        tracing::info!(address, "metrics are at /metrics");
    }
    let failed = |error: std::io::Error| Failure::Fatal(format!("signals cannot be caught: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (numbers, stop) = (numbers.clone(), stop.clone());
    let (caught, is_caught) = mpsc::channel();
    let body = async move {
        let signals = Signals::catch();
        let error = signals.as_ref().err().map(|error| error.kind());
        caught.send(error).expect("the starter waits for it");
        if let Some(listener) = listener {
            tokio::spawn(async move {
                let served = endpoint::serve(listener, move || numbers.render(now_us())).await;
                if let Err(error) = served {
                    tracing::error!(%error, "the metrics endpoint has ended");
                }
            });
        }
        if let Ok(signals) = signals {
            signals.watch(stop).await;
        }
    };
    let spawned =
        thread::Builder::new().name("flowd-service".to_owned()).spawn(move || runtime.block_on(body));
    spawned.map_err(failed)?;
    match is_caught.recv() {
        Ok(None) => Ok(()),
        Ok(Some(kind)) => Err(failed(kind.into())),
        Err(_) => Err(Failure::Fatal("the service thread ended at once".to_owned())),
    }
}
