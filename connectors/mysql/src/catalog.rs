//! What the server's catalog says about tables, read at a known place of its binlog.
//!
//! Invariant: what a [`Reading`] says was true at some moment at or after its place; columns and key belong to the
//! same definition, because a definition that changed while it was read is read again.

use flowd_binlog::catalog::{CatalogColumn, CatalogTable};

use crate::connection::Connection;
use crate::error::WireError;
use crate::filter::TableFilter;
use crate::query::{ResultSet, identifier, literal, text};
use crate::status::{BinlogEnd, binlog_end};

/// How often a definition may change under our hands before we give up.
const ATTEMPTS_MAX: u32 = 5;
/// ER_BAD_DB_ERROR, ER_NO_SUCH_TABLE.
const ABSENT: [u16; 2] = [1049, 1146];

/// Tables, and the binlog's end just before they were read; definitions before it are all in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading<T> {
    /// What was read.
    pub value: T,
    /// The binlog's end before.
    pub place: BinlogEnd,
}

/// Reads one table; `None` where there is no such table, or the account may not see it.
pub fn read_table(
    connection: &mut Connection,
    schema: &str,
    table: &str,
) -> Result<Reading<Option<CatalogTable>>, WireError> {
    let place = place(connection)?;
    let value = stable_table(connection, schema, table)?;
    Ok(Reading { value, place })
}

/// Reads every captured table that the account may see, in the order of their names. Views and sequences are none.
pub fn read_captured(
    connection: &mut Connection,
    filter: &TableFilter,
) -> Result<Reading<Vec<CatalogTable>>, WireError> {
    let place = place(connection)?;
    let mut value = Vec::new();
    for (schema, table) in captured_names(connection, filter)? {
        // A table dropped meanwhile is none.
        value.extend(stable_table(connection, &schema, &table)?);
    }
    Ok(Reading { value, place })
}

/// The names of the captured tables that the account may see, sorted.
pub fn captured_names(
    connection: &mut Connection,
    filter: &TableFilter,
) -> Result<Vec<(String, String)>, WireError> {
    // The two schemas are in no binlog, and a server makes a temporary table of each of theirs to answer.
    let result = connection.query(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema') \
         AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')",
    )?;
    let names = result.rows.iter().map(|row| (text(row, 0), text(row, 1)));
    let mut captured: Vec<_> = names.filter(|(schema, table)| filter.captures(schema, table)).collect();
    captured.sort();
    Ok(captured)
}

/// The first column of a captured table's primary key that the filter leaves out: schema, table, column.
pub fn excluded_key(
    connection: &mut Connection,
    filter: &TableFilter,
) -> Result<Option<(String, String, String)>, WireError> {
    if !filter.has_columns() {
        return Ok(None);
    }
    let result = connection.query(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema') AND INDEX_NAME = 'PRIMARY' \
         ORDER BY TABLE_SCHEMA, TABLE_NAME, SEQ_IN_INDEX",
    )?;
    let mut columns = result.rows.iter().map(|row| (text(row, 0), text(row, 1), text(row, 2)));
    Ok(columns.find(|(schema, table, column)| {
        filter.captures(schema, table) && filter.excludes_column(schema, table, column)
    }))
}

fn place(connection: &mut Connection) -> Result<BinlogEnd, WireError> {
    binlog_end(connection)?
        .ok_or_else(|| WireError::Refused("the server writes no binlog (log_bin is off)".into()))
}

fn stable_table(
    connection: &mut Connection,
    schema: &str,
    table: &str,
) -> Result<Option<CatalogTable>, WireError> {
    let mut columns = read_columns(connection, schema, table)?;
    for _ in 0..ATTEMPTS_MAX {
        if columns.is_empty() {
            return Ok(None);
        }
        let key = read_key(connection, schema, table, &columns)?;
        let again = read_columns(connection, schema, table)?;
        match key {
            Some(key) if again == columns => {
                return Ok(Some(CatalogTable { schema: schema.into(), name: table.into(), columns, key }));
            }
            _ => columns = again,
        }
    }
    // Not the server's fault and not ours: it heals once the definitions rest.
    let message =
        format!("the definition of {schema}.{table} changed {ATTEMPTS_MAX} times while it was read");
    Err(std::io::Error::other(message).into())
}

