//! rabbitmq-source and rabbitmq-sink through the kit, and what they promise besides: both modes of the CloudEvents binding,
//! queues and connections that end, what a broker refuses, TLS.

use lapin::BasicProperties;
use lapin::types::AMQPValue;
use serde_json::{Value, json};

use super::kit::{self, Guarded, Process, Receiving, Refusing, Sending, Spoiling, Stalling, System};
use crate::harness::{Flowd, Job, Mesh, RabbitClient, RabbitMq, publish, until};

mod events;
mod faults;

/// A broker with the queue `orders`, or the exchange `kit` in front of it.
struct Broker {
    broker: RabbitMq,
    client: RabbitClient,
    /// What came out of the queue.
    taken: Vec<u64>,
}

impl Broker {
    fn begin() -> Self {
        Self::begin_with(&[])
    }

    /// With further lines of `rabbitmq.conf`.
    fn begin_with(settings: &[&str]) -> Self {
        Self::of(RabbitMq::start_with(settings))
    }

    fn of(broker: RabbitMq) -> Self {
        let client = broker.client();
        client.declare("orders", &[]);
        Self { broker, client, taken: Vec::new() }
    }

    /// How a job comes to the broker.
    fn access(&self, job: Job) -> Job {
        job.set("connectorConfig.hostname", "127.0.0.1")
            .set("connectorConfig.port", &self.broker.port.to_string())
            .set("connectorConfig.user", "guest")
            .set("connectorConfig.password", "guest")
    }

    fn kill(&mut self) {
        self.broker.kill();
    }

    fn restart(&mut self) {
        self.broker.restart();
        self.client = self.broker.client();
    }

    fn forge(job: Job) -> (Job, &'static str) {
        (job.set("connectorConfig.password", "wrong"), "Login was refused")
    }
}

/// A rabbitmq-source that reads `orders`, for a topic or a template of topics.
fn reading(broker: &Broker, mesh: &Mesh, topic: &str) -> Job {
    broker.access(Job::source("rabbitmq-source", mesh, topic)).set("connectorConfig.queue", "orders")
}

/// A rabbitmq-sink that publishes a topic to the queue `orders`.
fn writing(broker: &Broker, mesh: &Mesh, topic: &str) -> Job {
    broker
        .access(Job::sink("rabbitmq-sink", &mesh.address(), topic))
        .set("connectorConfig.routingKey", "orders")
}

/// What a rabbitmq-source reads.
struct Queue(Broker);

impl System for Queue {
    const CONNECTOR: &'static str = "rabbitmq-source";
    const REQUIRED: &'static [&'static str] = &[
        "connectorConfig.connectorName",
        "connectorConfig.hostname",
        "connectorConfig.user",
        "connectorConfig.queue",
    ];
    const WRONG: &'static [(&'static str, &'static str)] = &[
        ("connectorConfig.port", "0"),
        ("connectorConfig.sslMode", "required"),
        ("connectorConfig.sslCa", "ca.pem"),
        ("connectorConfig.prefetch", "0"),
        ("connectorConfig.key", "queue"),
        ("pubSubConfig.subject", "{topic}"),
        ("pipeline.delivery", "applied"),
    ];

    fn begin() -> Self {
        Self(Broker::begin())
    }

    fn configure(&self, job: Job) -> Job {
        self.0.access(job).set("connectorConfig.queue", "orders")
    }
}

impl Sending for Queue {
    fn put(&mut self, messages: &[String]) {
        let properties = |message: &str| {
            let id = kit::number(message).to_string();
            BasicProperties::default().with_message_id(id.into()).with_content_type("application/json".into())
        };
        let messages: Vec<(BasicProperties, &[u8])> =
            messages.iter().map(|message| (properties(message), message.as_bytes())).collect();
        self.0.client.publish("", "orders", &messages);
    }
}

impl Process for Queue {
    fn kill(&mut self) {
        self.0.kill();
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

impl Guarded for Queue {
    fn forge(&self, job: Job) -> (Job, &'static str) {
        Broker::forge(job)
    }
}

impl Spoiling for Queue {
    fn spoil(&mut self) -> &'static str {
        let properties = BasicProperties::default().with_content_type("application/json".into());
        self.0.client.publish("", "orders", &[(properties, b"{\"number\": 5")]);
        "JSON"
    }
}

mod source {
    use super::super::kit;
    use super::Queue;

    kit::promises!(Queue: source);
    kit::promises!(Queue: process source);
    kit::promises!(Queue: guarded source);
    kit::promises!(Queue: spoiling source);
}

/// Where a rabbitmq-sink publishes: an exchange that takes the keys of the kit and no other.
struct Exchange(Broker);

impl System for Exchange {
    const CONNECTOR: &'static str = "rabbitmq-sink";
    const REQUIRED: &'static [&'static str] =
        &["connectorConfig.connectorName", "connectorConfig.hostname", "connectorConfig.user"];
    const WRONG: &'static [(&'static str, &'static str)] = &[
        ("connectorConfig.mode", "xml"),
        ("connectorConfig.routingKey", "{queue}"),
        ("connectorConfig.confirmMs", "1"),
        ("connectorConfig.sslKey", "key.pem"),
    ];

    fn begin() -> Self {
        let broker = Broker::begin();
        for key in 0..10 {
            broker.client.bind("kit", "orders", &format!("*.*.{key}"));
        }
        Self(broker)
    }

    fn configure(&self, job: Job) -> Job {
        self.0
            .access(job)
            .set("connectorConfig.exchange", "kit")
            .set("connectorConfig.routingKey", "{topic}.{key}")
    }
}

impl Receiving for Exchange {
    fn taken(&mut self) -> Vec<u64> {
        // While the broker is down there is nothing to be had.
        while let Ok(Some(message)) = self.0.client.get("orders") {
            let body = String::from_utf8(message.delivery.data).unwrap();
            self.0.taken.push(kit::number(&body));
        }
        self.0.taken.clone()
    }
}

impl Process for Exchange {
    fn kill(&mut self) {
        self.0.kill();
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

impl Stalling for Exchange {
    fn stall(&mut self) {
        self.0.broker.signal("STOP");
    }

    fn go_on(&mut self) {
        self.0.broker.signal("CONT");
    }
}

impl Guarded for Exchange {
    fn forge(&self, job: Job) -> (Job, &'static str) {
        Broker::forge(job)
    }
}

impl Refusing for Exchange {
    fn spoil(&mut self, event: &mut Value) -> &'static str {
        event["partitionkey"] = json!("nowhere");
        "no queue takes it"
    }
}

mod sink {
    use super::super::kit;
    use super::Exchange;

    kit::promises!(Exchange: sink);
    kit::promises!(Exchange: process sink);
    kit::promises!(Exchange: stalling sink);
    kit::promises!(Exchange: guarded sink);
    kit::promises!(Exchange: refusing sink);
}
