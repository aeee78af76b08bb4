//! `rabbitmq-sink`: publishes events to an exchange, each confirmed by the server before it counts as delivered.
//!
//! Messages are persistent and mandatory: what no queue takes is refused, not dropped. Kept: events are published in their
//! order on one channel. After a failure they are published again from the first one that was not confirmed, so that
//! what comes last of a key is its last event, and only what stood behind the unconfirmed one can come twice.

use std::collections::VecDeque;
use std::mem;
use std::pin::Pin;
use std::time::Duration;

use flowd_engine::failure::Failure;
use flowd_engine::setting::{Kind, Preset, Setting, Settings, Wrong, joined};
use flowd_sink::binding::Mode;
use flowd_sink::deliver::{Connector, DeliverEvent, EventSink, Opened, Refused};
use futures_util::FutureExt as _;
use futures_util::future::{MaybeDone, maybe_done};
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind, PublisherConfirm};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::access::{self, Access, NAME_BYTES_MAX};

mod message;
mod returned;
mod template;

use message::Message;
use template::Template;

/// The connector, for the table.
pub const CONNECTOR: Connector = Connector {
    name: "rabbitmq-sink",
    help: "messages of a RabbitMQ exchange, each confirmed by the server",
    settings: &joined::<13>(
        &access::SETTINGS,
        &[
            Setting::new(
                "exchange",
                Kind::Text,
                Preset::Without("the default exchange, to which a routing key is the name of a queue"),
                "where events are published; it must exist",
            ),
            Setting::new(
                "routingKey",
                Kind::Form("text, in which {topic} and {key} stand for those of the event"),
                Preset::Value("{topic}"),
                "what the exchange routes by",
            ),
            Setting::new(
                "mode",
                Kind::Choice(&["binary", "structured"]),
                Preset::Value("binary"),
                "the body is the data and headers say the rest, or the body is the whole CloudEvent",
            ),
            Setting::new(
                "confirmMs",
                Kind::Integer(100, 600_000),
                Preset::Value("30000"),
                "how long a confirm may take before the connection counts as lost",
            ),
        ],
    ),
    open: |settings, _context| Ok(Opened::Events(Box::new(RabbitSink::open(settings)?))),
};

const FIELDS: &[&str] = &["topic", "key"];
/// Publishes that the client may have without having written them.
const WRITING_MAX: usize = 512;

/// The sink.
struct RabbitSink {
    access: Access,
    exchange: String,
    routing_key: Template,
    mode: Mode,
    patience: Duration,
    /// With a thread of its own, so that heartbeats go on between two deliveries.
    runtime: Option<Runtime>,
    link: Option<Link>,
    progress: Progress,
    /// The largest body that the server takes, once it has said so.
    body_bytes_max: Option<usize>,
}

/// What is known of the events that were put last, and are put again after a failure.
#[derive(Default)]
struct Progress {
    /// The first so many are confirmed or refused.
    done: usize,
    /// The refused ones among them.
    refused: Vec<Refused>,
    /// One was not taken while what stood behind it was: the rest goes one by one, so that this does not happen again.
    is_careful: bool,
}

/// A connection, and its channel on which publishes are confirmed.
struct Link {
    connection: Connection,
    channel: Channel,
}

impl RabbitSink {
    fn open(settings: &Settings) -> Result<Self, Wrong> {
        let template = settings.text("routingKey");
        Ok(Self {
            access: Access::of(settings)?,
            exchange: match settings.text_if("exchange") {
                Some(_) => access::name(settings, "exchange")?.to_owned(),
                None => String::new(),
            },
            routing_key: Template::parse(template, FIELDS)
                .map_err(|wrong| Wrong::new("routingKey", wrong))?,
            mode: Mode::of(settings),
            patience: Duration::from_millis(settings.number("confirmMs")),
            runtime: None,
            link: None,
            progress: Progress::default(),
            body_bytes_max: None,
        })
    }

