//! Kafka: the bare loop of a source reads a topic in a group and commits, that of a sink produces and waits for all replicas.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use krafka::admin::{CreateTopicsOptions, ListOffsetsOptions, NewTopic, OffsetSpec, TopicPartition};
use krafka::consumer::{AutoOffsetReset, IsolationLevel};
use krafka::{Kafka, Record};

use super::broker::Process;
use super::{Connector, System, Way, Work, attributes, message};
use crate::Failure;
use crate::port::free_port;

const PARTITIONS: i32 = 4;

pub(crate) const SOURCE: Connector = Connector {
    name: "kafka-source",
    way: Way::Source,
    times: 12,
    begin: |directory| Broker::begin(directory, Way::Source),
    bare: |work, arguments| block_on(consume(work, arguments)),
};

pub(crate) const SINK: Connector = Connector {
    name: "kafka-sink",
    way: Way::Sink,
    times: 1,
    begin: |directory| Broker::begin(directory, Way::Sink),
    bare: |work, arguments| block_on(produce(work, arguments, Way::Sink)),
};

struct Broker {
    way: Way,
    address: String,
    _process: Process,
    /// Counts topics of a sink and groups of a source: each run has its own.
    run: u32,
}

impl Broker {
    fn begin(directory: &Path, way: Way) -> Result<Box<dyn System>, Failure> {
        let port = free_port()?;
        let process = Process::start("kafka.sh", directory, &[port], "Kafka Server started")?;
        Ok(Box::new(Self { way, address: format!("127.0.0.1:{port}"), _process: process, run: 0 }))
    }

    fn topic(&self) -> String {
        match self.way {
            Way::Source => "perf".to_owned(),
            Way::Sink => format!("perf-{}", self.run),
        }
    }
}

impl System for Broker {
    fn reset(&mut self, work: Work) -> Result<(), Failure> {
        self.run += 1;
        if self.way == Way::Source && self.run > 1 {
            return Ok(());
        }
        let topic = self.topic();
        block_on(async {
            let kafka = Kafka::builder(&self.address).connect().await?;
            let admin = kafka.admin();
            let created =
                admin.create_topics([NewTopic::new(&topic, PARTITIONS, 1)?], CreateTopicsOptions::default());
            for (_, created) in created.await? {
                created?;
            }
            Ok(())
        })?;
        if self.way == Way::Source {
            block_on(produce(work, &self.arguments(), Way::Source))?;
        }
        Ok(())
    }

    fn settings(&self) -> String {
        let (address, topic, run) = (&self.address, self.topic(), self.run);
        match self.way {
            Way::Source => format!(
                "bootstrapServers: [\"{address}\"], topics: [{topic}], groupId: perf-{run}, value: json"
            ),
            Way::Sink => format!("bootstrapServers: [\"{address}\"], topic: {topic}"),
        }
    }

    fn arguments(&self) -> Vec<String> {
        vec![self.address.clone(), self.topic(), format!("perf-{}", self.run)]
    }

    fn count(&mut self) -> Result<u64, Failure> {
        let topic = self.topic();
        block_on(async {
            let kafka = Kafka::builder(&self.address).connect().await?;
            let partitions =
                (0..PARTITIONS).map(|number| (TopicPartition::new(&topic, number), OffsetSpec::Latest));
            let ends = kafka.admin().list_offsets(partitions, ListOffsetsOptions::default()).await?;
            let mut count = 0;
            for end in ends.into_values() {
                count += end?.offset.unsigned_abs();
            }
            Ok(count)
        })
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn place(arguments: &[String]) -> Result<(&str, &str, &str), Failure> {
    let [address, topic, group] = arguments else { return Err("address, topic and group are needed".into()) };
    Ok((address, topic, group))
}

/// Reads all and commits as it goes, as the connector does.
async fn consume(work: Work, arguments: &[String]) -> Result<u64, Failure> {
    let (address, topic, group) = place(arguments)?;
    let kafka = Kafka::builder(address).connect().await?;
    let consumer = kafka
        .consumer(group)
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .isolation_level(IsolationLevel::ReadCommitted)
        .auto_commit_interval(Duration::from_secs(1))
        .max_buffered_records(50_000)
        .fetch_max_bytes(4 << 20)
        .build()
        .await?;
    consumer.subscribe([topic]).await?;
    let mut count = 0;
    while count < work.messages {
        count += consumer.poll(Duration::from_secs(1)).await?.len() as u64;
    }
    consumer.close().await?;
    Ok(count)
}

/// Produces all, a sink's with the headers of the CloudEvents binding; 8,192 are on their way, twice what EventMesh lets the
/// connector have.
async fn produce(work: Work, arguments: &[String], way: Way) -> Result<u64, Failure> {
    let (address, topic, _) = place(arguments)?;
    let kafka = Kafka::builder(address).connect().await?;
    let producer = kafka.producer().batch_size(256 << 10).linger(Duration::ZERO).build().await?;
    let mut deliveries = std::collections::VecDeque::with_capacity(8192);
    let mut count = 0;
    for number in 0..work.messages {
        if deliveries.len() == 8192 {
            count += settle(deliveries.pop_front()).await?;
        }
        let mut value = Vec::with_capacity(work.bytes + 16);
        message(number, work.bytes, &mut value);
        let mut record = Record::new(topic, value);
        if way == Way::Sink {
            record.headers = headers(number);
        }
        deliveries.push_back(producer.enqueue(record).await?);
    }
    while let Some(delivery) = deliveries.pop_front() {
        count += settle(Some(delivery)).await?;
    }
    producer.close().await?;
    Ok(count)
}

fn headers(number: u64) -> Vec<(String, Option<Bytes>)> {
    let attributes = attributes(number).map(|(name, value)| (format!("ce_{name}"), Some(value.into())));
    let content_type = ("content-type".to_owned(), Some(Bytes::from_static(b"application/json")));
    std::iter::once(content_type).chain(attributes).collect()
}

async fn settle(delivery: Option<krafka::producer::DeliveryHandle>) -> Result<u64, Failure> {
    match delivery {
        Some(delivery) => Ok(delivery.await.map(|_| 1)?),
        None => Ok(0),
    }
}
