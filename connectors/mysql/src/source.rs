//! The mysql-cdc source: starts, reads, reconnects, stops.
//!
//! Outages that can heal are healed here, for ever, with capped back-off and jitter; a reconnect goes back to the start
//! of the transaction being read and passes over what was handed on. Not here: what events mean (`stream`), where a
//! run begins and ends (`begin`).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flowd_binlog::charset;
use flowd_codec::event::Framing;
use flowd_engine::back_off::BackOff;
use flowd_engine::failure::Failure;
use flowd_engine::metrics::Metrics;
use flowd_engine::record::Position;
use flowd_engine::sequence::Topics;
use flowd_engine::stop::Stop;
use flowd_engine::worker::{Intake, Source, SourceEnd};

use crate::begin::{self, Beginning};
use crate::captured::EventSettings;
use crate::config::{InvalidText, MySqlConfig, SnapshotMode};
use crate::connection::Connection;
use crate::dump::Replica;
use crate::encode::{MySqlEncoder, Outgoing};
use crate::position::{SourcePosition, StartAt, StopAt};
use crate::preflight::preflight;
use crate::retention;
use crate::rows::MySqlRecord;
use crate::server::Flavor;
use crate::snapshot::state::{EncodedState, SnapshotState};
use crate::snapshot::{self, Snapshot, running};
use crate::stream::Stream;
use crate::tables::{Numbers, TableSettings, Tables};

mod counting;
mod reader;
mod server_catalog;

use reader::{Beside, Reader};
use server_catalog::ServerCatalog;

/// How a lost server is waited for.
pub(crate) fn back_off() -> BackOff {
    BackOff::new(Duration::from_millis(200), Duration::from_secs(30))
}

/// What the pipeline tells the source.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// The topic template.
    pub subject: String,
    /// What stands around an event's JSON.
    pub framing: Framing,
    /// Whether top-level `ts_*` are written.
    pub clock_fields: bool,
    /// Where a first start begins.
    pub start_at: StartAt,
    /// Where the run ends by itself.
    pub stop_at: Option<StopAt>,
    /// A larger binlog event is not read but rejected, bytes.
    pub event_bytes_max: usize,
    /// What a snapshot may hold in memory, bytes.
    pub snapshot_bytes: usize,
    /// What tells this registry from another, for the replica identity.
    pub registry: String,
    /// Lanes of a topic by which events are counted, 1 to 64.
    pub lanes: u16,
    /// The sinks that must have applied an event before it counts as delivered; `None`: it does once it is published.
    pub applied: Option<Vec<String>>,
}

/// See the module.
pub struct MySqlSource {
    config: MySqlConfig,
    settings: SourceSettings,
    metrics: Arc<Metrics>,
    stop: Stop,
    replica: Replica,
    /// Known once started.
    started: Option<Started>,
}

#[derive(Debug)]
struct Started {
    beginning: Beginning,
    tables: TableSettings,
    /// Whether an earlier run may have read rows of the snapshot: it may have died before a position said so.
    goes_on: bool,
}

impl MySqlSource {
    /// A source that has not been started.
    pub fn new(config: MySqlConfig, settings: SourceSettings, metrics: Arc<Metrics>, stop: Stop) -> Self {
        let replica = Replica::new(&config, &settings.registry);
        Self { config, settings, metrics, stop, replica, started: None }
    }

    /// How tables are made ready, for the stream and for the snapshot.
    fn tables(&self, flavor: Flavor) -> TableSettings {
        TableSettings {
            flavour: flavor.into(),
            invalid_text: match self.config.invalid_text {
                InvalidText::Stop => charset::InvalidText::Stop,
                InvalidText::Replace => charset::InvalidText::Replace,
            },
            events: EventSettings {
                source: format!("/flowd/{}/{}", flavor.name(), self.config.connector_name),
                connector: flavor.name(),
                name: self.config.connector_name.clone(),
                subject: self.settings.subject.clone(),
                framing: self.settings.framing,
                clock_fields: self.settings.clock_fields,
                applied: self.settings.applied.is_some(),
                topics: Topics::new(),
            },
            numbers: Numbers::default(),
        }
    }

