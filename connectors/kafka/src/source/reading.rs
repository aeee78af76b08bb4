//! A run: what the client's thread hands on is pushed, and what the mesh acknowledges goes back there to be committed.
//!
//! Kafka's client decodes on one thread; events are made of its records on the source's own, beside it.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use flowd_engine::arrival::thread_waker;
use flowd_source::{Client, Closed, Events, Failure, Position, SourceEnd};
use krafka::consumer::{ConsumerRecord, TopicPartition};
use tokio::sync::{mpsc, oneshot};

use super::KafkaSource;
use super::client::take_part;
use super::member::Member;
use super::message::{self, Record};
use super::offsets::Offsets;
use super::poll::{CHUNKS_MAX, Chunk};

/// How soon it is noticed that the pipeline goes down while nothing comes.
const LOOK: Duration = Duration::from_millis(50);

/// Reads until the end, a stop or a failure.
pub(super) fn read(source: KafkaSource, out: &mut Events<'_>) -> Result<SourceEnd, Failure> {
    let source = Arc::new(source);
    let mut reading = Reading { pushed: source.begin.clone(), source, member: Arc::default() };
    // So that a first start is remembered even if nothing comes.
    out.mark(reading.pushed.position());
    if out.flush().is_err() {
        return Ok(SourceEnd::Stopped);
    }
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let (leave, told_to_leave) = oneshot::channel();
    let (source, member) = (reading.source.clone(), reading.member.clone());
    let client = Client::start(async move || {
        take_part(source, member, sender, told_to_leave).await;
        Ok(())
    })?;
    let end = reading.run(out, chunks);
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

/// What a wait brought.
enum Next {
    Chunk(Option<Chunk>),
    Acked(Position),
    /// The pipeline is going down.
    Closing,
}

impl Reading {
    fn run(&mut self, out: &mut Events<'_>, mut chunks: mpsc::Receiver<Chunk>) -> Result<SourceEnd, Failure> {
        loop {
            match next(out, &mut chunks) {
                Next::Acked(position) => self.acknowledge(&position)?,
                Next::Chunk(Some(Chunk::Records(assignment, records))) => {
                    if self.push_all(out, assignment, &records).is_err() {
                        break;
                    }
                }
                Next::Chunk(Some(Chunk::End)) => return self.end(out),
                Next::Chunk(Some(Chunk::Failed(failure))) => return Err(failure),
                Next::Chunk(None) => {
                    return Err(Failure::Fatal("the task of Kafka's client ended".to_owned()));
                }
                Next::Closing => break,
            }
        }
        drop(chunks);
        while let Some(position) = out.drain() {
            self.acknowledge(&position)?;
        }
        Ok(SourceEnd::Stopped)
    }

    /// Waits until everything is acknowledged.
    fn end(&self, out: &mut Events<'_>) -> Result<SourceEnd, Failure> {
        if out.flush().is_err() {
            return Ok(SourceEnd::Stopped);
        }
        loop {
            match out.drain() {
                Some(position) => self.acknowledge(&position)?,
                None if out.is_drained() => return Ok(SourceEnd::Reached),
                None if out.is_closed() => return Ok(SourceEnd::Stopped),
                None => {}
            }
        }
    }

    fn acknowledge(&self, position: &Position) -> Result<(), Failure> {
        self.member.acknowledge(Offsets::read(position).map_err(Failure::Fatal)?);
        Ok(())
    }

    fn push_all(
        &mut self,
        out: &mut Events<'_>,
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
                self.push(out, record, &topic)?;
            }
            self.pushed.set(&last.topic, last.partition, last.offset + 1);
        }
        out.mark(self.pushed.position());
        Ok(())
    }

    /// Pushes a record's event to a topic of the mesh.
    fn push(&self, out: &mut Events<'_>, record: &ConsumerRecord, topic: &str) -> Result<(), Closed> {
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
            Ok(message) => out.push(&message.event(topic, &mut Vec::new())),
            Err(reason) => {
                let (topic, partition, offset) = (&record.topic, record.partition, record.offset);
                let reason = format!("{reason}; record of {topic}, partition {partition}, offset {offset}");
                out.reject(&reason, seen.value.unwrap_or_default())
            }
        }
    }
}

/// The next chunk, or acknowledgement. What is there is handed on before anything is waited for.
fn next(out: &mut Events<'_>, chunks: &mut mpsc::Receiver<Chunk>) -> Next {
    let waker = thread_waker();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(position) = out.poll_acked(&mut context) {
            return Next::Acked(position);
        }
        if let Poll::Ready(chunk) = chunks.poll_recv(&mut context) {
            return Next::Chunk(chunk);
        }
        if out.flush().is_err() || out.is_closed() {
            return Next::Closing;
        }
        thread::park_timeout(LOOK);
    }
}
