//! A table's definition, read from the server's catalog.

use std::time::Instant;

use flowd_sink::rows::mapping::TableName;
use flowd_sink::rows::table::Definition;
use tokio_postgres::Row;

use crate::dialect::{Column, DataType, Known, Table};
use crate::fault::Fault;
use crate::session::{Session, text};
use crate::sql;
use crate::value::{Form, Precision};

/// The relation of that name, or of the name in lower case.
const RELATION: &str = "\
    SELECT c.oid::text, c.relname::text, \
    (SELECT count(*) FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND (t.tgtype & 7) = 7 AND t.tgenabled <> 'D')::text, \
    (SELECT count(*) FROM pg_catalog.pg_constraint f WHERE f.contype = 'f' AND c.oid IN (f.conrelid, f.confrelid))::text \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname::text = $1 AND c.relname::text IN ($2, lower($2)) AND c.relkind IN ('r', 'p') \
    ORDER BY c.relname::text = $2 DESC LIMIT 1";

/// Its columns, each with the type below its domains.
const COLUMNS: &str = "\
    WITH RECURSIVE base AS ( \
      SELECT a.attnum, a.atttypid AS type, a.atttypmod AS modifier FROM pg_catalog.pg_attribute a \
      WHERE a.attrelid = $1::text::oid AND a.attnum > 0 AND NOT a.attisdropped \
    UNION ALL \
      SELECT b.attnum, t.typbasetype, CASE t.typtypmod WHEN -1 THEN b.modifier ELSE t.typtypmod END \
      FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type WHERE t.typtype = 'd') \
    SELECT a.attname::text, pg_catalog.format_type(t.oid, -1), t.typname::text, t.typtype::text, t.typcategory::text, \
      b.modifier::text, a.attnotnull::text, (a.attgenerated <> '')::text, (a.attidentity = 'a')::text, \
      coalesce((SELECT l.collisdeterministic FROM pg_catalog.pg_collation l WHERE l.oid = a.attcollation), true)::text, \
      (t.typnamespace = 'pg_catalog'::regnamespace)::text, a.attnum::text \
    FROM pg_catalog.pg_attribute a JOIN base b ON b.attnum = a.attnum \
    JOIN pg_catalog.pg_type t ON t.oid = b.type AND t.typtype <> 'd' \
    WHERE a.attrelid = $1::text::oid ORDER BY a.attnum";

/// Its unique indexes and exclusions: whether it is the primary key, whether it can tell a row, whether it is checked at
/// once, and the numbers of its columns.
const INDEXES: &str = "\
    SELECT i.indisprimary::text, \
      (i.indisunique AND NOT i.indisexclusion AND i.indpred IS NULL AND i.indexprs IS NULL)::text, i.indimmediate::text, \
      (SELECT string_agg(k::text, ',' ORDER BY o) \
       FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY AS n(k, o)) \
    FROM pg_catalog.pg_index i \
    WHERE i.indrelid = $1::text::oid AND i.indisvalid AND (i.indisunique OR i.indisexclusion) \
    ORDER BY i.indisprimary DESC, i.indexrelid";

/// A unique index or an exclusion.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Index {
    /// It is of whole columns and of all rows.
    is_whole: bool,
    is_immediate: bool,
    columns: Vec<usize>,
}

