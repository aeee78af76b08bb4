//! The statements that read a chunk, and what must be known of a table before.
//!
//! Rows are read by ranges of the full key in OR form, `a > ? OR (a = ? AND b > ?)`, for lower and upper bound alike: with
//! FORCE INDEX all servers make one range of the index of it and stop at the limit. (The row-value form `(a, b) > (?, ?)`
//! and the nested form `a >= ? AND (a > ? OR b > ?)` read everything before it.) Not here: what rows mean.

use std::sync::Arc;

use flowd_binlog::catalog::{CatalogColumn, CatalogTable};
use flowd_binlog::charset::InvalidText;
use flowd_binlog::result::{self, KeyKind, KeyValue};
use flowd_binlog::table::{Flavour, Options, Table};

use super::{Key, Range};
use crate::catalog::{IndexedTable, read_indexed};
use crate::connection::Connection;
use crate::error::WireError;
use crate::query::{Row, identifier, literal, text};
use crate::server::Flavor;

mod compare;
mod estimate;

pub use compare::KeyColumn;
pub(super) use compare::Side;
pub(super) use estimate::estimate;

/// A table as a snapshot reads it.
#[derive(Debug, Clone)]
pub struct SnapshotTable {
    /// Its definition.
    pub catalog: CatalogTable,
    /// The key's index; `None`: no usable key (no key at all, or one over prefixes, descending, hidden from the
    /// optimizer, no tree, an ENUM or SET of too many values, or CHAR of a collation without padding on MariaDB).
    pub index: Option<String>,
    /// The key's columns, in key order; empty where there is no usable key.
    pub key: Vec<KeyColumn>,
    /// The server's estimate of its rows, often off by half and more.
    pub rows_estimated: u64,
    /// The server's estimate of a row's size as it is stored, bytes; 0 where it has none.
    pub row_bytes_estimated: u64,
    /// Whether reads of it are consistent.
    pub transactional: bool,
    /// Whether the server keeps its older rows: the binlog holds them, so they are read too.
    versioned: bool,
    /// The key's columns as a table of their own: what small reads of keys give.
    key_table: Option<Arc<Table>>,
}

/// Looks at a table; `None` where there is none of that name, or the account may not see it.
pub fn look(
    connection: &mut Connection,
    schema: &str,
    table: &str,
) -> Result<Option<SnapshotTable>, WireError> {
    let Some(found) = read_indexed(connection, schema, table)? else { return Ok(None) };
    let statistics = statistics(connection, schema, table)?;
    Ok(Some(SnapshotTable::new(found, &statistics, connection.server().flavor.into())))
}

/// Rows, bytes a row, whether the engine has transactions.
fn statistics(connection: &mut Connection, schema: &str, table: &str) -> Result<Row, WireError> {
    if connection.server().flavor == Flavor::MySql && connection.server().version >= (8, 0, 0) {
        // Otherwise the server answers what it knew up to a day ago: nothing, for a table that was just filled.
        connection.execute("SET SESSION information_schema_stats_expiry = 0")?;
    }
    let sql = format!(
        "SELECT TABLE_ROWS, AVG_ROW_LENGTH, (SELECT TRANSACTIONS FROM information_schema.ENGINES AS e \
         WHERE e.ENGINE = t.ENGINE) FROM information_schema.TABLES AS t WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        literal(schema),
        literal(table)
    );
    Ok(connection.query_first(&sql)?.unwrap_or_default())
}

impl SnapshotTable {
    fn new(found: IndexedTable, statistics: &Row, flavour: Flavour) -> Self {
        let IndexedTable { table: catalog, index, collations, versioned } = found;
        let columns =
            catalog.key.iter().map(|&index| (&catalog.columns[index], collations[index].as_deref()));
        let key: Option<Vec<KeyColumn>> =
            columns.map(|(column, collation)| KeyColumn::new(column, collation)).collect();
        let ranges = index.filter(|index| index.has_ranges).zip(key).and_then(|(index, key)| {
            let table = key_table(&catalog, flavour)?;
            Some((index.name, key, Arc::new(table)))
        });
        let (index, key, key_table) = match ranges {
            Some((index, key, table)) => (Some(index), key, Some(table)),
            None => (None, Vec::new(), None),
        };
        Self {
            catalog,
            index,
            key,
            rows_estimated: text(statistics, 0).parse().unwrap_or(0),
            row_bytes_estimated: text(statistics, 1).parse().unwrap_or(0),
            transactional: text(statistics, 2) == "YES",
            versioned,
            key_table,
        }
    }

    /// `` `schema`.`table` ``, with all the rows that its changes in the binlog amount to.
    fn name(&self) -> String {
        let rows = if self.versioned { " FOR SYSTEM_TIME ALL" } else { "" };
        format!("{}.{}{rows}", identifier(&self.catalog.schema), identifier(&self.catalog.name))
    }

