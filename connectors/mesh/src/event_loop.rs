//! The event loop of a thread that has connections, and the first look at whether there is a mesh at all.

use std::future::Future;
use std::rc::Rc;

use flowd_codec::session::Role;
use flowd_engine::failure::Failure;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

use crate::config::MeshConfig;
use crate::link::{self, NoLink};

/// Runs a future and the tasks that it spawns on this thread.
pub(crate) fn block_on(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(2).build();
    let runtime = runtime.map_err(|error| {
        Failure::Fatal(format!("cannot set up the mesh connections' event loop: {error}"))
    })?;
    let result = LocalSet::new().block_on(&runtime, future);
    // A name that is still being resolved is not waited for.
    runtime.shutdown_background();
    result
}

/// Opens a session of this role on any address and closes it again.
///
/// # Errors
/// `Unusable` where a server refuses us, `Retry` where none can be reached.
pub(crate) fn greet_any(config: &MeshConfig, role: &Role) -> Result<(), Failure> {
    let config = Rc::new(config.clone());
    block_on(async {
        let mut tries = JoinSet::new();
        for address in config.addresses.clone() {
            let (config, role) = (Rc::clone(&config), role.clone());
            tries.spawn_local(async move { link::open(&address, &config, role).await.map(drop) });
        }
        let mut failures = Vec::new();
        while let Some(result) = tries.join_next().await {
            match result {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => failures.push(error),
                Err(panic) => failures.push(NoLink::Unreachable(panic.to_string())),
            }
        }
        Err(none_greeted(config.setting, &failures))
    })
}

fn none_greeted(setting: &str, failures: &[NoLink]) -> Failure {
    let texts: Vec<&str> = failures.iter().map(NoLink::text).collect();
    let text = format!("{setting}: no mesh server can be used: {}", texts.join("; "));
    let is_refused = failures.iter().any(|failure| matches!(failure, NoLink::Refused(_)));
    if is_refused { Failure::Unusable(text) } else { Failure::Retry(text) }
}
