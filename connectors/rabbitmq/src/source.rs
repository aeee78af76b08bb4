//! `rabbitmq-source`: takes the messages of a queue, and acknowledges each to it once the mesh has acknowledged its event.
//!
//! The queue itself remembers what was not acknowledged and gives it again, so no position is stored: a position is the
//! number of a delivery, and acknowledges all deliveries up to it. A lost connection is made again; what was under way
//! then comes again, and keeps its id where the message has one.

use flowd_engine::setting::joined;
use flowd_source::{
    Connector, Context, EventSource, Events, Failure, Kind, Position, Preset, Progress, Setting, Settings,
    SourceEnd, Wrong, position, run_async,
};
use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};

use crate::access::{self, Access};

mod message;
mod reading;

use reading::Reading;

/// The connector, for the table.
pub const CONNECTOR: Connector = Connector {
    name: "rabbitmq-source",
    help: "messages of a RabbitMQ queue, acknowledged to it once the mesh has them",
    settings: &joined::<12>(
        &access::SETTINGS,
        &[
            Setting::new(
                "queue",
                Kind::Text,
                Preset::Required,
                "what is read; classic or quorum, and it must exist",
            ),
            Setting::new(
                "prefetch",
                Kind::Integer(1, 65_535),
                Preset::Value("1000"),
                "messages that the queue gives before the first of them is acknowledged",
            ),
            Setting::new(
                "key",
                Kind::Form("none, routingKey, or header:NAME"),
                Preset::Value("none"),
                "what becomes the order key of a message that is no CloudEvent",
            ),
        ],
    ),
    fields: FIELDS,
    subject: Preset::Value("{queue}"),
    progress: Progress::Outside,
    open: |settings, context| Ok(Box::new(RabbitSource::open(settings, context)?)),
};

const FIELDS: &[&str] = &["queue", "exchange", "routingKey"];

/// What becomes the order key of a message that is no CloudEvent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    None,
    Routing,
    Header(String),
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "none" => Some(Self::None),
            None if text == "routingKey" => Some(Self::Routing),
            Some(("header", name)) if !name.is_empty() => Some(Self::Header(name.to_owned())),
            _ => None,
        }
    }
}

/// The source.
struct RabbitSource {
    access: Access,
    queue: String,
    prefetch: u16,
    key: Key,
    context: Context,
}

impl RabbitSource {
    fn open(settings: &Settings, context: Context) -> Result<Self, Wrong> {
        let key = settings.text("key");
        Ok(Self {
            access: Access::of(settings)?,
            queue: access::name(settings, "queue")?.to_owned(),
            prefetch: u16::try_from(settings.number("prefetch")).expect("at most 65535"),
            key: Key::parse(key)
                .ok_or_else(|| Wrong::value("key", key, "none, routingKey, or header:NAME"))?,
            context,
        })
    }

    /// A channel on which the queue was found.
    async fn look(&self, connection: &Connection) -> Result<Channel, Failure> {
        let what = format!("the queue {} of the virtual host {}", self.queue, self.access.vhost());
        let failure = |error| access::failure(&error, &what);
        let channel = connection.create_channel().await.map_err(failure)?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        channel
            .queue_declare(self.queue.as_str().into(), passive, FieldTable::default())
            .await
            .map_err(failure)?;
        Ok(channel)
    }

    /// A connection with a consumer of the queue.
    async fn consume(&self) -> Result<(Connection, Channel, Consumer), Failure> {
        let connection = self.access.connect().await?;
        let what = format!("reading the queue {}", self.queue);
        let (channel, consumer) = access::in_time(&what, async {
            let channel = self.look(&connection).await?;
            let failure = |error| access::failure(&error, &what);
            channel.basic_qos(self.prefetch, BasicQosOptions::default()).await.map_err(failure)?;
            // Without a tag of ours, the server makes one that nobody else has.
            let (queue, tag) = (self.queue.as_str().into(), "".into());
            let consuming =
                channel.basic_consume(queue, tag, BasicConsumeOptions::default(), FieldTable::default());
            let consumer = consuming.await.map_err(failure)?;
            Ok((channel, consumer))
        })
        .await?;
        Ok((connection, channel, consumer))
    }
}

impl EventSource for RabbitSource {
    fn start(&mut self, _stored: Option<&Position>) -> Result<Position, Failure> {
        access::runtime()?.block_on(async {
            let connection = self.access.connect().await?;
            let what = format!("looking at the queue {}", self.queue);
            access::in_time(&what, self.look(&connection)).await?;
            access::close(&connection).await;
            Ok(position::counted(0))
        })
    }

    fn run(self: Box<Self>, out: &mut Events<'_>) -> Result<SourceEnd, Failure> {
        run_async(out, async move |feeder| Reading::new(&self, feeder).run().await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_of_three_forms() {
        for (text, expected) in [
            ("none", Some(Key::None)),
            ("routingKey", Some(Key::Routing)),
            ("header:x-customer", Some(Key::Header("x-customer".to_owned()))),
            ("header:", None),
            ("queue", None),
        ] {
            assert_eq!(Key::parse(text), expected, "{text}");
        }
    }
}
