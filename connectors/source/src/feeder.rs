//! Where a source on an asynchronous client puts its events, and learns what is acknowledged.
//!
//! Its future runs on the source's own thread, and waits where another source would block: heartbeats of its client go on
//! while the pipeline is full.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use flowd_engine::failure::Failure;
use flowd_engine::record::Position;
use flowd_engine::worker::{Closed, SourceEnd};
use tokio::time::{Instant, Sleep, sleep};

use crate::batch::{size_of_block, size_of_event};
use crate::block::Block;
use crate::client::block_on;
use crate::event::Event;
use crate::events::Events;

/// How soon it is noticed that the pipeline goes down while nothing comes.
const LOOK: Duration = Duration::from_millis(50);
/// How long the way down waits for one more acknowledgement.
const LAST_ACK: Duration = Duration::from_secs(2);

/// The pipeline's near end for asynchronous code: as [`Events`], but it waits instead of blocking.
pub struct Feeder<'a> {
    out: Events<'a>,
    is_closing_told: bool,
    /// When to look at what nobody tells: the age of a batch, and whether the pipeline goes down. On the way down, when to
    /// wait no longer.
    timer: Pin<Box<Sleep>>,
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

impl<'a> Feeder<'a> {
    /// On a runtime.
    fn new(out: Events<'a>) -> Self {
        Self { out, is_closing_told: false, timer: Box::pin(sleep(LOOK)) }
    }

    /// Adds an event; waits while the pipeline is full. When this is cancelled, the event was not added.
    ///
    /// # Errors
    /// The pipeline is going down.
    pub async fn push(&mut self, event: &Event<'_>) -> Result<(), Closed> {
        let size = size_of_event(event);
        poll_fn(|context| self.out.poll_room(context, size)).await?;
        self.out.add(event);
        Ok(())
    }

    /// Adds a block; see [`Events::push_block`].
    ///
    /// # Errors
    /// The pipeline is going down.
    pub async fn push_block(&mut self, block: impl Block) -> Result<(), Closed> {
        let size = size_of_block(&block);
        poll_fn(|context| self.out.poll_room(context, size)).await?;
        self.out.add_block(Box::new(block));
        Ok(())
    }

    /// Adds what can become no event; see [`Events::reject`].
    ///
    /// # Errors
    /// The pipeline is going down.
    pub async fn reject(&mut self, reason: &str, raw: &[u8]) -> Result<(), Closed> {
        poll_fn(|context| self.out.poll_room(context, reason.len() + raw.len())).await?;
        self.out.add_reject(reason, raw);
        Ok(())
    }

    /// Everything pushed so far belongs to `position`; see [`Events::mark`].
    pub fn mark(&mut self, position: Position) {
        self.out.mark(position);
    }

    /// Whether the next event makes a new batch; see [`Events::is_due`].
    pub fn is_due(&self) -> bool {
        self.out.is_due()
    }

    /// Hands on what is there now. [`news`](Self::news) does so by itself after a few milliseconds. When this is
    /// cancelled, nothing is lost.
    ///
    /// # Errors
    /// The pipeline is going down.
    pub async fn flush(&mut self) -> Result<(), Closed> {
        poll_fn(|context| self.out.poll_flush(context)).await
    }

    /// Whether a push would wait now.
    pub fn is_full(&mut self) -> bool {
        self.out.poll_room(&mut Context::from_waker(Waker::noop()), 0).is_pending()
    }

    /// Whether all that was handed on is acknowledged.
    pub fn is_drained(&self) -> bool {
        self.out.is_drained()
    }

    /// Waits for news: the other branch of a source's `select!`, beside what comes from its client. Hands on a batch that
    /// has waited long enough. When this is cancelled, nothing is lost.
    pub async fn news(&mut self) -> News {
        poll_fn(|context| self.poll_news(context)).await
    }

    /// For the way down, or the end: the next acknowledged position; `None` instead of [`News::Drained`].
    pub async fn drain(&mut self) -> Option<Position> {
        loop {
            match self.news().await {
                News::Acked(position) => return Some(position),
                News::Closing => {}
                News::Drained => return None,
            }
        }
    }

    fn poll_news(&mut self, context: &mut Context<'_>) -> Poll<News> {
        if let Poll::Ready(position) = self.out.poll_acked(context) {
            if self.is_closing_told {
                self.look_in(LAST_ACK);
            }
            return Poll::Ready(News::Acked(position));
        }
        if self.is_closing_told {
            if !self.out.is_drained() {
                ready!(self.timer.as_mut().poll(context));
            }
            return Poll::Ready(News::Drained);
        }
        while !self.out.is_closed() {
            if let Some(due) = self.out.due().map(Instant::from_std)
                && due < self.timer.deadline()
            {
                self.timer.as_mut().reset(due);
            }
            ready!(self.timer.as_mut().poll(context));
            self.look_in(LOOK);
            // Where there is no room, the task is woken once there is.
            if self.out.poll_by_age(context).is_pending() {
                ready!(self.timer.as_mut().poll(context));
            }
        }
        self.is_closing_told = true;
        self.look_in(LAST_ACK);
        Poll::Ready(News::Closing)
    }

    fn look_in(&mut self, time: Duration) {
        self.timer.as_mut().reset(Instant::now() + time);
    }
}

/// Runs the future of `read` on this thread, with a runtime of its own. What it pushed and did not flush is flushed when it
/// ends.
///
/// # Errors
/// Those of `read`; `Fatal` where there is no runtime.
pub fn run_async<F>(out: &mut Events<'_>, read: F) -> Result<SourceEnd, Failure>
where
    F: AsyncFnOnce(&mut Feeder<'_>) -> Result<SourceEnd, Failure>,
{
    block_on(async {
        let mut feeder = Feeder::new(out.reborrow());
        let end = read(&mut feeder).await?;
        match feeder.flush().await {
            Ok(()) => Ok(end),
            Err(Closed) => Ok(SourceEnd::Stopped),
        }
    })
}
