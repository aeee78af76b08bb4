//! Faults on purpose, for tests of the clients only: acknowledgements that are never sent, connections that are reset.
//!
//! Which publishes are hit follows from the seed and their count alone. Without faults it costs one branch.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flowd_codec::frame::Command;

/// How often what goes wrong. 0 means never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// One publish in so many is stored and never answered.
    pub drop_acks: u64,
    /// At one publish in so many the connection is cut instead.
    pub reset_every: u64,
    /// Chooses which ones.
    pub seed: u64,
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

impl Faults {
    pub(crate) fn new(plan: FaultPlan) -> Self {
        let wanted = plan.drop_acks > 0 || plan.reset_every > 0;
        Self(wanted.then(|| Arc::new(Progress { plan, count: AtomicU64::new(0) })))
    }

    /// Whether this publish gets no answer.
    pub(crate) fn drop_ack(&self) -> bool {
        self.0.as_ref().is_some_and(|progress| progress.hit(progress.plan.drop_acks))
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
