//! A table of the target: its columns, the key by which rows are found, and what makes a write to it delicate.

use std::time::Instant;

use ahash::AHashMap;

use super::dialect::Dialect;
use super::layout::Layout;
use super::mapping::TableName;

/// More shapes of one table, or statements made for them, than these are forgotten, and made anew where they come again.
const SHAPES_MAX: usize = 256;

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column<T> {
    /// Its name.
    pub name: String,
    /// Its name as SQL.
    pub quoted: String,
    /// How its values are written.
    pub data_type: T,
    /// The server computes it: it is never written.
    pub generated: bool,
    /// GENERATED ALWAYS AS IDENTITY: written by INSERT, and by no UPDATE.
    pub identity: bool,
    /// Values that differ in writing may be equal.
    pub folds: bool,
}

/// A table's definition, as a dialect reads it.
#[derive(Debug)]
pub struct Definition<D: Dialect> {
    /// Its name.
    pub name: TableName,
    /// In the server's order.
    pub columns: Vec<Column<D::DataType>>,
    /// The primary key, else the first unique index whose columns are all NOT NULL; empty where there is neither.
    pub key: Vec<usize>,
    /// An upsert could change another row than the key's, or do more than it says.
    pub delicate: bool,
    /// Rows whose keys differ in writing are different rows, and nothing else ties rows: their changes may change places.
    pub independent: bool,
    /// What else is known of it.
    pub known: D::Known,
}

/// A table, as it was defined when it was read, and what was made of it since.
#[derive(Debug)]
pub struct Table<D: Dialect> {
    /// As it was read.
    pub definition: Definition<D>,
    /// Its name as SQL.
    pub quoted: String,
    /// When it was read.
    pub read_at: Instant,
    /// The shapes of rows seen so far.
    pub layouts: Vec<Layout<D::Shape>>,
    /// The statements made for them so far.
    pub statements: Vec<D::Statement>,
    by_name: AHashMap<String, usize>,
}

impl<D: Dialect> Table<D> {
    /// A table of which no row was seen yet.
    pub fn new(definition: Definition<D>, now: Instant) -> Self {
        let folded = |name: &str| if D::NAMES_FOLD { name.to_lowercase() } else { name.to_owned() };
        let by_name = definition.columns.iter().enumerate();
        let by_name = by_name.map(|(index, column)| (folded(&column.name), index)).collect();
        Self {
            quoted: quoted::<D>(&definition.name),
            definition,
            read_at: now,
            layouts: Vec::new(),
            statements: Vec::new(),
            by_name,
        }
    }

    /// The column of that name; of the name in lower case where there is none.
    pub fn column(&self, name: &str) -> Option<usize> {
        let found = self.by_name.get(name);
        found.or_else(|| self.by_name.get(&name.to_lowercase())).copied()
    }

    /// Between two puts: an index of a shape or of a statement means nothing afterwards.
    pub(super) fn bound_shapes(&mut self) {
        if self.layouts.len() > SHAPES_MAX || self.statements.len() > SHAPES_MAX {
            self.layouts.clear();
            self.statements.clear();
        }
    }
}

/// A table's name with its schema's, as SQL.
pub fn quoted<D: Dialect>(name: &TableName) -> String {
    format!("{}.{}", D::identifier(&name.schema), D::identifier(&name.table))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folding, Quoting, table};
    use super::*;

    #[test]
    fn a_column_is_found_by_its_name_or_by_its_name_in_lower_case() {
        let found = |name| table::<Quoting>(&["Id", "name"], Vec::new()).column(name);
        assert_eq!(["Id", "NAME", "id", "x"].map(found), [Some(0), Some(1), None, None]);
        let found = |name| table::<Folding>(&["Id", "name"], Vec::new()).column(name);
        assert_eq!(["Id", "NAME", "id", "x"].map(found), [Some(0), Some(1), Some(0), None]);
    }

    #[test]
    fn shapes_are_bounded_between_two_puts() {
        let mut table = table::<Quoting>(&["id"], Vec::new());
        table.statements = vec![(); SHAPES_MAX];
        table.bound_shapes();
        assert_eq!(table.statements.len(), SHAPES_MAX);
        table.statements.push(());
        table.bound_shapes();
        assert_eq!(table.statements.len(), 0);
    }
}
