//! `kafka-sink`: produces events as records, each held by every in-sync replica before it counts as delivered.
//!
//! Kept: records of a partition are produced in the order of their events. What fails with hope of mending is put again
//! from the first event of the put, so a key's last record is always that of its last event.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use flowd_engine::failure::Failure;
use flowd_engine::setting::{Kind, Preset, Setting, Settings, Wrong, joined};
use flowd_sink::binding::Mode;
use flowd_sink::deliver::{Connector, Context, DeliverEvent, EventSink, Opened, Refused};
use flowd_source::Subject;
use flowd_source::subject::is_topic;
use krafka::error::{ErrorCode, KrafkaError};
use krafka::producer::{DeliveryHandle, Producer, Record};
use krafka::{CloseOptions, Compression};
use tokio::runtime::Runtime;
use tracing::debug;

use crate::access::{self, Access, failure};

mod message;

use message::Message;

/// The connector, for the table.
pub const CONNECTOR: Connector = Connector {
    name: "kafka-sink",
    help: "records of Kafka topics, each held by all in-sync replicas",
    settings: &joined::<12>(
        &access::SETTINGS,
        &[
            Setting::new(
                "topic",
                Kind::Form("a topic: letters, digits, `.`, `_`, `-`, and the field {topic}"),
                Preset::Value("{topic}"),
                "Kafka's topic: a fixed name, or a template of the topic at EventMesh",
            ),
            Setting::new(
                "mode",
                Kind::Choice(&["binary", "structured"]),
                Preset::Value("binary"),
                "the value is the data and headers say the rest, or the value is the whole CloudEvent",
            ),
            Setting::new(
                "compression",
                Kind::Choice(&["none", "gzip", "snappy", "lz4"]),
                Preset::Value("none"),
                "how batches of records are compressed",
            ),
            Setting::new(
                "createTopics",
                Kind::Switch,
                Preset::Value("false"),
                "lets the brokers create a topic that does not exist, where they are set to",
            ),
        ],
    ),
    open: |settings, context| Ok(Opened::Events(Box::new(KafkaSink::open(settings, context)?))),
};

/// How long a record may take, the client's own tries included, before the whole put is tried again.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a topic may take to be found: less than a mesh waits for acknowledgements (5 s), so that a put with one that is
/// missing is not pushed again.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of a batch of a partition.
const BATCH_BYTES: usize = 256 << 10;
/// Records that are handed to the client together.
const BURST: usize = 256;
/// How long a topic that was not found is not looked for again, and how many such topics are remembered.
const MISSING: Duration = Duration::from_secs(30);
const MISSING_MAX: usize = 1024;
/// How long the last word to the brokers may take.
const CLOSE: Duration = Duration::from_secs(5);

/// The sink.
struct KafkaSink {
    access: Access,
    topic: Subject,
    mode: Mode,
    compression: Compression,
    create_topics: bool,
    buffer_bytes: usize,
    /// The client's tasks live in it.
    runtime: Option<Runtime>,
    producer: Option<Producer>,
    /// Topics that were not to be had, since when and why.
    missing: HashMap<String, (Instant, String)>,
}

/// What an error means for one event.
enum Verdict {
    /// It will never be taken.
    Refused(String),
    /// Its batch is too large, which may be another's fault.
    TooLarge(String),
    /// All of the put fails.
    Failed(Failed),
}

/// Why a put fails.
struct Failed {
    failure: Failure,
    /// The producer cannot go on: the next put takes a new one.
    is_broken: bool,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, is_broken: false }
    }
}

impl KafkaSink {
    fn open(settings: &Settings, context: &Context) -> Result<Self, Wrong> {
        let topic = settings.text("topic");
        Ok(Self {
            access: Access::of(settings)?,
            topic: Subject::parse(topic, &["topic"])
                .map_err(|allowed| Wrong::value("topic", topic, &allowed))?,
            mode: Mode::of(settings),
            compression: match settings.text("compression") {
                "gzip" => Compression::Gzip,
                "snappy" => Compression::Snappy,
                "lz4" => Compression::Lz4,
                _ => Compression::None,
            },
            create_topics: settings.switch("createTopics"),
            buffer_bytes: context.buffer_bytes,
            runtime: None,
            producer: None,
            missing: HashMap::new(),
        })
    }

