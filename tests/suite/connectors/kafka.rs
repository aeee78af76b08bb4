//! kafka-source and kafka-sink through the kit, on a real Kafka. What they promise besides is in [`events`], both modes of
//! the CloudEvents binding, in [`group`], offsets and partitions that change hands, and in [`access`], who one is there.

use serde_json::Value;

use super::kit::{self, Guarded, Process, Receiving, Refusing, Sending, Spoiling, Stalling, System};
use crate::harness::{Job, Kafka, Mesh, Producer, Reader};

mod access;
mod events;
mod group;

const TOPIC: &str = "kit";

/// A second listener, which asks for a password.
const GUARDED: [&str; 3] = [
    "listeners=PLAINTEXT://127.0.0.1:PORT+0,CONTROLLER://127.0.0.1:PORT+1,SASL_PLAINTEXT://127.0.0.1:PORT+2",
    "sasl.enabled.mechanisms=PLAIN",
    "listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
     required user_flowd=\"secret\";",
];

/// A job that comes to a broker through its open listener.
fn open(kafka: &Kafka, job: Job) -> Job {
    job.set("connectorConfig.bootstrapServers", &format!("[\"{}\"]", kafka.address()))
}

/// The same through the other, with a password.
fn guarded(kafka: &Kafka, job: Job, password: &str) -> Job {
    job.set("connectorConfig.bootstrapServers", &format!("[\"127.0.0.1:{}\"]", kafka.port + 2))
        .set("connectorConfig.saslMechanism", "PLAIN")
        .set("connectorConfig.user", "flowd")
        .set("connectorConfig.password", password)
}

/// A kafka-source of one topic, for a topic or template at the mesh.
fn reading(kafka: &Kafka, mesh: &Mesh, topic: &str, subject: &str) -> Job {
    open(kafka, Job::source("kafka-source", mesh, subject))
        .set("connectorConfig.topics", &format!("[\"{topic}\"]"))
}

/// A message for each of these numbers, under one of forty keys.
fn lines(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("NULL\tkey {}\t{number}", number % 40)).collect()
}

/// What a kafka-source reads.
struct Topic {
    kafka: Kafka,
    producer: Producer,
}

impl System for Topic {
    const CONNECTOR: &'static str = "kafka-source";
    const REQUIRED: &'static [&'static str] =
        &["connectorConfig.connectorName", "connectorConfig.bootstrapServers", "connectorConfig.topics"];
    const WRONG: &'static [(&'static str, &'static str)] = &[
        ("connectorConfig.bootstrapServers", "[\"nowhere\"]"),
        ("connectorConfig.topics", "[\"a b\"]"),
        ("connectorConfig.startAt", "middle"),
        ("connectorConfig.value", "xml"),
        ("connectorConfig.onGap", "ask"),
        ("connectorConfig.saslMechanism", "GSSAPI"),
        ("connectorConfig.sslCa", "ca.pem"),
        ("pubSubConfig.subject", "{table}"),
        ("pipeline.delivery", "applied"),
    ];

    fn begin() -> Self {
        let kafka = Kafka::start_with(&GUARDED);
        kafka.create(TOPIC, 1);
        let producer = kafka.producer(TOPIC);
        Self { kafka, producer }
    }

    fn configure(&self, job: Job) -> Job {
        open(&self.kafka, job).set("connectorConfig.topics", &format!("[\"{TOPIC}\"]"))
    }
}

impl Sending for Topic {
    fn put(&mut self, messages: &[String]) {
        let lines: Vec<String> = messages.iter().map(|message| format!("NULL\tNULL\t{message}")).collect();
        self.producer.send(&lines);
    }
}

impl Process for Topic {
    fn kill(&mut self) {
        self.kafka.kill();
    }

    fn restart(&mut self) {
        self.kafka.restart();
    }
}

impl Guarded for Topic {
    fn forge(&self, job: Job) -> (Job, &'static str) {
        (guarded(&self.kafka, job, "wrong"), "authentication")
    }
}

impl Spoiling for Topic {
    fn spoil(&mut self) -> &'static str {
        self.producer.send(&["content-type=application/json\tNULL\t{\"number\": 5".to_owned()]);
        "JSON"
    }
}

mod source {
    use super::super::kit;
    use super::Topic;

    kit::promises!(Topic: source);
    kit::promises!(Topic: process source);
    kit::promises!(Topic: guarded source);
    kit::promises!(Topic: spoiling source);
}

/// What a kafka-sink writes into.
struct Produced {
    kafka: Kafka,
    reader: Reader,
}

impl System for Produced {
    const CONNECTOR: &'static str = "kafka-sink";
    const REQUIRED: &'static [&'static str] =
        &["connectorConfig.connectorName", "connectorConfig.bootstrapServers"];
    const WRONG: &'static [(&'static str, &'static str)] = &[
        ("connectorConfig.bootstrapServers", "[\"127.0.0.1:0\"]"),
        ("connectorConfig.topic", "{queue}"),
        ("connectorConfig.mode", "xml"),
        ("connectorConfig.compression", "zip"),
        ("connectorConfig.user", "ada"),
    ];

    fn begin() -> Self {
        let kafka = Kafka::start_with(&GUARDED);
        kafka.create(TOPIC, 3);
        let reader = kafka.reader(TOPIC);
        Self { kafka, reader }
    }

    fn configure(&self, job: Job) -> Job {
        open(&self.kafka, job).set("connectorConfig.topic", TOPIC)
    }
}

impl Receiving for Produced {
    fn taken(&mut self) -> Vec<u64> {
        self.reader.records().iter().map(|record| kit::number(&record.value)).collect()
    }
}

impl Process for Produced {
    fn kill(&mut self) {
        self.kafka.kill();
    }

    fn restart(&mut self) {
        self.kafka.restart();
    }
}

impl Stalling for Produced {
    fn stall(&mut self) {
        self.kafka.signal("STOP");
    }

    fn go_on(&mut self) {
        self.kafka.signal("CONT");
    }
}

impl Guarded for Produced {
    fn forge(&self, job: Job) -> (Job, &'static str) {
        (guarded(&self.kafka, job, "wrong"), "authentication")
    }
}

impl Refusing for Produced {
    fn spoil(&mut self, event: &mut Value) -> &'static str {
        // The broker takes a megabyte at most.
        event["data"]["text"] = Value::String("x".repeat(1_100_000));
        "MessageTooLarge"
    }
}

mod sink {
    use super::super::kit;
    use super::Produced;

    kit::promises!(Produced: sink);
    kit::promises!(Produced: process sink);
    kit::promises!(Produced: stalling sink);
    kit::promises!(Produced: guarded sink);
    kit::promises!(Produced: refusing sink);
}
