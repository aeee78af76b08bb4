//! Asking a pipeline to stop, from a signal or another thread, and the start that the same request cuts short.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::checkpoint::Registry;
use crate::failure::Failure;
use crate::record::Position;
use crate::worker::{Source, Target};

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

/// Starts both ends: loads the position, starts the source there, then the target. What may heal is tried again with
/// back-off, each end for at most `start_max` (zero: one try).
///
/// `None` means that a stop was requested meanwhile.
///
/// # Errors
/// `Unusable` once the bound has passed; any other failure at once.
pub fn start<S: Source>(
    source: &mut S,
    target: &mut dyn Target,
    registry: &dyn Registry,
    start_max: Duration,
    stop: &Stop,
) -> Result<Option<Position>, Failure> {
    let stored = registry.load()?.map(|checkpoint| checkpoint.acked);
    let Some(begin) = persist(start_max, stop, || source.start(stored.as_ref()))? else {
        return Ok(None);
    };
    Ok(persist(start_max, stop, || target.start())?.map(|()| begin))
}

/// Tries until it succeeds, fails for good, the bound passes or a stop is requested (`None`).
fn persist<T>(
    start_max: Duration,
    stop: &Stop,
    mut attempt: impl FnMut() -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    const WAIT_MIN: Duration = Duration::from_millis(100);
    const WAIT_MAX: Duration = Duration::from_secs(2);
    let began = Instant::now();
    let mut wait = WAIT_MIN;
    while !stop.is_requested() {
        let text = match attempt() {
            Err(Failure::Retry(text)) => text,
            done => return done.map(Some),
        };
        // The attempt may have taken long: a stop that came meanwhile is the reason for the end, not the bound.
        if stop.is_requested() {
            break;
        }
        let left = start_max.saturating_sub(began.elapsed());
        if left.is_zero() {
            let tried = start_max.as_secs_f32();
            return Err(Failure::Unusable(format!(
                "{text} (tried for {tried} s, the bound of `pipeline.startMs`)"
            )));
        }
        tracing::warn!(text, wait_ms = wait.as_millis(), "not reachable yet, trying again");
        stop.wait(wait.min(left));
        wait = (wait * 2).min(WAIT_MAX);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_stop_during_the_last_attempt_is_a_stop_and_no_failure() {
        let stop = Stop::new();
        let started = persist(Duration::ZERO, &stop, || {
            stop.request();
            Err::<(), _>(Failure::Retry("not there".into()))
        });
        assert_eq!(started, Ok(None));
    }

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

    #[test]
    fn what_may_heal_is_tried_until_the_bound_and_then_unusable() {
        let mut tries = 0;
        let healed = persist(Duration::from_secs(60), &Stop::new(), || {
            tries += 1;
            if tries < 2 { Err(Failure::Retry("refused".into())) } else { Ok(tries) }
        });
        assert_eq!(healed, Ok(Some(2)));
        let failure =
            persist(Duration::ZERO, &Stop::new(), || Err::<(), _>(Failure::Retry("refused".into())));
        assert!(matches!(failure, Err(Failure::Unusable(text)) if text.contains("refused")));
    }

    #[test]
    fn a_stop_cuts_the_start_short() {
        let stop = Stop::new();
        let asked = persist(Duration::from_secs(60), &stop, || {
            stop.request();
            Err::<(), _>(Failure::Retry("refused".into()))
        });
        assert_eq!(asked, Ok(None));
    }
}
