//! What every source is told besides its own settings: where EventMesh and the registry are, and the way to its target.

use std::path::PathBuf;

use super::{servers, small};
use crate::config::problem::Origin;
use crate::config::setting::Section;
use crate::config::values::Values;

/// What every source is told.
#[derive(Debug, Clone)]
pub struct Outward {
    /// Where EventMesh is.
    pub mesh_address: MeshAddress,
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
    /// Connections to EventMesh.
    pub connections: u32,
    /// Unacknowledged publishes a connection.
    pub window: u32,
    /// What order is promised.
    pub order: Order,
    /// How often progress is saved, ms.
    pub checkpoint_ms: u64,
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

/// What every source is told.
pub(super) fn outward(values: &mut Values<'_>) -> Outward {
    let mesh_address = values.parsed(Section::PubSub, "meshAddress", |text, _| mesh_address(text));
    Outward {
        mesh_address: mesh_address.unwrap_or(MeshAddress::Embedded),
        offset_storage: offset_storage(values),
        publishing: publishing(values),
    }
}

fn mesh_address(text: &str) -> Result<MeshAddress, String> {
    match text {
        "embedded" => Ok(MeshAddress::Embedded),
        _ => servers(text).map(MeshAddress::Servers).map_err(|allowed| format!("{allowed}, or `embedded`")),
    }
}

fn publishing(values: &mut Values<'_>) -> Publishing {
    let section = Section::Pipeline;
    let target = values.parsed(section, "target", |text, origin| Ok((text.to_owned(), origin.clone())));
    let orders = [("key", Order::Key), ("total", Order::Total), ("none", Order::None)];
    let target = target.map_or(Target::Drop, |(text, origin)| self::target(values, &text, &origin));
    Publishing {
        target,
        connections: small(values.number(section, "connections")),
        window: small(values.number(section, "window")),
        order: values.choice(section, "order", &orders, Order::Key),
        checkpoint_ms: values.number(section, "checkpointMs").unwrap_or_default(),
    }
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