/// Reads a definition; `None` where there is no such table, or the role may not see it.
pub(crate) fn read(
    session: &mut Session,
    name: &TableName,
    is_replica: bool,
    now: Instant,
) -> Result<Option<Table>, Fault> {
    let relations = session.query(RELATION, &[&name.schema, &name.table])?;
    let Some(relation) = relations.first() else { return Ok(None) };
    let oid = text(relation, 0);
    let columns = session.query(COLUMNS, &[oid])?;
    let numbers: Vec<&str> = columns.iter().map(|row| text(row, 11)).collect();
    let indexes: Vec<Index> =
        session.query(INDEXES, &[oid])?.iter().map(|row| index(row, &numbers)).collect();
    let columns: Vec<(Column, bool)> = columns.iter().map(column).collect();
    let key = indexes.iter().position(|index| {
        index.is_whole
            && index.columns.iter().all(|column| columns.get(*column).is_some_and(|(_, nullable)| !nullable))
    });
    let key_index = key.map(|key| &indexes[key]);
    let traits = Traits {
        delicate: text(relation, 2) != "0" || key_index.is_some_and(|index| !index.is_immediate),
        has_other_unique: indexes.len() > usize::from(key.is_some()),
        is_linked: text(relation, 3) != "0" && !is_replica,
    };
    let key = key_index.map(|index| index.columns.clone()).unwrap_or_default();
    let name = TableName { schema: name.schema.clone(), table: text(relation, 1).to_owned() };
    let columns = columns.into_iter().map(|(column, _)| column).collect();
    Ok(Some(defined(name, columns, key, traits, now)))
}

/// What else is known of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traits {
    /// ON CONFLICT cannot be used: a trigger before INSERT would fire where only an UPDATE is meant, or the key is
    /// deferrable.
    pub(crate) delicate: bool,
    /// There is a unique index or an exclusion besides the key.
    pub(crate) has_other_unique: bool,
    /// It refers to a table by a foreign key that is checked, or is referred to.
    pub(crate) is_linked: bool,
}

pub(crate) fn defined(
    name: TableName,
    columns: Vec<Column>,
    key: Vec<usize>,
    traits: Traits,
    now: Instant,
) -> Table {
    let Traits { delicate, has_other_unique, is_linked } = traits;
    let is_told = |index: &usize| !columns[*index].folds;
    let independent = !key.is_empty() && key.iter().all(is_told) && !has_other_unique && !is_linked;
    Table::new(Definition { name, columns, key, delicate, independent, known: Known { is_linked } }, now)
}

fn index(row: &Row, numbers: &[&str]) -> Index {
    let position = |number: &str| numbers.iter().position(|one| *one == number);
    let columns: Option<Vec<usize>> = text(row, 3).split(',').map(position).collect();
    Index {
        is_whole: text(row, 1) == "true" && columns.is_some(),
        is_immediate: text(row, 2) == "true",
        columns: columns.unwrap_or_default(),
    }
}

/// A column, and whether it can be NULL.
fn column(row: &Row) -> (Column, bool) {
    let is = |index| text(row, index) == "true";
    let described = Described {
        name: if is(10) { text(row, 2) } else { "" },
        kind: text(row, 3),
        category: text(row, 4),
        modifier: text(row, 5).parse().unwrap_or(-1),
    };
    let form = described.form();
    let name = text(row, 0).to_owned();
    let column = Column {
        quoted: sql::identifier(&name),
        data_type: DataType { cast: text(row, 1).to_owned(), form },
        folds: !described.is_told_by_text(form) || !is(9),
        generated: is(7),
        identity: is(8),
        name,
    };
    (column, text(row, 6) != "true")
}

/// A type as the catalog has it.
#[derive(Debug, Clone, Copy)]
struct Described<'a> {
    /// Its name where it is one of PostgreSQL's own.
    name: &'a str,
    /// `b` base, `e` enumeration, `r` range, `c` composite …
    kind: &'a str,
    /// `A` array …
    category: &'a str,
    /// Width or precision, in the type's own coding; -1 for none.
    modifier: i32,
}

