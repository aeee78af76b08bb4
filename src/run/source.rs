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
use flowd_mesh::config::MeshConfig;
use flowd_mesh::drop::DropTarget;
use flowd_mesh::jsonl::JsonlTarget;
use flowd_mesh::stdout::StdoutTarget;
use flowd_mesh::target::MeshTarget;
use flowd_mysql::position::describe;
use flowd_mysql::source::{MySqlSource, SourceSettings};
use flowd_registry::RocksRegistry;

use super::mesh::Mesh;
use super::{Flow, at_start};
use crate::config::{Config, Order, PubSub, Publishing, Source, Target};
use crate::exit::Ending;
use crate::metrics::text::Numbers;
use crate::progress::LastPosition;

pub(super) fn run(config: &Config, source: &Source, numbers: &Numbers, stop: Stop) -> Result<(), Ending> {
    let registry =
        RocksRegistry::open(&source.offset_storage.offset_storage_addr, &source.mysql.connector_name)
            .map_err(at_start)?;
    let mesh = Mesh::of(&config.pub_sub.mesh_address, source)?;
    let mesh_config = mesh_config(&config.pub_sub, &source.publishing, mesh.addresses());
    let last = LastPosition::default();
    let flow = Flow {
        source: mysql_cdc(config, source, numbers.pipeline.clone(), stop.clone()),
        target: target(mesh_config, &source.publishing.target, numbers),
        registry: Box::new(Watched { registry: Box::new(registry), last: last.clone() }),
        sequence: |source| Some(source.sequence()),
        checkpoint_every: Duration::from_millis(source.publishing.checkpoint_ms),
        last,
        metrics: numbers.pipeline.clone(),
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

fn target(mesh: MeshConfig, to: &Target, numbers: &Numbers) -> Box<dyn worker::Target<Outgoing>> {
    match to {
        Target::Mesh => Box::new(MeshTarget::new(mesh, numbers.mesh.clone())),
        Target::JsonLines(path) => Box::new(JsonlTarget::new(path)),
        Target::Stdout => Box::new(StdoutTarget::new()),
        Target::Drop => Box::new(DropTarget::new(Arc::default())),
    }
}

fn mesh_config(pub_sub: &PubSub, publishing: &Publishing, addresses: Vec<String>) -> MeshConfig {
    MeshConfig {
        addresses,
        connections: usize::try_from(publishing.connections).expect("at most 256"),
        window: usize::try_from(publishing.window).expect("at most 65536"),
        order: match publishing.order {
            Order::Key => order::Order::Key,
            Order::Total => order::Order::Total,
            Order::None => order::Order::None,
        },
        idc: pub_sub.idc.clone(),
        env: pub_sub.env.clone(),
        group: pub_sub.group.clone(),
        app_id: pub_sub.app_id.clone(),
        user_name: pub_sub.user_name.clone(),
        password: pub_sub.pass_word.expose().to_owned(),
        ..MeshConfig::default()
    }
}
