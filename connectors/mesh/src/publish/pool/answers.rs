//! What an answer to a publish does.

use flowd_codec::session::{About, Ack, Outcome, Reason, Retry};
use tracing::{debug, warn};

use super::{Pool, Stage};
use crate::publish::letter::Head;

/// What the answer means for the connection that it came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Keep,
    /// The server has no session for it any more.
    Reopen,
}

impl Pool {
    /// Takes an answer that came on `line`. It counts on whichever line the event was sent: the Java server's acks
    /// stray to other connections (protocol manual, section 5.4).
    pub(crate) fn answer(&mut self, line: usize, ack: &Ack<'_>, now_ms: u64) -> Verdict {
        let found = match &ack.about {
            About::Id(id) => self.by_id(id),
            About::Seq(seq) => self.by_seq(*seq),
            About::Unknown => None,
        };
        let Some(slot) = found else {
            self.alien(ack, now_ms);
            return Verdict::Keep;
        };
        match ack.outcome {
            Outcome::Accepted => {
                self.accept(slot, now_ms);
                Verdict::Keep
            }
            Outcome::Retryable(retry, reason) => self.refuse(line, slot, retry, &reason, now_ms),
            Outcome::Permanent(reason) => {
                self.refuse_for_good(slot, &reason, now_ms);
                Verdict::Keep
            }
        }
    }

    /// The slot of the event in flight whose seq this is.
    fn by_seq(&self, seq: u64) -> Option<u32> {
        let (admission, piece) = super::pieces::of_seq(seq.checked_sub(self.seq_base)?);
        if !self.gate.admitted().contains(&admission) {
            return None;
        }
        let slot = self.gate.slot(admission);
        let found = &self.slots[slot as usize];
        let is_it = found.admission == admission && u64::from(found.piece) == piece && found.is_known;
        (is_it && !found.is_gone()).then_some(slot)
    }

    fn by_id(&self, id: &str) -> Option<u32> {
        let same = |slot: &u32| self.parcels.id(self.slots[*slot as usize].place) == id;
        let slot = *self.ids.find(self.hasher.hash_one(id.as_bytes()), same)?;
        (!self.slots[slot as usize].is_gone()).then_some(slot)
    }

    /// Late, doubled, or for somebody else: nothing to do.
    fn alien(&mut self, ack: &Ack<'_>, now_ms: u64) {
        self.stats.alien_answers.add(1);
        if let Some(unsaid) = self.aliens.speak(now_ms) {
            debug!(?ack, unsaid, "an answer for nothing in flight");
        }
    }

    fn accept(&mut self, slot: u32, now_ms: u64) {
        match self.slots[slot as usize].stage {
            Stage::Sent { line: sent_on, .. } => self.lines[sent_on as usize].acked(),
            // An answer to an earlier send: it is published already.
            Stage::Published { .. } => return self.stats.alien_answers.add(1),
            _ => {}
        }
        self.stats.acked.add(1);
        self.finish(slot, now_ms);
    }

    /// The line that an event in flight was sent on. A refusal of an earlier send of an event that waits already says
    /// nothing new.
    fn sent_on(&self, slot: u32) -> Option<usize> {
        match self.slots[slot as usize].stage {
            Stage::Sent { line, .. } => Some(line as usize),
            _ => None,
        }
    }

    fn refuse_for_good(&mut self, slot: u32, reason: &Reason<'_>, now_ms: u64) {
        if self.sent_on(slot).is_none() {
            return;
        }
        if self.is_marker(slot) {
            self.refuse_marker(slot, reason, now_ms);
        } else if !self.split(slot, reason) {
            let head = Head::of(self.parcels.json(self.slots[slot as usize].place));
            let topic = head.topic();
            self.reject(slot, format!("the mesh refused an event of topic {topic} for good: {reason}"));
        }
    }

    fn refuse(&mut self, line: usize, slot: u32, retry: Retry, reason: &Reason<'_>, now_ms: u64) -> Verdict {
        let Some(sent_on) = self.sent_on(slot) else { return Verdict::Keep };
        if retry == Retry::Overload
            && let Some(before) = self.lines[sent_on].overload(now_ms)
        {
            let pause = self.refused.after(before, &mut self.chance);
            self.lines[sent_on].pause(now_ms + pause.as_millis() as u64);
        }
        self.stats.refused.add(1);
        self.say_refused(slot, reason, now_ms);
        self.back_off(slot, now_ms);
        if retry == Retry::Session && sent_on == line { Verdict::Reopen } else { Verdict::Keep }
    }

    /// Sends it again after a while.
    fn back_off(&mut self, slot: u32, now_ms: u64) {
        let refusals = self.slots[slot as usize].refusals;
        self.slots[slot as usize].refusals = refusals.saturating_add(1);
        let wait = self.refused.after(refusals, &mut self.chance);
        self.send_later(slot, now_ms + wait.as_millis() as u64);
    }

    /// A marker that the mesh refuses for good leaves a gap in its lane. A sink that passes no gap needs it: then it is
    /// sent until it is taken.
    fn refuse_marker(&mut self, slot: u32, reason: &Reason<'_>, now_ms: u64) {
        self.say_refused(slot, reason, now_ms);
        if self.has_to_be_applied(slot) {
            self.back_off(slot, now_ms);
        } else {
            self.finish(slot, now_ms);
        }
    }

    fn say_refused(&mut self, slot: u32, reason: &Reason<'_>, now_ms: u64) {
        if let Some(unsaid) = self.refusals.speak(now_ms) {
            let head = Head::of(self.parcels.json(self.slots[slot as usize].place));
            warn!(topic = head.topic(), unsaid, "the mesh refused a publish, which is sent again: {reason}");
        }
    }
}
