//! Where a source on an asynchronous client puts its events, and learns what is acknowledged.
//!
//! Its future runs on a thread of its own, so that heartbeats of its client go on while the pipeline is full; this thread
//! carries batches from there to the engine, through a channel of four.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use flowd_engine::ack::Confirmed;
use flowd_engine::arrival::thread_waker;
use flowd_engine::failure::Failure;
use flowd_engine::record::{Batch, Position};
use flowd_engine::worker::{Closed, SourceEnd};
use tokio::sync::{mpsc, watch};

use crate::batch::{Building, Message};
use crate::client::Client;
use crate::event::Event;
use crate::events::{Events, LAST_ACK};

/// Batches between the two threads.
const BATCHES_MAX: usize = 4;
/// How soon it is noticed that the pipeline goes down while nothing comes.
const LOOK: Duration = Duration::from_millis(50);

/// The pipeline's near end for asynchronous code: as [`Events`], but it waits instead of blocking.
pub struct Feeder {
    batches: mpsc::Sender<Batch<Message>>,
    confirmed: Confirmed,
    building: Building,
    /// The position handed to the engine last, once nothing more is.
    last: watch::Receiver<Option<Position>>,
    acked: Position,
    is_closing_told: bool,
}

/// What a source on an asynchronous client hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Everything up to this position is acknowledged.
    Acked(Position),
    /// The pipeline goes down; told once. Read no more, but listen on: acknowledgements still come.
    Closing,
    /// After `Closing`: all that was handed on is acknowledged, or nothing was for two seconds. Return
    /// [`SourceEnd::Stopped`].
    Drained,
}

impl Feeder {
    /// Adds an event; waits while the pipeline is full. When this is cancelled, the event was not added.
    ///
    /// # Errors
    /// The pipeline is going down.
    pub async fn push(&mut self, event: &Event<'_>) -> Result<(), Closed> {
        self.make_room().await?;
        self.building.push(event);
        Ok(())
    }

    /// Adds what can become no event; see [`Events::reject`].
    ///
    /// # Errors
    /// The pipeline is going down.
    pub async fn reject(&mut self, reason: &str, raw: &[u8]) -> Result<(), Closed> {
        self.make_room().await?;
        self.building.reject(reason, raw);
        Ok(())
    }

    /// Everything pushed so far belongs to `position`; see [`Events::mark`].
    pub fn mark(&mut self, position: Position) {
        self.building.mark(position);
    }

    /// Hands on what is there now. [`news`](Self::news) does so by itself after a few milliseconds. When this is
    /// cancelled, nothing is lost.
    ///
    /// # Errors
    /// The pipeline is going down.
    pub async fn flush(&mut self) -> Result<(), Closed> {
        let room = self.batches.reserve().await.map_err(|_| Closed)?;
        if let Some(batch) = self.building.take() {
            room.send(batch);
        }
        Ok(())
    }

    /// Whether a push would wait now.
    pub fn is_full(&self) -> bool {
        self.batches.capacity() == 0 && self.building.is_due()
    }

    /// Waits for news: the other branch of a source's `select!`, beside what comes from its client. Hands on a batch that
    /// has waited long enough. When this is cancelled, nothing is lost.
    pub async fn news(&mut self) -> News {
        loop {
            let (confirmed, due) = (self.confirmed.clone(), self.building.due());
            let is_closing = self.is_closing_told;
            if is_closing && self.last.borrow().as_ref() == Some(&self.acked) {
                return News::Drained;
            }
            let mut last = self.last.clone();
            let linger = async move {
                match due {
                    Some(due) if !is_closing => tokio::time::sleep_until(due.into()).await,
                    _ if is_closing => tokio::time::sleep(LAST_ACK).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                position = poll_fn(|context| confirmed.poll(context)) => {
                    self.acked = position.clone();
                    return News::Acked(position);
                }
                _ = last.wait_for(Option::is_some), if !is_closing => {
                    self.is_closing_told = true;
                    return News::Closing;
                }
                () = linger => {
                    if is_closing {
                        return News::Drained;
                    }
                    // A pipeline that goes down is the next news.
                    let _ = self.flush().await;
                }
            }
        }
    }

    async fn make_room(&mut self) -> Result<(), Closed> {
        if self.building.is_due() { self.flush().await } else { Ok(()) }
    }
}

/// Runs the future of `read` on a thread of its own, with a runtime of one thread, and carries what it pushes to the
/// pipeline. What it pushed and did not flush is flushed when it ends.
///
/// # Errors
/// Those of `read`; `Fatal` where the thread cannot be started or panics.
pub fn run_async<F>(out: &mut Events<'_>, read: F) -> Result<SourceEnd, Failure>
where
    F: AsyncFnOnce(&mut Feeder) -> Result<SourceEnd, Failure> + Send + 'static,
{
    let (batches, received) = mpsc::channel(BATCHES_MAX);
    let (told, last) = watch::channel(None);
    let feeder = Feeder {
        batches,
        confirmed: out.confirmed(),
        building: Building::new(out.handed_on.clone()),
        last,
        acked: out.handed_on.clone(),
        is_closing_told: false,
    };
    let client = Client::start(async move || read_all(feeder, read).await)?;
    carry(out, received);
    told.send_replace(Some(out.handed_on.clone()));
    client.join()
}

async fn read_all<F>(mut feeder: Feeder, read: F) -> Result<SourceEnd, Failure>
where
    F: AsyncFnOnce(&mut Feeder) -> Result<SourceEnd, Failure>,
{
    let end = read(&mut feeder).await?;
    match feeder.flush().await {
        Ok(()) => Ok(end),
        Err(Closed) => Ok(SourceEnd::Stopped),
    }
}

/// Carries batches until there are no more, or the pipeline goes down.
fn carry(out: &mut Events<'_>, mut received: mpsc::Receiver<Batch<Message>>) {
    let waker = thread_waker();
    let mut context = Context::from_waker(&waker);
    loop {
        match received.poll_recv(&mut context) {
            Poll::Ready(Some(batch)) => {
                let reserved = out.intake.reserve(batch.bytes.len());
                if reserved.and_then(|()| out.hand_on(batch)).is_err() {
                    return;
                }
            }
            Poll::Ready(None) => return,
            Poll::Pending if out.is_closed() => return,
            Poll::Pending => thread::park_timeout(LOOK),
        }
    }
}
