//! The way from any source to its target.

use std::sync::Arc;
use std::time::Duration;

use flowd_codec::event::Framing;
use flowd_engine::{order, worker};
use flowd_mesh::Outgoing;
use flowd_mesh::config::{AppliedBy, Batching, MeshConfig};
use flowd_mesh::drop::DropTarget;
use flowd_mesh::jsonl::JsonlTarget;
use flowd_mesh::publish::stats::Stats;
use flowd_mesh::stdout::StdoutTarget;
use flowd_mesh::target::MeshTarget;

use super::mesh::connection;
use crate::config::{Config, Order, Publishing, Stream, Target};

/// What stands around events on their way there.
pub(super) fn framing(target: &Target) -> Framing {
    match target {
        Target::Mesh => Framing::EventMesh,
        Target::JsonLines(_) | Target::Stdout | Target::Drop => Framing::Line,
    }
}

/// The target. `stream` is how counted events are packed, and whose applying they wait for.
pub(super) fn target(
    config: &Config,
    publishing: &Publishing,
    stream: Option<&Stream>,
    addresses: Vec<String>,
    published: Arc<Stats>,
) -> Box<dyn worker::Target<Outgoing>> {
    match &publishing.target {
        Target::Mesh => {
            let mesh = publishing_config(connection(&config.pub_sub, addresses), publishing, stream);
            Box::new(MeshTarget::new(mesh, published))
        }
        Target::JsonLines(path) => Box::new(JsonlTarget::new(path)),
        Target::Stdout => Box::new(StdoutTarget::new()),
        Target::Drop => Box::new(DropTarget::new(Arc::default())),
    }
}

fn publishing_config(connection: MeshConfig, publishing: &Publishing, stream: Option<&Stream>) -> MeshConfig {
    let (batch, applied) = stream.map_or((None, None), |stream| (stream.batch, stream.applied.as_ref()));
    MeshConfig {
        connections: usize::try_from(publishing.connections).expect("at most 256"),
        window: usize::try_from(publishing.window).expect("at most 65536"),
        order: match publishing.order {
            Order::Key => order::Order::Key,
            Order::Total => order::Order::Total,
            Order::None => order::Order::None,
        },
        batching: batch.map(|batch| Batching {
            bytes: usize::try_from(batch.bytes).expect("at most a frame's size"),
            linger: Duration::from_millis(u64::from(batch.linger_ms)),
        }),
        applied: applied.map(|applied| AppliedBy { by: applied.by.clone(), topic: applied.topic.clone() }),
        ..connection
    }
}
