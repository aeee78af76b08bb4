//! What a session has in hand: the events that were pushed to it, until they are acknowledged, out of time or given back.
//!
//! Invariant: an event that is out is released to its group, or acknowledged, exactly once, however it ends.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::broker::{Broker, Delivery, Place};

/// Windows of events that a session remembers, so that late acknowledgements count.
const REMEMBERED: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hand {
    /// Sent and not acknowledged.
    Out,
    /// Released to the group; keeps its place in the window, so that a stuck client is not fed on and on.
    Late,
    /// Late for so long that its place in the window is free again. An acknowledgement still counts.
    Stale,
    Done,
}

#[derive(Debug)]
struct InHand {
    seq: u64,
    place: Place,
    offset: u64,
    sent: Instant,
    hand: Hand,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Window {
    events: VecDeque<InHand>,
    /// Entries that are neither done nor stale.
    unacked: usize,
    /// The last acknowledgement.
    acked: Instant,
    size: usize,
}

impl Window {
    /// Room for `size` events.
    pub(crate) fn new(size: usize, now: Instant) -> Self {
        Self { events: VecDeque::new(), unacked: 0, acked: now, size }
    }

    /// How many more events the session may be given: its window, and its memory of what it was given.
    pub(crate) fn room(&self) -> usize {
        let remembered = (self.size * REMEMBERED).saturating_sub(self.events.len());
        self.size.saturating_sub(self.unacked).min(remembered)
    }

    /// An event is on its way. Seqs ascend.
    pub(crate) fn add(&mut self, place: Place, event: &Delivery<'_>, now: Instant) {
        let (seq, offset) = (event.seq, event.offset);
        self.events.push_back(InHand { seq, place, offset, sent: now, hand: Hand::Out });
        self.unacked += 1;
    }

    /// Where the event pushed as `seq` is. Seqs follow each other unless another reader is pushed to in between.
    fn find(&self, seq: u64) -> Option<usize> {
        let far = usize::try_from(seq.checked_sub(self.events.front()?.seq)?).ok()?;
        match self.events.get(far) {
            Some(event) if event.seq == seq => Some(far),
            _ => self.events.binary_search_by_key(&seq, |event| event.seq).ok(),
        }
    }

    /// The client acknowledged what was pushed as `seq`.
    pub(crate) fn acknowledge(&mut self, seq: u64, broker: &mut Broker, now: Instant) {
        let Some(at) = self.find(seq) else { return };
        let event = &mut self.events[at];
        if event.hand == Hand::Done {
            return;
        }
        self.unacked -= usize::from(event.hand != Hand::Stale);
        event.hand = Hand::Done;
        self.acked = now;
        broker.ack(event.place, event.offset);
        self.drop_done();
    }

    /// Releases what is overdue. A client that works through its pushes one by one is not late with the last of them
    /// while it acknowledges the first: an event is overdue when it is old and a later one was acknowledged, or nothing.
    pub(crate) fn expire(&mut self, timeout: Duration, broker: &mut Broker, now: Instant) {
        let stalled = now.duration_since(self.acked) >= timeout;
        let last_done =
            self.events.iter().rev().find(|event| event.hand == Hand::Done).map_or(0, |event| event.seq);
        for event in &mut self.events {
            let age = now.duration_since(event.sent);
            if age < timeout {
                break;
            }
            if event.hand == Hand::Out && (stalled || event.seq < last_done) {
                event.hand = Hand::Late;
                broker.release(event.place, event.offset);
            }
            if event.hand == Hand::Late && age >= timeout * 2 {
                event.hand = Hand::Stale;
                self.unacked -= 1;
            }
        }
        self.drop_done();
    }

    /// What was not acknowledged in time counts as acknowledged, as on a Java server (protocol manual, section 3.5).
    pub(crate) fn forget(&mut self, after: Duration, broker: &mut Broker, now: Instant) {
        for event in self.events.iter_mut().take_while(|event| now.duration_since(event.sent) >= after) {
            if event.hand == Hand::Out {
                event.hand = Hand::Done;
                self.unacked -= 1;
                broker.ack(event.place, event.offset);
            }
        }
        self.drop_done();
    }

    /// The session ends: what is out goes back to its group.
    pub(crate) fn give_back(&mut self, broker: &mut Broker) {
        for event in self.events.drain(..) {
            if event.hand == Hand::Out {
                broker.release(event.place, event.offset);
            }
        }
        self.unacked = 0;
    }

    fn drop_done(&mut self) {
        let most = self.size * REMEMBERED;
        while let Some(event) = self.events.front()
            && (event.hand == Hand::Done || (event.hand == Hand::Stale && self.events.len() >= most))
        {
            self.events.pop_front();
        }
    }
}
