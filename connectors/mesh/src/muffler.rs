//! Saying the same thing only now and then. Pure: time is passed in.

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
    use super::*;

    #[test]
    fn one_line_a_second_is_said_and_the_others_are_counted() {
        let mut muffler = Muffler::default();
        let said: Vec<_> = [0, 1, 999, 1000, 1001].map(|now_ms| muffler.speak(now_ms)).into();
        assert_eq!(said, [Some(0), None, None, Some(2), None]);
    }
}
