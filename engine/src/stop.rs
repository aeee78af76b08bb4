//! Asking a pipeline to stop, from a signal or another thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Called once or twice when the stop is requested.
type Hook = Box<dyn Fn() + Send>;

#[derive(Default)]
struct State {
    requested: bool,
    hooks: Vec<Hook>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    requested: Condvar,
}

/// A request to stop. Clones are the same request.
#[derive(Clone, Default)]
pub struct Stop(Arc<Shared>);

impl Stop {
    /// A request that has not been made.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop. What was read is still delivered; nothing more is read. Asking again changes nothing. Not for use
    /// inside a signal handler: it takes a lock.
    pub fn request(&self) {
        let mut state = self.lock();
        if !state.requested {
            state.requested = true;
            state.hooks.iter().for_each(|hook| hook());
            self.0.requested.notify_all();
        }
    }

    /// Whether somebody asked.
    pub fn is_requested(&self) -> bool {
        self.lock().requested
    }

    /// Sleeps for `time`, or until somebody asks; whether somebody did.
    pub fn wait(&self, time: Duration) -> bool {
        let waiting = self.0.requested.wait_timeout_while(self.lock(), time, |state| !state.requested);
        waiting.unwrap_or_else(PoisonError::into_inner).0.requested
    }

    /// Calls `hook` when somebody asks, at once if somebody has. The hook must not use this `Stop`.
    pub(crate) fn on_request(&self, hook: impl Fn() + Send + 'static) {
        let mut state = self.lock();
        if state.requested {
            hook();
        }
        state.hooks.push(Box::new(hook));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_hook_runs_whether_the_request_comes_before_or_after() {
        let runs = Arc::new(AtomicUsize::new(0));
        let stop = Stop::new();
        for _ in 0..2 {
            let runs = runs.clone();
            stop.on_request(move || {
                runs.fetch_add(1, Ordering::SeqCst);
            });
            stop.request();
        }
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        assert!(stop.wait(Duration::from_secs(60)));
    }
}
