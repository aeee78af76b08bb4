//! The client's poll, in a task of its own: it takes records, keeps the membership in the group while the pipeline is full,
//! and judges what the client cannot: partitions without an offset, and deleted records.
//!
//! Memory: what the brokers give at once, [`FETCH_BYTES`] each, is a chunk. One is decoded, [`CHUNKS_MAX`] waits, one is
//! pushed, and one that the lanes have in part stays whole until they are done, so that the client asks for the next while the
//! one before is worked on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flowd_engine::back_off::BackOff;
use flowd_source::Failure;
use krafka::consumer::{
    AutoOffsetReset, Consumer, ConsumerRecord, IsolationLevel, PartitionAssignmentStrategy, TopicPartition,
};
use krafka::error::{ErrorCode, KrafkaError};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{info, warn};

use super::KafkaSource;
use super::member::{Listener, Member};
use super::topics::{METADATA_AGE, Topics};
use crate::access::failure;

/// Chunks of records between this task and the one that pushes them.
pub(super) const CHUNKS_MAX: usize = 1;
/// What a broker gives at once, compressed as it may be; a single batch of its may be larger.
const FETCH_BYTES: i32 = 4 << 20;
/// How long the group waits for an instance that says nothing.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one poll may wait for records.
const POLL: Duration = Duration::from_millis(500);
/// While the pipeline is full, the membership is looked after so often.
const HOLD_EVERY: Duration = Duration::from_secs(3);
/// Waits after a poll that failed.
const RETRY_WAIT: Duration = Duration::from_millis(100);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(5);

/// What the task hands on.
pub(super) enum Chunk {
    /// Records, taken under an assignment of [`Member::assignment`].
    Records(u64, Vec<ConsumerRecord>),
    /// All that was there at the start has been handed on.
    End,
    /// It cannot go on.
    Failed(Failure),
}

/// Joins the group with a consumer that listens for changes.
pub(super) async fn join(
    source: &KafkaSource,
    member: &Arc<Member>,
) -> Result<(Arc<Consumer>, Topics), Failure> {
    let kafka = source.access.connect(|builder| builder.metadata_max_age(METADATA_AGE)).await?;
    let begin =
        source.begin.iter().map(|(topic, partition, offset)| (TopicPartition::new(topic, partition), offset));
    let mut builder = kafka
        .consumer(&source.group)
        .auto_offset_reset(AutoOffsetReset::None)
        .initial_offsets(begin)
        .enable_auto_commit(false)
        .isolation_level(IsolationLevel::ReadCommitted)
        .partition_assignment_strategy(PartitionAssignmentStrategy::CooperativeSticky)
        .session_timeout(SESSION_TIMEOUT)
        .max_poll_records(-1)
        .max_buffered_records(0)
        .fetch_max_bytes(FETCH_BYTES)
        .metrics_push(false)
        .rebalance_listener(Listener(member.clone()));
    if let Some(instance) = &source.group_instance {
        builder = builder.group_instance_id(instance);
    }
    let what = format!("joining the consumer group {}", source.group);
    let consumer = Arc::new(builder.build().await.map_err(|error| failure(&error, &what))?);
    member.speak_through(&consumer);
    consumer.subscribe(&source.topics).await.map_err(|error| failure(&error, &what))?;
    let mut partitions = BTreeMap::new();
    source.begin.iter().for_each(|(topic, ..)| *partitions.entry(topic.to_owned()).or_default() += 1);
    Ok((consumer, Topics::new(kafka.admin(), partitions)))
}

/// Polls until nobody takes what comes any more.
pub(super) struct Poll {
    pub(super) source: Arc<KafkaSource>,
    pub(super) member: Arc<Member>,
    pub(super) consumer: Arc<Consumer>,
    pub(super) chunks: mpsc::Sender<Chunk>,
}

impl Poll {
    /// The task.
    pub(super) async fn run(self, topics: Topics) {
        if let Err(failure) = self.poll(topics).await {
            // Whoever takes no more is going down anyway.
            let _ = self.chunks.send(Chunk::Failed(failure)).await;
        }
    }

