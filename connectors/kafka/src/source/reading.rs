//! A run: what the client's thread hands on is pushed, and what the mesh acknowledges goes back there to be committed.
//!
//! Kafka's client decodes on one thread; events are made of its records on the source's own, beside it.

use std::sync::Arc;

use flowd_source::{Client, Closed, Events, Failure, Feeder, News, Position, SourceEnd, run_async};
use krafka::consumer::{ConsumerRecord, TopicPartition};
use tokio::sync::{mpsc, oneshot};

use super::KafkaSource;
use super::client::take_part;
use super::member::Member;
use super::message::{self, Record};
use super::offsets::Offsets;
use super::poll::{CHUNKS_MAX, Chunk};

/// Reads until the end, a stop or a failure.
pub(super) fn read(source: KafkaSource, out: &mut Events<'_>) -> Result<SourceEnd, Failure> {
    let source = Arc::new(source);
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let (leave, told_to_leave) = oneshot::channel();
    let mut reading = Reading { pushed: source.begin.clone(), source, member: Arc::default() };
    let (source, member) = (reading.source.clone(), reading.member.clone());
    let client = Client::start(async move || {
        take_part(source, member, sender, told_to_leave).await;
        Ok(())
    })?;
    let end = run_async(out, async |feeder| reading.run(feeder, chunks).await);
    reading.member.close();
    // An error means that it has left.
    let _ = leave.send(());
    client.join()?;
    end
}

struct Reading {
    source: Arc<KafkaSource>,
    member: Arc<Member>,
    /// The next offsets behind everything that was pushed.
    pushed: Offsets,
}

impl Reading {
    async fn run(
        &mut self,
        out: &mut Feeder<'_>,
        mut chunks: mpsc::Receiver<Chunk>,
    ) -> Result<SourceEnd, Failure> {
        // So that a first start is remembered even if nothing comes. A pipeline that goes down is the next news.
        out.mark(self.pushed.position());
        let _ = out.flush().await;
        loop {
            tokio::select! {
                biased;
                news = out.news() => match news {
                    News::Acked(position) => self.acknowledge(&position)?,
                    News::Closing => break,
                    News::Drained => return Ok(SourceEnd::Stopped),
                },
                chunk = chunks.recv() => match chunk {
                    Some(Chunk::Records(assignment, records)) => {
                        let _ = self.push_all(out, assignment, &records).await;
                        if chunks.is_empty() {
                            let _ = out.flush().await;
                        }
                    }
                    Some(Chunk::End) => return self.end(out).await,
                    Some(Chunk::Failed(failure)) => return Err(failure),
                    None => return Err(Failure::Fatal("the task of Kafka's client ended".to_owned())),
                },
            }
        }
        drop(chunks);
        self.drain(out).await
    }

    /// Waits until everything is acknowledged.
    async fn end(&self, out: &mut Feeder<'_>) -> Result<SourceEnd, Failure> {
        let _ = out.flush().await;
        while !out.is_drained() {
            match out.news().await {
                News::Acked(position) => self.acknowledge(&position)?,
                News::Closing => return self.drain(out).await,
                News::Drained => return Ok(SourceEnd::Stopped),
            }
        }
        Ok(SourceEnd::Reached)
    }

    /// Passes on the last acknowledgements.
    async fn drain(&self, out: &mut Feeder<'_>) -> Result<SourceEnd, Failure> {
        while let Some(position) = out.drain().await {
            self.acknowledge(&position)?;
        }
        Ok(SourceEnd::Stopped)
    }

    fn acknowledge(&self, position: &Position) -> Result<(), Failure> {
        self.member.acknowledge(Offsets::read(position).map_err(Failure::Fatal)?);
        Ok(())
    }

    async fn push_all(
        &mut self,
        out: &mut Feeder<'_>,
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
            let topic = self.source.context.subject.topic(&[("topic", &first.topic)]).into_owned();
            for record in records {
                // What is handed on of a chunk is acknowledged although the rest of it may not be.
                if out.is_due() {
                    self.pushed.set(&record.topic, record.partition, record.offset);
                    out.mark(self.pushed.position());
                }
                self.push(out, record, &topic).await?;
            }
            self.pushed.set(&last.topic, last.partition, last.offset + 1);
        }
        out.mark(self.pushed.position());
        Ok(())
    }

    /// Pushes a record's event to a topic of the mesh.
    async fn push(&self, out: &mut Feeder<'_>, record: &ConsumerRecord, topic: &str) -> Result<(), Closed> {
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
            Ok(message) => out.push(&message.event(topic, &mut Vec::new())).await,
            Err(reason) => {
                let (topic, partition, offset) = (&record.topic, record.partition, record.offset);
                let reason = format!("{reason}; record of {topic}, partition {partition}, offset {offset}");
                out.reject(&reason, seen.value.unwrap_or_default()).await
            }
        }
    }
}
