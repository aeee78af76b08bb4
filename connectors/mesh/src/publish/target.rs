//! The target `mesh`: one thread, on it one runtime, in it all connections of the pool.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use flowd_codec::session::Role;
use flowd_engine::failure::Failure;
use flowd_engine::worker::{Outlet, Target};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep};
use tracing::info;

use crate::Outgoing;
use crate::config::MeshConfig;
use crate::event_loop::{block_on, greet_any};
use crate::publish::applied;
use crate::publish::connection;
use crate::publish::pack::Packer;
use crate::publish::shared::Shared;
use crate::publish::stats::Stats;

/// How exactly time-outs and back-offs are kept.
const TICK: Duration = Duration::from_millis(25);
/// How long goodbyes may take at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Publishes to EventMesh. Parcels must hold frames made with `Framing::EventMesh`.
pub struct MeshTarget {
    config: MeshConfig,
    stats: Arc<Stats>,
}

impl MeshTarget {
    /// Counts into `stats`, which the caller may keep a handle of.
    ///
    /// # Panics
    /// Without an address, a connection or a window: the configuration refuses these.
    pub fn new(config: MeshConfig, stats: Arc<Stats>) -> Self {
        assert!(!config.addresses.is_empty(), "a mesh without address");
        assert!(config.connections > 0 && config.window > 0, "a pool without connections or window");
        Self { config, stats }
    }
}

impl Target<Outgoing> for MeshTarget {
    /// At least one address must greet. A HELLO that is refused is a matter of configuration and not tried again.
    fn start(&mut self) -> Result<(), Failure> {
        greet_any(&self.config, &Role::Publisher)
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<Outgoing>) -> Result<(), Failure> {
        let shared = Rc::new(Shared::new(self.config, self.stats, rand::random()));
        block_on(async {
            let mut connections = JoinSet::new();
            let keep = |line| connections.spawn_local(connection::keep(Rc::clone(&shared), line));
            let tasks: Vec<_> = (0..shared.config.connections).map(keep).collect();
            let spreading = connections.spawn_local(connection::keep_spread(Rc::clone(&shared)));
            let listening = connections.spawn_local(applied::listen(Rc::clone(&shared)));
            let MeshConfig { batching, order, max_event_bytes, .. } = shared.config;
            let mut packer = Packer::new(parcels, batching, order, max_event_bytes);
            drive(&shared, &mut packer, &mut connections).await?;
            spreading.abort();
            listening.abort();
            shared.is_finished.set(true);
            // Greeted connections say goodbye; one that is being opened is of no use any more.
            for (line, task) in tasks.iter().enumerate() {
                if shared.is_connected[line].get() { shared.bells[line].ring() } else { task.abort() }
            }
            let farewell = async { while connections.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
            info!(
                events = shared.stats.acked.value(),
                resent = shared.stats.resent.value(),
                "all is acknowledged"
            );
            Ok(())
        })
    }
}

/// Moves parcels in and acknowledgements out until all is done.
async fn drive(
    shared: &Shared,
    parcels: &mut Packer<'_>,
    connections: &mut JoinSet<()>,
) -> Result<(), Failure> {
    let mut has_ended = false;
    let mut clock = pin!(sleep(TICK));
    poll_fn(|context| {
        loop {
            let heard = shared.main.poll(context).is_ready();
            has_ended = has_ended || take_parcels(shared, parcels, context);
            reject(shared, parcels)?;
            report(shared, parcels);
            if has_ended && shared.pool.borrow().is_empty() {
                return Poll::Ready(Ok(()));
            }
            shared.spread(None);
            if let Poll::Ready(Some(Err(panic))) = connections.poll_join_next(context) {
                return Poll::Ready(Err(Failure::Fatal(format!("a mesh connection's task failed: {panic}"))));
            }
            if !heard && !tick(shared, clock.as_mut(), context) {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// Takes parcels while the look-ahead has room; true once there will be no more.
fn take_parcels(shared: &Shared, parcels: &mut Packer<'_>, context: &mut Context<'_>) -> bool {
    shared.outlet_pending.set(false);
    parcels.limit(shared.pool.borrow().batch_bytes_max());
    while shared.pool.borrow().wants_parcel() {
        match parcels.poll_next(context) {
            Poll::Ready(Some(packed)) => shared.pool.borrow_mut().push(packed),
            Poll::Ready(None) => {
                // Nothing more to ask it for.
                shared.outlet_pending.set(true);
                return true;
            }
            Poll::Pending => {
                shared.outlet_pending.set(true);
                return false;
            }
        }
        report(shared, parcels);
    }
    false
}

/// Tells what was emitted and acknowledged.
fn report(shared: &Shared, parcels: &mut Packer<'_>) {
    let mut pool = shared.pool.borrow_mut();
    if let Some(ticket) = pool.emitted() {
        parcels.emitted(ticket);
    }
    while let Some(delivery) = pool.next_acked() {
        parcels.acked(delivery.ticket);
        parcels.recycle(delivery.parcel);
    }
}

/// Hands rejected events to `onReject`, each before it counts as acknowledged.
fn reject(shared: &Shared, parcels: &mut Packer<'_>) -> Result<(), Failure> {
    let now_ms = shared.now_ms();
    let mut pool = shared.pool.borrow_mut();
    while let Some((rejected, line)) = pool.next_rejected() {
        parcels.reject(&rejected.reason, &line)?;
        pool.dead_letter_written(&rejected, now_ms);
    }
    Ok(())
}

/// Moves time-outs and back-offs on when it is time; true if it was. Asks for no wake-up while nothing waits for time.
fn tick(shared: &Shared, mut clock: Pin<&mut Sleep>, context: &mut Context<'_>) -> bool {
    if !shared.pool.borrow().is_timed() || clock.as_mut().poll(context).is_pending() {
        return false;
    }
    shared.pool.borrow_mut().tick(shared.now_ms());
    clock.reset(Instant::now() + TICK);
    true
}

#[cfg(test)]
mod tests;
