//! What the server's catalog says about tables, read at a known place of its binlog.
//!
//! Invariant: what a [`Reading`] says was true at some moment at or after its place; columns and key belong to the
//! same definition, because a definition that changed while it was read is read again.

use flowd_binlog::catalog::{CatalogColumn, CatalogTable};

use crate::connection::Connection;
use crate::error::WireError;
use crate::filter::TableFilter;
use crate::query::{ResultSet, Row, identifier, literal, text};
use crate::status::{BinlogEnd, known_binlog_end};

pub mod unique;

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
    let place = known_binlog_end(connection)?;
    let value = stable_table(connection, schema, table)?;
    Ok(Reading { value, place })
}

/// The index behind a table's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyIndex {
    /// Its name.
    pub name: String,
    /// Whether the rows of a range of keys can be read through it, in their order: the optimizer may use it, and it is a
    /// tree over whole columns, all ascending.
    pub has_ranges: bool,
}

/// A table as it is read by ranges of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedTable {
    /// The table.
    pub table: CatalogTable,
    /// Its key's index; `None` where there is no key.
    pub index: Option<KeyIndex>,
    /// A collation (COLLATION_NAME) a column; `None` where the column is no text.
    pub collations: Vec<Option<String>>,
    /// Whether the server keeps its older rows (MariaDB's WITH SYSTEM VERSIONING); the binlog holds those too.
    pub versioned: bool,
}

/// Reads one table together with its key's index; `None` where there is no such table, or the account may not see it.
pub fn read_indexed(
    connection: &mut Connection,
    schema: &str,
    table: &str,
) -> Result<Option<IndexedTable>, WireError> {
    Ok(stable(connection, schema, table)?.map(|(columns, key)| {
        let collations = columns.iter().map(|column| column.collation.clone()).collect();
        let versioned = columns.iter().any(|column| column.period == Some(Period::End));
        IndexedTable {
            table: catalog_table(schema, table, columns, key.columns),
            index: key.index,
            collations,
            versioned,
        }
    }))
}

/// Reads every captured table that the account may see, in the order of their names. Views and sequences are none.
pub fn read_captured(
    connection: &mut Connection,
    filter: &TableFilter,
) -> Result<Reading<Vec<CatalogTable>>, WireError> {
    let place = known_binlog_end(connection)?;
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

fn stable_table(
    connection: &mut Connection,
    schema: &str,
    table: &str,
) -> Result<Option<CatalogTable>, WireError> {
    let found = stable(connection, schema, table)?;
    Ok(found.map(|(columns, key)| catalog_table(schema, table, columns, key.columns)))
}

fn catalog_table(schema: &str, table: &str, columns: Vec<Column>, key: Vec<usize>) -> CatalogTable {
    let columns = columns.into_iter().map(|column| column.own).collect();
    CatalogTable { schema: schema.into(), name: table.into(), columns, key }
}

/// A column and what only ranges need of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Column {
    own: CatalogColumn,
    collation: Option<String>,
    period: Option<Period>,
}

/// A column that says since when, or up to when, a row of a table with system versioning holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Period {
    Start,
    End,
}

/// The key: indexes of its columns, in its own order, and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct KeyColumns {
    columns: Vec<usize>,
    index: Option<KeyIndex>,
}

/// Columns and key of one and the same definition.
fn stable(
    connection: &mut Connection,
    schema: &str,
    table: &str,
) -> Result<Option<(Vec<Column>, KeyColumns)>, WireError> {
    let mut columns = read_columns(connection, schema, table)?;
    for _ in 0..ATTEMPTS_MAX {
        if columns.is_empty() {
            return Ok(None);
        }
        let key = read_key(connection, schema, table, &columns)?;
        let again = read_columns(connection, schema, table)?;
        match key {
            Some(key) if again == columns => return Ok(Some((columns, key))),
            _ => columns = again,
        }
    }
    // Not the server's fault and not ours: it heals once the definitions rest.
    let message =
        format!("the definition of {schema}.{table} changed {ATTEMPTS_MAX} times while it was read");
    Err(std::io::Error::other(message).into())
}

