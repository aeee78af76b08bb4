//! Watches a pipeline's threads and brings them down: the first failure wins, and the way down has a bound.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::pipeline::Outcome;
use crate::worker::SourceEnd;

/// What the watcher is told.
pub(crate) enum News {
    /// Somebody asked to stop.
    Stop,
    /// A part failed whose thread goes on until it is brought down.
    Failed(Failure),
    /// A thread has ended.
    Source(Result<SourceEnd, Failure>),
    Lane(Result<(), Failure>),
    Target(Result<(), Failure>),
    Checkpoints(Result<(), Failure>),
}

/// Closes what threads wait for.
pub(crate) struct Valves {
    /// Nothing more comes in; what is in flows out.
    pub(crate) close_near: Box<dyn Fn() + Send + Sync>,
    /// Nothing more goes out.
    pub(crate) close_far: Box<dyn Fn() + Send + Sync>,
}

/// Runs `body` on a thread of that name. Its end, by panic too, becomes news, after all it owned is gone.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    news: &Sender<News>,
    end: fn(Result<T, Failure>) -> News,
    body: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<JoinHandle<()>, Failure> {
    let news = news.clone();
    let thread_name = name.to_owned();
    let run = move || {
        let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
            let text = panic_text(panic.as_ref());
            Err(Failure::Fatal(format!("the {thread_name} thread panicked: {text}")))
        });
        // The watcher may have given up on this thread.
        drop(news.send(end(result)));
    };
    let started = thread::Builder::new().name(format!("flowd-{}", name.replace(' ', "-"))).spawn(run);
    started.map_err(|error| Failure::Fatal(format!("the {name} thread cannot be started: {error}")))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// The watcher.
pub(crate) struct Watch {
    pub(crate) news: Receiver<News>,
    pub(crate) valves: Arc<Valves>,
    pub(crate) drain_max: Duration,
    /// Threads of source, lanes and target that have not ended.
    pub(crate) running: usize,
    pub(crate) state: State,
}

/// What the watcher has seen.
#[derive(Default)]
pub(crate) struct State {
    /// Set by a stop or a failure.
    deadline: Option<Instant>,
    failure: Option<Failure>,
    end: Option<SourceEnd>,
    checkpoints_ended: bool,
}

impl Watch {
    /// How long the last checkpoint may take after everything else has ended.
    const LAST_STORE_MAX: Duration = Duration::from_secs(10);

    /// Watches until all has ended or the bound has passed. Dropping `end` makes the checkpoint thread store a last
    /// time and end.
    pub(crate) fn run(mut self, end: Sender<()>, threads: Vec<JoinHandle<()>>) -> Result<Outcome, Failure> {
        while self.running > 0 {
            let Some(news) = self.next(self.state.deadline) else {
                break;
            };
            self.take(news);
        }
        drop(end);
        self.await_last_store();
        let late = self.running > 0;
        if !late && self.state.checkpoints_ended {
            // Each has sent its last news: these joins do not wait, and panics were caught inside.
            threads.into_iter().for_each(|thread| drop(thread.join()));
        }
        match (self.state.failure, self.state.end) {
            (Some(failure), _) => Err(failure),
            (None, _) if late => Ok(Outcome::DrainTimedOut),
            (None, Some(SourceEnd::Reached)) => Ok(Outcome::Reached),
            (None, _) => Ok(Outcome::Stopped),
        }
    }

    /// The next news; `None` when the bound has passed.
    fn next(&self, deadline: Option<Instant>) -> Option<News> {
        let Some(deadline) = deadline else {
            return Some(self.news.recv().expect("running threads hold senders"));
        };
        match self.news.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(news) => Some(news),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("running threads hold senders"),
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Stop => self.go_down(),
            News::Failed(failure) => self.fail(failure),
            News::Source(result) => {
                self.running -= 1;
                match result {
                    Ok(end) => self.state.end = Some(end),
                    Err(failure) => self.fail(failure),
                }
            }
            News::Lane(result) => {
                self.running -= 1;
                result.unwrap_or_else(|failure| self.fail(failure));
            }
            News::Target(result) => {
                self.running -= 1;
                (self.valves.close_far)();
                result.unwrap_or_else(|failure| self.fail(failure));
            }
            News::Checkpoints(result) => {
                self.state.checkpoints_ended = true;
                let Err(failure) = result else {
                    return;
                };
                (self.valves.close_far)();
                self.fail(failure);
            }
        }
    }

    /// The first failure is the one that is told; later ones are usually its consequences.
    fn fail(&mut self, failure: Failure) {
        if self.state.failure.is_some() {
            tracing::warn!(%failure, "a further failure on the way down");
        } else {
            tracing::debug!(%failure, "going down");
            self.state.failure = Some(failure);
        }
        self.go_down();
    }

    fn go_down(&mut self) {
        (self.valves.close_near)();
        let now = Instant::now();
        self.state.deadline.get_or_insert(now + self.drain_max);
    }

    fn await_last_store(&mut self) {
        let deadline = Instant::now() + Self::LAST_STORE_MAX;
        while !self.state.checkpoints_ended {
            let Some(news) = self.next(Some(deadline)) else {
                let text = format!("the last checkpoint was not stored within {:?}", Self::LAST_STORE_MAX);
                self.fail(Failure::Fatal(text));
                return;
            };
            self.take(news);
        }
    }
}