    fn snapshot_settings(&self, tables: TableSettings, has_gtids: bool, run: u64) -> snapshot::Settings {
        snapshot::Settings {
            config: self.config.clone(),
            tables,
            has_gtids,
            memory_bytes: self.settings.snapshot_bytes,
            row_bytes_max: self.settings.event_bytes_max,
            run,
            metrics: self.metrics.clone(),
        }
    }
}

impl Source for MySqlSource {
    type Record = MySqlRecord;
    type Event = Outgoing;
    type Encoder = MySqlEncoder;

    fn start(&mut self, stored: Option<&Position>) -> Result<Position, Failure> {
        let stored = match stored {
            Some(position) if !position.0.is_empty() => Some(SourcePosition::from_position(position)?),
            _ => None,
        };
        let (config, settings) = (&self.config, &self.settings);
        let mut connection = Connection::connect(config)?;
        let flavor = connection.server().flavor;
        let snapshot = begin::may_snapshot(config.snapshot.mode, stored.as_ref());
        preflight(&mut connection, config, &self.replica, &settings.subject, snapshot, &self.stop)?;
        if let Some(SourcePosition { binlog, .. }) = &stored {
            tracing::info!(place = binlog.place(), gtids = %binlog.gtids, "going on from the stored position; pipeline.startAt does not count");
        }
        let (start_at, stop_at) = (&settings.start_at, settings.stop_at.as_ref());
        let mut beginning = begin::decide(&mut connection, config, stored.clone(), start_at, stop_at)?;
        let id = |position: &SourcePosition| position.snapshot.as_ref().map(|snapshot| snapshot.id.clone());
        let earlier = stored.as_ref().and_then(id);
        let goes_on = earlier.is_some() && earlier == id(&beginning.position);
        let lanes = counting::lanes(&mut connection, config, settings.lanes, stored, &beginning.position)?;
        beginning.position.lanes = Some(lanes);
        self.metrics.source_retention_s.set(retention::seconds(&mut connection));
        connection.close();
        let position = beginning.position.to_position();
        self.started = Some(Started { beginning, tables: self.tables(flavor), goes_on });
        Ok(position)
    }

    fn encoder(&self) -> MySqlEncoder {
        MySqlEncoder::new(&self.started.as_ref().expect("encoders are made after start").tables.events)
    }

    fn run(mut self, intake: &mut dyn Intake<MySqlRecord>) -> Result<SourceEnd, Failure> {
        let Started { beginning, tables, goes_on } = self.started.take().expect("run comes after start");
        let Beginning { position, captured, end, has_gtids } = beginning;
        let SourcePosition { binlog, snapshot: state, lanes } = position;
        let mut lanes = lanes.expect("chosen at the start");
        let ended = match self.config.snapshot.mode {
            SnapshotMode::InitialOnly => true,
            _ => end.as_ref().is_some_and(|end| end.is_reached_at_start(&binlog)),
        };
        if ended && captured.is_none() {
            tracing::info!("the end was reached before: nothing to read");
            return Ok(SourceEnd::Reached);
        }
        let run = if captured.is_some() { lanes.begin_run(now_us()) } else { 0 };
        let catalog = ServerCatalog { config: self.config.clone(), stop: self.stop.clone() };
        let met = Tables::new(tables.clone(), Box::new(catalog), lanes);
        let mut stream = Stream::new(&binlog, self.config.filter.clone(), met);
        let beside = match (captured, state) {
            (Some(captured), Some(state)) => {
                warn_of_repeats(&state);
                stream.note_definitions();
                let settings = self.snapshot_settings(tables, has_gtids, run);
                Beside::Running(Box::new(Snapshot::begin(settings, state, captured)?))
            }
            (_, Some(state)) => {
                running::count(&state, &self.metrics);
                Beside::Finished(EncodedState::of(&state))
            }
            (_, None) => Beside::Never,
        };
        let beginning = beside.beginning().filter(|_| goes_on && self.settings.applied.is_some());
        Reader::new(&self, intake, stream, beside, end).run(beginning)
    }
}

/// Says whose rows come again under other ids.
fn warn_of_repeats(state: &SnapshotState) {
    for table in state.open.iter().filter(|table| table.whole) {
        tracing::warn!(
            table = format!("{}.{}", table.schema, table.name),
            "a table without usable key is read again: its rows come once more, under other ids; empty its copies when the \
             first of them arrives"
        );
    }
}

/// The wall clock, µs since 1970.
fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