    /// A link to an exchange that is there.
    async fn link(&self) -> Result<Link, Failure> {
        let connection = self.access.connect().await?;
        let what = match self.exchange.as_str() {
            "" => "the default exchange".to_owned(),
            name => format!("the exchange {name} of the virtual host {}", self.access.vhost()),
        };
        let channel = access::in_time(&what, async {
            let failure = |error| access::failure(&error, &what);
            let channel = connection.create_channel().await.map_err(failure)?;
            if !self.exchange.is_empty() {
                let (name, none) = (self.exchange.as_str().into(), FieldTable::default());
                let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                channel.exchange_declare(name, ExchangeKind::Direct, passive, none).await.map_err(failure)?;
            }
            channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(failure)?;
            Ok(channel)
        })
        .await?;
        Ok(Link { connection, channel })
    }

    async fn deliver(&mut self, events: &[DeliverEvent<'_>]) -> Result<Vec<Refused>, Failure> {
        let link = match self.link.take().filter(Link::is_up) {
            Some(link) => link,
            None => self.link().await.map_err(while_running)?,
        };
        while self.progress.done < events.len() {
            let end = if self.progress.is_careful { self.progress.done + 1 } else { events.len() };
            if let Err(failure) = self.publish(&link.channel, &events[..end]).await {
                let done = self.progress.done;
                self.progress.refused.retain(|refused| refused.index < done);
                access::close(&link.connection).await;
                return Err(failure);
            }
        }
        self.link = Some(link);
        let mut refused = mem::take(&mut self.progress).refused;
        refused.sort_unstable_by_key(|refused| refused.index);
        Ok(refused)
    }

    /// Publishes what is not done of the events, and waits until all of it is confirmed.
    async fn publish(&mut self, channel: &Channel, events: &[DeliverEvent<'_>]) -> Result<(), Failure> {
        let first = self.progress.done;
        let (pending, mut failed) = self.send(channel, events).await;
        let (mut pending, mut returned) = (pending.into_iter(), Vec::new());
        for (index, confirm) in pending.by_ref() {
            if let Err(failure) = self.confirmed(confirm, &mut returned).await {
                failed = Some(failure);
                break;
            }
            self.progress.done = index + 1;
        }
        // What came back may have come with any confirm.
        let rest = pending.filter_map(|(_, confirm)| confirm.now_or_never()?.ok()?.take_message());
        returned.extend(rest);
        if failed.is_none() {
            self.progress.done = events.len();
        }
        let published = (first..events.len()).filter_map(|index| {
            let mut key = String::new();
            let message = self.message(&events[index], &mut key).ok()?;
            Some((index, key, message))
        });
        let refused = returned::find(&returned, published)?;
        let done = self.progress.done;
        self.progress.refused.extend(refused.into_iter().filter(|refused| refused.index < done));
        failed.map_or(Ok(()), Err)
    }

    /// Waits for a confirm, and puts what came with it to what came back.
    async fn confirmed(
        &mut self,
        confirm: PublisherConfirm,
        returned: &mut Vec<BasicReturnMessage>,
    ) -> Result<(), Failure> {
        let confirmation = match timeout(self.patience, confirm).await {
            Ok(Ok(confirmation)) => confirmation,
            Ok(Err(error)) => return Err(self.failure(&error)),
            Err(_) => return Err(self.silence()),
        };
        let is_taken = !confirmation.is_nack();
        returned.extend(confirmation.take_message());
        if is_taken {
            return Ok(());
        }
        self.progress.is_careful = true;
        Err(Failure::Retry(
            "an event was not taken (basic.nack): is a queue full that rejects publishes?".into(),
        ))
    }

    /// Sends what is not done of the events, in order, until a failure.
    ///
    /// The client answers a publish once it is written. To wait for each would cost a change of threads and a packet a
    /// message, so [`WRITING_MAX`] are handed to it before the first of them is waited for.
    async fn send(
        &mut self,
        channel: &Channel,
        events: &[DeliverEvent<'_>],
    ) -> (Vec<(usize, PublisherConfirm)>, Option<Failure>) {
        let mut pending = Vec::with_capacity(events.len() - self.progress.done);
        let mut writing = VecDeque::with_capacity(WRITING_MAX);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, mut key) = (ShortString::from(self.exchange.as_str()), String::new());
        for (index, event) in events.iter().enumerate().skip(self.progress.done) {
            let message = match self.message(event, &mut key) {
                Ok(message) => message,
                Err(reason) => {
                    self.progress.refused.push(Refused { index, reason });
                    continue;
                }
            };
            if writing.len() == WRITING_MAX
                && let Err(failure) = self.written(&mut writing, &mut pending).await
            {
                return (pending, Some(failure));
            }
            let (exchange, key) = (exchange.clone(), key.as_str().into());
            let mut publish = Box::pin(maybe_done(async move {
                let Message { properties, body } = message;
                channel.basic_publish(exchange, key, options, &body, properties).await
            }));
            // Asked once, the client has it in its queue.
            let _ = publish.as_mut().now_or_never();
            writing.push_back((index, publish));
        }
        while !writing.is_empty() {
            if let Err(failure) = self.written(&mut writing, &mut pending).await {
                return (pending, Some(failure));
            }
        }
        (pending, None)
    }

    /// Waits until the first of the publishes is written.
    async fn written<F: Future<Output = lapin::Result<PublisherConfirm>>>(
        &mut self,
        writing: &mut VecDeque<(usize, Pin<Box<MaybeDone<F>>>)>,
        pending: &mut Vec<(usize, PublisherConfirm)>,
    ) -> Result<(), Failure> {
        let Some((index, mut publish)) = writing.pop_front() else { return Ok(()) };
        timeout(self.patience, publish.as_mut()).await.map_err(|_| self.silence())?;
        match publish.as_mut().take_output().expect("it was just waited for") {
            Ok(confirm) => pending.push((index, confirm)),
            Err(error) => return Err(self.failure(&error)),
        }
        Ok(())
    }

    /// The message of an event, and its routing key; the error says why there is none.
    fn message<'a>(&self, event: &DeliverEvent<'a>, key: &mut String) -> Result<Message<'a>, String> {
        self.routing_key.fill(&[event.topic, event.key.unwrap_or_default()], key);
        if key.len() > NAME_BYTES_MAX {
            return Err(format!("its routing key has {} bytes, and AMQP allows {NAME_BYTES_MAX}", key.len()));
        }
        let message = Message::write(event, self.mode)?;
        match self.body_bytes_max {
            Some(max) if message.body.len() > max => {
                Err(format!("its body has {} bytes, and the broker takes {max}", message.body.len()))
            }
            _ => Ok(message),
        }
    }

