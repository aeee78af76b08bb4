//! From written values to the resolved configuration: what every connector has. What only one direction has, with the
//! checks that need several values at once, is in `source` and `sink`.

use std::path::PathBuf;

use flowd_engine::setting::Secret;
use flowd_sink::file::FileSettings;

use super::setting::Section;
use super::values::Values;
use crate::connectors::Way;

mod messages;
mod mysql;
mod publishing;
mod sink;
mod source;

pub use messages::{Delivery, Messages};
pub use publishing::{MeshAddress, OffsetStorage, Order, Outward, Publishing, Target};
pub use sink::Reading;
pub use source::{Applied, Batching, Source, Stream};

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who we are to EventMesh.
    pub pub_sub: PubSub,
    /// What runs, with all that only it is told.
    pub connector: Connector,
    /// What every connector is told about the way.
    pub pipeline: Pipeline,
    /// One sentence for each key that was accepted and does not count; to be logged.
    pub warnings: Vec<String>,
}

/// The connector that runs.
#[derive(Debug, Clone)]
pub enum Connector {
    /// From a database's rows and binlog into a target.
    MySqlCdc(Box<Source>),
    /// From topics into files of lines.
    FileSink(Reading, FileSettings),
    /// From topics to standard output.
    StdoutSink(Reading),
    /// From any source of messages into a target.
    Messages(Box<Messages>),
    /// From topics into any sink of messages or rows.
    Delivery(Reading, Box<Delivery>),
}

impl Connector {
    /// Its logical name.
    pub fn name(&self) -> &str {
        match self {
            Self::MySqlCdc(source) => &source.mysql.connector_name,
            Self::Messages(messages) => messages.settings.connector_name(),
            Self::FileSink(reading, _) | Self::StdoutSink(reading) | Self::Delivery(reading, _) => {
                &reading.connector_name
            }
        }
    }
}

/// Who we are to EventMesh.
#[derive(Debug, Clone)]
pub struct PubSub {
    /// Data centre.
    pub idc: String,
    /// Environment.
    pub env: String,
    /// Group of producers or of consumers.
    pub group: String,
    /// Subsystem.
    pub app_id: String,
    /// User.
    pub user_name: String,
    /// Password.
    pub pass_word: Secret,
}

/// What to do with an event that the target can never take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnReject {
    /// Stop with exit code 4.
    Stop,
    /// Write it to the dead-letter file and go on.
    DeadLetter,
}

/// Section `pipeline`, as far as every connector has it.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The sum of all buffers stays under it, bytes.
    pub memory: u64,
    /// What follows a reject.
    pub on_reject: OnReject,
    /// Where dead letters go, absolute.
    pub dead_letter_file: PathBuf,
    /// How long a stop waits for acknowledgements, ms.
    pub drain_ms: u64,
    /// How long a start retries, ms; 0: one try.
    pub start_ms: u64,
    /// `host:port` of the metrics endpoint.
    pub metrics: Option<String>,
}

/// Reads every setting. The result means nothing once `values.problems` is not empty.
pub(crate) fn resolve(values: &mut Values<'_>) -> Config {
    let mut warnings = Vec::new();
    let connector = match values.connector().way() {
        Way::MySqlCdc => Connector::MySqlCdc(Box::new(source::resolve(values, &mut warnings))),
        Way::FileSink => {
            let reading = sink::reading(values);
            let file = sink::file(values, &reading);
            Connector::FileSink(reading, file)
        }
        Way::StdoutSink => {
            let reading = sink::reading(values);
            sink::records_nothing(values, &reading);
            Connector::StdoutSink(reading)
        }
        Way::Source(source) => Connector::Messages(Box::new(messages::source(values, source))),
        Way::Sink(sink) => {
            let reading = sink::reading(values);
            let delivery = messages::sink(values, sink, &reading);
            Connector::Delivery(reading, Box::new(delivery))
        }
    };
    Config { pub_sub: pub_sub(values, connector.name()), connector, pipeline: pipeline(values), warnings }
}

fn pub_sub(values: &mut Values<'_>, connector_name: &str) -> PubSub {
    let section = Section::PubSub;
    let group = values.parsed(section, "group", |text, _| Ok(text.to_owned()));
    PubSub {
        idc: values.text(section, "idc"),
        env: values.text(section, "env"),
        group: group.unwrap_or_else(|| connector_name.to_owned()),
        app_id: values.text(section, "appId"),
        user_name: values.text(section, "userName"),
        pass_word: values.secret(section, "passWord"),
    }
}

fn pipeline(values: &mut Values<'_>) -> Pipeline {
    let section = Section::Pipeline;
    let rejects = [("stop", OnReject::Stop), ("deadLetter", OnReject::DeadLetter)];
    Pipeline {
        memory: values.number(section, "memory").unwrap_or_default(),
        on_reject: values.choice(section, "onReject", &rejects, OnReject::Stop),
        dead_letter_file: values.path(section, "deadLetterFile").unwrap_or_default(),
        drain_ms: values.number(section, "drainMs").unwrap_or_default(),
        start_ms: values.number(section, "startMs").unwrap_or_default(),
        metrics: values.parsed(section, "metrics", |text, _| address(text, "host:port")),
    }
}

/// Stands in for a text that is wrong, so that the checks of the others can go on.
fn harmless() -> String {
    "x".to_owned()
}

/// The table's bounds hold it within `T`; after a problem it is 0.
fn small<T: TryFrom<u64> + Default>(number: Option<u64>) -> T {
    number.and_then(|number| T::try_from(number).ok()).unwrap_or_default()
}

/// The logical name, in a form that is harmless where it is wrong.
fn connector_name(values: &mut Values<'_>) -> String {
    let name = values.parsed(Section::Connector, "connectorName", |text, _| {
        is_connector_name(text).then(|| text.to_owned()).ok_or_else(|| CONNECTOR_NAME.to_owned())
    });
    name.unwrap_or_else(harmless)
}

/// The name becomes part of a URI, of topics and of file-like keys: it is kept to what needs no escape there.
fn is_connector_name(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (1..=64).contains(&text.len()) && plain
}

const CONNECTOR_NAME: &str = "1 to 64 characters of A-Z, a-z, 0-9, `.`, `_`, `-`";

/// A topic's name, without fields.
fn topic(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match !text.is_empty() && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("a topic of letters, digits, `.`, `_`, `-`".to_owned()),
    }
}

/// EventMesh servers, each `host:port`.
fn servers(text: &str) -> Result<Vec<String>, String> {
    text.split(',').map(|one| address(one.trim(), "host:port, several comma-separated")).collect()
}

/// `host:port` of a flag outside of the configuration.
///
/// # Errors
/// What is allowed, in words.
pub(crate) fn parse_address(text: &str) -> Result<String, String> {
    address(text, "allowed: host:port")
}

/// `host:port`; an IPv6 host in brackets.
fn address(text: &str, allowed: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or(allowed)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let named = !host.is_empty() && !host.contains(|c: char| c == ':' || c == '/' || c.is_whitespace());
    match port.parse::<u16>() {
        Ok(_) if bracketed || named => Ok(text.to_owned()),
        _ => Err(allowed.to_owned()),
    }
}
