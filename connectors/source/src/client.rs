//! The thread of an asynchronous client, with a runtime of its own: its heartbeats go on while the pipeline is full.

use std::thread::{self, JoinHandle};

use flowd_engine::failure::Failure;

/// The thread. It is to be joined, or goes on by itself.
#[derive(Debug)]
pub struct Client<T>(JoinHandle<Result<T, Failure>>);

impl<T: Send + 'static> Client<T> {
    /// Starts it with its work.
    ///
    /// # Errors
    /// `Fatal` where the thread cannot be started.
    pub fn start<F>(work: F) -> Result<Self, Failure>
    where
        F: AsyncFnOnce() -> Result<T, Failure> + Send + 'static,
    {
        let thread = thread::Builder::new().name("flowd-client".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| fatal(&format!("has no runtime: {error}")))?;
            runtime.block_on(work())
        });
        thread.map(Self).map_err(|error| fatal(&format!("cannot be started: {error}")))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Those of its work; `Fatal` where it panicked.
    pub fn join(self) -> Result<T, Failure> {
        self.0.join().unwrap_or_else(|_| Err(fatal("panicked")))
    }
}

fn fatal(text: &str) -> Failure {
    Failure::Fatal(format!("the thread of the source's client {text}"))
}
