//! A run of the binlog source: its registry, its target and the counting of its events.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flowd_codec::event::Framing;
use flowd_engine::budget::Shares;
use flowd_engine::checkpoint::{Checkpoint, Registry};
use flowd_engine::failure::Failure;
use flowd_engine::metrics::Metrics;
use flowd_engine::order;
use flowd_engine::stop::Stop;
use flowd_engine::worker;
use flowd_mesh::Outgoing;
use flowd_mesh::config::{AppliedBy, Batching, MeshConfig};
use flowd_mesh::drop::DropTarget;
use flowd_mesh::jsonl::JsonlTarget;
use flowd_mesh::publish::stats::Stats;
use flowd_mesh::stdout::StdoutTarget;
use flowd_mesh::target::MeshTarget;
use flowd_mysql::position::describe;
use flowd_mysql::source::{MySqlSource, SourceSettings};
use flowd_registry::RocksRegistry;

use super::mesh::{Mesh, connection};
use super::{Flow, at_start, begin};
use crate::config::{Config, Order, Publishing, Source, Target};
use crate::exit::Ending;
use crate::metrics::text::Beside;
use crate::progress::LastPosition;

pub(super) fn run(config: &Config, source: &Source) -> Result<(), Ending> {
    let published = Arc::<Stats>::default();
    let (metrics, stop) = begin(&config.pipeline, Beside::Publishing(published.clone()))?;
    let registry =
        RocksRegistry::open(&source.offset_storage.offset_storage_addr, &source.mysql.connector_name)
            .map_err(at_start)?;
    let mesh = Mesh::of(source)?;
    let last = LastPosition::default();
    let flow = Flow {
        source: mysql_cdc(config, source, metrics.clone(), stop.clone()),
        target: target(config, &source.publishing, mesh.addresses(), published),
        registry: Box::new(Watched { registry: Box::new(registry), last: last.clone() }),
        sequence: |source| Some(source.sequence()),
        checkpoint_every: Duration::from_millis(source.publishing.checkpoint_ms),
        last,
        metrics,
        stop,
    };
    let ended = flow.run(&config.pipeline);
    mesh.end();
    ended
}

/// A registry that leaves each stored position for the progress line.
struct Watched {
    registry: Box<dyn Registry>,
    last: LastPosition,
}

impl Registry for Watched {
    fn load(&self) -> Result<Option<Checkpoint>, Failure> {
        self.registry.load()
    }

    fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        self.registry.store(checkpoint)?;
        if let Ok(Some(position)) = describe(&checkpoint.acked) {
            self.last.set(if position.gtid.is_empty() { position.to_string() } else { position.gtid });
        }
        Ok(())
    }
}

fn mysql_cdc(config: &Config, source: &Source, metrics: Arc<Metrics>, stop: Stop) -> MySqlSource {
    let publishing = &source.publishing;
    let shares = Shares::of(usize::try_from(config.pipeline.memory).unwrap_or(usize::MAX));
    let settings = SourceSettings {
        subject: source.subject.clone(),
        framing: match publishing.target {
            Target::Mesh => Framing::EventMesh,
            Target::JsonLines(_) | Target::Stdout | Target::Drop => Framing::Line,
        },
        clock_fields: publishing.clock_fields,
        start_at: publishing.start_at.clone(),
        stop_at: publishing.stop_at.clone(),
        event_bytes_max: shares.event_bytes_max(),
        snapshot_bytes: shares.snapshot,
        registry: registry_name(&source.offset_storage.offset_storage_addr),
        lanes: publishing.lanes,
        applied: publishing.applied.as_ref().map(|applied| applied.by.clone()),
    };
    MySqlSource::new(source.mysql.clone(), settings, metrics, stop)
}

/// What tells this registry from another: where it is, whatever way leads there.
pub(crate) fn registry_name(directory: &Path) -> String {
    let name = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    name.to_string_lossy().into_owned()
}

fn target(
    config: &Config,
    publishing: &Publishing,
    addresses: Vec<String>,
    published: Arc<Stats>,
) -> Box<dyn worker::Target<Outgoing>> {
    match &publishing.target {
        Target::Mesh => {
            let mesh = publishing_config(connection(&config.pub_sub, addresses), publishing);
            Box::new(MeshTarget::new(mesh, published))
        }
        Target::JsonLines(path) => Box::new(JsonlTarget::new(path)),
        Target::Stdout => Box::new(StdoutTarget::new()),
        Target::Drop => Box::new(DropTarget::new(Arc::default())),
    }
}

fn publishing_config(connection: MeshConfig, publishing: &Publishing) -> MeshConfig {
    MeshConfig {
        connections: usize::try_from(publishing.connections).expect("at most 256"),
        window: usize::try_from(publishing.window).expect("at most 65536"),
        order: match publishing.order {
            Order::Key => order::Order::Key,
            Order::Total => order::Order::Total,
            Order::None => order::Order::None,
        },
        batching: publishing.batch.map(|batch| Batching {
            bytes: usize::try_from(batch.bytes).expect("at most a frame's size"),
            linger: Duration::from_millis(u64::from(batch.linger_ms)),
        }),
        applied: publishing
            .applied
            .as_ref()
            .map(|applied| AppliedBy { by: applied.by.clone(), topic: applied.topic.clone() }),
        ..connection
    }
}