    async fn connect(&self) -> Result<Producer, Failure> {
        let create_topics = self.create_topics;
        let kafka = self.access.connect(|builder| builder.allow_auto_create_topics(create_topics)).await?;
        let builder = kafka
            .producer()
            .compression(self.compression)
            .batch_size(BATCH_BYTES)
            // The put brings what there is; nothing more comes to wait for.
            .linger(Duration::ZERO)
            .buffer_memory(self.buffer_bytes.max(4 * BATCH_BYTES))
            .max_block(LOOKUP_TIMEOUT)
            .delivery_timeout(DELIVERY_TIMEOUT)
            .metrics_push(false);
        let producer = builder.build().await.map_err(|error| failure(&error, "starting Kafka's producer"))?;
        if !self.topic.has("topic") {
            let topic = self.topic.topic(&[]);
            let found = producer.partitions_for(&topic).await;
            found.map_err(|error| failure(&error, &format!("the topic {topic}")))?;
        }
        Ok(producer)
    }

    /// The record of an event. Whether its topic is one is not looked at.
    fn record(&self, event: &DeliverEvent<'_>) -> Result<Record, String> {
        let view = event.cloud_event().map_err(|error| error.to_string())?;
        let message = Message::write(&view, self.mode)?;
        let topic = self.topic.topic(&[("topic", event.topic)]);
        let mut record = Record::new(topic, Vec::new());
        (record.key, record.value, record.headers) = (message.key, message.value, message.headers);
        Ok(record)
    }

    /// Runs on the client's runtime.
    fn on_runtime<T>(&mut self, work: impl AsyncFnOnce(&mut Self) -> T) -> T {
        let runtime = self.runtime.take().expect("it was made at the start");
        let done = runtime.block_on(work(self));
        self.runtime = Some(runtime);
        done
    }

    /// The producer, connected where it is not.
    async fn producer(&mut self) -> Result<&Producer, Failure> {
        if self.producer.is_none() {
            self.producer = Some(self.connect().await?);
        }
        Ok(self.producer.as_ref().expect("it was just put there"))
    }

