//! Waits between attempts to heal an outage: doubled each time up to a bound, with jitter, so that many who lost the
//! same server do not come back in step. [`Waits`] only computes; [`BackOff`] counts for one who waits.

use std::time::Duration;

use rand::Rng;

/// How long each wait is. Whoever keeps many of them, or has chance passed in, counts the failures itself.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    min: Duration,
    max: Duration,
}

impl Waits {
    /// About `min` at first and `max` at last.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max }
    }

    /// The wait after `failures` earlier ones: half of it fixed, half by chance.
    pub fn after(self, failures: u8, chance: &mut impl Rng) -> Duration {
        let whole = self.min.saturating_mul(1 << failures.min(20)).min(self.max);
        whole.mul_f64(chance.random_range(0.5..=1.0))
    }
}

/// One who waits.
#[derive(Debug, Clone)]
pub struct BackOff {
    waits: Waits,
    failures: u8,
}

impl BackOff {
    /// Waits of about `min` at first and `max` at last.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { waits: Waits::new(min, max), failures: 0 }
    }

    /// The next wait: between half and all of it.
    pub fn wait(&mut self) -> Duration {
        let wait = self.waits.after(self.failures, &mut rand::rng());
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// The attempt worked: the next outage begins with the shortest wait.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_never_vanish() {
        let waits = Waits::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut chance = SmallRng::seed_from_u64(1);
        for (failures, whole_ms) in [(0, 100), (1, 200), (3, 800), (4, 1000), (255, 1000)] {
            let (wait, whole) = (waits.after(failures, &mut chance), Duration::from_millis(whole_ms));
            assert!((whole / 2..=whole).contains(&wait), "{wait:?} after {failures} failures");
        }
    }

    #[test]
    fn waits_begin_anew_after_a_success() {
        let (min, max) = (Duration::from_millis(100), Duration::from_millis(400));
        let mut back_off = BackOff::new(min, max);
        for whole in [min, min * 2, max, max] {
            let wait = back_off.wait();
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
        }
        back_off.reset();
        assert!(back_off.wait() <= min);
    }
}
