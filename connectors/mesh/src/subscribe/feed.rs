//! What was pushed, in runs, and the way back for acknowledgements.
//!
//! [`feed`] makes two ends: a [`Feed`], from which runs are taken and where they are confirmed, and a [`Reading`], whose
//! future keeps the connection. They may live on different threads, and neither waits for the other: the session's
//! heartbeats go on however long a run takes. What does not fit into the feed is left in the socket.
//!
//! Invariants: pushes are numbered 1, 2, 3 … in the order in which they are taken; a push is acknowledged only once its
//! number is confirmed, and on the connection that it came on.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use flowd_codec::frame::{PushAck, Subscription};
use flowd_engine::failure::Failure;
use flowd_engine::record::{Body, ConnectorRecord, Span};
use tokio::sync::{mpsc, watch};

use super::keeper;
use super::stats::Stats;
use crate::config::MeshConfig;

/// Runs that wait to be taken. Each is what one read brought: at most a read buffer and one frame of 4 MiB.
const RUNS_MAX: usize = 4;

/// An event that was pushed: its JSON, in the bytes of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Push {
    pub(super) body: Span,
    pub(super) number: u64,
}

impl Push {
    /// Its number, for [`Feed::confirm`].
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl ConnectorRecord for Push {}

impl Body for Push {
    fn body(&self) -> Span {
        self.body
    }
}

/// What was read at once.
#[derive(Debug)]
pub struct Run {
    /// As it came off the wire.
    pub bytes: Bytes,
    /// The events in it. There may be none: what the server could not write is left out.
    pub pushes: Vec<Push>,
    /// Number of its last push, whether it could be written or not.
    pub last: u64,
}

impl Run {
    /// The events' JSON, in order.
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        self.pushes.iter().map(|push| push.body.of(&self.bytes))
    }
}

/// How far the far end of a feed is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// All pushes up to this one are dealt with.
    pub(super) confirmed: u64,
    /// No push after this one is of interest; set at the end.
    pub(super) last: Option<u64>,
}

/// Where runs are taken. Dropping it ends the reading: of the runs that were taken, what is confirmed by then, or later by
/// a [`Confirmer`], is still acknowledged.
#[derive(Debug)]
pub struct Feed {
    runs: mpsc::Receiver<Run>,
    progress: watch::Sender<Progress>,
    taken: u64,
}

impl Feed {
    /// The next run; `None` once the reading has ended.
    pub async fn next(&mut self) -> Option<Run> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`next`](Self::next), for a task that waits for several things.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Run>> {
        self.runs.poll_recv(context).map(|run| run.inspect(|run| self.taken = run.last))
    }

    /// Whether there is no run to be taken now.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Everything up to this push is dealt with.
    pub fn confirm(&self, number: u64) {
        confirm(&self.progress, number);
    }

    /// Ends the reading as if nothing behind this push had been taken: it is left to another subscriber.
    pub fn end_after(mut self, number: u64) {
        self.taken = number;
    }

    /// A handle that confirms from elsewhere, also after the feed is gone.
    pub fn confirmer(&self) -> Confirmer {
        Confirmer(self.progress.clone())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.progress.send_modify(|progress| progress.last = Some(self.taken));
    }
}

/// Confirms pushes.
#[derive(Debug, Clone)]
pub struct Confirmer(watch::Sender<Progress>);

impl Confirmer {
    /// Everything up to this push is dealt with.
    pub fn confirm(&self, number: u64) {
        confirm(&self.0, number);
    }
}

fn confirm(progress: &watch::Sender<Progress>, number: u64) {
    progress.send_if_modified(|progress| {
        let is_news = number > progress.confirmed;
        progress.confirmed = progress.confirmed.max(number);
        is_news
    });
}

/// Keeps a connection and reads; see [`feed`].
pub struct Reading {
    pub(super) config: Arc<MeshConfig>,
    pub(super) subscription: Subscription,
    pub(super) stats: Arc<Stats>,
    pub(super) outlet: Arc<Outlet>,
    pub(super) progress: watch::Receiver<Progress>,
}

impl Reading {
    /// Reads until the feed is dropped and what was confirmed is acknowledged. Outages are waited out for ever, at the
    /// next address.
    ///
    /// # Errors
    /// `Unusable` where the server refuses our HELLO or our topics before it has ever listened to us; `Fatal` where a
    /// connection's task fails.
    pub async fn run(self) -> Result<(), Failure> {
        keeper::keep(self).await
    }
}

/// Where connections put their runs.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) runs: mpsc::Sender<Run>,
    /// Number of the last push. Held while a run goes in, so that numbers follow the order.
    last: Mutex<u64>,
}

/// What one read brought, not numbered yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) bytes: Bytes,
    /// Numbered by their place in `acks`.
    pub(super) pushes: Vec<Push>,
    /// What will acknowledge each push, unreadable ones included.
    pub(super) acks: Vec<Option<PushAck>>,
}

impl Outlet {
    /// Puts a run in and gives the number before its first push, and its acks; the run again while there is no room.
    pub(super) fn put(&self, waiting: Waiting) -> Result<(u64, Vec<Option<PushAck>>), Waiting> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(room) = self.runs.try_reserve() else { return Err(waiting) };
        let Waiting { bytes, mut pushes, acks } = waiting;
        let before = *last;
        *last += acks.len() as u64;
        pushes.iter_mut().for_each(|push| push.number += before + 1);
        room.send(Run { bytes, pushes, last: *last });
        Ok((before, acks))
    }
}

/// The two ends of a subscription, which begins once [`Reading::run`] is polled.
///
/// # Panics
/// Without an address: the configuration refuses that.
pub fn feed(config: MeshConfig, subscription: Subscription, stats: Arc<Stats>) -> (Feed, Reading) {
    assert!(!config.addresses.is_empty(), "a mesh without address");
    let (runs, received) = mpsc::channel(RUNS_MAX);
    let (told, progress) = watch::channel(Progress::default());
    let outlet = Arc::new(Outlet { runs, last: Mutex::new(0) });
    let reading = Reading { config: Arc::new(config), subscription, stats, outlet, progress };
    (Feed { runs: received, progress: told, taken: 0 }, reading)
}

#[cfg(test)]
mod tests;
