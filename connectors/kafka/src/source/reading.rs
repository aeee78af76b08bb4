//! A run: what the client's thread hands on is pushed, and what the mesh acknowledges goes back there to be committed.
//!
//! Kafka's client decodes on one thread; events are made of its records on the source's own, beside it.

use std::ops::Range;
use std::sync::Arc;

use flowd_source::{Client, Closed, Events, Failure, Feeder, News, Position, SourceEnd, run_async};
use krafka::consumer::{ConsumerRecord, TopicPartition};
use tokio::sync::{mpsc, oneshot};

use super::KafkaSource;
use super::client::take_part;
use super::member::Member;
use super::offsets::Offsets;
use super::poll::{CHUNKS_MAX, Chunk};
use super::records::Records;

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
                        let _ = self.push_all(out, assignment, records).await;
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
        records: Vec<ConsumerRecord>,
    ) -> Result<(), Closed> {
        let records = Arc::new(records);
        let same = |one: &ConsumerRecord, other: &ConsumerRecord| {
            one.partition == other.partition && one.topic == other.topic
        };
        let mut begin = 0;
        for run in records.chunk_by(same) {
            let range = begin..begin + run.len();
            begin = range.end;
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let partition = TopicPartition::new(&*first.topic, first.partition);
            if self.member.admit(&partition, assignment, first.offset, last.offset + 1) {
                self.push(out, &records, range).await?;
            }
        }
        out.mark(self.pushed.position());
        Ok(())
    }

    /// Pushes records of one partition.
    async fn push(
        &mut self,
        out: &mut Feeder<'_>,
        records: &Arc<Vec<ConsumerRecord>>,
        mut range: Range<usize>,
    ) -> Result<(), Closed> {
        let ConsumerRecord { topic, partition, .. } = &records[range.start];
        let here: Arc<str> = self.source.context.subject.topic(&[("topic", topic)]).into();
        while !range.is_empty() {
            let block = Records::first_of(records, range.clone(), &here, self.source.value);
            range.start = block.end();
            out.push_block(block).await?;
            self.pushed.set(topic, *partition, records[range.start - 1].offset + 1);
            // What is handed on of the records is acknowledged although the rest of them may not be.
            if out.is_due() {
                out.mark(self.pushed.position());
            }
        }
        Ok(())
    }
}
