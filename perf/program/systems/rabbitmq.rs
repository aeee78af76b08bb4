//! RabbitMQ: the bare loop of a source consumes a queue and acknowledges in runs, that of a sink publishes with confirms.

use std::path::Path;

use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

use super::broker::Process;
use super::{Connector, System, Way, Work, attributes, message};
use crate::Failure;
use crate::port::free_port;

const QUEUE: &str = "perf";
/// As the connector's own preset.
const PREFETCH: u16 = 1_000;
/// Messages that are acknowledged together: about what one of flowd's batches holds.
const ACK_EVERY: u64 = 256;
/// Messages that wait for their confirms together, as in a put of the connector.
const UNCONFIRMED_MAX: u64 = 8_192;

pub(crate) const SOURCE: Connector = Connector {
    name: "rabbitmq-source",
    way: Way::Source,
    times: 1,
    begin: |directory| Broker::begin(directory, Way::Source),
    bare: |work, arguments| block_on(consume(work, arguments)),
};

pub(crate) const SINK: Connector = Connector {
    name: "rabbitmq-sink",
    way: Way::Sink,
    times: 1,
    begin: |directory| Broker::begin(directory, Way::Sink),
    bare: |work, arguments| block_on(produce(work, arguments, Way::Sink)),
};

struct Broker {
    way: Way,
    port: u16,
    _process: Process,
}

impl Broker {
    fn begin(directory: &Path, way: Way) -> Result<Box<dyn System>, Failure> {
        let ports = [free_port()?, free_port()?, free_port()?];
        let process = Process::start("rabbitmq.sh", directory, &ports, "Server startup complete")?;
        Ok(Box::new(Self { way, port: ports[0], _process: process }))
    }
}

impl System for Broker {
    fn reset(&mut self, work: Work) -> Result<(), Failure> {
        let arguments = self.arguments();
        block_on(async {
            let (_connection, channel) = connect(&arguments).await?;
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(QUEUE.into(), options, FieldTable::default()).await?;
            channel.queue_purge(QUEUE.into(), QueuePurgeOptions::default()).await?;
            Ok(())
        })?;
        match self.way {
            Way::Source => block_on(produce(work, &arguments, Way::Source)).map(drop),
            Way::Sink => Ok(()),
        }
    }

    fn settings(&self) -> String {
        let of_way = match self.way {
            Way::Source => format!("queue: {QUEUE}"),
            Way::Sink => format!("routingKey: {QUEUE}"),
        };
        format!("hostname: 127.0.0.1, port: {}, user: guest, password: guest, {of_way}", self.port)
    }

    fn arguments(&self) -> Vec<String> {
        vec![format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)]
    }

    fn count(&mut self) -> Result<u64, Failure> {
        let arguments = self.arguments();
        block_on(async {
            let (_connection, channel) = connect(&arguments).await?;
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let queue = channel.queue_declare(QUEUE.into(), options, FieldTable::default()).await?;
            Ok(u64::from(queue.message_count()))
        })
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(work)
}

async fn connect(arguments: &[String]) -> Result<(Connection, Channel), Failure> {
    let uri = arguments.first().ok_or("no address")?;
    let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

/// Reads all and acknowledges in runs.
async fn consume(work: Work, arguments: &[String]) -> Result<u64, Failure> {
    let (_connection, channel) = connect(arguments).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = channel.basic_consume(QUEUE.into(), "".into(), options, none).await?;
    let mut count = 0;
    while count < work.messages {
        let delivery = consumer.next().await.ok_or("the consumer ended")??;
        count += 1;
        if count % ACK_EVERY == 0 || count == work.messages {
            channel.basic_ack(delivery.delivery_tag, BasicAckOptions { multiple: true }).await?;
        }
    }
    Ok(count)
}

/// Publishes all, a sink's with the headers of the CloudEvents binding, and waits for the confirms of as many at once as a
/// put of the connector has.
async fn produce(work: Work, arguments: &[String], way: Way) -> Result<u64, Failure> {
    let (_connection, channel) = connect(arguments).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let mut body = Vec::new();
    let mut confirms = Vec::new();
    let mut count = 0;
    for number in 0..work.messages {
        body.clear();
        message(number, work.bytes, &mut body);
        let mut properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_message_id(number.to_string().into())
            .with_content_type("application/json".into());
        if way == Way::Sink {
            properties = properties.with_headers(headers(number));
        }
        confirms.push(channel.basic_publish("".into(), QUEUE.into(), options, &body, properties).await?);
        if confirms.len() as u64 == UNCONFIRMED_MAX || number + 1 == work.messages {
            for confirm in confirms.drain(..) {
                match confirm.await? {
                    Confirmation::Ack(None) => count += 1,
                    other => return Err(format!("a message was not taken: {other:?}").into()),
                }
            }
        }
    }
    Ok(count)
}

fn headers(number: u64) -> FieldTable {
    let mut headers = FieldTable::default();
    for (name, value) in attributes(number) {
        headers.insert(format!("cloudEvents_{name}").into(), AMQPValue::LongString(value.into()));
    }
    headers
}
