//! Looks after the topics while they are read: whether they are there, and whether they have grown. The client tells neither.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use flowd_source::Failure;
use krafka::admin::{AdminClient, DescribeTopicsOptions};
use krafka::consumer::Consumer;
use krafka::error::{ErrorCode, KrafkaError};
use tracing::{info, warn};

use crate::access;

/// Topics are looked for so often, and given up after so many times.
const EVERY: Duration = Duration::from_secs(10);
const MISSED_MAX: u32 = 3;
/// Wait between two tries to subscribe.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// How old the client's view of the topics may be: not older than the last look.
pub(super) const METADATA_AGE: Duration = Duration::from_secs(5);

/// What was seen of them.
pub(super) struct Topics {
    admin: AdminClient,
    /// Each with the number of its partitions.
    partitions: BTreeMap<String, usize>,
    looked: Instant,
    /// How often in a row one was not there.
    missed: u32,
}

impl Topics {
    /// Topics with as many partitions as they have.
    pub(super) fn new(admin: AdminClient, partitions: BTreeMap<String, usize>) -> Self {
        Self { admin, partitions, looked: Instant::now(), missed: 0 }
    }

    /// Looks if it is time.
    pub(super) async fn look(&mut self, consumer: &Consumer) -> Result<(), Failure> {
        if self.looked.elapsed() < EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        self.find().await?;
        if self.has_grown(consumer).await {
            self.join_again(consumer).await;
        }
        Ok(())
    }

    /// Ends the run where a topic is gone for good. An outage is none of its business.
    async fn find(&mut self) -> Result<(), Failure> {
        let options = DescribeTopicsOptions::default().timeout(access::REQUEST_TIMEOUT);
        let Ok(described) = self.admin.describe_topics(self.partitions.keys(), options).await else {
            return Ok(());
        };
        let gone = described.into_iter().find_map(|(topic, described)| match described {
            Err(KrafkaError::Broker { code: ErrorCode::UnknownTopicOrPartition, .. }) => Some((topic, true)),
            Err(KrafkaError::Broker { code: ErrorCode::TopicAuthorizationFailed, .. }) => {
                Some((topic, false))
            }
            _ => None,
        });
        let Some((topic, is_unknown)) = gone else {
            self.missed = 0;
            return Ok(());
        };
        if !is_unknown {
            return Err(Failure::Fatal(format!("the topic {topic} may not be read any more")));
        }
        self.missed += 1;
        if self.missed < MISSED_MAX {
            warn!(topic, "the topic is gone");
            return Ok(());
        }
        let seconds = (EVERY * (MISSED_MAX - 1)).as_secs();
        Err(Failure::Fatal(format!("the topic {topic} has been gone for {seconds} seconds: was it deleted?")))
    }

    /// Whether a topic has more partitions than before.
    async fn has_grown(&mut self, consumer: &Consumer) -> bool {
        let mut has_grown = false;
        for (topic, known) in &mut self.partitions {
            let Ok(seen) = consumer.fetch_metadata(Some(topic)).await else { continue };
            let count = seen.topics.iter().map(|seen| seen.partition_count()).max().unwrap_or(0);
            if count > *known {
                info!(topic, partitions = count, before = *known, "the topic has new partitions");
                *known = count;
                has_grown = true;
            }
        }
        has_grown
    }

    /// Members are dealt partitions when one joins, and a change of what it subscribes to makes one join again. Until the
    /// topics are back nothing is polled, so the group never sees the empty subscription.
    async fn join_again(&self, consumer: &Consumer) {
        let none: [&str; 0] = [];
        let mut subscribed = consumer.subscribe(none).await;
        while subscribed.is_err() || consumer.subscription().await.is_empty() {
            subscribed = consumer.subscribe(self.partitions.keys()).await;
            if let Err(error) = &subscribed {
                warn!("subscribing again failed, trying again: {error}");
                tokio::time::sleep(RETRY_WAIT).await;
            }
        }
    }
}
