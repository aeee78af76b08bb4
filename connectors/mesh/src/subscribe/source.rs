//! A source of what EventMesh pushes: each run is a batch, and is acknowledged once the pipeline has dealt with it.
//!
//! The connection lives on a thread of its own, so that heartbeats go on while the pipeline is full. There is no position
//! to go on from: the server remembers what was acknowledged, as far as it does.

use std::marker::PhantomData;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use flowd_codec::frame::{Subscription, SubscriptionMode};
use flowd_codec::session::Role;
use flowd_engine::ack::Confirmed;
use flowd_engine::arrival::thread_waker;
use flowd_engine::failure::Failure;
use flowd_engine::record::{Batch, Position};
use flowd_engine::worker::{Encode, Intake, Source, SourceEnd};

use super::feed::{Confirmer, Feed, Push, Reading, Run, feed};
use super::stats::Stats;
use crate::config::MeshConfig;
use crate::event_loop::{block_on, greet_any};

/// How soon it is noticed that the pipeline goes down while nothing comes.
const LOOK: Duration = Duration::from_millis(50);
/// How long the way down waits for one more acknowledgement.
const LAST_ACK: Duration = Duration::from_secs(2);

/// Reads topics, CLUSTERING and ASYNC, in the group of the configuration. `encoder` makes the lanes' encoders.
pub struct MeshSource<E, F> {
    config: MeshConfig,
    topics: Vec<String>,
    stats: Arc<Stats>,
    encoder: F,
    event: PhantomData<fn() -> E>,
}

impl<E, F> MeshSource<E, F> {
    /// Counts into `stats`, which the caller may keep a handle of.
    ///
    /// # Panics
    /// Without an address or a topic: the configuration refuses these.
    pub fn new(config: MeshConfig, topics: Vec<String>, stats: Arc<Stats>, encoder: F) -> Self {
        assert!(!config.addresses.is_empty(), "a mesh without address");
        assert!(!topics.is_empty(), "a subscription without topic");
        Self { config, topics, stats, encoder, event: PhantomData }
    }
}

impl<E, C, F> Source for MeshSource<E, F>
where
    E: Send + 'static,
    C: Encode<Push, E>,
    F: Fn() -> C + Send + 'static,
{
    type Record = Push;
    type Event = E;
    type Encoder = C;

    /// At least one address must greet. Nothing is subscribed yet: the target may still refuse to start, and what was
    /// pushed by then would be lost. A HELLO that is refused is a matter of configuration and not tried again.
    fn start(&mut self, _stored: Option<&Position>) -> Result<Position, Failure> {
        greet_any(&self.config, &Role::Publisher)?;
        Ok(position(0))
    }

    fn encoder(&self) -> C {
        (self.encoder)()
    }

    fn run(self, intake: &mut dyn Intake<Push>) -> Result<SourceEnd, Failure> {
        let subscription = Subscription::new(self.topics, SubscriptionMode::Clustering);
        let (feed, reading) = feed(self.config, subscription, self.stats);
        let (told, progress) = mpsc::sync_channel(1);
        let confirmations =
            Confirmations { confirmed: intake.confirmations(), confirmer: feed.confirmer(), told };
        let thread = thread::Builder::new().name("flowd-subscriber".to_owned());
        let thread = thread.spawn(move || read(reading, confirmations)).map_err(|error| {
            Failure::Fatal(format!("the thread of the mesh connection cannot be started: {error}"))
        })?;
        if pass_on(feed, intake) == Passed::Ended {
            return end_of(thread).map(|()| SourceEnd::Stopped);
        }
        // The pipeline goes down: what it deals with until then is still acknowledged, as long as there is news of it.
        while progress.recv_timeout(LAST_ACK).is_ok() {}
        if thread.is_finished() {
            end_of(thread).map(|()| SourceEnd::Stopped)
        } else {
            Ok(SourceEnd::Stopped)
        }
    }
}

/// Why no more is passed on.
#[derive(Debug, PartialEq, Eq)]
enum Passed {
    /// The pipeline goes down.
    Closed,
    /// The reading has ended by itself.
    Ended,
}

/// Passes runs on as batches. The feed ends with it.
fn pass_on(mut feed: Feed, intake: &mut dyn Intake<Push>) -> Passed {
    let waker = thread_waker();
    let mut context = Context::from_waker(&waker);
    let mut passed = 0;
    loop {
        match feed.poll_next(&mut context) {
            Poll::Ready(Some(run)) => {
                let last = run.last;
                if intake.reserve(run.bytes.len()).and_then(|()| intake.send(batch(run))).is_err() {
                    break;
                }
                passed = last;
            }
            Poll::Ready(None) => return Passed::Ended,
            Poll::Pending if intake.is_closed() => break,
            Poll::Pending => thread::park_timeout(LOOK),
        }
    }
    feed.end_after(passed);
    Passed::Closed
}

fn batch(run: Run) -> Batch<Push> {
    Batch { bytes: run.bytes, records: run.pushes, position: position(run.last), time_us: 0 }
}

/// The number of the last push, as a position.
fn position(number: u64) -> Position {
    Position(number.to_be_bytes().to_vec().into())
}

/// What the pipeline has dealt with, on its way to the feed.
struct Confirmations {
    confirmed: Confirmed,
    confirmer: Confirmer,
    /// Hears of each, and of the end.
    told: mpsc::SyncSender<()>,
}

impl Confirmations {
    async fn carry(self) {
        loop {
            let position = std::future::poll_fn(|context| self.confirmed.poll(context)).await;
            if let Ok(number) = <[u8; 8]>::try_from(&position.0[..]) {
                self.confirmer.confirm(u64::from_be_bytes(number));
            }
            // Nobody asks before the way down; one that was not heard says enough.
            let _ = self.told.try_send(());
        }
    }
}

/// The subscriber's thread.
fn read(reading: Reading, confirmations: Confirmations) -> Result<(), Failure> {
    block_on(async {
        tokio::select! {
            result = reading.run() => result,
            () = confirmations.carry() => unreachable!("confirmations are carried for ever"),
        }
    })
}

fn end_of(thread: JoinHandle<Result<(), Failure>>) -> Result<(), Failure> {
    thread
        .join()
        .unwrap_or_else(|_| Err(Failure::Fatal("the thread of the mesh connection panicked".to_owned())))
}

#[cfg(test)]
mod tests;
