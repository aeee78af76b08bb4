//! The tables that the stream meets: which are captured, and how each is decoded at this point of the binlog.
//!
//! A TABLE_MAP comes before every ROWS event, nearly always the same bytes; only a changed one is made ready anew. The
//! catalog is asked where the TABLE_MAP does not describe itself; what it says is only good for rows behind the last
//! definition that it saw, so the binlog between the row and the reading is looked through for a later one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use flowd_binlog::catalog::CatalogTable;
use flowd_binlog::charset::InvalidText;
use flowd_binlog::event;
use flowd_binlog::table::{Flavour, Options, Table, TableName};
use flowd_engine::failure::Failure;

use crate::captured::{CapturedTable, EventSettings, Phase, TableEvents, TopicOwners};
use crate::filter::TableFilter;
use crate::lanes::Lanes;
use crate::position::is_behind;
use crate::scan::Definition;

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
    /// The statements between two places of the binlog that may change definitions.
    fn definitions(&mut self, from: (&str, u64), to: (&str, u64)) -> Result<Vec<Definition>, Failure>;
}

/// The definitions that were looked up ahead of the stream.
#[derive(Debug, Default)]
struct Ahead {
    /// How far was looked.
    to: (String, u64),
    definitions: Vec<Definition>,
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
    /// The numbers that tables go by.
    pub numbers: Numbers,
}

/// Gives each table a number for the life of the process; stream and snapshot ask the same one.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Arc<Mutex<HashMap<(String, String), u32>>>);

impl Numbers {
    /// The table's number.
    pub fn of(&self, schema: &str, table: &str) -> u32 {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = u32::try_from(numbers.len()).expect("fewer than 2^32 tables");
        *numbers.entry((schema.into(), table.into())).or_insert(next)
    }
}

/// A captured table's last definition.
#[derive(Debug)]
struct Known {
    captured: Arc<CapturedTable>,
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
    by_id: HashMap<u64, Announced, ahash::RandomState>,
    /// By schema, then by table.
    known: HashMap<String, HashMap<String, Known>>,
    topics: TopicOwners,
    lanes: Lanes,
    ahead: Ahead,
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
    pub fn new(settings: TableSettings, catalog: Box<dyn Catalog>, lanes: Lanes) -> Self {
        Self {
            settings,
            catalog,
            by_id: HashMap::default(),
            known: HashMap::new(),
            topics: TopicOwners::default(),
            lanes,
            ahead: Ahead::default(),
        }
    }

    /// Table ids begin anew: another file, another connection.
    pub fn forget_ids(&mut self) {
        self.by_id.clear();
    }

    /// Takes a TABLE_MAP's body, whose transaction begins at `place`.
    pub fn table_map(&mut self, body: &[u8], filter: &TableFilter, place: (&str, u64)) -> Result<(), String> {
        let head = TableName::parse(body).map_err(|error| error.to_string())?;
        if let Some(announced) = self.by_id.get(&head.table_id)
            && *announced.body == *body
        {
            return Ok(());
        }
        let captured = match filter.captures(head.schema, head.name) {
            true => Some(self.captured(body, &head, filter, place)?),
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

    /// Over how many lanes the events of a table are spread that come next.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// What the events of a table that a statement empties have in common; `None` where it is not captured.
    pub fn truncated(
        &mut self,
        schema: &str,
        table: &str,
        filter: &TableFilter,
    ) -> Result<Option<Arc<TableEvents>>, String> {
        let (schema, table) = (self.lanes.written(schema), self.lanes.written(table));
        if !filter.captures(&schema, &table) {
            return Ok(None);
        }
        self.claim_topic(&schema, &table)?;
        Ok(Some(Arc::new(TableEvents::new(&schema, &table, Phase::Stream, &self.settings.events))))
    }

    fn known_table(&self, schema: &str, table: &str) -> Option<&Known> {
        self.known.get(schema)?.get(table)
    }

    fn captured(
        &mut self,
        body: &[u8],
        head: &TableName<'_>,
        filter: &TableFilter,
        place: (&str, u64),
    ) -> Result<Arc<CapturedTable>, String> {
        if let Some(Known { captured, stale: false }) = self.known_table(head.schema, head.name)
            && captured.table.is_made_from(body)
        {
            return Ok(captured.clone());
        }
        self.claim_topic(head.schema, head.name)?;
        let exclude = |schema: &str, table: &str, column: &str| filter.excludes_column(schema, table, column);
        let options = Options {
            flavour: self.settings.flavour,
            invalid_text: self.settings.invalid_text,
            exclude: &exclude,
        };
        let (table, reading) = self.make(body, head, &options)?;
        if let Some(reading) = &reading {
            self.refuse_later_definition(head, place, reading)?;
        }
        let number = self.settings.numbers.of(head.schema, head.name);
        let lanes = self.lanes.of(head.schema, head.name);
        let captured = CapturedTable::new(table, number, lanes, Phase::Stream, &self.settings.events);
        let captured = Arc::new(captured);
        let known = Known { captured: captured.clone(), stale: false };
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

    /// Rows that depend on the catalog are refused where a statement between them and the catalog's reading names the
    /// table: what it looked like before is not known.
    fn refuse_later_definition(
        &mut self,
        head: &TableName<'_>,
        place: (&str, u64),
        reading: &(String, u64),
    ) -> Result<(), String> {
        let to = (reading.0.as_str(), reading.1);
        let looked = (self.ahead.to.0.as_str(), self.ahead.to.1);
        let from = if is_behind(place, looked) { looked } else { place };
        if is_behind(from, to) {
            let found = self.catalog.definitions(from, to).map_err(|failure| failure.to_string())?;
            self.ahead.definitions.extend(found);
            self.ahead.to = reading.clone();
        }
        self.ahead.definitions.retain(|definition| is_behind(place, definition.place()));
        let later = |definition: &&Definition| {
            event::defines(&definition.text, head.name) && !is_behind(to, definition.place())
        };
        match self.ahead.definitions.iter().find(later) {
            None => Ok(()),
            Some(definition) => Err(format!(
                "table {}.{} is defined anew at {}:{}, behind this row, and neither the binlog nor the catalog says what \
                 it looked like before. SET GLOBAL binlog_row_metadata=FULL makes the binlog describe itself; rows \
                 written before that need a start behind that place (--start-at with a new registry)",
                head.schema, head.name, definition.file, definition.offset
            )),
        }
    }

    fn claim_topic(&mut self, schema: &str, table: &str) -> Result<(), String> {
        self.topics.claim(&self.settings.events.subject, schema, table).map_err(|other| {
            format!(
                "tables {other} and {schema}.{table} would share a topic, because characters outside [A-Za-z0-9._-] \
                 become `_`: leave one out by connectorConfig.tableExcludeList, or give them another \
                 pubSubConfig.subject"
            )
        })
    }

    /// A statement that may change definitions was met: the tables that it names are made ready anew. True where lanes
    /// or keys may be others behind it, so that nothing behind it may pass what is before it.
    pub fn define(&mut self, text: &[u8], schema: &str, filter: &TableFilter) -> bool {
        let tables = self.known.values_mut().flatten();
        for (_, known) in tables.filter(|(table, _)| event::defines(text, table)) {
            known.stale = true;
        }
        // What was announced before is looked at anew.
        self.by_id.clear();
        self.lanes.define(text, schema, filter)
    }
}
