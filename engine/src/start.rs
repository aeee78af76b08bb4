//! The start of a pipeline's two ends, tried again within a bound, which a request to stop cuts short.

use std::time::{Duration, Instant};

use crate::back_off::BackOff;
use crate::checkpoint::Registry;
use crate::failure::Failure;
use crate::record::Position;
use crate::stop::Stop;
use crate::worker::{Source, Target};

/// Starts both ends: loads the position, starts the source there, then the target. What may heal is tried again with
/// back-off, each end for at most `start_max` (zero: one try).
///
/// `None` means that a stop was requested meanwhile.
///
/// # Errors
/// `Unusable` once the bound has passed; any other failure at once.
pub fn start<S: Source>(
    source: &mut S,
    target: &mut dyn Target<S::Event>,
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
    let mut back_off = BackOff::new(WAIT_MIN, WAIT_MAX);
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
        let wait = back_off.wait().min(left);
        tracing::warn!(text, wait_ms = wait.as_millis(), "not reachable yet, trying again");
        stop.wait(wait);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
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