    async fn poll(&self, mut topics: Topics) -> Result<(), Failure> {
        let mut back_off = BackOff::new(RETRY_WAIT, RETRY_WAIT_MAX);
        loop {
            let mut records = Vec::new();
            let room = loop {
                match timeout(HOLD_EVERY, self.chunks.reserve()).await {
                    Ok(Ok(room)) => break room,
                    Ok(Err(_)) => return Ok(()),
                    Err(_) => records.extend(self.hold().await?),
                }
            };
            if records.is_empty() {
                match self.consumer.poll(POLL).await {
                    Ok(polled) => {
                        records = polled;
                        back_off.reset();
                    }
                    Err(KrafkaError::Closed { .. }) => return Ok(()),
                    Err(error) => self.judge(&error, &mut back_off).await?,
                }
            }
            if !records.is_empty() {
                room.send(Chunk::Records(self.member.assignment(), records));
            } else if !self.source.follow && self.is_at_end().await {
                room.send(Chunk::End);
                return Ok(());
            }
            topics.look(&self.consumer).await?;
        }
    }

    /// Stays in the group without taking records, but for those of partitions that come just now.
    async fn hold(&self) -> Result<Vec<ConsumerRecord>, Failure> {
        let assigned = self.consumer.assignment().await;
        for (topic, partitions) in &assigned {
            self.consumer.pause(topic, partitions).await;
        }
        let polled = self.consumer.poll(Duration::ZERO).await;
        for (topic, partitions) in &assigned {
            self.consumer.resume(topic, partitions).await;
        }
        match polled {
            Ok(records) => Ok(records),
            Err(error) => {
                self.judge(&error, &mut BackOff::new(RETRY_WAIT, RETRY_WAIT_MAX)).await?;
                Ok(Vec::new())
            }
        }
    }

    /// Mends what a poll failed with, or waits.
    async fn judge(&self, error: &KrafkaError, back_off: &mut BackOff) -> Result<(), Failure> {
        match error {
            KrafkaError::NoOffset { partitions } => {
                for (topic, partition) in partitions {
                    self.place(topic, *partition).await?;
                }
                return Ok(());
            }
            KrafkaError::Broker {
                code:
                    ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId,
                ..
            } => {}
            error if error.is_retriable() => warn!("reading from Kafka failed, trying again: {error}"),
            error => return Err(Failure::Fatal(format!("reading from Kafka: {error}"))),
        }
        tokio::time::sleep(back_off.wait()).await;
        Ok(())
    }

    /// Gives a place to a partition that is new, or whose place is not there any more.
    async fn place(&self, topic: &str, partition: i32) -> Result<(), Failure> {
        let lookup = |error: KrafkaError| {
            warn!("looking up offsets of {topic}-{partition} failed, trying again: {error}");
        };
        let place = self.consumer.position(topic, partition).await;
        let (first, end) = match self.consumer.fetch_watermarks(topic, partition).await {
            Ok(found) => found,
            Err(error) => {
                lookup(error);
                tokio::time::sleep(RETRY_WAIT).await;
                return Ok(());
            }
        };
        match place {
            Some(place) if (first..=end).contains(&place) => return Ok(()),
            Some(place) if self.source.skips_gaps => {
                warn!(
                    topic,
                    partition,
                    place,
                    first,
                    end,
                    "records are gone before they were read; skipped, as onGap says"
                );
            }
            Some(place) => {
                return Err(Failure::Fatal(format!(
                    "partition {partition} of the topic {topic} was read up to offset {place}, but Kafka has offsets {first} to \
                     {end}: records were deleted before they were read, or the topic was made anew; onGap: skip goes on \
                     at {first}"
                )));
            }
            None => info!(topic, partition, "a partition without an offset is read from its beginning"),
        }
        if let Err(error) = self.consumer.seek(topic, partition, first).await {
            lookup(error);
        }
        Ok(())
    }

    /// Whether everything that was there at the start has been taken.
    async fn is_at_end(&self) -> bool {
        for (topic, partition, end) in self.source.end.iter() {
            if self.consumer.fetch_position(topic, partition).await.is_none_or(|place| place < end) {
                return false;
            }
        }
        true
    }
}