impl Described<'_> {
    fn form(self) -> Form {
        let fraction = || match usize::try_from(self.modifier & 0xffff) {
            Ok(digits @ 0..=6) if self.modifier >= 0 => digits,
            _ => 6,
        };
        let width = || usize::try_from(self.modifier).ok();
        let chars_max = || usize::try_from(self.modifier - 4).ok();
        match self.name {
            _ if self.category == "A" => Form::Unwritten,
            "bool" => Form::Boolean,
            "int2" => Form::Integer { min: i16::MIN.into(), max: i16::MAX.into() },
            "int4" => Form::Integer { min: i32::MIN.into(), max: i32::MAX.into() },
            "int8" => Form::Integer { min: i64::MIN, max: i64::MAX },
            "oid" => Form::Integer { min: 0, max: u32::MAX.into() },
            "numeric" => Form::Numeric(precision(self.modifier)),
            "float4" => Form::Real,
            "float8" => Form::Double,
            "bit" => Form::Bits { width: width(), fixed: true },
            "varbit" => Form::Bits { width: width(), fixed: false },
            "date" => Form::Date,
            "time" | "timetz" => Form::Time { fraction: fraction() },
            "timestamp" => Form::Timestamp { fraction: fraction(), zoned: false },
            "timestamptz" => Form::Timestamp { fraction: fraction(), zoned: true },
            "interval" => Form::Interval { fraction: fraction() },
            "text" => Form::Text { chars_max: None },
            "varchar" | "bpchar" => Form::Text { chars_max: chars_max() },
            "bytea" => Form::Bytes,
            "uuid" => Form::Uuid,
            "json" | "jsonb" => Form::Json,
            // The one rounds, the others cut.
            "money" | "name" | "char" => Form::Unwritten,
            _ => Form::Other,
        }
    }

    /// Two texts that differ are two values, in a collation that is deterministic.
    fn is_told_by_text(self, form: Form) -> bool {
        form.is_canonical() || self.kind == "e" || matches!(self.name, "text" | "varchar")
    }
}

/// PostgreSQL keeps both in one number; a scale can be negative.
fn precision(modifier: i32) -> Option<Precision> {
    let both = modifier.checked_sub(4).filter(|both| *both >= 0)?;
    let scale = ((both & 0x7ff) ^ 0x400) - 0x400;
    Some(Precision { digits: i64::from(both >> 16 & 0xffff), scale: i64::from(scale) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(name: &str, modifier: i32) -> Form {
        Described { name, kind: "b", category: "U", modifier }.form()
    }

    #[test]
    fn a_columns_type_says_how_its_values_are_written() {
        assert_eq!(form("int2", -1), Form::Integer { min: -32768, max: 32767 });
        assert_eq!(form("numeric", -1), Form::Numeric(None));
        assert_eq!(
            form("numeric", (10 << 16 | 2) + 4),
            Form::Numeric(Some(Precision { digits: 10, scale: 2 }))
        );
        let negative = form("numeric", (3 << 16 | 0x7fe) + 4);
        assert_eq!(negative, Form::Numeric(Some(Precision { digits: 3, scale: -2 })));
        assert_eq!(form("timestamp", -1), Form::Timestamp { fraction: 6, zoned: false });
        assert_eq!(form("timestamptz", 3), Form::Timestamp { fraction: 3, zoned: true });
        assert_eq!(form("interval", 0x7fff_ffff), Form::Interval { fraction: 6 });
        assert_eq!(form("varchar", 7), Form::Text { chars_max: Some(3) });
        assert_eq!(form("varchar", -1), Form::Text { chars_max: None });
        assert_eq!(form("bit", 12), Form::Bits { width: Some(12), fixed: true });
        assert_eq!(form("", -1), Form::Other);
        assert_eq!(form("money", -1), Form::Unwritten);
        let array = Described { name: "_int4", kind: "b", category: "A", modifier: -1 };
        assert_eq!(array.form(), Form::Unwritten);
    }

    #[test]
    fn only_texts_that_are_one_value_each_tell_rows_apart() {
        let told = |name, kind| {
            let described = Described { name, kind, category: "S", modifier: -1 };
            described.is_told_by_text(described.form())
        };
        assert!(told("int8", "b") && told("text", "b") && told("bytea", "b") && told("", "e"));
        assert!(!told("bpchar", "b") && !told("numeric", "b") && !told("float8", "b") && !told("", "b"));
    }
}
