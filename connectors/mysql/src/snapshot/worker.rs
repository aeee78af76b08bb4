//! A worker: a thread with a connection of its own that opens tables and reads chunks of them.
//!
//! Outages heal here, for ever, with back-off: the lease goes back and somebody reads the range again. What a DDL
//! statement takes away under a read shows as an error of the statement; the table is then looked at anew.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flowd_binlog::result;
use flowd_binlog::table::{Options, Table};
use flowd_engine::back_off::BackOff;
use flowd_engine::failure::Failure;
use flowd_engine::metrics::Metrics;

use super::buffers::Buffers;
use super::plan::{Opened, TableId};
use super::query::{self, KeyColumn, SnapshotTable};
use super::shared::{Assignment, Chunk, OpenedTable, Shared, Task};
use super::throttle::Throttle;
use crate::captured::{CapturedTable, Phase};
use crate::catalog::captured_names;
use crate::config::MySqlConfig;
use crate::connection::Connection;
use crate::error::WireError;
use crate::source::back_off;
use crate::statement::Statement;
use crate::tables::TableSettings;

mod read;

/// What all workers work with.
pub(super) struct Workplace {
    pub(super) config: MySqlConfig,
    pub(super) settings: TableSettings,
    pub(super) shared: Arc<Shared>,
    pub(super) throttle: Throttle,
    /// Held by the worker that asks how busy the source is.
    pub(super) asking: Mutex<()>,
    pub(super) metrics: Arc<Metrics>,
    /// Whether the server counts GTIDs.
    pub(super) has_gtids: bool,
    pub(super) buffers: Arc<Buffers>,
    /// A chunk is cut at so many bytes.
    pub(super) chunk_bytes: usize,
    /// A larger row needs [`Shared::large_row`], bytes.
    pub(super) row_bytes_own: usize,
    /// A larger row is not kept but rejected, bytes.
    pub(super) row_bytes_max: usize,
}

/// What a worker tells the source's thread.
pub(super) enum Message {
    Chunk(Chunk),
    Failed(Failure),
}

/// See the module.
pub(super) struct Worker {
    place: Arc<Workplace>,
    messages: Sender<Message>,
    /// Statements of the connection at hand, newest last.
    prepared: VecDeque<(String, Statement)>,
    /// How often in a row a table was not what it was.
    changed: u32,
    back_off: BackOff,
    /// Before then nothing more may be read.
    rest_until: Instant,
}

/// A table that is not what it was is left alone for so long; so often in a row before we give up.
const CHANGED_WAIT: Duration = Duration::from_millis(200);
const CHANGED_MAX: u32 = 100;

/// Statements that a connection keeps prepared.
const PREPARED_MAX: usize = 8;

/// Errors that say that a table is not what it was: unknown schema (MySQL, after DROP DATABASE), unknown table, unknown
/// column, index gone, definition changed, statement to be prepared anew.
const CHANGED: [u16; 8] = [1049, 1051, 1054, 1109, 1146, 1176, 1412, 1615];

/// Session settings that a read of values depends on, and how long the server may wait for us to take rows: the
/// pipeline may be full for as long as its target is away.
const SESSION: [&str; 4] = [
    "SET NAMES utf8mb4",
    "SET character_set_results = NULL",
    "SET SESSION time_zone = '+00:00', sql_mode = '', net_write_timeout = 31536000",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
];

impl Worker {
    pub(super) fn new(place: Arc<Workplace>, messages: Sender<Message>) -> Self {
        Self {
            place,
            messages,
            prepared: VecDeque::new(),
            changed: 0,
            back_off: back_off(),
            rest_until: Instant::now(),
        }
    }

    /// Works until the end, or until something cannot heal.
    pub(super) fn run(mut self) {
        loop {
            self.prepared.clear();
            let text = match self.session() {
                Ok(()) => return,
                Err(Failure::Retry(text)) => text,
                Err(failure) => return drop(self.messages.send(Message::Failed(failure))),
            };
            let wait = self.back_off.wait();
            tracing::warn!(wait_ms = wait.as_millis(), "snapshot: {text}; connecting again");
            self.pause(wait);
            if self.place.shared.is_ended() {
                return;
            }
        }
    }

