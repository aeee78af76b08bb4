//! A run: what the client's task hands on is pushed, and what the mesh acknowledges is committed.

use std::sync::Arc;
use std::time::Duration;

use flowd_engine::back_off::BackOff;
use flowd_source::{Closed, Failure, Feeder, News, SourceEnd};
use krafka::CloseOptions;
use krafka::consumer::{Consumer, ConsumerRecord, TopicPartition};
use tokio::sync::mpsc;
use tracing::warn;

use super::KafkaSource;
use super::member::Member;
use super::message::{self, Record};
use super::offsets::Offsets;
use super::poll::{CHUNKS_MAX, Chunk, Poll, join};

/// Waits between two tries to join.
const RETRY_WAIT: Duration = Duration::from_millis(200);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long the last commit and the word to the group may take.
const LEAVE: Duration = Duration::from_secs(5);

/// Reads until the end, a stop or a failure.
pub(super) async fn read(source: Arc<KafkaSource>, feeder: &mut Feeder) -> Result<SourceEnd, Failure> {
    let mut reading = Reading { pushed: source.begin.clone(), source, member: Arc::default() };
    // So that a first start is remembered even if nothing comes.
    feeder.mark(reading.pushed.position());
    if feeder.flush().await.is_err() {
        return Ok(SourceEnd::Stopped);
    }
    let Some((consumer, chunks)) = reading.join(feeder).await? else { return Ok(SourceEnd::Stopped) };
    let end = reading.run(feeder, chunks).await;
    reading.member.close();
    leave(&consumer).await;
    end
}

/// Tells the group, which commits what is acknowledged on the way.
async fn leave(consumer: &Consumer) {
    if let Err(error) = consumer.close_with(CloseOptions::new().timeout(LEAVE)).await {
        warn!("leaving the consumer group failed, it notices by itself: {error}");
    }
}

struct Reading {
    source: Arc<KafkaSource>,
    member: Arc<Member>,
    /// The next offsets behind everything that was pushed.
    pushed: Offsets,
}

impl Reading {
    /// Joins the group, for as long as it takes; nothing where the pipeline goes down meanwhile.
    async fn join(
        &self,
        feeder: &mut Feeder,
    ) -> Result<Option<(Arc<Consumer>, mpsc::Receiver<Chunk>)>, Failure> {
        let mut back_off = BackOff::new(RETRY_WAIT, RETRY_WAIT_MAX);
        let (consumer, topics) = loop {
            match join(&self.source, &self.member).await {
                Ok(joined) => break joined,
                Err(Failure::Retry(text)) => warn!("trying again: {text}"),
                Err(failure) => return Err(failure),
            }
            let wait = tokio::time::sleep(back_off.wait());
            tokio::pin!(wait);
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    news = feeder.news() => match news {
                        News::Acked(position) => self.acknowledge(&position)?,
                        News::Closing | News::Drained => return Ok(None),
                    },
                }
            }
        };
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        let poll = Poll {
            source: self.source.clone(),
            member: self.member.clone(),
            consumer: consumer.clone(),
            chunks: sender,
        };
        tokio::spawn(poll.run(topics));
        Ok(Some((consumer, chunks)))
    }

    async fn run(
        &mut self,
        feeder: &mut Feeder,
        mut chunks: mpsc::Receiver<Chunk>,
    ) -> Result<SourceEnd, Failure> {
        let member = self.member.clone();
        let committing = member.commit_regularly();
        tokio::pin!(committing);
        loop {
            tokio::select! {
                chunk = chunks.recv() => match chunk {
                    Some(Chunk::Records(assignment, records)) => {
                        if self.push_all(feeder, assignment, &records).await.is_err() {
                            break;
                        }
                    }
                    Some(Chunk::End) => return self.end(feeder).await,
                    Some(Chunk::Failed(failure)) => return Err(failure),
                    None => return Err(Failure::Fatal("the task of Kafka's client ended".to_owned())),
                },
                news = feeder.news() => match news {
                    News::Acked(position) => self.acknowledge(&position)?,
                    News::Closing => break,
                    News::Drained => return Ok(SourceEnd::Stopped),
                },
                () = &mut committing => return Err(Failure::Fatal("offsets are not committed any more".to_owned())),
            }
        }
        drop(chunks);
        loop {
            match feeder.news().await {
                News::Acked(position) => self.acknowledge(&position)?,
                News::Closing => {}
                News::Drained => return Ok(SourceEnd::Stopped),
            }
        }
    }

    /// Waits until everything is acknowledged.
    async fn end(&self, feeder: &mut Feeder) -> Result<SourceEnd, Failure> {
        if feeder.flush().await.is_err() {
            return Ok(SourceEnd::Stopped);
        }
        while self.member.acked() != self.pushed {
            match feeder.news().await {
                News::Acked(position) => self.acknowledge(&position)?,
                News::Closing => {}
                News::Drained => return Ok(SourceEnd::Stopped),
            }
        }
        Ok(SourceEnd::Reached)
    }

    fn acknowledge(&self, position: &flowd_source::Position) -> Result<(), Failure> {
        self.member.acknowledge(Offsets::read(position).map_err(Failure::Fatal)?);
        Ok(())
    }

    async fn push_all(
        &mut self,
        feeder: &mut Feeder,
        assignment: u64,
        records: &[ConsumerRecord],
    ) -> Result<(), Closed> {
        let same = |one: &ConsumerRecord, other: &ConsumerRecord| {
            one.partition == other.partition && one.topic == other.topic
        };
        for records in records.chunk_by(same) {
            let (Some(first), Some(last)) = (records.first(), records.last()) else { continue };
            let partition = TopicPartition::new(&*first.topic, first.partition);
            if !self.member.admit(&partition, assignment, first.offset, last.offset + 1) {
                continue;
            }
            for record in records {
                self.push(feeder, record).await?;
                // What is handed on of a chunk is acknowledged although the rest of it may not be.
                self.pushed.set(&record.topic, record.partition, record.offset + 1);
            }
        }
        feeder.mark(self.pushed.position());
        Ok(())
    }

    async fn push(&self, feeder: &mut Feeder, record: &ConsumerRecord) -> Result<(), Closed> {
        let headers: Vec<(&str, Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let seen = Record {
            topic: &record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: (record.timestamp >= 0).then_some(record.timestamp),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        match message::read(&seen, self.source.value) {
            Ok(message) => {
                let topic = self.source.context.subject.topic(&[("topic", &record.topic)]);
                let before = || self.pushed.position();
                feeder.push_after(before, &message.event(&topic, &mut Vec::new())).await
            }
            Err(reason) => {
                let (topic, partition, offset) = (&record.topic, record.partition, record.offset);
                let reason = format!("{reason}; record of {topic}, partition {partition}, offset {offset}");
                feeder.mark(self.pushed.position());
                feeder.reject(&reason, seen.value.unwrap_or_default()).await
            }
        }
    }
}
