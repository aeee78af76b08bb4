//! The tables that the stream meets: which are captured, and how each is decoded at this point of the binlog.
//!
//! A TABLE_MAP comes before every ROWS event, nearly always the same bytes; only a changed one is made ready anew. The
//! catalog is asked where the TABLE_MAP does not describe itself, and what it says is only good for rows between the
//! definition it saw and the next one: [`Tables::definition_changed`] guards that.

use std::collections::HashMap;
use std::sync::Arc;

use flowd_binlog::catalog::CatalogTable;
use flowd_binlog::charset::InvalidText;
use flowd_binlog::event;
use flowd_binlog::table::{Flavour, Options, Table, TableName};
use flowd_engine::failure::Failure;

use crate::captured::{CapturedTable, EventSettings, Topics};
use crate::filter::TableFilter;
use crate::position::is_behind;

/// What the catalog says, and how far the binlog was when it was asked.
#[derive(Debug, Clone)]
pub struct Reading {
    /// `None`: there is no such table (any more).
    pub table: Option<CatalogTable>,
    /// The binlog's end just before: every definition before it is in.
    pub place: (String, u64),
}

/// Asks the server's catalog.
pub trait Catalog: Send {
    /// Reads one table.
    fn read(&mut self, schema: &str, table: &str) -> Result<Reading, Failure>;
}

/// How tables are made ready.
#[derive(Debug, Clone)]
pub struct TableSettings {
    /// Whose binlog it is.
    pub flavour: Flavour,
    /// What happens to bytes that are not valid text.
    pub invalid_text: InvalidText,
    /// What every event has in common.
    pub events: EventSettings,
}

/// A captured table's last definition.
#[derive(Debug)]
struct Known {
    captured: Arc<CapturedTable>,
    /// The catalog reading that `captured` depends on.
    reading: Option<(String, u64)>,
    /// A definition statement named the table since.
    stale: bool,
}

/// What the last TABLE_MAP of an id said.
struct Announced {
    body: Box<[u8]>,
    /// `None`: not captured.
    captured: Option<Arc<CapturedTable>>,
}

/// See the module.
pub struct Tables {
    settings: TableSettings,
    catalog: Box<dyn Catalog>,
    by_id: HashMap<u64, Announced>,
    /// By schema, then by table.
    known: HashMap<String, HashMap<String, Known>>,
    met: u32,
    topics: Topics,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tables").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

/// Ids of one binlog file at the most before the oldest knowledge is dropped: a bound, not a tuning.
const IDS_MAX: usize = 100_000;

impl Tables {
    /// Starts with nothing known.
    pub fn new(settings: TableSettings, catalog: Box<dyn Catalog>) -> Self {
        Self {
            settings,
            catalog,
            by_id: HashMap::new(),
            known: HashMap::new(),
            met: 0,
            topics: Topics::default(),
        }
    }

    /// Table ids begin anew: another file, another connection.
    pub fn forget_ids(&mut self) {
        self.by_id.clear();
    }

    /// Takes a TABLE_MAP's body.
    pub fn table_map(&mut self, body: &[u8], filter: &TableFilter) -> Result<(), String> {
        let head = TableName::parse(body).map_err(|error| error.to_string())?;
        let stale = self.known_table(head.schema, head.name).is_some_and(|known| known.stale);
        if let Some(announced) = self.by_id.get(&head.table_id)
            && *announced.body == *body
            && !stale
        {
            return Ok(());
        }
        let captured = match filter.captures(head.schema, head.name) {
            true => Some(self.captured(body, &head, filter)?),
            false => None,
        };
        if self.by_id.len() >= IDS_MAX {
            self.by_id.clear();
        }
        self.by_id.insert(head.table_id, Announced { body: body.into(), captured });
        Ok(())
    }

    /// The captured table that a ROWS event's body names; `None` where it is not captured.
    pub fn of_rows(&self, body: &[u8]) -> Result<Option<Arc<CapturedTable>>, String> {
        let id = body.first_chunk::<6>().ok_or("a ROWS event ends before its table id")?;
        let id = u64::from_le_bytes([id[0], id[1], id[2], id[3], id[4], id[5], 0, 0]);
        match self.by_id.get(&id) {
            Some(announced) => Ok(announced.captured.clone()),
            // The end mark of a statement that changed nothing carries this id.
            None if id == 0x00ff_ffff => Ok(None),
            None => Err(format!("a ROWS event names table id {id}, which no TABLE_MAP announced")),
        }
    }

