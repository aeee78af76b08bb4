//! `flowd run`: joins source, engine and target, and says how it ended.
//!
//! Order of a start: signals and metrics, the registry (in use: the end), the embedded mesh if there is one, then
//! source and target, tried for `pipeline.startMs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flowd_codec::event::Framing;
use flowd_engine::budget::Shares;
use flowd_engine::checkpoint::{Checkpoint, Registry};
use flowd_engine::failure::Failure;
use flowd_engine::metrics::Metrics;
use flowd_engine::order;
use flowd_engine::pipeline::{Outcome, Pipeline, Settings};
use flowd_engine::reject;
use flowd_engine::start::start;
use flowd_engine::stop::Stop;
use flowd_engine::worker::{Source, Target};
use flowd_mesh::Outgoing;
use flowd_mesh::config::MeshConfig;
use flowd_mesh::drop::DropTarget;
use flowd_mesh::jsonl::JsonlTarget;
use flowd_mesh::stdout::StdoutTarget;
use flowd_mesh::target::MeshTarget;
use flowd_mysql::position::describe;
use flowd_mysql::source::{MySqlSource, SourceSettings};
use flowd_registry::RocksRegistry;

use crate::cli::RunArgs;
use crate::config::{self, Config, Flag, MeshAddress, OnReject, Order};
use crate::exit::{self, Ending};
use crate::load::{Naming, load};
use crate::mesh::{Server, ServerConfig};
use crate::metrics::text::Numbers;
use crate::progress::{LastPosition, Progress};
use crate::service;

/// Where `meshAddress: embedded` listens.
const EMBEDDED_ADDRESS: &str = "127.0.0.1:10000";

pub(crate) fn command(args: &RunArgs, flags: Vec<Flag>) -> Result<(), Ending> {
    let config = load(args, flags, Naming::Required)?;
    let numbers = Numbers { pipeline: Arc::default(), mesh: Arc::default() };
    numbers.pipeline.source_lag_bytes.set(-1);
    let stop = Stop::new();
    service::start(&config.pipeline, &numbers, &stop).map_err(at_start)?;
    let registry =
        RocksRegistry::open(&config.offset_storage.offset_storage_addr, &config.connector.connector_name)
            .map_err(at_start)?;
    let mesh = Mesh::of(&config)?;
    let source = source(&config, numbers.pipeline.clone(), stop.clone());
    let target = target(&config, mesh.addresses(), &numbers);
    let flow = Flow { source, target, registry: Box::new(registry), metrics: numbers.pipeline, stop };
    let ended = flow.run(&config.pipeline);
    mesh.end();
    ended
}

/// At a start every failure but a wrong configuration means that something cannot be used.
fn at_start(failure: Failure) -> Ending {
    match failure {
        Failure::Configuration(text) => Ending::Misfit(text),
        Failure::Retry(text) | Failure::Unusable(text) | Failure::Fatal(text) => Ending::Unusable(text),
    }
}

/// Source and target before they are started.
struct Flow<S: Source> {
    source: S,
    target: Box<dyn Target<S::Event>>,
    registry: Box<dyn Registry>,
    metrics: Arc<Metrics>,
    stop: Stop,
}

impl<S: Source> Flow<S> {
    fn run(mut self, config: &config::Pipeline) -> Result<(), Ending> {
        let start_max = Duration::from_millis(config.start_ms);
        let (target, registry) = (self.target.as_mut(), self.registry.as_ref());
        let started = start(&mut self.source, target, registry, start_max, &self.stop);
        let Some(begin) = started.map_err(at_start)? else {
            tracing::info!("stopped before anything was read");
            return Ok(());
        };
        let last = LastPosition::default();
        let progress = Progress::show(self.metrics.clone(), last.clone());
        let registry = Box::new(Watched { registry: self.registry, last });
        let settings = settings(config)?;
        let Self { source, target, metrics, stop, .. } = self;
        let pipeline = Pipeline {
            source,
            target,
            registry,
            begin,
            settings,
            sequence: None,
            metrics: metrics.clone(),
            stop,
        };
        let result = pipeline.run();
        drop(progress);
        let (rows, checkpoints) = (metrics.acked.rows.value(), metrics.checkpoints.value());
        match &result {
            Ok(Outcome::Reached) => {
                tracing::info!(events = rows, checkpoints, "finished: the end is reached");
            }
            Ok(Outcome::Stopped) => tracing::info!(events = rows, checkpoints, "stopped"),
            Ok(Outcome::DrainTimedOut) | Err(_) => {}
        }
        exit::of_run(result)
    }
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

fn settings(config: &config::Pipeline) -> Result<Settings, Ending> {
    let memory_bytes = usize::try_from(config.memory);
    Ok(Settings {
        lanes: lanes(),
        memory_bytes: memory_bytes
            .map_err(|_| Ending::Unusable("pipeline.memory is too large for this machine".into()))?,
        checkpoint_every: Duration::from_millis(config.checkpoint_ms),
        drain_max: Duration::from_millis(config.drain_ms),
        on_reject: match config.on_reject {
            OnReject::Stop => reject::OnReject::Stop,
            OnReject::DeadLetter => reject::OnReject::DeadLetter(config.dead_letter_file.clone()),
        },
    })
}

/// Source and target have a thread each; what is left of the machine encodes.
fn lanes() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).clamp(1, 8)
}

