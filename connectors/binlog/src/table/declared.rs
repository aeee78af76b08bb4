//! Tables made from the catalog alone, for the rows of a result set. The column types come from the catalog's words and
//! then take the same way to a plan as those of a TABLE_MAP, so that the same columns are refused with the same words.

use super::metadata::Metadata;
use super::plan::{ColumnFacts, Plan};
use super::wire::{Walk, Wire, decimal};
use super::{COLUMNS_MAX, Column, NOT_KEY, Options, Table, TableError, key_columns, member};
use crate::catalog::{CatalogColumn, CatalogTable};

impl Table {
    /// Makes the table from the catalog alone, for [`result`](crate::result); no TABLE_MAP is ever
    /// [made from](Table::is_made_from) it.
    ///
    /// # Errors
    /// A column that flowd does not transport and that is not excluded, with the words of
    /// [`Table::from_table_map`]; a type or a key that means nothing; an excluded key column.
    pub fn from_catalog(catalog: &CatalogTable, options: &Options<'_>) -> Result<Self, TableError> {
        let table = format!("{}.{}", catalog.schema, catalog.name);
        if catalog.columns.len() > COLUMNS_MAX {
            let what = format!("it has {} columns, more than a table can have", catalog.columns.len());
            return Err(TableError::CatalogMismatch { table, what });
        }
        let key = key_of(catalog);
        let none = catalog.columns.len();
        let metadata =
            Metadata { collations: vec![None; none], labels: vec![None; none], ..Metadata::default() };
        let mut columns = Vec::with_capacity(none);
        let mut select = Vec::with_capacity(none);
        for (index, column) in catalog.columns.iter().enumerate() {
            let slot = key.iter().position(|&key| key == index);
            let excluded = (options.exclude)(&catalog.schema, &catalog.name, &column.name);
            if excluded && slot.is_some() {
                return Err(TableError::KeyExcluded { table, column: column.name.clone() });
            }
            let wire = declared(column).ok_or_else(|| unknown(&table, column));
            let plan = if excluded {
                Plan::Excluded
            } else {
                let facts = ColumnFacts {
                    table: &table,
                    column: &column.name,
                    index,
                    wire: wire?,
                    metadata: &metadata,
                    catalog: Some(column),
                    flavour: options.flavour,
                    invalid_text: options.invalid_text,
                };
                let (expression, plan) = selected(column, facts.result_plan()?);
                select.push(expression);
                plan
            };
            columns.push(Column {
                // Of no use: the plan alone tells the layout in a result set.
                walk: Walk::Fixed(0),
                plan,
                key_slot: slot.map_or(NOT_KEY, |slot| slot as u16),
                member: member(b',', &column.name),
                name: column.name.clone(),
                nullable: column.nullable,
            });
        }
        let mut keys = key_columns(&key, &columns);
        for (key, column) in keys.iter_mut().zip(key.iter().map(|&index| &catalog.columns[index])) {
            key.by_number = matches!(column.base_type().as_str(), "enum" | "set");
            if key.by_number {
                // Eight bytes on both servers; MariaDB's CAST alone gives four where the texts are short.
                select.push(format!("CAST({} AS UNSIGNED) | 0", identifier(column)));
            }
        }
        if select.is_empty() {
            // Rows without columns still count; a NULL takes no byte of a row.
            select.push("NULL".into());
        }
        Ok(Self {
            table_id: 0,
            schema: catalog.schema.clone(),
            name: catalog.name.clone(),
            key: keys,
            columns: columns.into(),
            invalid_text: options.invalid_text,
            map: Box::default(),
            selected: select.len(),
            select: select.join(", ").into(),
        })
    }
}

/// The key as the stream has it: without a column that can be NULL.
fn key_of(catalog: &CatalogTable) -> Vec<usize> {
    let here = |&index: &usize| catalog.columns.get(index).is_some_and(|column| !column.nullable);
    if catalog.key.iter().all(here) { catalog.key.clone() } else { Vec::new() }
}

