//! What an answer to a publish does.

use tracing::{debug, warn};

use super::{Pool, Stage};
use crate::answer::{body_id, topic};
use crate::refusal::{self, Refusal};

/// An `ASYNC_MESSAGE_TO_SERVER_ACK`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) code: i32,
    pub(crate) desc: &'a str,
    pub(crate) seq: Option<&'a str>,
    pub(crate) body: &'a [u8],
}

/// What the answer means for the connection that it came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Keep,
    /// The server has no session for it any more.
    Reopen,
}

impl Pool {
    /// Takes an answer that came on `line`. One with a body counts for its body's id only, on whichever line the event
    /// was sent: the Java server's acks carry wrong seqs and stray to other connections (protocol manual, section 5.4).
    pub(crate) fn answer(&mut self, line: usize, answer: &Answer<'_>, now_ms: u64) -> Verdict {
        let found = if answer.body.is_empty() { self.by_seq(answer.seq) } else { self.by_id(answer.body) };
        let Some(slot) = found else {
            self.alien(answer, now_ms);
            return Verdict::Keep;
        };
        if answer.code == 0 {
            if let Stage::Sent { line: sent_on, .. } = self.slots[slot as usize].stage {
                self.lines[sent_on as usize].acked();
            }
            self.stats.acked.add(1);
            self.settle(slot);
            return Verdict::Keep;
        }
        self.refuse(line, slot, answer, now_ms)
    }

    /// The slot of the event in flight whose seq this is.
    fn by_seq(&self, seq: Option<&str>) -> Option<u32> {
        let admission = seq?.parse::<u64>().ok()?.checked_sub(self.seq_base)?;
        if !self.gate.admitted().contains(&admission) {
            return None;
        }
        let slot = self.gate.slot(admission);
        let found = &self.slots[slot as usize];
        let is_known = found.admission == admission && found.sends > 0 && !found.is_gone();
        is_known.then_some(slot)
    }

    fn by_id(&self, body: &[u8]) -> Option<u32> {
        let id = body_id(body)?;
        let same = |slot: &u32| self.parcels.id(self.slots[*slot as usize].place) == id.as_bytes();
        let slot = *self.ids.find(self.hasher.hash_one(id.as_bytes()), same)?;
        (!self.slots[slot as usize].is_gone()).then_some(slot)
    }

    /// Late, doubled, or for somebody else: nothing to do.
    fn alien(&mut self, answer: &Answer<'_>, now_ms: u64) {
        self.stats.alien_answers.add(1);
        if let Some(unsaid) = self.aliens.speak(now_ms) {
            let (seq, code) = (answer.seq, answer.code);
            debug!(seq, code, unsaid, "an answer for nothing in flight: {}", answer.desc);
        }
    }

    fn refuse(&mut self, line: usize, slot: u32, answer: &Answer<'_>, now_ms: u64) -> Verdict {
        // A refusal of an earlier send of an event that waits already says nothing new.
        let Stage::Sent { line: sent_on, .. } = self.slots[slot as usize].stage else { return Verdict::Keep };
        let refusal = Refusal::of(answer.code, answer.desc);
        match refusal {
            Refusal::Size | Refusal::Never => {
                let topic = topic(self.parcels.json(self.slots[slot as usize].place));
                self.reject(slot, refusal::reason(refusal, &topic, answer.desc));
                return Verdict::Keep;
            }
            Refusal::Overload => {
                if let Some(before) = self.lines[sent_on as usize].overload(now_ms) {
                    let pause_ms = self.refused.wait_ms(before, &mut self.chance);
                    self.lines[sent_on as usize].pause(now_ms + pause_ms);
                }
            }
            Refusal::Session | Refusal::Wait => {}
        }
        self.stats.refused.add(1);
        self.say_refused(slot, answer.desc, now_ms);
        let refusals = self.slots[slot as usize].refusals;
        self.slots[slot as usize].refusals = refusals.saturating_add(1);
        let wait_ms = self.refused.wait_ms(refusals, &mut self.chance);
        self.send_later(slot, now_ms + wait_ms);
        if refusal == Refusal::Session && sent_on as usize == line { Verdict::Reopen } else { Verdict::Keep }
    }

    fn say_refused(&mut self, slot: u32, text: &str, now_ms: u64) {
        if let Some(unsaid) = self.refusals.speak(now_ms) {
            let topic = topic(self.parcels.json(self.slots[slot as usize].place));
            warn!(topic, unsaid, "the mesh refused a publish, which is sent again: {text}");
        }
    }
}