    /// Waits, unless the end comes.
    fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        self.place.shared.wait_for(|_| (Instant::now() >= until).then_some(()));
    }

    /// One connection's work.
    fn session(&mut self) -> Result<(), Failure> {
        let mut connection = Connection::connect(&self.place.config)?;
        for statement in SESSION {
            connection.execute(statement)?;
        }
        loop {
            match self.place.shared.next() {
                Task::End => {
                    connection.close();
                    return Ok(());
                }
                Task::Open { table, schema, name } => {
                    let opened = self.open(&mut connection, table, &schema, &name);
                    if opened.is_err() {
                        self.place.shared.lock().plan.give_back(table);
                    }
                    self.settle(&mut connection, table, &format!("{schema}.{name}"), opened)?;
                }
                Task::Read(assignment) => {
                    let read = self.read(&mut connection, &assignment);
                    self.release(&assignment);
                    let name = &assignment.table.captured.events.id_part;
                    self.settle(&mut connection, assignment.lease.table, name, read)?;
                }
                Task::Renamed(text) => {
                    let renamed = self.renamed(&mut connection, &text);
                    if renamed.is_err() {
                        self.place.shared.lock().plan.not_settled(&text);
                    }
                    renamed?;
                }
            }
            self.back_off.reset();
        }
    }

    /// What an attempt on a table came to. A table that is not what it was is looked at anew.
    fn settle(
        &mut self,
        connection: &mut Connection,
        table: TableId,
        name: &str,
        done: Result<(), Trouble>,
    ) -> Result<(), Failure> {
        match done {
            Ok(()) => {
                self.changed = 0;
                Ok(())
            }
            Err(Trouble::Changed(text)) if self.changed < CHANGED_MAX => {
                self.changed += 1;
                tracing::info!("snapshot: table {name}: {text}; looking at it anew");
                self.discard(table);
                // A read view from before the change cannot see the table, and must not be asked for its last key.
                connection.execute("ROLLBACK")?;
                self.pause(CHANGED_WAIT);
                Ok(())
            }
            Err(Trouble::Changed(text)) => Err(Failure::Fatal(format!(
                "table {name} is not what the catalog says, {CHANGED_MAX} times in a row: {text}"
            ))),
            Err(Trouble::Failed(failure)) => Err(failure.context(&format!("table {name}"))),
        }
    }

    fn discard(&self, table: TableId) {
        let void = self.place.shared.lock().discard(table);
        self.place.metrics.snapshot.chunks_reread.add(void);
        self.place.shared.notify();
    }

    fn release(&self, assignment: &Assignment) {
        let mut inner = self.place.shared.lock();
        inner.plan.release(assignment.lease.id);
        inner.released(assignment.lease.id);
        drop(inner);
        self.place.shared.notify();
    }

    /// Looks at a table and tells the plan what there is to read.
    fn open(
        &mut self,
        connection: &mut Connection,
        table: TableId,
        schema: &str,
        name: &str,
    ) -> Result<(), Trouble> {
        let opened = match query::look(connection, schema, name)? {
            None => Opened::Gone,
            Some(look) => self.opening(connection, look, table)?,
        };
        let mut inner = self.place.shared.lock();
        match opened {
            Opened::Gone => tracing::info!("snapshot: table {schema}.{name} is gone"),
            _ => tracing::debug!("snapshot: reading table {schema}.{name}"),
        }
        inner.plan.opened(table, opened);
        inner.close_if_done(table);
        drop(inner);
        self.place.shared.notify();
        Ok(())
    }

    fn opening(
        &self,
        connection: &mut Connection,
        look: SnapshotTable,
        id: TableId,
    ) -> Result<Opened, Trouble> {
        let table = self.table(&look)?;
        let rows_estimated = look.rows_estimated;
        let opened = match look.index {
            None => Opened::Whole { rows_estimated },
            Some(_) => Opened::Keyed {
                columns: look.key.iter().map(ordered_by).collect(),
                upto: query::last_key(connection, &look, self.is_locking(connection))?,
                rows_estimated,
            },
        };
        let select_list = result::select_list(&table);
        let number = self.place.settings.numbers.of(table.schema(), table.name());
        let captured = CapturedTable::new(table, number, 1, Phase::Snapshot, &self.place.settings.events);
        let opened_table = OpenedTable {
            row_bytes: AtomicU64::new(look.row_bytes_estimated),
            look,
            captured: Arc::new(captured),
            select_list,
        };
        self.place.shared.lock().tables.insert(id, Arc::new(opened_table));
        Ok(opened)
    }

    fn table(&self, look: &SnapshotTable) -> Result<Table, Trouble> {
        let filter = &self.place.config.filter;
        let exclude = |schema: &str, table: &str, column: &str| filter.excludes_column(schema, table, column);
        let options = Options {
            flavour: self.place.settings.flavour,
            invalid_text: self.place.settings.invalid_text,
            exclude: &exclude,
        };
        Table::from_catalog(&look.catalog, &options)
            .map_err(|error| Trouble::Failed(Failure::Fatal(error.to_string())))
    }

    /// Captured tables that a statement names may have got their names by it: their rows were never read under them.
    fn renamed(&self, connection: &mut Connection, text: &[u8]) -> Result<(), Failure> {
        let names = captured_names(connection, &self.place.config.filter)?;
        let mut inner = self.place.shared.lock();
        for (schema, name) in names {
            if flowd_binlog::event::defines(text, &name) {
                inner.renamed(&schema, &name);
            }
        }
        inner.plan.settled(text);
        drop(inner);
        self.place.shared.notify();
        Ok(())
    }
}

/// What the order of a key's column depends on, in words that are compared when a table is opened again.
fn ordered_by(column: &KeyColumn) -> String {
    match column.text() {
        Some((_, collation)) => format!("{column} {collation}"),
        None => column.to_string(),
    }
}

/// Why an attempt on a table came to nothing.
#[derive(Debug)]
enum Trouble {
    /// The table is not what it was.
    Changed(String),
    Failed(Failure),
}

impl From<WireError> for Trouble {
    fn from(error: WireError) -> Self {
        match error.code() {
            Some(code) if CHANGED.contains(&code) => Self::Changed(error.to_string()),
            _ => Self::Failed(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_definition_statement_does_to_a_read_is_a_changed_table_and_no_end() {
        let trouble = |code: u16, state: &str| {
            Trouble::from(WireError::Server { code, state: state.into(), message: "text".into() })
        };
        // DROP DATABASE, DROP TABLE, DROP COLUMN, DROP INDEX, ALTER under an open view.
        for (code, state) in
            [(1049, "42000"), (1146, "42S02"), (1054, "42S22"), (1176, "42000"), (1412, "HY000")]
        {
            assert!(matches!(trouble(code, state), Trouble::Changed(_)), "{code}");
        }
        assert!(matches!(trouble(1142, "42000"), Trouble::Failed(Failure::Unusable(_))));
        assert!(matches!(trouble(1317, "70100"), Trouble::Failed(Failure::Retry(_))));
    }
}