/// What stands in the select list for a column, and how the value that comes is to be read.
fn selected(column: &CatalogColumn, plan: Plan) -> (String, Plan) {
    let name = identifier(column);
    // A YEAR(2) shows two digits of its year.
    if plan == Plan::Year && column.column_type.to_ascii_lowercase().starts_with("year(2)") {
        return (format!("CAST(YEAR({name}) AS UNSIGNED) | 0"), Plan::U64);
    }
    (name, plan)
}

fn identifier(column: &CatalogColumn) -> String {
    format!("`{}`", column.name.replace('`', "``"))
}

fn unknown(table: &str, column: &CatalogColumn) -> TableError {
    TableError::Unsupported {
        table: table.into(),
        column: column.name.clone(),
        what: column.column_type.clone(),
        remedy: format!("leave it out with columnExcludeList: {table}.{}", column.name),
    }
}

/// The column's type as a TABLE_MAP would have it; none where the words mean nothing to us.
fn declared(column: &CatalogColumn) -> Option<Wire> {
    let compressed = column.column_type.contains("COMPRESSED");
    // MariaDB's mark for the formats before MySQL 5.6 (`mysql56_temporal_format=OFF`).
    let old = column.column_type.contains("mariadb-5.3");
    let wire = match column.base_type().as_str() {
        "tinyint" => Wire::Int(1),
        "smallint" => Wire::Int(2),
        "mediumint" => Wire::Int(3),
        "int" | "integer" => Wire::Int(4),
        "bigint" => Wire::Int(8),
        "year" => Wire::Year,
        "float" => Wire::Float,
        "double" | "real" => Wire::Double,
        "decimal" | "numeric" => {
            let [precision, scale] = numbers(&column.column_type)?;
            decimal(precision.unwrap_or(10).try_into().ok()?, scale.unwrap_or(0).try_into().ok()?)?
        }
        "bit" => Wire::Bit(first_number(&column.column_type, 1).filter(|bits| (1..=64).contains(bits))?),
        "date" => Wire::Date,
        "time" if old => Wire::OldTime,
        "datetime" if old => Wire::OldDateTime,
        "timestamp" if old => Wire::OldTimestamp,
        "time" => Wire::Time(fraction(&column.column_type)?),
        "datetime" => Wire::DateTime(fraction(&column.column_type)?),
        "timestamp" => Wire::Timestamp(fraction(&column.column_type)?),
        "char" | "binary" => Wire::Char(first_number(&column.column_type, 1)?),
        "uuid" | "inet6" => Wire::Char(16),
        "inet4" => Wire::Char(4),
        "varchar" | "varbinary" if compressed => Wire::CompressedVarchar(0),
        "varchar" | "varbinary" => Wire::Varchar(0),
        "vector" => Wire::Vector(4),
        "tinyblob" | "tinytext" | "blob" | "text" | "mediumblob" | "mediumtext" | "longblob" | "longtext" => {
            if compressed {
                Wire::CompressedBlob(4)
            } else {
                Wire::Blob(4)
            }
        }
        "enum" => Wire::Enum(2),
        "set" => Wire::Set(8),
        "json" => Wire::Json(4),
        base if Wire::Geometry(4).fits(base) => Wire::Geometry(4),
        _ => return None,
    };
    Some(wire)
}

/// The numbers in the brackets of a type; none of them where there are no brackets.
fn numbers(column_type: &str) -> Option<[Option<u16>; 2]> {
    let Some((_, rest)) = column_type.split_once('(') else { return Some([None; 2]) };
    let (inside, _) = rest.split_once(')')?;
    let mut parts = inside.split(',').map(|part| part.trim().parse().ok());
    let first = parts.next()?;
    first?;
    Some([first, parts.next().flatten()])
}

fn first_number(column_type: &str, default: u16) -> Option<u16> {
    Some(numbers(column_type)?[0].unwrap_or(default))
}

fn fraction(column_type: &str) -> Option<u8> {
    u8::try_from(first_number(column_type, 0)?).ok().filter(|&digits| digits <= 6)
}
