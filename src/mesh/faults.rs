//! Faults on purpose, for tests of the clients only: answers and pushes that never come, come late or are forgotten,
//! connections that are cut, clients that are sent away.
//!
//! Which frames are hit follows from the seed and their count alone. Without faults it costs one branch.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use flowd_codec::frame::Command;

/// Pushes that overtake one that is held back.
const OVERTAKE: u8 = 5;

/// What goes wrong and how often: one in so many, 0 means never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub struct FaultPlan {
    /// For tests only: one publish in N is stored and never answered
    #[arg(long = "fault-drop-acks", value_name = "N", default_value_t = 0, hide = true)]
    pub drop_acks: u64,
    /// For tests only: one publish in N meets a cut connection
    #[arg(long = "fault-reset-every", value_name = "N", default_value_t = 0, hide = true)]
    pub reset_every: u64,
    /// For tests only: one publish in N is refused with SEND_TOO_FAST
    #[arg(long = "fault-too-fast", value_name = "N", default_value_t = 0, hide = true)]
    pub too_fast: u64,
    /// For tests only: one push in N is never sent, and counts as sent
    #[arg(long = "fault-drop-pushes", value_name = "N", default_value_t = 0, hide = true)]
    pub drop_pushes: u64,
    /// For tests only: one push in N is overtaken by a few later ones
    #[arg(long = "fault-reorder-pushes", value_name = "N", default_value_t = 0, hide = true)]
    pub reorder_pushes: u64,
    /// For tests only: a push that is not acknowledged after so many milliseconds counts as acknowledged, and does not
    /// go out again; the Java server's 3000
    #[arg(long = "fault-forget-after", value_name = "MS", hide = true, value_parser = millis)]
    pub forget_after: Option<Duration>,
    /// For tests only: each client is sent away so many milliseconds after its HELLO
    #[arg(long = "fault-leave-after", value_name = "MS", hide = true, value_parser = millis)]
    pub leave_after: Option<Duration>,
    /// For tests only: it is redirected to this address instead of being told goodbye
    #[arg(long = "fault-redirect-to", value_name = "ADDR", hide = true, requires = "leave_after")]
    pub redirect_to: Option<SocketAddr>,
    /// For tests only: which frames the faults hit
    #[arg(long = "fault-seed", value_name = "SEED", default_value_t = 1, hide = true)]
    pub seed: u64,
}

fn millis(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}

/// A plan and how far it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Option<Arc<Progress>>);

#[derive(Debug)]
struct Progress {
    plan: FaultPlan,
    /// Written and read by all connections; only its own atomicity matters, hence Relaxed.
    count: AtomicU64,
}

/// What becomes of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Sent,
    Dropped,
    Late,
}

impl Faults {
    pub(crate) fn new(plan: FaultPlan) -> Self {
        let wanted = FaultPlan { seed: 0, ..plan } != FaultPlan::default();
        Self(wanted.then(|| Arc::new(Progress { plan, count: AtomicU64::new(0) })))
    }

    /// Whether this publish gets no answer.
    pub(crate) fn drop_ack(&self) -> bool {
        self.0.as_ref().is_some_and(|progress| progress.hit(progress.plan.drop_acks))
    }

    /// Whether this publish is refused as one too many.
    pub(crate) fn is_too_fast(&self) -> bool {
        self.0.as_ref().is_some_and(|progress| progress.hit(progress.plan.too_fast))
    }

    /// # Errors
    /// A reset, when the plan wants one at this frame.
    pub(crate) fn reset(&self, command: Command) -> io::Result<()> {
        let Some(progress) = &self.0 else { return Ok(()) };
        if command == Command::AsyncMessageToServer && progress.hit(progress.plan.reset_every) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "reset on purpose"));
        }
        Ok(())
    }

    /// What becomes of the next push.
    pub(crate) fn fate(&self) -> Fate {
        match &self.0 {
            Some(progress) if progress.hit(progress.plan.drop_pushes) => Fate::Dropped,
            Some(progress) if progress.hit(progress.plan.reorder_pushes) => Fate::Late,
            _ => Fate::Sent,
        }
    }

    /// After which time a push that was not acknowledged is forgotten.
    pub(crate) fn forget_after(&self) -> Option<Duration> {
        self.0.as_ref()?.plan.forget_after
    }

    /// How long after its HELLO a client is sent away, and to where.
    pub(crate) fn leave_after(&self) -> Option<(Duration, Option<SocketAddr>)> {
        let plan = self.0.as_ref()?.plan;
        plan.leave_after.map(|after| (after, plan.redirect_to))
    }
}

impl Progress {
    fn hit(&self, every: u64) -> bool {
        every > 0 && mix(self.plan.seed ^ self.count.fetch_add(1, Ordering::Relaxed)).is_multiple_of(every)
    }
}

/// splitmix64's finisher.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Pushes that are held back until a few later ones have left.
#[derive(Debug, Default)]
pub(crate) struct HeldBack(VecDeque<(u8, Vec<u8>)>);

impl HeldBack {
    /// Writes a push as its fate wants it, and behind it those that were overtaken often enough.
    pub(crate) fn send(&mut self, fate: Fate, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        match fate {
            Fate::Dropped => return,
            Fate::Late => {
                let mut frame = Vec::new();
                write(&mut frame);
                return self.0.push_back((OVERTAKE, frame));
            }
            Fate::Sent => write(out),
        }
        self.0.iter_mut().for_each(|(left, _)| *left = left.saturating_sub(1));
        while let Some((_, frame)) = self.0.pop_front_if(|(left, _)| *left == 0) {
            out.extend_from_slice(&frame);
        }
    }

    /// Nothing is left to overtake them.
    pub(crate) fn release(&mut self, out: &mut Vec<u8>) {
        self.0.drain(..).for_each(|(_, frame)| out.extend_from_slice(&frame));
    }
}
