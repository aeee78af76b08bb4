//! A run of the binlog source: its registry, its target and the counting of its events.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flowd_engine::budget::Shares;
use flowd_engine::checkpoint::{Checkpoint, Registry};
use flowd_engine::failure::Failure;
use flowd_engine::metrics::Metrics;
use flowd_engine::stop::Stop;
use flowd_mesh::publish::stats::Stats;
use flowd_mysql::position::describe;
use flowd_mysql::source::{MySqlSource, SourceSettings};
use flowd_registry::RocksRegistry;

use super::mesh::Mesh;
use super::{Flow, at_start, begin, outward};
use crate::config::{Config, Source};
use crate::exit::Ending;
use crate::metrics::text::Beside;
use crate::progress::LastPosition;

pub(super) fn run(config: &Config, source: &Source) -> Result<(), Ending> {
    let published = Arc::<Stats>::default();
    let (metrics, stop) = begin(&config.pipeline, Beside::Publishing(published.clone()))?;
    let outward = &source.outward;
    let registry =
        RocksRegistry::open(&outward.offset_storage.offset_storage_addr, &source.mysql.connector_name)
            .map_err(at_start)?;
    let mesh = Mesh::of(outward)?;
    let last = LastPosition::default();
    let flow = Flow {
        source: mysql_cdc(config, source, metrics.clone(), stop.clone()),
        target: outward::target(
            config,
            &outward.publishing,
            Some(&source.stream),
            mesh.addresses(),
            published,
        ),
        registry: Box::new(Watched { registry: Box::new(registry), last: last.clone() }),
        sequence: |source| Some(source.sequence()),
        checkpoint_every: Duration::from_millis(outward.publishing.checkpoint_ms),
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
    let (outward, stream) = (&source.outward, &source.stream);
    let shares = Shares::of(usize::try_from(config.pipeline.memory).unwrap_or(usize::MAX));
    let settings = SourceSettings {
        subject: source.subject.clone(),
        framing: outward::framing(&outward.publishing.target),
        clock_fields: stream.clock_fields,
        start_at: stream.start_at.clone(),
        stop_at: stream.stop_at.clone(),
        event_bytes_max: shares.event_bytes_max(),
        snapshot_bytes: shares.snapshot,
        registry: registry_name(&outward.offset_storage.offset_storage_addr),
        lanes: stream.lanes,
        applied: stream.applied.as_ref().map(|applied| applied.by.clone()),
    };
    MySqlSource::new(source.mysql.clone(), settings, metrics, stop)
}

/// What tells this registry from another: where it is, whatever way leads there.
pub(crate) fn registry_name(directory: &Path) -> String {
    let name = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    name.to_string_lossy().into_owned()
}