fn read_columns(connection: &mut Connection, schema: &str, table: &str) -> Result<Vec<Column>, WireError> {
    let (schema_text, table_text) = (literal(schema), literal(table));
    // Versions without system versioning know neither the type nor, some of them, the column.
    let period = if has_versioning(connection) {
        format!(
            "GENERATION_EXPRESSION, (SELECT TABLE_TYPE FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = {schema_text} AND TABLE_NAME = {table_text})"
        )
    } else {
        "NULL, NULL".into()
    };
    let result = connection.query(&format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, DATA_TYPE, CHARACTER_SET_NAME, IS_NULLABLE, \
         COLLATION_NAME, {period} FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = {schema_text} AND TABLE_NAME = {table_text} ORDER BY ORDINAL_POSITION"
    ))?;
    // The comparison above may ignore case; names here do not.
    let own = result.rows.iter().filter(|row| text(row, 0) == schema && text(row, 1) == table);
    let versioned = own.clone().any(|row| text(row, 9) == "SYSTEM VERSIONED");
    let mut columns: Vec<Column> = own.map(column).collect();
    if versioned {
        add_hidden_period(&mut columns);
    }
    Ok(columns)
}

fn has_versioning(connection: &Connection) -> bool {
    let server = connection.server();
    !server.is_mysql() && server.version >= (10, 3, 0)
}

/// A row of [`read_columns`].
fn column(row: &Row) -> Column {
    Column {
        own: CatalogColumn {
            name: text(row, 2),
            column_type: text(row, 3),
            data_type: text(row, 4),
            charset: row[5].is_some().then(|| text(row, 5)),
            nullable: text(row, 6) == "YES",
        },
        collation: row[7].is_some().then(|| text(row, 7)),
        period: match text(row, 8).as_str() {
            "ROW START" => Some(Period::Start),
            "ROW END" => Some(Period::End),
            _ => None,
        },
    }
}

/// A table WITH SYSTEM VERSIONING that names no columns for the period has them all the same: the binlog holds them and
/// a SELECT may ask for them, but the catalog does not list them.
fn add_hidden_period(columns: &mut Vec<Column>) {
    if columns.iter().any(|column| column.period.is_some()) {
        return;
    }
    for (name, period) in [("row_start", Period::Start), ("row_end", Period::End)] {
        let own = CatalogColumn {
            name: name.into(),
            column_type: "timestamp(6)".into(),
            data_type: "timestamp".into(),
            charset: None,
            nullable: false,
        };
        columns.push(Column { own, collation: None, period: Some(period) });
    }
}

/// The key; `None` where the index does not fit the columns, or the table is gone.
fn read_key(
    connection: &mut Connection,
    schema: &str,
    table: &str,
    columns: &[Column],
) -> Result<Option<KeyColumns>, WireError> {
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
fn key_of(indexes: &ResultSet, columns: &[Column]) -> Option<KeyColumns> {
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
        let parts: Vec<&Row> = indexes.rows.iter().filter(|row| text(row, name) == index).collect();
        // A part without a column is an expression: the row image does not hold it as such.
        if parts.iter().any(|row| text(row, nullable) == "YES" || row[column].is_none()) {
            continue;
        }
        let at = |row: &&Row| columns.iter().position(|known| known.own.name == text(row, column));
        let mut columns_of_key: Vec<usize> = parts.iter().map(at).collect::<Option<_>>()?;
        // Every unique index of a table with system versioning ends with the period's end, listed or hidden.
        let end = columns.iter().position(|column| column.period == Some(Period::End));
        columns_of_key.extend(end.filter(|end| !columns_of_key.contains(end)));
        let has_ranges = parts.iter().all(|row| has_ranges(indexes, row));
        return Some(KeyColumns {
            columns: columns_of_key,
            index: Some(KeyIndex { name: index, has_ranges }),
        });
    }
    Some(KeyColumns::default())
}