    async fn deliver(&mut self, events: &[DeliverEvent<'_>]) -> Result<Vec<Refused>, Failed> {
        let (mut refused, mut under_way) = (Vec::new(), Vec::with_capacity(events.len()));
        let enqueued = self.enqueue(events, &mut under_way, &mut refused).await;
        // Each is waited for, whatever became of the others: nothing of this put may arrive after it was put again.
        let settled = self.settle(events, under_way, &mut refused).await;
        enqueued?;
        if let Some(first) = settled? {
            self.produce_one_by_one(events, first, &mut refused).await?;
        }
        refused.sort_by_key(|refused| refused.index);
        Ok(refused)
    }

    /// Hands the records of all events to the client in their order, until a failure. They go in bursts: its own thread
    /// sends one while the next is written here, and is woken once for each.
    async fn enqueue(
        &mut self,
        events: &[DeliverEvent<'_>],
        under_way: &mut Vec<(usize, DeliveryHandle)>,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Failed> {
        let (topic, mut found) = (self.topic.clone(), String::new());
        let mut burst = Vec::with_capacity(BURST);
        for (index, event) in events.iter().enumerate() {
            match self.record_to_topic(event, &mut found).await? {
                Ok(record) => burst.push((index, record)),
                Err(reason) => refused.push(Refused { index, reason }),
            }
            if burst.len() < BURST && index + 1 < events.len() {
                continue;
            }
            let producer = self.producer().await?;
            for (index, record) in burst.drain(..) {
                let judge = |error| judge(&error, &topic.topic(&[("topic", events[index].topic)]));
                match producer.enqueue(record).await.map_err(judge) {
                    Ok(delivery) => under_way.push((index, delivery)),
                    Err(Verdict::Refused(reason) | Verdict::TooLarge(reason)) => {
                        refused.push(Refused { index, reason });
                    }
                    Err(Verdict::Failed(failed)) => return Err(failed),
                }
            }
        }
        Ok(())
    }

    /// The record of an event whose topic is there, or why there is none. `found` is the topic that was found last.
    async fn record_to_topic(
        &mut self,
        event: &DeliverEvent<'_>,
        found: &mut String,
    ) -> Result<Result<Record, String>, Failed> {
        let record = match self.record(event) {
            Ok(record) => record,
            Err(reason) => return Ok(Err(reason)),
        };
        if *found != record.topic {
            if !is_topic(&record.topic) {
                return Ok(Err(format!("\"{}\" is no topic of Kafka", record.topic)));
            }
            if let Some(reason) = self.find(&record.topic).await? {
                return Ok(Err(reason));
            }
            found.clone_from(&record.topic);
        }
        Ok(Ok(record))
    }

    /// Waits for all; gives the first event whose batch was too large.
    async fn settle(
        &self,
        events: &[DeliverEvent<'_>],
        under_way: Vec<(usize, DeliveryHandle)>,
        refused: &mut Vec<Refused>,
    ) -> Result<Option<usize>, Failed> {
        let (mut crowded, mut failed) = (None, None);
        for (index, delivery) in under_way {
            let judge = |error| judge(&error, &self.topic.topic(&[("topic", events[index].topic)]));
            match delivery.await.map_err(judge) {
                Ok(_) => {}
                Err(Verdict::Refused(reason)) => refused.push(Refused { index, reason }),
                Err(Verdict::TooLarge(_)) => crowded = crowded.or(Some(index)),
                Err(Verdict::Failed(reason)) => failed = failed.or(Some(reason)),
            }
        }
        failed.map_or(Ok(crowded), Err)
    }

    /// Which record of a batch made it too large does not show: one by one they tell. What stands behind the first of them
    /// goes again, so that a key's last record is that of its last event.
    async fn produce_one_by_one(
        &mut self,
        events: &[DeliverEvent<'_>],
        first: usize,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Failed> {
        for (index, event) in events.iter().enumerate().skip(first) {
            if refused.iter().any(|refused| refused.index == index) {
                continue;
            }
            let Ok(record) = self.record(event) else { continue };
            let topic = record.topic.clone();
            match self.producer().await?.send(record).await.map_err(|error| judge(&error, &topic)) {
                Ok(_) => {}
                Err(Verdict::Refused(reason) | Verdict::TooLarge(reason)) => {
                    refused.push(Refused { index, reason });
                }
                Err(Verdict::Failed(failed)) => return Err(failed),
            }
        }
        Ok(())
    }

    /// Why a topic cannot be had, if it cannot. Looked up once for a while: each time costs [`LOOKUP_TIMEOUT`].
    async fn find(&mut self, topic: &str) -> Result<Option<String>, Failed> {
        if let Some((since, reason)) = self.missing.get(topic) {
            if since.elapsed() < MISSING {
                return Ok(Some(reason.clone()));
            }
            self.missing.remove(topic);
        }
        let producer = self.producer().await?;
        match producer.partitions_for(topic).await.map_err(|error| judge(&error, topic)) {
            Ok(_) => Ok(None),
            Err(Verdict::Failed(failed)) => Err(failed),
            Err(Verdict::Refused(reason) | Verdict::TooLarge(reason)) => {
                if self.missing.len() >= MISSING_MAX {
                    self.missing.clear();
                }
                self.missing.insert(topic.to_owned(), (Instant::now(), reason.clone()));
                Ok(Some(reason))
            }
        }
    }
}

fn judge(error: &KrafkaError, topic: &str) -> Verdict {
    let text = format!("Kafka's topic {topic}: {error}");
    match error {
        KrafkaError::Broker { code: ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge, .. } => {
            Verdict::TooLarge(text)
        }
        KrafkaError::Broker {
            code:
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::InvalidTopic
                | ErrorCode::TopicAuthorizationFailed
                | ErrorCode::InvalidRecord
                | ErrorCode::InvalidTimestamp
                | ErrorCode::PolicyViolation,
            ..
        }
        | KrafkaError::UnknownTopic { .. } => Verdict::Refused(text),
        KrafkaError::Auth { .. } => Verdict::Failed(Failure::Fatal(text).into()),
        _ => {
            let is_broken = error.is_fatal() || matches!(error, KrafkaError::OutOfOrderSequence { .. });
            Verdict::Failed(Failed { failure: Failure::Retry(text), is_broken })
        }
    }
}

impl EventSink for KafkaSink {
    fn start(&mut self) -> Result<(), Failure> {
        if self.runtime.is_none() {
            // With a thread of its own, so that connections are looked after between two puts.
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            self.runtime = Some(
                runtime.map_err(|error| Failure::Retry(format!("no runtime for Kafka's client: {error}")))?,
            );
        }
        self.on_runtime(async |sink| sink.producer().await.map(|_| ()))
    }

    fn put(&mut self, events: &[DeliverEvent<'_>]) -> Result<Vec<Refused>, Failure> {
        let delivered = self.on_runtime(async |sink| sink.deliver(events).await);
        delivered.map_err(|failed| {
            if failed.is_broken {
                self.producer = None;
            }
            failed.failure
        })
    }

    fn close(&mut self) {
        let closed = self.on_runtime(async |sink| match sink.producer.take() {
            Some(producer) => producer.close_with(CloseOptions::new().timeout(CLOSE)).await,
            None => Ok(()),
        });
        if let Err(error) = closed {
            debug!("closing Kafka's producer: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(given: &[(&str, &str)]) -> Result<KafkaSink, Wrong> {
        let context = Context { connector_name: "archive".to_owned(), buffer_bytes: 1 << 20 };
        let mut all = vec![("bootstrapServers", "a:9092")];
        all.extend(given);
        KafkaSink::open(&Settings::of("archive", CONNECTOR.settings, &all)?, &context)
    }

    #[test]
    fn a_record_goes_to_the_topic_that_the_template_names() {
        let json = br#"{"specversion":"1.0","id":"1","source":"/a","type":"t","partitionkey":"k"}"#;
        let event = DeliverEvent { json, id: "1", source: "/a", topic: "shop.orders", key: Some("k") };
        let of = |topic: &str| open(&[("topic", topic)]).unwrap().record(&event).unwrap();
        assert_eq!(of("mesh.{topic}").topic, "mesh.shop.orders");
        let record = of("all");
        assert_eq!((record.topic.as_str(), record.key_str(), &record.value), ("all", Some("k"), &None));
        assert_eq!(open(&[("topic", "{table}")]).err().unwrap().setting, "topic");
    }

    #[test]
    fn what_concerns_one_event_is_told_from_what_may_heal() {
        let broker = |code| judge(&KrafkaError::broker(code, "x"), "t");
        assert!(matches!(broker(ErrorCode::TopicAuthorizationFailed), Verdict::Refused(_)));
        assert!(matches!(broker(ErrorCode::MessageTooLarge), Verdict::TooLarge(_)));
        let failed = |verdict| match verdict {
            Verdict::Failed(failed) => failed,
            Verdict::Refused(reason) | Verdict::TooLarge(reason) => panic!("{reason}"),
        };
        let lacking = failed(broker(ErrorCode::NotEnoughReplicas));
        assert!(matches!(lacking.failure, Failure::Retry(_)) && !lacking.is_broken);
        let fenced = failed(judge(&KrafkaError::fenced("x"), "t"));
        assert!(matches!(fenced.failure, Failure::Retry(_)) && fenced.is_broken);
        assert!(matches!(failed(judge(&KrafkaError::auth("x"), "t")).failure, Failure::Fatal(_)));
    }
}
