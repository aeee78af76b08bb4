//! The life of one of the pool's connections: choose an address, open, serve, lose, again.

use std::rc::Rc;
use std::time::Duration;

use flowd_codec::session::Role;
use tracing::{info, warn};

use crate::address::Choice;
use crate::link;
use crate::publish::session::{End, Session};
use crate::publish::shared::Shared;

/// How often addresses are probed and connections spread anew, at most.
const SPREAD_EVERY: Duration = Duration::from_secs(1);
/// A session that lived this long was good, whatever it was used for.
const STABLE_MS: u64 = 10_000;

/// Keeps connection `line` open until the target has finished.
pub(crate) async fn keep(shared: Rc<Shared>, line: usize) {
    let mut redirect = None;
    let mut is_first = true;
    while !shared.is_finished.get() {
        let Some(place) = next_place(&shared, redirect.take()).await else { return };
        let address = match &place {
            Place::Listed(index) => shared.addresses.borrow().text(*index).to_owned(),
            Place::Redirected(address) => address.clone(),
        };
        let began_ms = shared.now_ms();
        let mut has_acked = false;
        let end = match link::open(&address, &shared.config, Role::Publisher).await {
            Ok(link) => {
                if !std::mem::take(&mut is_first) {
                    shared.stats.reconnects.add(1);
                }
                let end = serve(&shared, line, &place, &address, link).await;
                has_acked = shared.pool.borrow().has_acked(line);
                end
            }
            Err(error) => End::Lost(error.text().to_owned()),
        };
        let was_good = has_acked || shared.now_ms() - began_ms >= STABLE_MS;
        redirect = depart(&shared, &place, &address, was_good, end);
    }
}

enum Place {
    Listed(usize),
    Redirected(String),
}

/// Where to go now; waits while no address may be tried. `None` once the target has finished.
async fn next_place(shared: &Shared, redirect: Option<String>) -> Option<Place> {
    if let Some(address) = redirect {
        // A server that sends its clients away sends all of them.
        let jitter_ms = rand::random_range(0..=shared.config.timing.reconnect.as_millis() as u64);
        tokio::time::sleep(Duration::from_millis(jitter_ms)).await;
        return Some(Place::Redirected(address));
    }
    while !shared.is_finished.get() {
        let choice = shared.addresses.borrow_mut().choose(shared.now_ms());
        match choice {
            Choice::Go(index) => return Some(Place::Listed(index)),
            Choice::WaitUntil(until_ms) => {
                let wait_ms = until_ms.saturating_sub(shared.now_ms()).max(1);
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            }
        }
    }
    None
}

async fn serve(shared: &Shared, line: usize, place: &Place, address: &str, link: link::Link) -> End {
    info!(address, connection = line, "connected to the mesh");
    if let Place::Listed(index) = place {
        shared.addresses.borrow_mut().answered(*index);
        shared.places[line].set(Some(*index));
    }
    shared.moves[line].set(false);
    shared.is_connected[line].set(true);
    shared.stats.connected.add(1);
    let end = Session::new(shared, line, link).run().await;
    shared.stats.connected.add(-1);
    shared.is_connected[line].set(false);
    shared.places[line].set(None);
    shared.pool.borrow_mut().lost(line);
    shared.spread(Some(line));
    end
}

/// Accounts for a connection that ended; the address to go to next, if the server named one.
fn depart(shared: &Shared, place: &Place, address: &str, was_good: bool, end: End) -> Option<String> {
    let now_ms = shared.now_ms();
    let listed = if let Place::Listed(index) = place { Some(*index) } else { None };
    let mut addresses = shared.addresses.borrow_mut();
    match (&end, listed) {
        (End::Lost(_), Some(index)) => addresses.lost(index, was_good, now_ms),
        (End::SentAway { to: None, .. }, Some(index)) => {
            addresses.left(index);
            addresses.avoid(index, now_ms);
        }
        (_, Some(index)) => addresses.left(index),
        (_, None) => {}
    }
    match end {
        End::Finished => None,
        End::Lost(reason) => {
            if let Some(unsaid) = shared.losses.borrow_mut().speak(now_ms) {
                warn!(address, unsaid, "no connection to the mesh, will try again: {reason}");
            }
            None
        }
        End::SentAway { reason, to } => {
            info!(address, "left the mesh server: {reason}");
            to
        }
        End::Moved => {
            info!(address, "moved a connection to spread them evenly");
            None
        }
    }
}

/// Brings connections back to addresses that answer again. Never ends.
pub(crate) async fn keep_spread(shared: Rc<Shared>) {
    if shared.config.addresses.len() == 1 {
        return std::future::pending().await;
    }
    let mut clock = tokio::time::interval(SPREAD_EVERY.min(shared.config.timing.reconnect * 4));
    loop {
        clock.tick().await;
        probe(&shared).await;
        let now_ms = shared.now_ms();
        let addresses = shared.addresses.borrow();
        let crowded = |place: Option<usize>| place.is_some_and(|index| addresses.is_crowded(index, now_ms));
        // One at a time: it counts at its new address before the next one looks.
        if let Some(line) = (0..shared.places.len()).find(|line| crowded(shared.places[*line].get())) {
            shared.moves[line].set(true);
            shared.bells[line].ring();
        }
    }
}

async fn probe(shared: &Shared) {
    let due = shared.addresses.borrow_mut().probe_due(shared.now_ms());
    let Some(index) = due else { return };
    let address = shared.addresses.borrow().text(index).to_owned();
    if link::open(&address, &shared.config, Role::Publisher).await.is_ok() {
        info!(address, "the mesh answers again");
        shared.addresses.borrow_mut().is_back(index);
    }
}