fn read_columns(
    connection: &mut Connection,
    schema: &str,
    table: &str,
) -> Result<Vec<CatalogColumn>, WireError> {
    let result = connection.query(&format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, DATA_TYPE, CHARACTER_SET_NAME, IS_NULLABLE \
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} ORDER BY ORDINAL_POSITION",
        literal(schema),
        literal(table)
    ))?;
    // The comparison above may ignore case; names here do not.
    let own = result.rows.iter().filter(|row| text(row, 0) == schema && text(row, 1) == table);
    Ok(own
        .map(|row| CatalogColumn {
            name: text(row, 2),
            column_type: text(row, 3),
            data_type: text(row, 4),
            charset: row[5].is_some().then(|| text(row, 5)),
            nullable: text(row, 6) == "YES",
        })
        .collect())
}

/// The key's columns; `None` where the index does not fit the columns, or the table is gone.
fn read_key(
    connection: &mut Connection,
    schema: &str,
    table: &str,
    columns: &[CatalogColumn],
) -> Result<Option<Vec<usize>>, WireError> {
    // SHOW INDEX tells the server's own order of the indexes, which information_schema.STATISTICS does not.
    let sql = format!("SHOW INDEX FROM {} FROM {}", identifier(table), identifier(schema));
    match connection.query(&sql) {
        Ok(indexes) => Ok(key_of(&indexes, columns)),
        Err(error) if error.code().is_some_and(|code| ABSENT.contains(&code)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The primary key, else the first unique index over NOT NULL columns alone, as SHOW INDEX lists them; empty where
/// there is neither, `None` where an index names a column that is not there.
fn key_of(indexes: &ResultSet, columns: &[CatalogColumn]) -> Option<Vec<usize>> {
    let [name, non_unique, column, nullable] =
        ["Key_name", "Non_unique", "Column_name", "Null"].map(|title| indexes.column(title));
    let (name, non_unique, column, nullable) = (name?, non_unique?, column?, nullable?);
    let mut names: Vec<String> = Vec::new();
    for row in &indexes.rows {
        let index = text(row, name);
        if text(row, non_unique) == "0" && !names.contains(&index) {
            names.push(index);
        }
    }
    names.sort_by_key(|index| index != "PRIMARY"); // stable: the rest keeps its order
    for index in names {
        let parts = indexes.rows.iter().filter(|row| text(row, name) == index);
        // A part without a column is an expression: the row image does not hold it as such.
        if parts.clone().any(|row| text(row, nullable) == "YES" || row[column].is_none()) {
            continue;
        }
        return parts.map(|row| columns.iter().position(|known| known.name == text(row, column))).collect();
    }
    Some(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Vec<CatalogColumn> {
        names.iter().map(|name| CatalogColumn { name: (*name).into(), ..CatalogColumn::default() }).collect()
    }

    /// Rows of index, non-unique, column ("-" is an expression) and nullable.
    fn indexes(rows: &[(&str, &str, &str, &str)]) -> ResultSet {
        let value = |text: &str| (text != "-").then(|| text.as_bytes().to_vec());
        ResultSet {
            columns: ["Key_name", "Non_unique", "Column_name", "Null"].map(String::from).to_vec(),
            rows: rows
                .iter()
                .map(|row| vec![value(row.0), value(row.1), value(row.2), value(row.3)])
                .collect(),
        }
    }

    #[test]
    fn the_primary_key_is_the_key_in_its_own_order() {
        let set = indexes(&[("u", "0", "c", ""), ("PRIMARY", "0", "b", ""), ("PRIMARY", "0", "a", "")]);
        assert_eq!(key_of(&set, &columns(&["a", "b", "c"])), Some(vec![1, 0]));
    }

    #[test]
    fn without_a_primary_key_the_first_unique_index_without_null_is_the_key() {
        let set = indexes(&[
            ("nullable", "0", "a", "YES"),
            ("expression", "0", "-", ""),
            ("plain", "1", "a", ""),
            ("second", "0", "c", ""),
            ("second", "0", "b", ""),
            ("first_by_name", "0", "a", ""),
        ]);
        assert_eq!(key_of(&set, &columns(&["a", "b", "c"])), Some(vec![2, 1]));
    }

    #[test]
    fn a_table_without_such_an_index_has_no_key() {
        assert_eq!(key_of(&indexes(&[("plain", "1", "a", "")]), &columns(&["a"])), Some(vec![]));
        assert_eq!(key_of(&indexes(&[]), &columns(&["a"])), Some(vec![]));
    }

    #[test]
    fn an_index_over_a_column_that_is_not_there_means_reading_again() {
        assert_eq!(key_of(&indexes(&[("PRIMARY", "0", "z", "")]), &columns(&["a"])), None);
    }
}
