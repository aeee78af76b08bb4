//! Waiting longer each time, with chance in it, and saying so only now and then.

use std::time::Duration;

use rand::Rng;

/// Capped exponential waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    first_ms: u64,
    max_ms: u64,
}

impl Backoff {
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self { first_ms: first.as_millis() as u64, max_ms: max.as_millis() as u64 }
    }

    /// The wait after `failures` earlier ones: half of it fixed, half by chance, so that clients do not return in step.
    pub(crate) fn wait_ms(self, failures: u8, chance: &mut impl Rng) -> u64 {
        let full = self.first_ms.saturating_mul(1 << failures.min(20)).min(self.max_ms);
        full / 2 + chance.random_range(0..=full.div_ceil(2))
    }
}

/// Lets one log line a second through and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Muffler {
    next_ms: u64,
    unsaid: u64,
}

impl Muffler {
    const EVERY_MS: u64 = 1000;

    /// Whether to speak now: how many were not said since the last time.
    pub(crate) fn speak(&mut self, now_ms: u64) -> Option<u64> {
        if now_ms < self.next_ms {
            self.unsaid += 1;
            return None;
        }
        self.next_ms = now_ms + Self::EVERY_MS;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_never_vanish() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut chance = SmallRng::seed_from_u64(1);
        for (failures, full) in [(0, 100), (1, 200), (3, 800), (4, 1000), (255, 1000)] {
            let wait = backoff.wait_ms(failures, &mut chance);
            assert!((full / 2..=full).contains(&wait), "{wait} ms after {failures} failures");
        }
    }

    #[test]
    fn one_line_a_second_is_said_and_the_others_are_counted() {
        let mut muffler = Muffler::default();
        let said: Vec<_> = [0, 1, 999, 1000, 1001].map(|now_ms| muffler.speak(now_ms)).into();
        assert_eq!(said, [Some(0), None, None, Some(2), None]);
    }
}