    fn known_table(&self, schema: &str, table: &str) -> Option<&Known> {
        self.known.get(schema)?.get(table)
    }

    fn captured(
        &mut self,
        body: &[u8],
        head: &TableName<'_>,
        filter: &TableFilter,
    ) -> Result<Arc<CapturedTable>, String> {
        let number = match self.known_table(head.schema, head.name) {
            Some(Known { captured, stale: false, .. }) if captured.table.is_made_from(body) => {
                return Ok(captured.clone());
            }
            Some(known) => known.captured.number,
            None => self.met,
        };
        self.claim_topic(head)?;
        let exclude = |schema: &str, table: &str, column: &str| filter.excludes_column(schema, table, column);
        let options = Options {
            flavour: self.settings.flavour,
            invalid_text: self.settings.invalid_text,
            exclude: &exclude,
        };
        let (table, reading) = self.make(body, head, &options)?;
        let captured = Arc::new(CapturedTable::new(table, number, &self.settings.events));
        self.met = self.met.max(number + 1);
        let known = Known { captured: captured.clone(), reading, stale: false };
        self.known.entry(head.schema.into()).or_default().insert(head.name.into(), known);
        Ok(captured)
    }

    /// Makes the table from its TABLE_MAP alone where that tells everything, else with the catalog. Returns where the
    /// catalog was read if rows depend on it.
    fn make(
        &mut self,
        body: &[u8],
        head: &TableName<'_>,
        options: &Options<'_>,
    ) -> Result<(Table, Option<(String, u64)>), String> {
        let alone = Table::from_table_map(body, None, options);
        // MariaDB's catalog tells UUID, INET and VECTOR from their look-alikes, and a unique key is told by no binlog.
        let suffices = |table: &Table| table.has_key() && self.settings.flavour == Flavour::MySql;
        match alone {
            Ok(table) if suffices(&table) => return Ok((table, None)),
            _ => {}
        }
        let reading = self.catalog.read(head.schema, head.name).map_err(|failure| failure.to_string())?;
        match (Table::from_table_map(body, reading.table.as_ref(), options), alone) {
            (Ok(table), Ok(_)) => Ok((table, None)),
            (Ok(table), Err(_)) => Ok((table, Some(reading.place))),
            (Err(error), _) => Err(error.to_string()),
        }
    }

    fn claim_topic(&mut self, head: &TableName<'_>) -> Result<(), String> {
        self.topics.claim(&self.settings.events.subject, head.schema, head.name).map_err(|other| {
            format!(
                "tables {other} and {}.{} would share a topic, because characters outside [A-Za-z0-9._-] become `_`: \
                 leave one out by connectorConfig.tableExcludeList, or give them another pubSubConfig.subject",
                head.schema, head.name
            )
        })
    }

    /// A statement that may change definitions stands at this place. Tables that it names are made ready anew. Where
    /// rows before it were decoded by a catalog that was read behind it, they may have been decoded wrongly: that stops
    /// the stream.
    pub fn definition_changed(&mut self, text: &[u8], file: &str, offset: u64) -> Result<(), String> {
        for (schema, tables) in &mut self.known {
            for (table, known) in tables.iter_mut().filter(|(table, _)| event::mentions(text, table)) {
                if let Some((read_file, read_offset)) = &known.reading
                    && !is_behind((read_file, *read_offset), (file, offset))
                {
                    return Err(format!(
                        "table {schema}.{table} is defined anew here, but rows before this place were read with the \
                         definition that the catalog had at {read_file}:{read_offset}, behind it. \
                         SET GLOBAL binlog_row_metadata=FULL makes the binlog describe itself; rows written before \
                         that need a new start behind this place (--start-at with a new registry)"
                    ));
                }
                known.stale = true;
            }
        }
        Ok(())
    }

    /// Whether a statement's text names a table that was captured.
    pub fn any_captured_name_in(&self, text: &[u8]) -> bool {
        let named = |schema: &str, table: &str| event::mentions(text, table) && event::mentions(text, schema);
        self.known.iter().any(|(schema, tables)| tables.keys().any(|table| named(schema, table)))
    }
}
