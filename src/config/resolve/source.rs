//! What the binlog source is told: its server, its topics, and where its stream begins and ends.

use std::collections::BTreeSet;

use flowd_mysql::config::{MySqlConfig, SnapshotMode};
use flowd_mysql::position::{StartAt, StopAt};

use super::publishing::{self, Order, Outward, Publishing, Target};
use super::{CONNECTOR_NAME, is_connector_name, mysql, small, topic};
use crate::config::problem::Origin;
use crate::config::setting::Section;
use crate::config::values::Values;

/// The source and all that only a source is told.
#[derive(Debug, Clone)]
pub struct Source {
    /// The server and what is read there.
    pub mysql: MySqlConfig,
    /// Topic: a name or a template of `{db}` and `{table}`.
    pub subject: String,
    /// What every source is told.
    pub outward: Outward,
    /// What only a stream is told, whose events are counted.
    pub stream: Stream,
}

/// Where a stream begins and ends, and how its events are counted.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Where a first start begins.
    pub start_at: StartAt,
    /// Where to finish; `None`: never.
    pub stop_at: Option<StopAt>,
    /// Lanes of sequence of a topic.
    pub lanes: u16,
    /// Whose applying an event waits for; `None`: it is delivered once it is published.
    pub applied: Option<Applied>,
    /// How events are packed into messages; `None`: one event a message.
    pub batch: Option<Batching>,
    /// Whether the envelope's own `ts_*` are written.
    pub clock_fields: bool,
}

/// Delivery that ends where the sinks have applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// `connectorName` of each sink, sorted, each once; at least one.
    pub by: Vec<String>,
    /// Where they tell it.
    pub topic: String,
}

/// Messages of several events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// A message holds at most so many bytes.
    pub bytes: u32,
    /// How long one that is not full waits, ms.
    pub linger_ms: u32,
}

pub(super) fn resolve(values: &mut Values<'_>, warnings: &mut Vec<String>) -> Source {
    let mysql = mysql::source(values);
    warnings.extend(start_at_without_meaning(values, mysql.snapshot.mode));
    let outward = publishing::outward(values);
    Source {
        subject: values.parsed(Section::PubSub, "subject", |text, _| subject(text)).unwrap_or_default(),
        stream: stream(values, &mysql.connector_name, &outward.publishing),
        outward,
        mysql,
    }
}

fn stream(values: &mut Values<'_>, connector_name: &str, publishing: &Publishing) -> Stream {
    let section = Section::Pipeline;
    Stream {
        applied: applied(values, connector_name, publishing),
        batch: batch(values, &publishing.target),
        start_at: values.parsed(section, "startAt", |text, _| start_at(text)).unwrap_or(StartAt::Latest),
        stop_at: values.parsed(section, "stopAt", |text, _| text.parse()),
        lanes: small(values.number(section, "lanes")),
        clock_fields: values.switch(section, "clockFields"),
    }
}

/// `delivery`, `appliedBy` and `appliedTopic` together.
fn applied(values: &mut Values<'_>, connector_name: &str, publishing: &Publishing) -> Option<Applied> {
    let section = Section::Pipeline;
    let is_applied = values.choice(section, "delivery", &[("published", false), ("applied", true)], false);
    let by = sinks(values);
    let topic = values.parsed(section, "appliedTopic", |text, _| topic(text));
    if !is_applied {
        for name in ["appliedBy", "appliedTopic"] {
            if values.origin(section, name) != Origin::Default {
                let text = "counts only with `pipeline.delivery: applied`; write that too, or remove it";
                values.problem(section, name, text);
            }
        }
        return None;
    }
    if publishing.target != Target::Mesh {
        let text =
            "applied needs sinks behind EventMesh; write `pipeline.target: mesh`, or `delivery: published`";
        values.problem(section, "delivery", text);
    }
    if publishing.order == Order::Total {
        // The rows of a chunk count as applied together: one at a time they would wait for each other for ever.
        let text = "total sends one event at a time, and applied waits for many; write `pipeline.order: key`: a sink keeps \
                    the order of each lane (`pipeline.lanes: 1`: of each topic)";
        values.problem(section, "order", text);
    }
    if by.is_empty() && values.origin(section, "appliedBy") == Origin::Default {
        let text = "is required with `pipeline.delivery: applied`; write the connectorName of each sink, \
                    `appliedBy: [NAME]`";
        values.problem(section, "appliedBy", text);
    } else if by.is_empty() {
        let text = "names no sink; write the connectorName of each, or `delivery: published`";
        values.problem(section, "appliedBy", text);
    }
    let topic = topic.unwrap_or_else(|| flowd_codec::applied::control_topic(connector_name));
    Some(Applied { by, topic })
}

/// Each is a bit of what an event waits for.
const SINKS_MAX: usize = 64;

/// The names of `appliedBy`, sorted: their order says nothing.
fn sinks(values: &mut Values<'_>) -> Vec<String> {
    let section = Section::Pipeline;
    let mut by = BTreeSet::new();
    for name in values.list(section, "appliedBy") {
        if !is_connector_name(&name) {
            let text = format!("\"{name}\" is no connectorName; allowed: {CONNECTOR_NAME}");
            values.problem(section, "appliedBy", text);
        }
        if let Some(twice) = by.replace(name) {
            values.problem(section, "appliedBy", format!("names \"{twice}\" twice; write it once"));
        }
    }
    if by.len() > SINKS_MAX {
        let text = format!("names {} sinks; allowed: at most {SINKS_MAX}", by.len());
        values.problem(section, "appliedBy", text);
    }
    by.into_iter().collect()
}

fn batch(values: &mut Values<'_>, target: &Target) -> Option<Batching> {
    let section = Section::Pipeline;
    let bytes = values.number(section, "batch.bytes");
    let linger_ms = small(values.number(section, "batch.lingerMs"));
    let linger_given = values.origin(section, "batch.lingerMs") != Origin::Default;
    let bytes_given = values.origin(section, "batch.bytes") != Origin::Default;
    if linger_given && !bytes_given {
        let text = "counts only with `pipeline.batch.bytes`; write that too, or remove it";
        values.problem(section, "batch.lingerMs", text);
    }
    if bytes.is_some() && *target != Target::Mesh {
        let text = "packs messages of EventMesh; write `pipeline.target: mesh`, or remove it";
        values.problem(section, "batch.bytes", text);
    }
    bytes.map(|bytes| Batching { bytes: small(Some(bytes)), linger_ms })
}

/// Where the stream begins is the snapshot's to say.
fn start_at_without_meaning(values: &mut Values<'_>, mode: SnapshotMode) -> Option<String> {
    let origin = values.origin(Section::Pipeline, "startAt");
    if mode == SnapshotMode::Never || origin == Origin::Default {
        return None;
    }
    let mode = mode.name();
    Some(format!(
        "pipeline.startAt does not count with connectorConfig.snapshotMode: {mode}, whose snapshot says where the \
         stream begins; it counts with snapshotMode: never ({origin})"
    ))
}

fn subject(text: &str) -> Result<String, String> {
    const ALLOWED: &str = "letters, digits, `.`, `_`, `-`, and the fields {db} and {table}";
    let fixed = text.replace("{db}", "").replace("{table}", "");
    let topic = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if fixed.chars().all(topic) { Ok(text.to_owned()) } else { Err(ALLOWED.to_owned()) }
}

fn start_at(text: &str) -> Result<StartAt, String> {
    // `file:` may stand before a binlog's name, as it stands in the manual.
    text.strip_prefix("file:").unwrap_or(text).parse()
}