fn source(config: &Config, metrics: Arc<Metrics>, stop: Stop) -> MySqlSource {
    let pipeline = &config.pipeline;
    let shares = Shares::of(usize::try_from(pipeline.memory).unwrap_or(usize::MAX));
    let settings = SourceSettings {
        subject: config.pub_sub.subject.clone(),
        framing: match pipeline.target {
            config::Target::Mesh => Framing::EventMesh,
            config::Target::JsonLines(_) | config::Target::Stdout | config::Target::Drop => Framing::Line,
        },
        clock_fields: pipeline.clock_fields,
        start_at: pipeline.start_at.clone(),
        stop_at: pipeline.stop_at.clone(),
        event_bytes_max: shares.event_bytes_max(),
        snapshot_bytes: shares.snapshot,
        registry: registry_name(&config.offset_storage.offset_storage_addr),
    };
    MySqlSource::new(config.connector.clone(), settings, metrics, stop)
}

/// What tells this registry from another: where it is, whatever way leads there.
pub(crate) fn registry_name(directory: &Path) -> String {
    let name = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    name.to_string_lossy().into_owned()
}

fn target(config: &Config, addresses: Vec<String>, numbers: &Numbers) -> Box<dyn Target<Outgoing>> {
    match &config.pipeline.target {
        config::Target::Mesh => {
            Box::new(MeshTarget::new(mesh_config(config, addresses), numbers.mesh.clone()))
        }
        config::Target::JsonLines(path) => Box::new(JsonlTarget::new(path)),
        config::Target::Stdout => Box::new(StdoutTarget::new()),
        config::Target::Drop => Box::new(DropTarget::new(Arc::default())),
    }
}

fn mesh_config(config: &Config, addresses: Vec<String>) -> MeshConfig {
    let (pub_sub, pipeline) = (&config.pub_sub, &config.pipeline);
    MeshConfig {
        addresses,
        connections: usize::try_from(pipeline.connections).expect("at most 256"),
        window: usize::try_from(pipeline.window).expect("at most 65536"),
        order: match pipeline.order {
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

/// Where EventMesh is: elsewhere, or in this process.
enum Mesh {
    Elsewhere(Vec<String>),
    Here(Server),
}

impl Mesh {
    fn of(config: &Config) -> Result<Self, Ending> {
        let needed = config.pipeline.target == config::Target::Mesh;
        match &config.pub_sub.mesh_address {
            MeshAddress::Servers(addresses) => Ok(Self::Elsewhere(addresses.clone())),
            MeshAddress::Embedded if !needed => Ok(Self::Elsewhere(Vec::new())),
            MeshAddress::Embedded => {
                let directory = beside(&config.offset_storage.offset_storage_addr);
                let server = Server::start(ServerConfig::new(EMBEDDED_ADDRESS, Some(directory)));
                let failed = |error| Ending::Unusable(format!("pubSubConfig.meshAddress: embedded: {error}"));
                server.map(Self::Here).map_err(failed)
            }
        }
    }

    fn addresses(&self) -> Vec<String> {
        match self {
            Self::Elsewhere(addresses) => addresses.clone(),
            Self::Here(server) => vec![server.address().to_string()],
        }
    }

    fn end(self) {
        if let Self::Here(server) = self
            && let Err(error) = server.shutdown()
        {
            tracing::error!("the embedded mesh: {error}");
        }
    }
}

/// `state` → `state.mesh`: the embedded server's directory beside the registry's.
fn beside(registry: &Path) -> PathBuf {
    let mut name = registry.file_name().unwrap_or_default().to_owned();
    name.push(".mesh");
    registry.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_mesh_lives_beside_the_registry_not_in_it() {
        assert_eq!(beside(Path::new("/var/lib/flowd/state")), Path::new("/var/lib/flowd/state.mesh"));
    }

    #[test]
    fn whatever_fails_at_a_start_is_exit_code_3_but_a_wrong_configuration() {
        assert_eq!(at_start(Failure::Configuration("x".into())).code(), 2);
        for failure in [Failure::Retry("x".into()), Failure::Unusable("x".into()), Failure::Fatal("x".into())]
        {
            assert_eq!(at_start(failure).code(), 3);
        }
    }
}
