//! The runtimes of asynchronous clients: on the source's own thread, or on one beside it.

use std::thread::{self, JoinHandle};

use flowd_engine::failure::Failure;

/// Runs a future on this thread, with a runtime of its own.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| fatal(&format!("has no runtime: {error}")))?;
    let result = runtime.block_on(work);
    // A name that is still being resolved is not waited for.
    runtime.shutdown_background();
    result
}

/// A thread for a client that has enough to do for one, beside that on which its messages become events. It is to be joined,
/// or goes on by itself.
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
        let thread = thread::Builder::new().name("flowd-client".to_owned()).spawn(move || block_on(work()));
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
