//! Which partitions are ours, how far they are pushed and acknowledged, and what happens when they change hands.
//!
//! Kept true: an offset is committed only for a partition that is ours, only once it is acknowledged, and never one from an
//! earlier time at which the partition was ours. Records that were taken before a partition went away are not pushed after.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use krafka::consumer::{Consumer, ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use super::offsets::Offsets;

/// How long a partition that goes away waits for acknowledgements of what was read of it.
const LAST_ACK: Duration = Duration::from_secs(5);
/// Time between two commits.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// A partition that is ours.
#[derive(Debug)]
struct Track {
    /// Since this assignment; records of an earlier one are not pushed.
    since: u64,
    /// The first offset and the one behind the last that were given to be pushed.
    span: Option<(i64, i64)>,
}

#[derive(Debug, Default)]
struct State {
    assignment: u64,
    owned: HashMap<TopicPartition, Track>,
    /// Nothing more is pushed; what is not acknowledged by now will not be.
    is_closing: bool,
}

/// This process as a member of the group.
#[derive(Debug, Default)]
pub(super) struct Member {
    state: Mutex<State>,
    acked: watch::Sender<Offsets>,
    consumer: OnceLock<Weak<Consumer>>,
}

impl Member {
    /// Whose commits go through this consumer.
    pub(super) fn speak_through(&self, consumer: &Arc<Consumer>) {
        let _ = self.consumer.set(Arc::downgrade(consumer));
    }

    /// The number of the assignment at hand.
    pub(super) fn assignment(&self) -> u64 {
        self.state().assignment
    }

    /// Whether records of a partition, taken under an assignment, may be pushed; if so, they count as pushed.
    pub(super) fn admit(&self, partition: &TopicPartition, assignment: u64, first: i64, next: i64) -> bool {
        let mut state = self.state();
        match state.owned.get_mut(partition) {
            Some(track) if track.since <= assignment => {
                track.span = Some((track.span.map_or(first, |(first, _)| first), next));
                true
            }
            _ => false,
        }
    }

    /// Everything up to here is acknowledged.
    pub(super) fn acknowledge(&self, offsets: Offsets) {
        self.acked.send_replace(offsets);
    }

    /// What is acknowledged.
    pub(super) fn acked(&self) -> Offsets {
        self.acked.borrow().clone()
    }

    /// The run ends: nothing more is waited for.
    pub(super) fn close(&self) {
        self.state().is_closing = true;
    }

    /// Commits from time to time what is acknowledged, for as long as it is polled.
    pub(super) async fn commit_regularly(&self) {
        let mut acked = self.acked.subscribe();
        let mut is_failing = false;
        while acked.changed().await.is_ok() {
            match self.commit(|_| true).await {
                Ok(()) if is_failing => {
                    is_failing = false;
                    info!("offsets are committed to Kafka again");
                }
                Ok(()) => {}
                Err(error) => {
                    if !is_failing {
                        warn!("offsets are not committed to Kafka, trying again: {error}");
                    }
                    is_failing = true;
                    acked.mark_changed();
                }
            }
            tokio::time::sleep(COMMIT_EVERY).await;
        }
    }

    /// Commits what is acknowledged of these partitions.
    async fn commit(&self, of: impl Fn(&TopicPartition) -> bool) -> krafka::Result<()> {
        let acked = self.acked();
        let offsets: Vec<(TopicPartition, OffsetAndMetadata)> = {
            let state = self.state();
            let next = |(partition, track): (&TopicPartition, &Track)| {
                let offset = acked.get(partition.topic(), partition.partition())?;
                let (first, _) = track.span?;
                (offset > first && of(partition)).then(|| (partition.clone(), OffsetAndMetadata::new(offset)))
            };
            state.owned.iter().filter_map(next).collect()
        };
        match self.consumer.get().and_then(Weak::upgrade) {
            Some(consumer) if !offsets.is_empty() => consumer.commit_offsets(offsets).await,
            _ => Ok(()),
        }
    }

