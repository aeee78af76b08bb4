//! A table's definition, read from the server's catalog.

use std::time::Instant;

use flowd_binlog::catalog::CatalogColumn;
use flowd_sink::rows::mapping::TableName;
use flowd_sink::rows::table::Definition;

use crate::error::WireError;
use crate::query::{ResultSet, Row, identifier, literal, text};
use crate::sink::dialect::{Column, Known, Table};
use crate::sink::session::Session;
use crate::sink::sql;
use crate::sink::value::Form;

/// Reads a definition; `None` where there is no such table, or the account may not see it.
pub(super) fn read(
    session: &mut Session,
    name: &TableName,
    now: Instant,
) -> Result<Option<Table>, WireError> {
    let columns = read_columns(session, name)?;
    if columns.is_empty() {
        return Ok(None);
    }
    let indexes = session.connection().query(&format!("SHOW INDEX FROM {}", sql::table(name)))?;
    let indexes = unique_indexes(&indexes);
    let key = key(&indexes, &columns);
    let others = indexes.len() - usize::from(key.is_some());
    let key: Vec<usize> = key.unwrap_or_default();
    let columns: Vec<Column> = columns.into_iter().map(|(column, _)| column).collect();
    let delicate = others > 0 || has_trigger(session, name)?;
    warn_without_transactions(session, name)?;
    Ok(Some(defined(name.clone(), columns, key, delicate, now)))
}

/// `delicate`: there is a unique index besides the key, or a trigger before INSERT, which an upsert fires also where it
/// updates.
fn defined(name: TableName, columns: Vec<Column>, key: Vec<usize>, delicate: bool, now: Instant) -> Table {
    let told = key.iter().all(|index| is_told_by_its_literal(&columns[*index]));
    let independent = told && !key.is_empty() && !delicate;
    Table::new(Definition { name, columns, key, delicate, independent, known: Known::default() }, now)
}

/// Each column, and whether it can be NULL.
fn read_columns(session: &mut Session, name: &TableName) -> Result<Vec<(Column, bool)>, WireError> {
    let result = session.connection().query(&format!(
        "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, CHARACTER_MAXIMUM_LENGTH, \
         NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION, EXTRA, IS_NULLABLE \
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} ORDER BY ORDINAL_POSITION",
        literal(&name.schema),
        literal(&name.table)
    ))?;
    Ok(result.rows.iter().map(column).collect())
}

fn column(row: &Row) -> (Column, bool) {
    let (name, charset, collation) = (text(row, 0), text(row, 3), text(row, 4));
    let extra = text(row, 9).to_ascii_uppercase();
    let generated = ["VIRTUAL", "STORED", "PERSISTENT"].iter().any(|word| extra.contains(word));
    let nullable = text(row, 10) == "YES";
    let described = CatalogColumn {
        name: name.clone(),
        column_type: text(row, 2),
        data_type: text(row, 1).to_ascii_lowercase(),
        charset: (!charset.is_empty()).then_some(charset),
        nullable,
    };
    let number = |index| text(row, index).parse().ok();
    let data_type = form(&described, number);
    let folds = !collation.is_empty() && collation != "binary" && !collation.ends_with("_bin");
    (Column { quoted: identifier(&name), name, data_type, generated, identity: false, folds }, nullable)
}

/// `number` gives a field of the catalog's row: 5 the length, 6 the precision, 7 the scale, 8 the fraction's digits.
fn form(column: &CatalogColumn, number: impl Fn(usize) -> Option<usize>) -> Form {
    let unsigned = column.column_type.to_ascii_lowercase().contains("unsigned");
    let integer = |bits: u32| match unsigned {
        true => Form::Integer { min: 0, max: (1 << bits) - 1 },
        false => Form::Integer { min: -(1 << (bits - 1)), max: (1 << (bits - 1)) - 1 },
    };
    let labels = || column.labels().unwrap_or_default();
    let fraction = number(8).unwrap_or(0);
    match column.data_type.as_str() {
        "tinyint" => integer(8),
        "smallint" => integer(16),
        "mediumint" => integer(24),
        "int" => integer(32),
        "bigint" => integer(64),
        "decimal" => {
            let (precision, scale) = (number(6).unwrap_or(65), number(7).unwrap_or(0));
            Form::Decimal { integer: precision.saturating_sub(scale), fraction: scale }
        }
        "float" => Form::Float,
        "double" => Form::Double,
        "bit" => Form::Bit { bits: number(6).and_then(|bits| u32::try_from(bits).ok()).unwrap_or(64) },
        "year" => Form::Year,
        "date" => Form::Date,
        "time" => Form::Time { fraction },
        "datetime" | "timestamp" => Form::DateTime { fraction },
        "binary" => Form::Binary { width: number(5) },
        "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Form::Binary { width: None },
        "enum" => Form::Enum(labels()),
        "set" => Form::Set(labels()),
        "json" => Form::Json,
        "vector" => Form::Vector,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => Form::Geometry,
        _ if column.charset.is_some() => Form::Text,
        _ => Form::Other,
    }
}

