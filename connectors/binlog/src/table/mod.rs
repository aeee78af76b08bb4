//! One TABLE_MAP (or one table of the catalog) made ready for its rows: names, how every column is laid out and what its
//! bytes mean, and the key. Built once per change of the event's bytes; rows only read it. It does no I/O and holds no
//! position.

mod declared;
mod failure;
mod metadata;
mod plan;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::fmt;

pub use self::failure::TableError;
use self::metadata::Metadata;
use self::plan::ColumnFacts;
pub(crate) use self::plan::Plan;
use self::wire::{Walk, Wire, bit_of, parse_all};
use crate::catalog::{CatalogColumn, CatalogTable};
use crate::charset::InvalidText;
use crate::value::reader::Reader;
use crate::value::short::Fixed;

/// Whose binlog it is, where the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Oracle's MySQL.
    MySql,
    /// MariaDB.
    MariaDb,
}

/// What the configuration says about tables.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Whose binlog it is.
    pub flavour: Flavour,
    /// What to do with bytes that are not valid in their character set.
    pub invalid_text: InvalidText,
    /// Whether column (schema, table, column) is left out.
    pub exclude: &'a dyn Fn(&str, &str, &str) -> bool,
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("flavour", &self.flavour)
            .field("invalid_text", &self.invalid_text)
            .finish_non_exhaustive()
    }
}

/// The head of a TABLE_MAP, enough for a filter: read without making a [`Table`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableName<'a> {
    /// 48 bits; names the table to the ROWS events behind.
    pub table_id: u64,
    /// The database.
    pub schema: &'a str,
    /// The table.
    pub name: &'a str,
    /// Bytes of the body that the head takes.
    end: usize,
}

/// A table as one TABLE_MAP describes it, or as the catalog does ([`Table::from_catalog`]).
#[derive(Debug)]
pub struct Table {
    table_id: u64,
    schema: String,
    name: String,
    pub(crate) columns: Box<[Column]>,
    pub(crate) key: Box<[KeyColumn]>,
    pub(crate) invalid_text: InvalidText,
    map: Box<[u8]>,
    /// Values of a result set's row; 0 where the table is of a TABLE_MAP.
    pub(crate) selected: usize,
    /// The select list of such a result set.
    pub(crate) select: Box<str>,
}

/// One column, ready.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) walk: Walk,
    pub(crate) plan: Plan,
    /// Index into the table's key, or [`NOT_KEY`].
    pub(crate) key_slot: u16,
    /// `,"name":`
    pub(crate) member: Fixed,
    pub(crate) name: String,
    nullable: bool,
}

/// Marks a column outside the key.
pub(crate) const NOT_KEY: u16 = u16::MAX;

/// Both servers allow 4096 columns.
const COLUMNS_MAX: usize = 4096;

/// One column of the key, in key order.
#[derive(Debug)]
pub(crate) struct KeyColumn {
    pub(crate) index: usize,
    /// `{"name":` for the first, `,"name":` for the others.
    pub(crate) member: Fixed,
    /// ENUM or SET in a result set: its number stands behind the row's columns.
    pub(crate) by_number: bool,
}

impl<'a> TableName<'a> {
    /// Reads the head of a TABLE_MAP body (behind the 19 bytes of the event header, without the checksum).
    ///
    /// # Errors
    /// [`TableError::Malformed`] where the body is cut or a name is not UTF-8.
    pub fn parse(body: &'a [u8]) -> Result<Self, TableError> {
        let mut reader = Reader::new(body);
        let head = (|| {
            let table_id = reader.little(6)?;
            reader.take(2)?;
            let schema = std::str::from_utf8(reader.length_encoded_bytes()?).ok()?;
            reader.take(1)?;
            let name = std::str::from_utf8(reader.length_encoded_bytes()?).ok()?;
            reader.take(1)?;
            Some(TableName { table_id, schema, name, end: reader.position() })
        })();
        head.ok_or_else(|| TableError::Malformed {
            table: String::new(),
            what: "the names are cut or not UTF-8",
            offset: reader.position(),
        })
    }
}

