//! The mysql-cdc source: starts, reads, reconnects, stops.
//!
//! Outages that can heal are healed here, for ever, with capped back-off and jitter; a reconnect goes back to the start
//! of the transaction being read and passes over what was handed on. Not here: what events mean (`stream`), where a
//! run begins and ends (`begin`).

use std::sync::Arc;
use std::time::Duration;

use flowd_binlog::charset;
use flowd_binlog::table::Flavour;
use flowd_codec::event::Framing;
use flowd_engine::failure::Failure;
use flowd_engine::metrics::Metrics;
use flowd_engine::record::Position;
use flowd_engine::stop::Stop;
use flowd_engine::worker::{BatchSink, Source, SourceEnd};

use crate::begin::{self, Beginning};
use crate::captured::EventSettings;
use crate::config::{InvalidText, MySqlConfig};
use crate::connection::Connection;
use crate::dump::Replica;
use crate::encode::MySqlEncoder;
use crate::position::{BinlogPosition, StartAt, StopAt};
use crate::preflight::preflight;
use crate::rows::MySqlRecord;
use crate::server::Flavor;
use crate::stream::Stream;
use crate::tables::{Numbers, TableSettings, Tables};

mod reader;
mod server_catalog;

use reader::Reader;
use server_catalog::ServerCatalog;

/// Waits between attempts to heal an outage: the first, doubled each time …
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
/// … up to the longest.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

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
    /// What tells this registry from another, for the replica identity.
    pub registry: String,
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
    events: EventSettings,
    flavour: Flavour,
}

impl MySqlSource {
    /// A source that has not been started.
    pub fn new(config: MySqlConfig, settings: SourceSettings, metrics: Arc<Metrics>, stop: Stop) -> Self {
        let replica = Replica::new(&config, &settings.registry);
        Self { config, settings, metrics, stop, replica, started: None }
    }

    fn events(&self, flavor: Flavor) -> EventSettings {
        EventSettings {
            source: format!("/flowd/{}/{}", flavor.name(), self.config.connector_name),
            connector: flavor.name(),
            name: self.config.connector_name.clone(),
            subject: self.settings.subject.clone(),
            framing: self.settings.framing,
            clock_fields: self.settings.clock_fields,
        }
    }
}

impl Source for MySqlSource {
    type Record = MySqlRecord;
    type Encoder = MySqlEncoder;

    fn start(&mut self, stored: Option<&Position>) -> Result<Position, Failure> {
        let stored = match stored {
            Some(position) if !position.0.is_empty() => Some(BinlogPosition::from_position(position)?),
            _ => None,
        };
        let mut connection = Connection::connect(&self.config)?;
        let flavor = connection.server().flavor;
        preflight(&mut connection, &self.config, &self.replica, &self.settings.subject, false, &self.stop)?;
        connection.close();
        if let Some(position) = &stored {
            tracing::info!(place = position.place(), gtids = %position.gtids, "going on from the stored position; pipeline.startAt does not count");
        }
        let beginning =
            begin::decide(&self.config, stored, &self.settings.start_at, self.settings.stop_at.as_ref())?;
        let position = beginning.position.to_position();
        let flavour = match flavor {
            Flavor::MySql => Flavour::MySql,
            Flavor::MariaDb => Flavour::MariaDb,
        };
        self.started = Some(Started { beginning, events: self.events(flavor), flavour });
        Ok(position)
    }

    fn encoder(&self) -> MySqlEncoder {
        MySqlEncoder::new(&self.started.as_ref().expect("encoders are made after start").events)
    }

    fn run(mut self, sink: &mut dyn BatchSink<MySqlRecord>) -> Result<SourceEnd, Failure> {
        let Started { beginning, events, flavour } = self.started.take().expect("run comes after start");
        let Beginning { position, end } = beginning;
        if end.as_ref().is_some_and(|end| end.is_reached_at_start(&position)) {
            tracing::info!("the end was reached before: nothing to read");
            return Ok(SourceEnd::Reached);
        }
        let tables = Tables::new(
            TableSettings {
                flavour,
                invalid_text: match self.config.invalid_text {
                    InvalidText::Stop => charset::InvalidText::Stop,
                    InvalidText::Replace => charset::InvalidText::Replace,
                },
                events,
                numbers: Numbers::default(),
            },
            Box::new(ServerCatalog { config: self.config.clone(), stop: self.stop.clone() }),
        );
        let stream = Stream::new(&position, self.config.filter.clone(), tables);
        Reader::new(&self, sink, stream, end).run()
    }
}
