//! One connection as the pool sees it: a window, and how far the server lets us use it.

/// A line's window and pauses.
#[derive(Debug)]
pub(super) struct Line {
    is_open: bool,
    /// Publishes without answer.
    pub(super) in_flight: usize,
    window: usize,
    /// How much of the window is used: halved by an overload, grown by one for each `allowed` acknowledgements.
    allowed: usize,
    acks: usize,
    /// Gets nothing before this; 0 if it is not paused.
    paused_until_ms: u64,
    /// Overloads in a row.
    overloads: u8,
    /// Whether anything was acknowledged since it was opened.
    pub(super) has_acked: bool,
}

impl Line {
    pub(super) fn new(window: usize) -> Self {
        assert!(window > 0, "a window of no publishes");
        Self {
            is_open: false,
            in_flight: 0,
            window,
            allowed: window,
            acks: 0,
            paused_until_ms: 0,
            overloads: 0,
            has_acked: false,
        }
    }

    pub(super) fn open(&mut self) {
        assert_eq!(self.in_flight, 0, "a new connection with publishes in flight");
        *self = Self { is_open: true, ..Self::new(self.window) };
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
    }

    pub(super) fn has_room(&self, now_ms: u64) -> bool {
        self.is_open && self.in_flight < self.allowed && now_ms >= self.paused_until_ms
    }

    pub(super) fn acked(&mut self) {
        self.overloads = 0;
        self.has_acked = true;
        if self.allowed < self.window {
            self.acks += 1;
            if self.acks >= self.allowed {
                self.acks = 0;
                self.allowed += 1;
            }
        }
    }

    /// The server is overloaded. The refusals of one burst count once: those that come during the pause say nothing
    /// new. Returns how many overloads in a row there were before, when this one is new.
    pub(super) fn overload(&mut self, now_ms: u64) -> Option<u8> {
        if now_ms < self.paused_until_ms {
            return None;
        }
        let before = self.overloads;
        self.overloads = before.saturating_add(1);
        self.allowed = (self.allowed / 2).max(1);
        self.acks = 0;
        Some(before)
    }

    pub(super) fn pause(&mut self, until_ms: u64) {
        self.paused_until_ms = until_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overload_halves_the_window_once_a_burst_and_acknowledgements_grow_it_back() {
        let mut line = Line::new(64);
        line.open();
        assert_eq!(line.overload(10), Some(0));
        line.pause(60);
        assert!(!line.has_room(59) && line.has_room(60));
        assert_eq!(line.overload(59), None);
        assert_eq!(line.overload(60), Some(1));
        assert_eq!(line.allowed, 16);
        (0..16).for_each(|_| line.acked());
        assert_eq!(line.allowed, 17);
        (0..10_000).for_each(|_| line.acked());
        assert_eq!(line.allowed, 64);
    }
}
