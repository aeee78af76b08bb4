//! The systems that connectors are measured on, a file each, and what a bare loop of the client does there.

mod broker;
mod eventmesh;
mod file;
mod http;
mod kafka;
mod postgres;
mod rabbitmq;

use std::io::Write;
use std::path::Path;

use crate::Failure;

pub(crate) use file::write_messages;

/// All that are measured.
pub(crate) const ALL: &[Connector] = &[
    eventmesh::SOURCE,
    file::SOURCE,
    file::SINK,
    http::SOURCE,
    http::SINK,
    kafka::SOURCE,
    kafka::SINK,
    postgres::SINK,
    rabbitmq::SOURCE,
    rabbitmq::SINK,
];

/// A connector, and what it is held against.
pub(crate) struct Connector {
    /// As `--connector` names it.
    pub(crate) name: &'static str,
    pub(crate) way: Way,
    /// How many times the messages that were asked for: of a fast one half a second would tell the start alone.
    pub(crate) times: u64,
    /// Starts its system, whose files go into a directory of its own.
    pub(crate) begin: fn(&Path) -> Result<Box<dyn System>, Failure>,
    /// What the client alone does, told what [`System::arguments`] gave: it reads all messages and acknowledges them as the
    /// connector must, or writes as many and waits until they are taken. Gives how many.
    pub(crate) bare: fn(Work, &[String]) -> Result<u64, Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Measured into the target `drop`.
    Source,
    /// Measured out of the embedded mesh, which holds the messages.
    Sink,
}

/// How much there is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) messages: u64,
    pub(crate) bytes: usize,
}

/// A system that runs; it ends with the value.
pub(crate) trait System {
    /// Before each run: a source's system holds the messages again, unread; a sink's holds none.
    fn reset(&mut self, work: Work) -> Result<(), Failure>;
    /// The connector's own settings, in YAML's flow style, without `connectorName`.
    fn settings(&self) -> String;
    /// What the bare loop is told.
    fn arguments(&self) -> Vec<String>;
    /// How many messages a sink's system holds; of a source the flow's own count is enough.
    fn count(&mut self) -> Result<u64, Failure>;
}

/// The connector of this name.
pub(crate) fn named(name: &str) -> Result<&'static Connector, Failure> {
    let found = ALL.iter().find(|connector| connector.name == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = ALL.iter().map(|connector| connector.name).collect();
        format!("{name} is not measured; these are: {}", known.join(", ")).into()
    })
}

/// What else a message of a sink's bare loop holds: the attributes that the connector gets from [`flows`](crate::flows)'s
/// publisher and writes as headers, so that both send the same.
pub(crate) fn attributes(number: u64) -> [(&'static str, String); 7] {
    [
        ("specversion", "1.0".to_owned()),
        ("id", format!("perf-{number:x}")),
        ("source", "/flowd/file-source/perf".to_owned()),
        ("type", "flowd.file.line".to_owned()),
        ("subject", "perf.messages".to_owned()),
        ("file", "/var/lib/perf/messages/publish.jsonl".to_owned()),
        ("offset", (number * 200).to_string()),
    ]
}

/// Writes one message, a JSON object of about `bytes` bytes.
pub(crate) fn message(number: u64, bytes: usize, out: &mut Vec<u8>) {
    let begin = out.len();
    write!(out, r#"{{"number":{number},"customer":"customer {}","note":""#, number % 1000)
        .expect("a buffer takes everything");
    let note = bytes.saturating_sub(out.len() - begin + 2);
    out.resize(out.len() + note, b'n');
    out.extend_from_slice(b"\"}");
}
