//! What the binlog source is told: its server, its topics, its registry, and the way to its target.

use std::collections::BTreeSet;
use std::path::PathBuf;

use flowd_mysql::config::{MySqlConfig, SnapshotMode};
use flowd_mysql::position::{StartAt, StopAt};

use super::{CONNECTOR_NAME, is_connector_name, mysql, servers, small, topic};
use crate::config::problem::Origin;
use crate::config::setting::Section;
use crate::config::values::Values;

/// The source and all that only a source is told.
#[derive(Debug, Clone)]
pub struct Source {
    /// The server and what is read there.
    pub mysql: MySqlConfig,
    /// Where EventMesh is.
    pub mesh_address: MeshAddress,
    /// Topic: a name or a template of `{db}` and `{table}`.
    pub subject: String,
    /// The registry.
    pub offset_storage: OffsetStorage,
    /// The way to the target.
    pub publishing: Publishing,
}

/// Where EventMesh is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeshAddress {
    /// Servers, each `host:port`; at least one.
    Servers(Vec<String>),
    /// A server in this process.
    Embedded,
}

/// The way from a source to its target.
#[derive(Debug, Clone)]
pub struct Publishing {
    /// Where events go.
    pub target: Target,
    /// Where a first start begins.
    pub start_at: StartAt,
    /// Where to finish; `None`: never.
    pub stop_at: Option<StopAt>,
    /// Connections to EventMesh.
    pub connections: u32,
    /// Unacknowledged publishes a connection.
    pub window: u32,
    /// What order is promised.
    pub order: Order,
    /// Lanes of sequence of a topic.
    pub lanes: u16,
    /// Whose applying an event waits for; `None`: it is delivered once it is published.
    pub applied: Option<Applied>,
    /// How events are packed into messages; `None`: one event a message.
    pub batch: Option<Batching>,
    /// How often progress is saved, ms.
    pub checkpoint_ms: u64,
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

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// EventMesh.
    Mesh,
    /// A file of one event a line, absolute.
    JsonLines(PathBuf),
    /// Standard output.
    Stdout,
    /// Nowhere.
    Drop,
}

/// What order is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Of the events of one key.
    Key,
    /// Of all events.
    Total,
    /// None.
    None,
}

/// Section `offsetStorageConfig`.
#[derive(Debug, Clone)]
pub struct OffsetStorage {
    /// `rocksdb`, the only value for now.
    pub offset_storage_type: &'static str,
    /// Directory of the registry, absolute.
    pub offset_storage_addr: PathBuf,
}

pub(super) fn resolve(values: &mut Values<'_>, warnings: &mut Vec<String>) -> Source {
    let mysql = mysql::source(values);
    warnings.extend(start_at_without_meaning(values, mysql.snapshot.mode));
    Source {
        mesh_address: values
            .parsed(Section::PubSub, "meshAddress", |text, _| mesh_address(text))
            .unwrap_or(MeshAddress::Embedded),
        subject: values.parsed(Section::PubSub, "subject", |text, _| subject(text)).unwrap_or_default(),
        offset_storage: offset_storage(values),
        publishing: publishing(values, &mysql.connector_name),
        mysql,
    }
}

fn mesh_address(text: &str) -> Result<MeshAddress, String> {
    match text {
        "embedded" => Ok(MeshAddress::Embedded),
        _ => servers(text).map(MeshAddress::Servers).map_err(|allowed| format!("{allowed}, or `embedded`")),
    }
}

fn publishing(values: &mut Values<'_>, connector_name: &str) -> Publishing {
    let section = Section::Pipeline;
    let target = values.parsed(section, "target", |text, origin| Ok((text.to_owned(), origin.clone())));
    let orders = [("key", Order::Key), ("total", Order::Total), ("none", Order::None)];
    let target = target.map_or(Target::Drop, |(text, origin)| self::target(values, &text, &origin));
    Publishing {
        applied: applied(values, connector_name, &target),
        batch: batch(values, &target),
        target,
        start_at: values.parsed(section, "startAt", |text, _| start_at(text)).unwrap_or(StartAt::Latest),
        stop_at: values.parsed(section, "stopAt", |text, _| text.parse()),
        connections: small(values.number(section, "connections")),
        window: small(values.number(section, "window")),
        order: values.choice(section, "order", &orders, Order::Key),
        lanes: small(values.number(section, "lanes")),
        checkpoint_ms: values.number(section, "checkpointMs").unwrap_or_default(),
        clock_fields: values.switch(section, "clockFields"),
    }
}

/// `delivery`, `appliedBy` and `appliedTopic` together.
fn applied(values: &mut Values<'_>, connector_name: &str, target: &Target) -> Option<Applied> {
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
    if *target != Target::Mesh {
        let text =
            "applied needs sinks behind EventMesh; write `pipeline.target: mesh`, or `delivery: published`";
        values.problem(section, "delivery", text);
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

fn offset_storage(values: &mut Values<'_>) -> OffsetStorage {
    let section = Section::OffsetStorage;
    let offset_storage_type = values.parsed(section, "offsetStorageType", |text, _| match text {
        "rocksdb" => Ok("rocksdb"),
        "nacos" | "admin" => {
            Err("rocksdb (write `offsetStorageType: rocksdb`, and a directory as offsetStorageAddr)"
                .to_owned())
        }
        _ => Err("rocksdb".to_owned()),
    });
    OffsetStorage {
        offset_storage_type: offset_storage_type.unwrap_or_default(),
        offset_storage_addr: values.path(section, "offsetStorageAddr").unwrap_or_default(),
    }
}

fn subject(text: &str) -> Result<String, String> {
    const ALLOWED: &str = "letters, digits, `.`, `_`, `-`, and the fields {db} and {table}";
    let fixed = text.replace("{db}", "").replace("{table}", "");
    let topic = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if fixed.chars().all(topic) { Ok(text.to_owned()) } else { Err(ALLOWED.to_owned()) }
}

fn target(values: &mut Values<'_>, text: &str, origin: &Origin) -> Target {
    match (text, text.strip_prefix("jsonl:")) {
        ("mesh", _) => Target::Mesh,
        ("stdout", _) => Target::Stdout,
        ("drop", _) => Target::Drop,
        (_, Some(path)) if !path.is_empty() => Target::JsonLines(values.absolute(path, origin)),
        _ => {
            let text = format!("\"{text}\" is not allowed; allowed: mesh, jsonl:PATH, stdout, drop");
            values.problem(Section::Pipeline, "target", text);
            Target::Drop
        }
    }
}

fn start_at(text: &str) -> Result<StartAt, String> {
    // `file:` may stand before a binlog's name, as it stands in the manual.
    text.strip_prefix("file:").unwrap_or(text).parse()
}
