//! A RabbitMQ broker of one test, and a client of it that is not flowd.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};
use tokio::runtime::Runtime;

use super::{free_port, until};

/// A running broker with its own directory. Dropping it kills the process; `setpriv --pdeathsig` in the script ends it
/// even when the test itself is killed.
pub struct RabbitMq {
    pub port: u16,
    directory: tempfile::TempDir,
    settings: Vec<String>,
    child: Option<Child>,
}

impl RabbitMq {
    /// With further lines of `rabbitmq.conf`.
    pub fn start_with(settings: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("flowd-mq-").tempdir().unwrap();
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut broker = Self { port: free_port(), directory, settings, child: None };
        broker.launch_in_three(|broker| broker.port = free_port());
        broker
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the broker runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it on what it stored, on the same port.
    pub fn restart(&mut self) {
        self.launch_in_three(|_| {});
    }

    /// `kill -STOP` or `-CONT`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("the broker runs").id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// `rabbitmqctl`.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = script().arg("ctl").arg(self.data()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A new connection.
    pub fn client(&self) -> RabbitClient {
        RabbitClient::connect(self.port)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// What it logged last.
    fn log(&self) -> String {
        let text = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Another process may take a port between our look and the broker's bind: then it is tried again.
    fn launch_in_three(&mut self, before_another: impl Fn(&mut Self)) {
        for _ in 0..2 {
            if self.launch() {
                return;
            }
            before_another(self);
        }
        assert!(self.launch(), "RabbitMQ does not start: {}", self.log());
    }

    /// True once it answers; false when it ended instead.
    fn launch(&mut self) -> bool {
        let log = fs::File::create(self.directory.path().join("log")).unwrap();
        let ports = [self.port, free_port(), free_port()].map(|port| port.to_string());
        let mut child = script()
            .arg("run")
            .arg(self.data())
            .args(ports)
            .args(&self.settings)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("scripts/rabbitmq.sh starts");
        // The first start of all may have to fetch it, which is why this wait is not `until`.
        for _ in 0..6000 {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if self.log().contains("Server startup complete") {
                self.child = Some(child);
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let _ = child.kill();
        false
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Killed, not asked: its directory goes with it. An error means that it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn script() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/rabbitmq.sh"))
}

/// A connection with one channel, on which publishes are confirmed.
pub struct RabbitClient {
    runtime: Runtime,
    channel: Channel,
    /// Open as long as the client is.
    _connection: Connection,
}

impl RabbitClient {
    fn connect(port: u16) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let uri = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
        let (connection, channel) = runtime.block_on(async {
            let connection = Connection::connect(&uri, ConnectionProperties::default()).await.unwrap();
            let channel = connection.create_channel().await.unwrap();
            channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
            (connection, channel)
        });
        Self { runtime, channel, _connection: connection }
    }

    /// A durable queue with these arguments, as `x-queue-type` and `quorum`.
    pub fn declare(&self, queue: &str, arguments: &[(&str, AMQPValue)]) {
        let arguments = arguments.iter().map(|(name, value)| ((*name).into(), value.clone()));
        let arguments: std::collections::BTreeMap<_, _> = arguments.collect();
        let arguments = FieldTable::from(arguments);
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.runtime.block_on(self.channel.queue_declare(queue.into(), options, arguments)).unwrap();
    }

    /// A durable topic exchange, bound to a queue for a pattern of routing keys.
    pub fn bind(&self, exchange: &str, queue: &str, pattern: &str) {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        self.runtime.block_on(async {
            let none = FieldTable::default;
            self.channel
                .exchange_declare(exchange.into(), ExchangeKind::Topic, options, none())
                .await
                .unwrap();
            let bound = QueueBindOptions::default();
            self.channel
                .queue_bind(queue.into(), exchange.into(), pattern.into(), bound, none())
                .await
                .unwrap();
        });
    }

    pub fn delete(&self, queue: &str) {
        let options = QueueDeleteOptions::default();
        self.runtime.block_on(self.channel.queue_delete(queue.into(), options)).unwrap();
    }

    pub fn delete_exchange(&self, exchange: &str) {
        let options = ExchangeDeleteOptions::default();
        self.runtime.block_on(self.channel.exchange_delete(exchange.into(), options)).unwrap();
    }

    /// How many messages wait in a queue, not counting those that somebody has and did not acknowledge.
    pub fn waiting(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.into(), options, FieldTable::default());
        self.runtime.block_on(declared).unwrap().message_count()
    }

    /// Publishes messages and waits until all are confirmed. A broker that has just started again may not know its queues
    /// yet: what it gives back goes once more.
    pub fn publish(&self, exchange: &str, key: &str, messages: &[(BasicProperties, &[u8])]) {
        let mut left: Vec<&(BasicProperties, &[u8])> = messages.iter().collect();
        until("every message to be taken", || {
            left = self.runtime.block_on(self.publish_once(exchange, key, &left));
            left.is_empty().then_some(())
        });
    }

    /// Those that came back.
    async fn publish_once<'a>(
        &self,
        exchange: &str,
        key: &str,
        messages: &[&'a (BasicProperties, &'a [u8])],
    ) -> Vec<&'a (BasicProperties, &'a [u8])> {
        let mut confirms = Vec::new();
        for (properties, body) in messages {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties = properties.clone().with_delivery_mode(2);
            let published =
                self.channel.basic_publish(exchange.into(), key.into(), options, body, properties);
            confirms.push(published.await.unwrap());
        }
        let mut returned = Vec::new();
        for (message, confirm) in messages.iter().zip(confirms) {
            match confirm.await.unwrap() {
                Confirmation::Ack(None) => {}
                Confirmation::Ack(Some(_)) => returned.push(*message),
                other => panic!("{other:?}"),
            }
        }
        returned
    }

    /// Takes the message that has waited longest, for good. Fails while the broker is down.
    pub fn get(&self, queue: &str) -> lapin::Result<Option<BasicGetMessage>> {
        let options = BasicGetOptions { no_ack: true };
        self.runtime.block_on(self.channel.basic_get(queue.into(), options))
    }
}