impl Table {
    /// Makes the table of a TABLE_MAP body (behind the 19 bytes of the event header, without the checksum).
    ///
    /// Where the event names its columns (`binlog_row_metadata=FULL`) the catalog only adds, by column name, what the
    /// event cannot say: UUID and INET, and a unique key where there is no primary key. Otherwise the catalog describes
    /// the table and must fit the event.
    ///
    /// # Errors
    /// Bytes that contradict the format; a column that flowd does not transport and that is not excluded; a schema that
    /// nothing describes or that the catalog describes differently; an excluded key column.
    pub fn from_table_map(
        body: &[u8],
        catalog: Option<&CatalogTable>,
        options: &Options<'_>,
    ) -> Result<Self, TableError> {
        let head = TableName::parse(body)?;
        let table = format!("{}.{}", head.schema, head.name);
        let map = Map::parse(body, &head, &table, options.flavour)?;
        let described = map.describe(catalog, &table)?;
        let key = map.key(catalog, &described);
        let mut columns = Vec::with_capacity(map.wires.len());
        for (index, (name, column)) in described.iter().enumerate() {
            let slot = key.iter().position(|&key| key == index);
            let excluded = (options.exclude)(head.schema, head.name, name)
                || catalog.is_some_and(|catalog| is_row_hash(name, catalog, options.flavour));
            if excluded && slot.is_some() {
                return Err(TableError::KeyExcluded { table, column: name.clone() });
            }
            let facts = ColumnFacts {
                table: &table,
                column: name,
                index,
                wire: map.wires[index],
                metadata: &map.metadata,
                catalog: *column,
                flavour: options.flavour,
                invalid_text: options.invalid_text,
            };
            columns.push(Column {
                walk: map.wires[index].walk(),
                plan: if excluded { Plan::Excluded } else { facts.plan()? },
                key_slot: slot.map_or(NOT_KEY, |slot| slot as u16),
                member: member(b',', name),
                name: name.clone(),
                nullable: bit_of(map.nullable, index),
            });
        }
        Ok(Self {
            table_id: head.table_id,
            schema: head.schema.into(),
            name: head.name.into(),
            key: key_columns(&key, &columns),
            columns: columns.into(),
            invalid_text: options.invalid_text,
            map: body.into(),
            selected: 0,
            select: Box::default(),
        })
    }

    /// Whether this table was made from exactly these bytes; then it need not be made again (while the catalog stays).
    pub fn is_made_from(&self, body: &[u8]) -> bool {
        *self.map == *body
    }

    /// The id by which ROWS events name the table, 48 bits.
    pub fn table_id(&self) -> u64 {
        self.table_id
    }

    /// The database.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of columns in the event or the catalog, excluded ones too.
    pub fn column_count(&self) -> usize {
        self.columns.len()
    }

    /// Names of all columns in table order, excluded ones too, and whether each can be NULL.
    pub fn columns(&self) -> impl Iterator<Item = (&str, bool)> {
        self.columns.iter().map(|column| (column.name.as_str(), column.nullable))
    }

    /// Names of the key's columns in key order; empty where the table has no key.
    pub fn key(&self) -> impl Iterator<Item = &str> {
        self.key.iter().map(|key| self.columns[key.index].name.as_str())
    }

    /// Whether the table has a primary key or a unique key over columns that are never NULL.
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// Whether the table has a key, and two keys are one to the server only where their values are written alike: not
    /// those of texts, which a collation compares (with `_bin` too, where spaces at the end do not count), nor of
    /// approximate numbers (-0 is 0). The binlog's table and the catalog's give the same answer.
    pub fn has_exact_key(&self) -> bool {
        let exact = |plan: &Plan| !matches!(plan, Plan::Text(_) | Plan::Json | Plan::F32 | Plan::F64);
        self.has_key() && self.key.iter().all(|key| key.by_number || exact(&self.columns[key.index].plan))
    }
}

/// A TABLE_MAP taken apart, not yet interpreted.
struct Map<'a> {
    wires: Vec<Wire>,
    nullable: &'a [u8],
    metadata: Metadata<'a>,
}