    /// `` `schema`.`table` FORCE INDEX (`index`) ``
    fn by_index(&self) -> String {
        let index = self.index.as_deref().expect("ranges are those of a key's index");
        format!("{} FORCE INDEX ({})", self.name(), identifier(index))
    }

    /// `` ORDER BY `a`, `b` ``
    fn order(&self, order: Order) -> String {
        let direction = match order {
            Order::Ascending => "",
            Order::Descending => " DESC",
        };
        let columns: Vec<String> =
            self.key.iter().map(|column| format!("{}{direction}", column.identifier())).collect();
        format!("ORDER BY {}", columns.join(", "))
    }
}

/// The key's columns alone, in key order; `None` where flowd does not read them.
fn key_table(catalog: &CatalogTable, flavour: Flavour) -> Option<Table> {
    let columns: Vec<CatalogColumn> =
        catalog.key.iter().map(|&index| catalog.columns[index].clone()).collect();
    let key = (0..columns.len()).collect();
    let catalog = CatalogTable { schema: catalog.schema.clone(), name: catalog.name.clone(), columns, key };
    // The values only go back to the server: what they mean as text does not matter.
    let options = Options { flavour, invalid_text: InvalidText::Replace, exclude: &|_, _, _| false };
    Table::from_catalog(&catalog, &options).ok()
}

/// Which end of a range comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
}

/// Rows under locks, where nothing else tells what a read sees. `FOR SHARE` under the name that every version knows.
const FOR_SHARE: &str = " LOCK IN SHARE MODE";

/// The statement that reads the beginning of a range in the order of the key, and its parameters without the last one:
/// the number of rows at the most, [`KeyKind::Unsigned`].
///
/// # Panics
/// Where the table has no index for ranges.
pub fn chunk(
    table: &SnapshotTable,
    select_list: &str,
    range: &Range,
    for_share: bool,
) -> (String, Vec<KeyValue>) {
    let (condition, parameters) = compare::condition(&table.key, &bounds(range));
    let lock = if for_share { FOR_SHARE } else { "" };
    let (source, order) = (table.by_index(), table.order(Order::Ascending));
    (format!("SELECT {select_list} FROM {source}{condition} {order} LIMIT ?{lock}"), parameters)
}

/// The statement that reads a table whole, in any order.
pub fn whole(table: &SnapshotTable, select_list: &str) -> String {
    format!("SELECT {select_list} FROM {}", table.name())
}

/// The greatest key there is, by one read from the index's end; `None` where the table is empty.
///
/// # Panics
/// Where the table has no index for ranges.
pub fn last_key(
    connection: &mut Connection,
    table: &SnapshotTable,
    for_share: bool,
) -> Result<Option<Key>, WireError> {
    let lock = if for_share { FOR_SHARE } else { "" };
    read_key(connection, table, &[], Order::Descending, lock)
}

/// The smallest key of a range, by one read; `None` where it is empty.
///
/// # Panics
/// Where the table has no index for ranges.
pub fn first_key(
    connection: &mut Connection,
    table: &SnapshotTable,
    range: &Range,
) -> Result<Option<Key>, WireError> {
    end_key(connection, table, &bounds(range), Order::Ascending)
}

/// The first key, in this order, of those within all bounds.
pub(super) fn end_key(
    connection: &mut Connection,
    table: &SnapshotTable,
    bounds: &[(Side, &[KeyValue])],
    order: Order,
) -> Result<Option<Key>, WireError> {
    read_key(connection, table, bounds, order, "")
}

fn read_key(
    connection: &mut Connection,
    table: &SnapshotTable,
    bounds: &[(Side, &[KeyValue])],
    order: Order,
    lock: &str,
) -> Result<Option<Key>, WireError> {
    let keys = table.key_table.as_deref().expect("ranges are those of a key's index");
    let (condition, parameters) = compare::condition(&table.key, bounds);
    let (list, source, order) = (result::select_list(keys), table.by_index(), table.order(order));
    let sql = format!("SELECT {list} FROM {source}{condition} {order} LIMIT 1{lock}");
    let rows = connection.query_rows(&sql, &parameters)?;
    let key = rows.first().map(|row| result::key(keys, row)).transpose();
    key.map_err(|error| WireError::Protocol(error.to_string()))
}

/// The bounds that a range has.
pub(super) fn bounds(range: &Range) -> Vec<(Side, &[KeyValue])> {
    let after = range.after.as_deref().map(|key| (Side::After, key));
    let upto = range.upto.as_deref().map(|key| (Side::Upto, key));
    after.into_iter().chain(upto).collect()
}

/// A number as a parameter.
pub(super) fn unsigned(number: u64) -> KeyValue {
    KeyValue { kind: KeyKind::Unsigned, bytes: number.to_le_bytes().into() }
}

#[cfg(test)]
mod tests;
