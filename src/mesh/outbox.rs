//! What a connection still has to send: pushes, and replies in the order of their requests.
//!
//! A reply may have to wait until a publish is durable; the ones behind it wait too, pushes do not. Invariant: no reply
//! leaves before the LSN it was queued with is durable.

use std::collections::VecDeque;

/// Unsent bytes beyond which a connection takes no more requests and no more events.
pub(crate) const FULL: usize = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    ready: Vec<u8>,
    sent: usize,
    held: Vec<u8>,
    /// LSN and length of each held reply.
    marks: VecDeque<(u64, usize)>,
}

impl Outbox {
    /// Queues a push.
    pub(crate) fn push(&mut self) -> &mut Vec<u8> {
        &mut self.ready
    }

    /// Queues a reply that may leave once `lsn` is durable.
    pub(crate) fn reply(&mut self, lsn: u64, durable: u64, write: impl FnOnce(&mut Vec<u8>)) {
        if self.marks.is_empty() && lsn <= durable {
            return write(&mut self.ready);
        }
        let before = self.held.len();
        write(&mut self.held);
        let length = self.held.len() - before;
        match self.marks.back_mut() {
            Some((last, total)) if *last >= lsn => *total += length,
            _ => self.marks.push_back((lsn, length)),
        }
    }

    /// Frees the replies that `durable` allows.
    pub(crate) fn release(&mut self, durable: u64) {
        let mut free = 0;
        while let Some((lsn, length)) = self.marks.front()
            && *lsn <= durable
        {
            free += length;
            self.marks.pop_front();
        }
        self.ready.extend(self.held.drain(..free));
    }

    /// What can be sent now.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.ready[self.sent..]
    }

    /// `count` bytes of [`Outbox::unsent`] left.
    pub(crate) fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.ready.len() {
            self.ready.clear();
            self.sent = 0;
            if self.ready.capacity() > 4 * FULL {
                self.ready = Vec::new();
            }
        }
    }

    /// Whether replies wait for the disk.
    pub(crate) fn is_holding(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Whether no more work should be taken on.
    pub(crate) fn is_full(&self) -> bool {
        self.unsent().len() >= FULL || self.held.len() >= FULL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_wait_for_the_disk_in_order_and_pushes_do_not() {
        let mut outbox = Outbox::default();
        outbox.reply(0, 5, |out| out.extend_from_slice(b"a"));
        outbox.reply(9, 5, |out| out.extend_from_slice(b"b"));
        outbox.reply(0, 5, |out| out.extend_from_slice(b"c"));
        outbox.reply(12, 5, |out| out.extend_from_slice(b"d"));
        outbox.push().extend_from_slice(b"P");
        assert_eq!((outbox.unsent(), outbox.is_holding()), (&b"aP"[..], true));
        outbox.release(8);
        assert_eq!(outbox.unsent(), b"aP");
        outbox.advance(2);
        outbox.release(9);
        assert_eq!(outbox.unsent(), b"bc");
        outbox.release(12);
        assert_eq!((outbox.unsent(), outbox.is_holding()), (&b"bcd"[..], false));
    }
}