    /// Whether all that was pushed of these partitions is acknowledged.
    fn is_drained(&self, partitions: &[TopicPartition], acked: &Offsets) -> bool {
        let state = self.state();
        state.is_closing
            || partitions.iter().all(|partition| {
                let pushed = state.owned.get(partition).and_then(|track| track.span);
                let acked = acked.get(partition.topic(), partition.partition());
                pushed.is_none_or(|(_, next)| acked.is_some_and(|acked| acked >= next))
            })
    }

    fn forget(&self, partitions: &[TopicPartition]) {
        let mut state = self.state();
        state.owned.retain(|partition, _| !partitions.contains(partition));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears of changes. It runs inside the client's poll.
#[derive(Debug, Clone)]
pub(super) struct Listener(pub(super) Arc<Member>);

impl ConsumerRebalanceListener for Listener {
    async fn on_partitions_assigned(&self, partitions: &[TopicPartition]) {
        if partitions.is_empty() {
            return;
        }
        info!(partitions = %names(partitions), "partitions assigned");
        let mut state = self.0.state();
        state.assignment += 1;
        let since = state.assignment;
        state
            .owned
            .extend(partitions.iter().map(|partition| (partition.clone(), Track { since, span: None })));
    }

    async fn on_partitions_revoked(&self, partitions: &[TopicPartition]) {
        info!(partitions = %names(partitions), "partitions go away");
        // From here on nothing of them is admitted, so what is pushed of them is all there is to wait for.
        for partition in partitions {
            if let Some(track) = self.0.state().owned.get_mut(partition) {
                track.since = u64::MAX;
            }
        }
        let mut acked = self.0.acked.subscribe();
        let drained = acked.wait_for(|acked| self.0.is_drained(partitions, acked));
        if timeout(LAST_ACK, drained).await.is_err() {
            warn!(partitions = %names(partitions), "not all is acknowledged; the next owner reads it again");
        }
        if let Err(error) = self.0.commit(|partition| partitions.contains(partition)).await {
            warn!(partitions = %names(partitions), "the last offsets are not committed, the next owner reads again: {error}");
        }
        self.0.forget(partitions);
    }

    async fn on_partitions_lost(&self, partitions: &[TopicPartition]) {
        warn!(partitions = %names(partitions), "partitions lost: the group took this instance for dead");
        self.0.forget(partitions);
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    let names: Vec<String> = partitions
        .iter()
        .map(|partition| format!("{}-{}", partition.topic(), partition.partition()))
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("t", number)
    }

    fn acked(number: i32, offset: i64) -> Offsets {
        let mut offsets = Offsets::default();
        offsets.set("t", number, offset);
        offsets
    }

    #[tokio::test]
    async fn records_of_an_earlier_assignment_are_not_pushed() {
        let member = Arc::new(Member::default());
        let listener = Listener(member.clone());
        assert!(!member.admit(&partition(0), 0, 5, 6));
        listener.on_partitions_assigned(&[partition(0)]).await;
        let first = member.assignment();
        assert!(member.admit(&partition(0), first, 5, 7));
        member.acknowledge(acked(0, 7));
        listener.on_partitions_revoked(&[partition(0)]).await;
        assert!(!member.admit(&partition(0), first, 7, 8));
        listener.on_partitions_assigned(&[partition(0)]).await;
        assert!(!member.admit(&partition(0), first, 7, 8));
        assert!(member.admit(&partition(0), member.assignment(), 7, 8));
    }

    #[tokio::test]
    async fn a_partition_goes_away_once_what_was_pushed_of_it_is_acknowledged() {
        let member = Arc::new(Member::default());
        let listener = Listener(member.clone());
        listener.on_partitions_assigned(&[partition(0), partition(1)]).await;
        assert!(member.admit(&partition(0), member.assignment(), 0, 10));
        assert!(member.is_drained(&[partition(1)], &Offsets::default()));
        assert!(!member.is_drained(&[partition(0)], &acked(0, 9)));
        assert!(member.is_drained(&[partition(0)], &acked(0, 10)));
        let acknowledging = async { member.acknowledge(acked(0, 10)) };
        let gone = [partition(0)];
        tokio::join!(listener.on_partitions_revoked(&gone), acknowledging);
        assert!(!member.state().owned.contains_key(&partition(0)));
        assert!(member.state().owned.contains_key(&partition(1)));
        member.close();
        assert!(member.is_drained(&[partition(1)], &Offsets::default()));
    }
}
