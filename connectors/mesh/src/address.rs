//! Which address a connection goes to. Pure: time is passed in.
//!
//! Connections are spread over the addresses that answer; one that failed is left alone for a back-off and then probed,
//! so that its connections come back.

use flowd_engine::back_off::Waits;
use rand::rngs::SmallRng;

use crate::config::Timing;

#[derive(Debug)]
struct Address {
    text: String,
    /// Connections that are open or being opened.
    connections: usize,
    /// The last thing heard of it is a failure.
    is_down: bool,
    /// Failures in a row, with no good session between them.
    failures: u8,
    not_before_ms: u64,
}

/// Where to go, or how long to wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Go(usize),
    WaitUntil(u64),
}

#[derive(Debug)]
pub(crate) struct Addresses {
    list: Vec<Address>,
    waits: Waits,
    chance: SmallRng,
}

impl Addresses {
    pub(crate) fn new(texts: &[String], timing: &Timing, chance: SmallRng) -> Self {
        assert!(!texts.is_empty(), "a mesh without address");
        let address = |text: &String| Address {
            text: text.clone(),
            connections: 0,
            is_down: false,
            failures: 0,
            not_before_ms: 0,
        };
        let waits = Waits::new(timing.reconnect, timing.reconnect_max);
        Self { list: texts.iter().map(address).collect(), waits, chance }
    }

    pub(crate) fn text(&self, index: usize) -> &str {
        &self.list[index].text
    }

    /// The address with the fewest connections among those that may be tried, preferring those that answered last; it is
    /// charged with one connection until [`Addresses::lost`] or [`Addresses::left`].
    pub(crate) fn choose(&mut self, now_ms: u64) -> Choice {
        let due = (0..self.list.len()).filter(|index| self.list[*index].not_before_ms <= now_ms);
        match due.min_by_key(|index| (self.list[*index].is_down, self.list[*index].connections)) {
            Some(index) => {
                self.list[index].connections += 1;
                Choice::Go(index)
            }
            None => Choice::WaitUntil(
                self.list.iter().map(|address| address.not_before_ms).min().unwrap_or(now_ms),
            ),
        }
    }

    /// A connection to it failed, or was lost; `was_good` where it had been of use, which makes earlier failures old
    /// news. Failures that come together count once.
    pub(crate) fn lost(&mut self, index: usize, was_good: bool, now_ms: u64) {
        self.left(index);
        self.failed(index, was_good, now_ms);
    }

    fn failed(&mut self, index: usize, was_good: bool, now_ms: u64) {
        let address = &mut self.list[index];
        if was_good {
            address.failures = 0;
        }
        address.is_down = true;
        if address.not_before_ms <= now_ms {
            let wait = self.waits.after(address.failures, &mut self.chance);
            address.not_before_ms = now_ms + wait.as_millis() as u64;
            address.failures = address.failures.saturating_add(1);
        }
    }

    /// A connection to it was closed on purpose.
    pub(crate) fn left(&mut self, index: usize) {
        self.list[index].connections -= 1;
    }

    /// It sends its clients away: others are better for a moment.
    pub(crate) fn avoid(&mut self, index: usize, now_ms: u64) {
        self.failed(index, false, now_ms);
    }

    /// It greeted. Its failures are forgotten only once a session was good.
    pub(crate) fn answered(&mut self, index: usize) {
        self.list[index].is_down = false;
    }

    /// An address that failed and may be tried again. It is left alone for one more back-off, whatever the probe says.
    pub(crate) fn probe_due(&mut self, now_ms: u64) -> Option<usize> {
        let index = (0..self.list.len())
            .find(|index| self.list[*index].is_down && self.list[*index].not_before_ms <= now_ms)?;
        self.failed(index, false, now_ms);
        Some(index)
    }

    /// A probe greeted: connections may move there.
    pub(crate) fn is_back(&mut self, index: usize) {
        self.list[index].is_down = false;
        self.list[index].not_before_ms = 0;
    }

    /// Whether a connection of `index` should move: an address that answers has at least two fewer.
    pub(crate) fn is_crowded(&self, index: usize, now_ms: u64) -> bool {
        let healthy = self.list.iter().filter(|address| !address.is_down && address.not_before_ms <= now_ms);
        let fewest = healthy.map(|address| address.connections).min();
        fewest.is_some_and(|fewest| self.list[index].connections >= fewest + 2)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn addresses(count: usize) -> Addresses {
        let texts: Vec<String> = (0..count).map(|index| format!("a{index}:1")).collect();
        Addresses::new(&texts, &Timing::default(), SmallRng::seed_from_u64(7))
    }

    #[test]
    fn connections_spread_over_what_answers_and_move_when_one_is_lost() {
        let mut addresses = addresses(2);
        let chosen: Vec<_> = (0..4).map(|_| addresses.choose(0)).collect();
        assert_eq!(chosen, [Choice::Go(0), Choice::Go(1), Choice::Go(0), Choice::Go(1)]);
        addresses.lost(0, true, 60_000);
        addresses.lost(0, true, 60_000);
        assert_eq!((addresses.choose(60_000), addresses.choose(60_000)), (Choice::Go(1), Choice::Go(1)));
        assert!(!addresses.is_crowded(1, 60_000));
        // The two failures came together and count once: back within the first wait.
        let index = addresses.probe_due(60_200).unwrap();
        addresses.is_back(index);
        assert!(addresses.is_crowded(1, 60_200));
        addresses.left(1);
        assert_eq!(addresses.choose(60_200), Choice::Go(0));
        assert!(addresses.is_crowded(1, 60_200));
        addresses.left(1);
        assert_eq!(addresses.choose(60_200), Choice::Go(0));
        assert!(!addresses.is_crowded(1, 60_200));
    }

    /// The waits after twelve sessions that were lost as soon as they could be.
    fn waits_after_losses(was_good: bool) -> Vec<u64> {
        let mut addresses = addresses(1);
        let mut now_ms = 0;
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert_eq!(addresses.choose(now_ms), Choice::Go(0));
            addresses.lost(0, was_good, now_ms);
            let Choice::WaitUntil(until_ms) = addresses.choose(now_ms) else {
                panic!("no wait after a failure")
            };
            waits.push(until_ms - now_ms);
            now_ms = until_ms;
        }
        waits
    }

    #[test]
    fn connections_that_are_cut_while_they_are_of_use_are_soon_opened_again() {
        let waits = waits_after_losses(true);
        assert!(waits.iter().all(|wait| (100..=200).contains(wait)), "{waits:?}");
    }

    #[test]
    fn when_nothing_answers_the_waits_grow_to_the_cap() {
        let waits = waits_after_losses(false);
        assert!(
            waits[0] <= 200 && waits[11] >= 7_500 && waits.iter().all(|wait| *wait <= 15_000),
            "{waits:?}"
        );
    }
}
