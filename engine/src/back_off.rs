//! Waits between attempts to heal an outage: doubled each time up to a bound, with jitter, so that many who lost the
//! same server do not come back in step.

use std::time::Duration;

use rand::Rng;

/// See the module.
#[derive(Debug, Clone)]
pub struct BackOff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl BackOff {
    /// Waits of about `min` at first and `max` at last.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The next wait: between half and all of it.
    pub fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        wait.mul_f64(rand::rng().random_range(0.5..1.0))
    }

    /// The attempt worked: the next outage begins with the shortest wait.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_begin_anew_after_a_success() {
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
