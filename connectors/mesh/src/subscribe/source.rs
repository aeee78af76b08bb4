//! A source of what EventMesh pushes: each run is a batch, and is acknowledged once the pipeline has dealt with it.
//!
//! The connection lives on the source's own thread, which waits for room in the pipeline as for anything else: heartbeats
//! go on while it is full. There is no position to go on from: the server remembers what was acknowledged, as far as it
//! does.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use flowd_codec::frame::{Subscription, SubscriptionMode};
use flowd_codec::session::Role;
use flowd_engine::ack::Confirmed;
use flowd_engine::failure::Failure;
use flowd_engine::record::{Batch, Position};
use flowd_engine::worker::{Closed, Encode, Intake, Source, SourceEnd};
use flowd_source::position::{counted, number};
use tokio::time::{interval, timeout};

use super::feed::{Feed, Push, Run, feed};
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
        Ok(counted(0))
    }

    fn encoder(&self) -> C {
        (self.encoder)()
    }

    fn run(self, intake: &mut dyn Intake<Push>) -> Result<SourceEnd, Failure> {
        let subscription = Subscription::new(self.topics, SubscriptionMode::Clustering);
        let (feed, reading) = feed(self.config, subscription, self.stats);
        block_on(async {
            tokio::select! {
                ended = reading.run() => ended,
                () = Passing::new(feed, intake).run() => Ok(()),
            }
        })?;
        Ok(SourceEnd::Stopped)
    }
}

/// From the feed to the pipeline, and acknowledgements back.
struct Passing<'a> {
    feed: Feed,
    intake: &'a mut dyn Intake<Push>,
    /// A run that waits for room.
    waiting: Option<Run>,
    /// The last push that the pipeline has taken.
    passed: u64,
}

impl<'a> Passing<'a> {
    fn new(feed: Feed, intake: &'a mut dyn Intake<Push>) -> Self {
        Self { feed, intake, waiting: None, passed: 0 }
    }

    /// Until the pipeline has gone down and acknowledges no more.
    async fn run(mut self) {
        let (confirmed, confirmer) = (self.intake.confirmations(), self.feed.confirmer());
        let mut look = interval(LOOK);
        while !self.intake.is_closed() {
            tokio::select! {
                biased;
                number = acknowledged(&confirmed) => confirmer.confirm(number),
                passed = poll_fn(|context| self.poll_pass(context)) => match passed {
                    Ok(last) => self.passed = last,
                    Err(Closed) => break,
                },
                _ = look.tick() => {}
            }
        }
        self.feed.end_after(self.passed);
        // What the pipeline deals with until then is still acknowledged, as long as there is news of it.
        while let Ok(number) = timeout(LAST_ACK, acknowledged(&confirmed)).await {
            confirmer.confirm(number);
        }
    }

    /// Passes a run on as a batch; the number of its last push. Of a feed that has ended there is nothing more: its reading
    /// tells why.
    fn poll_pass(&mut self, context: &mut Context<'_>) -> Poll<Result<u64, Closed>> {
        if self.waiting.is_none() {
            self.waiting = ready!(self.feed.poll_next(context));
        }
        let Some(run) = &self.waiting else { return Poll::Pending };
        ready!(self.intake.poll_ready(context));
        ready!(self.intake.poll_reserve(context, run.bytes.len()))?;
        let run = self.waiting.take().expect("it waits still");
        let last = run.last;
        self.intake.send(batch(run))?;
        Poll::Ready(Ok(last))
    }
}

/// The next number up to which the pipeline has dealt with all.
async fn acknowledged(confirmed: &Confirmed) -> u64 {
    number(&poll_fn(|context| confirmed.poll(context)).await)
}

fn batch(run: Run) -> Batch<Push> {
    Batch { bytes: run.bytes, records: run.pushes, position: counted(run.last), time_us: 0 }
}

#[cfg(test)]
mod tests;