/// The unique indexes, each with its columns' names; `None` for a part of a column or an expression.
fn unique_indexes(result: &ResultSet) -> Vec<(String, Vec<Option<String>>)> {
    let mut indexes: Vec<(String, Vec<Option<String>>)> = Vec::new();
    let field = |row: &Row, name| result.column(name).map(|index| text(row, index)).unwrap_or_default();
    for row in result.rows.iter().filter(|row| field(row, "Non_unique") == "0") {
        let name = field(row, "Key_name");
        let column = Some(field(row, "Column_name")).filter(|column| !column.is_empty());
        let column = column.filter(|_| field(row, "Sub_part").is_empty());
        match indexes.last_mut() {
            Some((last, columns)) if *last == name => columns.push(column),
            _ => indexes.push((name, vec![column])),
        }
    }
    indexes
}

/// The columns of the index that is the key.
fn key(indexes: &[(String, Vec<Option<String>>)], columns: &[(Column, bool)]) -> Option<Vec<usize>> {
    let primary = indexes.iter().filter(|(name, _)| name == "PRIMARY");
    let others = indexes.iter().filter(|(name, _)| name != "PRIMARY");
    primary.chain(others).find_map(|(_, names)| {
        names
            .iter()
            .map(|name| {
                let name = name.as_deref()?;
                let index = columns.iter().position(|(column, _)| column.name.eq_ignore_ascii_case(name))?;
                (!columns[index].1).then_some(index)
            })
            .collect()
    })
}

/// Two literals that differ are two values.
fn is_told_by_its_literal(column: &Column) -> bool {
    matches!(
        column.data_type,
        Form::Integer { .. } | Form::Binary { .. } | Form::Bit { .. } | Form::Year | Form::Date
    )
}

fn has_trigger(session: &mut Session, name: &TableName) -> Result<bool, WireError> {
    let found = session.connection().query_first(&format!(
        "SELECT 1 FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = {} AND EVENT_OBJECT_TABLE = {} \
         AND EVENT_MANIPULATION = 'INSERT' AND ACTION_TIMING = 'BEFORE'",
        literal(&name.schema),
        literal(&name.table)
    ))?;
    Ok(found.is_some())
}

fn warn_without_transactions(session: &mut Session, name: &TableName) -> Result<(), WireError> {
    let found = session.connection().query_text(&format!(
        "SELECT e.ENGINE FROM information_schema.TABLES t JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE \
         WHERE t.TABLE_SCHEMA = {} AND t.TABLE_NAME = {} AND e.TRANSACTIONS <> 'YES'",
        literal(&name.schema),
        literal(&name.table)
    ))?;
    if let Some(engine) = found {
        tracing::warn!(table = %name, engine, "the engine has no transactions: a change may be applied twice");
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sink::dialect::{MySql, NewRow};

    pub(in crate::sink) const MARIADB: MySql = MySql { new_row: NewRow::Values };

    pub(in crate::sink) fn made(name: &str, form: Form) -> Column {
        Column {
            name: name.into(),
            quoted: identifier(name),
            folds: form == Form::Text,
            data_type: form,
            generated: false,
            identity: false,
        }
    }

    pub(in crate::sink) fn table_of(
        name: TableName,
        columns: Vec<Column>,
        key: Vec<usize>,
        now: Instant,
    ) -> Table {
        defined(name, columns, key, false, now)
    }

    fn column(name: &str, nullable: bool) -> (Column, bool) {
        (made(name, Form::Text), nullable)
    }

    fn index(name: &str, columns: &[Option<&str>]) -> (String, Vec<Option<String>>) {
        (name.into(), columns.iter().map(|column| column.map(str::to_owned)).collect())
    }

    #[test]
    fn the_key_is_the_primary_key_else_the_first_unique_index_that_is_whole_and_not_null() {
        let columns = [column("a", false), column("b", false), column("c", true)];
        let unique = index("u", &[Some("b")]);
        let cases = [
            (vec![unique.clone(), index("PRIMARY", &[Some("B"), Some("a")])], Some(vec![1, 0])),
            (vec![index("n", &[Some("c")]), unique.clone()], Some(vec![1])),
            (vec![index("part", &[None]), unique], Some(vec![1])),
            (vec![index("n", &[Some("a"), Some("c")])], None),
            (vec![], None),
        ];
        for (indexes, expected) in cases {
            assert_eq!(key(&indexes, &columns), expected, "{indexes:?}");
        }
    }

    #[test]
    fn a_columns_type_says_how_its_values_are_written() {
        let of = |data_type: &str, column_type: &str, numbers: [Option<usize>; 4]| {
            let column = CatalogColumn {
                data_type: data_type.into(),
                column_type: column_type.into(),
                ..CatalogColumn::default()
            };
            form(&column, |index| numbers[index - 5])
        };
        let none = [None; 4];
        assert_eq!(of("bigint", "bigint(20) unsigned", none), Form::Integer { min: 0, max: u64::MAX.into() });
        assert_eq!(of("mediumint", "mediumint", none), Form::Integer { min: -8_388_608, max: 8_388_607 });
        let decimal = of("decimal", "decimal(10,2)", [None, Some(10), Some(2), None]);
        assert_eq!(decimal, Form::Decimal { integer: 8, fraction: 2 });
        assert_eq!(of("bit", "bit(12)", [None, Some(12), None, None]), Form::Bit { bits: 12 });
        assert_eq!(
            of("timestamp", "timestamp(3)", [None, None, None, Some(3)]),
            Form::DateTime { fraction: 3 }
        );
        assert_eq!(of("enum", "enum('a','it''s')", none), Form::Enum(vec!["a".into(), "it's".into()]));
        assert_eq!(of("inet6", "inet6", none), Form::Other);
    }
}
