//! Syncs on a thread of their own, so that the writer of a file goes on writing while the disk works.

use std::io;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use crate::ring::{Receiver, Sender, ring};

/// One sync at a time. Dropping it waits for the one that is under way.
pub(super) struct Syncer {
    requests: Option<Sender<()>>,
    answers: Receiver<io::Result<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// `sync` returns once everything that was written before it was called is durable.
    pub(super) fn start(mut sync: impl FnMut() -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let (requests, mut requested) = ring(1);
        let (mut answer, answers) = ring(1);
        let thread = thread::Builder::new().name("flowd-sync".to_owned()).spawn(move || {
            while let Some(()) = requested.pop() {
                if answer.push(sync()).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { requests: Some(requests), answers, thread: Some(thread) })
    }

    /// Begins a sync. None is under way.
    pub(super) fn begin(&mut self) {
        if let Some(requests) = &mut self.requests {
            // Where the thread is gone, the answer tells it.
            let _is_taken = requests.push(());
        }
    }

    /// How the sync that is under way ended.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.answers.poll_pop(context).map(|answer| answer.unwrap_or_else(gone))
    }

    /// Waits for the end of the sync that is under way.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        self.answers.pop().unwrap_or_else(gone)
    }
}

fn gone() -> io::Result<()> {
    Err(io::Error::other("the thread that syncs has ended"))
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // Of a panic the answers tell.
            let _has_panicked = thread.join();
        }
    }
}
