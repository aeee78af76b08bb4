//! The Java server's limits as its clients meet them: the size of an event, the rate of a connection, the rate of all
//! publishes together (protocol manual, sections 5.1 and 5.3). Without `--java-limits` it costs a branch a frame.
//!
//! Pure: the clock is passed in. What the Java server does by blocking a thread or by not reading is said here as a
//! moment before which the connection takes no frame.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time that was not used counts for so long, as the rate limiters of the Java server have it.
const SAVED_MAX: Duration = Duration::from_secs(1);
/// A publish waits so long for its turn among all; then it is refused.
const TURN_MAX: Duration = Duration::from_millis(5);
/// A turn that is nearer than this is now: timers are no finer.
const TURN_MIN: Duration = Duration::from_millis(1);
/// A connection is not read once it is so far ahead of its rate.
const AHEAD_MAX: Duration = Duration::from_millis(10);

/// What an EventMesh server allows. [`Default`] is what one as shipped does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JavaLimits {
    /// UTF-16 units of an event's data (`eventMesh.server.maxEventSize`).
    pub event_size: usize,
    /// Publishes a second over all connections (`eventMesh.server.tcp.msgReqnumPerSecond`), at least 1.
    pub publishes_per_second: u32,
    /// Frames a second on one connection, acknowledgements included, at least 1. No property of the server lifts it.
    pub frames_per_second: u32,
}

impl Default for JavaLimits {
    fn default() -> Self {
        Self { event_size: 1_000, publishes_per_second: 15_000, frames_per_second: 2_000 }
    }
}

/// One connection's view of the limits; a clone is another connection's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits(Option<Limited>);

#[derive(Debug, Clone)]
struct Limited {
    event_size: usize,
    own: Pace,
    all: Arc<Mutex<Pace>>,
    held_until: Option<Instant>,
}

impl Limits {
    pub(crate) fn new(limits: Option<JavaLimits>) -> Self {
        Self(limits.map(|limits| Limited {
            event_size: limits.event_size,
            own: Pace::new(limits.frames_per_second),
            all: Arc::new(Mutex::new(Pace::new(limits.publishes_per_second))),
            held_until: None,
        }))
    }

    /// UTF-16 units that an event's data may have.
    pub(crate) fn event_size(&self) -> usize {
        self.0.as_ref().map_or(usize::MAX, |limited| limited.event_size)
    }

    /// Counts a frame of this connection.
    pub(crate) fn count_frame(&mut self, now: Instant) {
        let Some(limited) = &mut self.0 else { return };
        limited.own.take(now);
        let ahead = limited.own.wait(now);
        if ahead >= AHEAD_MAX {
            limited.hold(now + ahead);
        }
    }

    /// Whether a publish gets its turn among those of all connections.
    pub(crate) fn admit_publish(&mut self, now: Instant) -> bool {
        let Some(limited) = &mut self.0 else { return true };
        let mut all = limited.all.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = all.wait(now);
        if wait > TURN_MAX {
            return false;
        }
        all.take(now);
        drop(all);
        if wait >= TURN_MIN {
            limited.hold(now + wait);
        }
        true
    }

    /// Until when this connection is not read, if that is after `now`.
    pub(crate) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.0.as_ref()?.held_until.filter(|until| *until > now)
    }
}

impl Limited {
    fn hold(&mut self, until: Instant) {
        self.held_until = self.held_until.max(Some(until));
    }
}

/// A clock that hands out turns at a steady rate.
#[derive(Debug, Clone)]
struct Pace {
    every: Duration,
    next: Option<Instant>,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { every: Duration::from_secs(1) / per_second.max(1), next: None }
    }

    /// How long until the next turn.
    fn wait(&self, now: Instant) -> Duration {
        self.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }

    fn take(&mut self, now: Instant) {
        let next = self.next.unwrap_or(now);
        let saved = now.saturating_duration_since(next).min(SAVED_MAX);
        self.next = Some(next.max(now) - saved + self.every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(frames_per_second: u32, publishes_per_second: u32) -> Limits {
        Limits::new(Some(JavaLimits { frames_per_second, publishes_per_second, ..JavaLimits::default() }))
    }

    /// How many frames a connection gets through in `time`, when it sends as fast as it is read.
    fn frames(limits: &mut Limits, begin: Instant, time: Duration) -> u32 {
        let (mut now, mut count) = (begin, 0);
        while now < begin + time {
            limits.count_frame(now);
            count += 1;
            now = limits.held_until(now).unwrap_or(now);
        }
        count
    }

    #[test]
    fn a_connection_is_read_at_its_rate_and_others_are_not_slowed_by_it() {
        let (mut one, begin) = (limits(2_000, 15_000), Instant::now());
        let mut other = one.clone();
        let count = frames(&mut one, begin, Duration::from_secs(5));
        assert!((10_000..=10_040).contains(&count), "{count}");
        other.count_frame(begin);
        assert_eq!(other.held_until(begin), None);
        assert_eq!(Limits::default().held_until(begin), None, "no limits, no wait");
    }

    #[test]
    fn time_that_was_not_used_counts_for_one_second() {
        let (mut limits, begin) = (limits(2_000, 15_000), Instant::now());
        limits.count_frame(begin);
        let count = frames(&mut limits, begin + Duration::from_secs(60), Duration::from_secs(1));
        assert!((4_000..=4_040).contains(&count), "{count}");
    }

    #[test]
    fn a_publish_waits_for_its_turn_among_all_and_is_refused_where_that_is_far() {
        let (mut one, now) = (limits(2_000, 1_000), Instant::now());
        let mut other = one.clone();
        let admitted = (0..100).filter(|_| one.admit_publish(now)).count();
        assert_eq!(admitted, 6, "one now, and those whose turn is 1 to 5 ms away");
        assert_eq!(one.held_until(now), Some(now + TURN_MAX));
        assert!(!other.admit_publish(now), "the rate is that of all connections");
        assert!(other.admit_publish(now + Duration::from_millis(1)));
    }
}
