//! Keeps one connection listening: chooses an address, opens, and goes on to the next one when it is lost or sent away.
//! A connection that was sent away stays until what it brought is acknowledged, beside its successor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flowd_codec::session::Role;
use flowd_engine::failure::Failure;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::connection::{Connection, End};
use super::feed::Reading;
use crate::address::{Addresses, Choice};
use crate::link::{self, Link, NoLink};
use crate::muffler::Muffler;

/// A session that lived this long was good, whatever it brought.
const STABLE: Duration = Duration::from_secs(10);

/// See [`Reading::run`].
pub(super) async fn keep(reading: Reading) -> Result<(), Failure> {
    let mut keeper = Keeper::new(reading);
    let result = keeper.keep().await;
    if result.is_ok() {
        // Connections end by themselves once the feed is gone and what was confirmed is acknowledged.
        while keeper.connections.join_next().await.is_some() {}
    }
    result
}

struct Keeper {
    reading: Reading,
    addresses: Addresses,
    connections: JoinSet<()>,
    losses: Muffler,
    started: Instant,
    has_listened: bool,
}

enum Place {
    Listed(usize),
    Redirected(String),
}

impl Keeper {
    fn new(reading: Reading) -> Self {
        let chance = SmallRng::seed_from_u64(rand::random());
        let addresses = Addresses::new(&reading.config.addresses, &reading.config.timing, chance);
        Self {
            reading,
            addresses,
            connections: JoinSet::new(),
            losses: Muffler::default(),
            started: Instant::now(),
            has_listened: false,
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Until the feed is gone.
    async fn keep(&mut self) -> Result<(), Failure> {
        let mut redirect = None;
        while let Some(place) = self.next_place(redirect.take()).await {
            let address = match &place {
                Place::Listed(index) => self.addresses.text(*index).to_owned(),
                Place::Redirected(address) => address.clone(),
            };
            let began = Instant::now();
            let end = match self.open(&address).await {
                None => return Ok(()),
                Some(Ok(link)) => self.serve(&place, &address, link).await?,
                Some(Err(NoLink::Refused(text))) if !self.has_listened => {
                    let setting = self.reading.config.setting;
                    return Err(Failure::Unusable(format!("{setting}: the mesh refuses us: {text}")));
                }
                Some(Err(error)) => End::Lost(error.text().to_owned()),
            };
            redirect = self.depart(&place, &address, began.elapsed() >= STABLE, end);
            while self.connections.try_join_next().is_some() {}
        }
        Ok(())
    }

    /// Where to go now; waits while no address may be tried. `None` once the feed is gone.
    async fn next_place(&mut self, redirect: Option<String>) -> Option<Place> {
        if let Some(address) = redirect {
            return self.pause(Duration::ZERO).await.then_some(Place::Redirected(address));
        }
        loop {
            match self.addresses.choose(self.now_ms()) {
                Choice::Go(index) => return self.pause(Duration::ZERO).await.then_some(Place::Listed(index)),
                Choice::WaitUntil(until_ms) => {
                    let wait_ms = until_ms.saturating_sub(self.now_ms()).max(1);
                    if !self.pause(Duration::from_millis(wait_ms)).await {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits; false once the feed is gone.
    async fn pause(&self, wait: Duration) -> bool {
        let _ = tokio::time::timeout(wait, self.reading.outlet.runs.closed()).await;
        !self.reading.outlet.runs.is_closed()
    }

    /// A connection that listens; `None` when the feed went away meanwhile.
    async fn open(&self, address: &str) -> Option<Result<Link, NoLink>> {
        let role = Role::Subscriber(self.reading.subscription.clone());
        tokio::select! {
            () = self.reading.outlet.runs.closed() => None,
            result = link::open(address, &self.reading.config, role) => Some(result),
        }
    }

    /// Until the connection listens no more; it may go on to acknowledge.
    async fn serve(&mut self, place: &Place, address: &str, link: Link) -> Result<End, Failure> {
        info!(address, "listening to the mesh");
        if let Place::Listed(index) = place {
            self.addresses.answered(*index);
        }
        if std::mem::replace(&mut self.has_listened, true) {
            self.reading.stats.reconnects.add(1);
        }
        let (departed, end) = oneshot::channel();
        let connection = Connection::new(&self.reading, link, departed);
        self.connections.spawn(connection.run());
        end.await.map_err(|_| Failure::Fatal("a mesh connection's task failed".to_owned()))
    }

    /// Accounts for a connection that ended; the address to go to next, if the server named one.
    fn depart(&mut self, place: &Place, address: &str, was_good: bool, end: End) -> Option<String> {
        let now_ms = self.now_ms();
        if let Place::Listed(index) = place {
            match &end {
                End::Lost(_) => self.addresses.lost(*index, was_good, now_ms),
                End::SentAway { to: None, .. } => {
                    self.addresses.left(*index);
                    self.addresses.avoid(*index, now_ms);
                }
                End::SentAway { .. } | End::Finished => self.addresses.left(*index),
            }
        }
        match end {
            End::Finished => None,
            End::Lost(reason) => {
                if let Some(unsaid) = self.losses.speak(now_ms) {
                    warn!(address, unsaid, "no connection to the mesh, will try again: {reason}");
                }
                None
            }
            End::SentAway { reason, to } => {
                info!(address, "left the mesh server: {reason}");
                to
            }
        }
    }
}

impl Reading {
    pub(super) fn shared(&self) -> Arc<super::feed::Outlet> {
        Arc::clone(&self.outlet)
    }
}