/// Whether ranges can be read by a part of an index. What a version does not say (Visible: MySQL 8; Ignored: MariaDB
/// 10.6) it does not have.
fn has_ranges(indexes: &ResultSet, part: &Row) -> bool {
    let says = |title: &str, value: &str| {
        indexes.column(title).is_none_or(|index| text(part, index).eq_ignore_ascii_case(value))
    };
    let whole = indexes.column("Sub_part").is_none_or(|index| part[index].is_none());
    // Collation A is ascending; D is descending, and a hash has none.
    whole
        && says("Collation", "A")
        && says("Index_type", "BTREE")
        && says("Visible", "YES")
        && says("Ignored", "NO")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Vec<Column> {
        let column = |name: &&str| CatalogColumn { name: (*name).into(), ..CatalogColumn::default() };
        names.iter().map(|name| Column { own: column(name), collation: None, period: None }).collect()
    }

    fn key(set: &ResultSet, names: &[&str]) -> Option<Vec<usize>> {
        key_of(set, &columns(names)).map(|key| key.columns)
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
        assert_eq!(key(&set, &["a", "b", "c"]), Some(vec![1, 0]));
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
        assert_eq!(key(&set, &["a", "b", "c"]), Some(vec![2, 1]));
    }

    #[test]
    fn a_table_without_such_an_index_has_no_key() {
        assert_eq!(key(&indexes(&[("plain", "1", "a", "")]), &["a"]), Some(vec![]));
        assert_eq!(key(&indexes(&[]), &["a"]), Some(vec![]));
    }

    #[test]
    fn a_table_with_system_versioning_has_its_period_and_its_keys_end_with_the_periods_end() {
        let set = indexes(&[("PRIMARY", "0", "b", ""), ("PRIMARY", "0", "a", "")]);
        let mut hidden = columns(&["a", "b"]);
        add_hidden_period(&mut hidden);
        let names: Vec<&str> = hidden.iter().map(|column| column.own.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "row_start", "row_end"]);
        let key = |set: &ResultSet, columns: &[Column]| key_of(set, columns).map(|key| key.columns);
        assert_eq!(key(&set, &hidden), Some(vec![1, 0, 3]));
        // Declared: the catalog lists both, and the index its part.
        let mut declared = columns(&["until", "since", "a"]);
        (declared[0].period, declared[1].period) = (Some(Period::End), Some(Period::Start));
        add_hidden_period(&mut declared);
        assert_eq!(declared.len(), 3);
        let set = indexes(&[("PRIMARY", "0", "a", ""), ("PRIMARY", "0", "until", "")]);
        assert_eq!(key(&set, &declared), Some(vec![2, 0]));
        // Without a key there is none.
        assert_eq!(key(&indexes(&[]), &hidden), Some(vec![]));
    }

    #[test]
    fn an_index_over_a_column_that_is_not_there_means_reading_again() {
        assert_eq!(key(&indexes(&[("PRIMARY", "0", "z", "")]), &["a"]), None);
    }

    #[test]
    fn ranges_need_whole_ascending_visible_parts_of_a_tree() {
        let titles = [
            "Key_name",
            "Non_unique",
            "Column_name",
            "Null",
            "Collation",
            "Sub_part",
            "Index_type",
            "Visible",
            "Ignored",
        ];
        let check = |change: &[(&str, Option<&str>)], expected: bool| {
            let mut row: Row =
                ["u", "0", "a", "", "A", "", "BTREE", "YES", "NO"].map(|value| Some(value.into())).into();
            row[5] = None;
            for (title, value) in change {
                let index = titles.iter().position(|known| known == title).expect("a title");
                row[index] = value.map(|value| value.as_bytes().to_vec());
            }
            let set = ResultSet { columns: titles.map(String::from).to_vec(), rows: vec![row] };
            let index = key_of(&set, &columns(&["a"])).and_then(|key| key.index).expect("an index");
            assert_eq!(index, KeyIndex { name: "u".into(), has_ranges: expected }, "{change:?}");
        };
        check(&[], true);
        check(&[("Sub_part", Some("5"))], false);
        check(&[("Collation", Some("D"))], false);
        check(&[("Index_type", Some("HASH")), ("Collation", None)], false);
        check(&[("Visible", Some("NO"))], false);
        check(&[("Ignored", Some("YES"))], false);
    }
}