impl<'a> Map<'a> {
    fn parse(
        body: &'a [u8],
        head: &TableName<'a>,
        table: &str,
        flavour: Flavour,
    ) -> Result<Self, TableError> {
        let mut reader = Reader::starting_at(body, head.end);
        let cut = |what, reader: &Reader<'_>| TableError::Malformed {
            table: table.into(),
            what,
            offset: reader.position(),
        };
        let codes = reader.length_encoded_bytes().ok_or_else(|| cut("the column types are cut", &reader))?;
        if codes.len() > COLUMNS_MAX {
            return Err(cut("more columns than a table can have", &reader));
        }
        let sizes = reader.length_encoded_bytes().ok_or_else(|| cut("the type metadata is cut", &reader))?;
        let wires = parse_all(codes, sizes).map_err(|(index, code)| TableError::UnknownType {
            table: table.into(),
            index,
            code,
        })?;
        let nullable =
            reader.take(wires.len().div_ceil(8)).ok_or_else(|| cut("the null bitmap is cut", &reader))?;
        let optional = &body[reader.position()..];
        let metadata = Metadata::parse(optional, &wires, flavour)
            .ok_or_else(|| cut("the optional metadata contradicts the column types", &reader))?;
        Ok(Self { wires, nullable, metadata })
    }

    /// The name of every column, and the catalog's column where it belongs to it.
    fn describe<'c>(
        &self,
        catalog: Option<&'c CatalogTable>,
        table: &str,
    ) -> Result<Vec<(String, Option<&'c CatalogColumn>)>, TableError> {
        if self.names_itself() {
            return self
                .metadata
                .names
                .iter()
                .zip(&self.wires)
                .map(|(&name, &wire)| named(name, wire, catalog, table))
                .collect();
        }
        let catalog = catalog.ok_or_else(|| TableError::SchemaUnknown {
            table: table.into(),
            what: "the names of the columns".into(),
        })?;
        let mismatch = |what| TableError::CatalogMismatch { table: table.into(), what };
        if catalog.columns.len() != self.wires.len() {
            return Err(mismatch(format!(
                "the catalog has {} columns, the event {}",
                catalog.columns.len(),
                self.wires.len()
            )));
        }
        let fitting = |(column, wire): (&'c CatalogColumn, &Wire)| {
            if wire.fits(&column.base_type()) {
                return Ok((column.name.clone(), Some(column)));
            }
            Err(mismatch(format!(
                "column `{}` is {} in the catalog and {} in the event",
                column.name,
                column.column_type,
                wire.describe()
            )))
        };
        catalog.columns.iter().zip(&self.wires).map(fitting).collect()
    }

    fn names_itself(&self) -> bool {
        self.metadata.names.len() == self.wires.len()
    }

    /// The key's columns in key order: the event's primary key, else the catalog's key where all its columns are here
    /// and none can be NULL.
    fn key(
        &self,
        catalog: Option<&CatalogTable>,
        described: &[(String, Option<&CatalogColumn>)],
    ) -> Vec<usize> {
        if !self.metadata.key.is_empty() {
            return self.metadata.key.clone();
        }
        let Some(catalog) = catalog else { return Vec::new() };
        let here = |&index: &usize| {
            let wanted = &catalog.columns.get(index)?.name;
            let found = described.iter().position(|(name, column)| name == wanted && column.is_some())?;
            (!bit_of(self.nullable, found)).then_some(found)
        };
        catalog.key.iter().map(here).collect::<Option<_>>().unwrap_or_default()
    }
}

/// A column that the event names, with the catalog's column of that name where the types agree.
fn named<'c>(
    name: &[u8],
    wire: Wire,
    catalog: Option<&'c CatalogTable>,
    table: &str,
) -> Result<(String, Option<&'c CatalogColumn>), TableError> {
    let name = std::str::from_utf8(name).map_err(|_| TableError::Malformed {
        table: table.into(),
        what: "a column name is not UTF-8",
        offset: 0,
    })?;
    let column = catalog
        .and_then(|catalog| catalog.column(name))
        .map(|(_, column)| column)
        .filter(|column| wire.fits(&column.base_type()));
    Ok((name.into(), column))
}

/// Whether it is the hidden column by which MariaDB keeps a UNIQUE of long text: nobody can select it.
fn is_row_hash(name: &str, catalog: &CatalogTable, flavour: Flavour) -> bool {
    flavour == Flavour::MariaDb && name.starts_with("DB_ROW_HASH_") && catalog.column(name).is_none()
}

fn key_columns(key: &[usize], columns: &[Column]) -> Box<[KeyColumn]> {
    key.iter()
        .enumerate()
        .map(|(slot, &index)| KeyColumn {
            index,
            member: member(if slot == 0 { b'{' } else { b',' }, &columns[index].name),
            by_number: false,
        })
        .collect()
}

/// `,"name":` with the given first byte.
fn member(first: u8, name: &str) -> Fixed {
    let mut json = Vec::with_capacity(name.len() + 4);
    json.push(first);
    flowd_codec::json::write_string(&mut json, name);
    json.push(b':');
    Fixed::new(json)
}