    fn silence(&self) -> Failure {
        Failure::Retry(format!("the broker confirmed nothing for {} ms", self.patience.as_millis()))
    }

    /// What it means that the channel was closed. That a message was too large is remembered: it is refused next time.
    fn failure(&mut self, error: &lapin::Error) -> Failure {
        if let Some(max) = size_limit(error) {
            self.body_bytes_max = Some(max);
            return Failure::Retry(access::text(error));
        }
        while_running(access::failure(error, "publishing"))
    }
}

/// It could be used at the start: what is not to be mended ends the run.
fn while_running(failure: Failure) -> Failure {
    match failure {
        Failure::Unusable(text) => Failure::Fatal(text),
        failure => failure,
    }
}

/// The largest body that the broker takes, where that is what it says.
fn size_limit(error: &lapin::Error) -> Option<usize> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    let (_, limit) = error.get_message().as_str().split_once("larger than configured max size ")?;
    limit.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl Link {
    fn is_up(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }
}

impl EventSink for RabbitSink {
    fn start(&mut self) -> Result<(), Failure> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => access::runtime()?,
        };
        let linked = runtime.block_on(self.link());
        self.runtime = Some(runtime);
        self.link = Some(linked?);
        Ok(())
    }

    fn put(&mut self, events: &[DeliverEvent<'_>]) -> Result<Vec<Refused>, Failure> {
        let runtime = self.runtime.take().expect("put follows a start that succeeded");
        let delivered = runtime.block_on(self.deliver(events));
        self.runtime = Some(runtime);
        delivered
    }

    fn close(&mut self) {
        if let (Some(runtime), Some(link)) = (&self.runtime, self.link.take()) {
            runtime.block_on(access::close(&link.connection));
        }
    }
}
