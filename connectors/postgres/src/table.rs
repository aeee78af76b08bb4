//! A table of the target: its columns, the key by which rows are found, and what makes a write to it delicate.

use std::time::Instant;

use ahash::AHashMap;
use flowd_sink::rows::mapping::TableName;

use crate::layout::Layout;
use crate::plan::Plan;
use crate::sql;
use crate::value::Form;

/// More shapes and plans of one table than these are forgotten, and made anew where they come again.
const SHAPES_MAX: usize = 256;

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Its name as SQL.
    pub(crate) quoted: String,
    /// Its type as SQL, of a domain the type below, without width or precision: a cast to it cuts nothing.
    pub(crate) cast: String,
    pub(crate) form: Form,
    pub(crate) nullable: bool,
    /// The server computes it: it is never written.
    pub(crate) generated: bool,
    /// GENERATED ALWAYS AS IDENTITY: written by INSERT, and by no UPDATE.
    pub(crate) identity: bool,
    /// Values that differ as texts may be equal.
    pub(crate) folds: bool,
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

/// A table, as it was defined when it was read.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: TableName,
    /// Its name as SQL.
    pub(crate) quoted: String,
    pub(crate) columns: Vec<Column>,
    by_name: AHashMap<String, usize>,
    /// The primary key, else the first unique index whose columns are all NOT NULL; empty where there is neither.
    pub(crate) key: Vec<usize>,
    pub(crate) traits: Traits,
    /// Rows whose keys differ as texts are different rows, and nothing else ties rows: their changes may change places.
    pub(crate) independent: bool,
    pub(crate) read_at: Instant,
    /// The shapes of rows seen so far.
    pub(crate) layouts: Vec<Layout>,
    /// The statements made so far.
    pub(crate) plans: Vec<Plan>,
}

impl Table {
    pub(crate) fn new(
        name: TableName,
        columns: Vec<Column>,
        key: Vec<usize>,
        traits: Traits,
        now: Instant,
    ) -> Self {
        let by_name = columns.iter().enumerate().map(|(index, column)| (column.name.clone(), index));
        let by_name: AHashMap<String, usize> = by_name.collect();
        let is_told = |index: &usize| !columns[*index].folds;
        Self {
            quoted: sql::table(&name),
            independent: !key.is_empty()
                && key.iter().all(is_told)
                && !traits.has_other_unique
                && !traits.is_linked,
            by_name,
            columns,
            key,
            traits,
            name,
            read_at: now,
            layouts: Vec::new(),
            plans: Vec::new(),
        }
    }

    /// The column of that name; of the name in lower case where there is none, since that is what PostgreSQL makes of a
    /// name without quotes.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        let found = self.by_name.get(name);
        found.or_else(|| self.by_name.get(&name.to_lowercase())).copied()
    }

    /// Between two puts: an index of a shape or of a plan means nothing afterwards.
    pub(crate) fn bound_shapes(&mut self) {
        if self.layouts.len() > SHAPES_MAX || self.plans.len() > SHAPES_MAX {
            self.layouts.clear();
            self.plans.clear();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn made(name: &str, cast: &str, form: Form) -> Column {
        Column {
            name: name.into(),
            quoted: sql::identifier(name),
            cast: cast.into(),
            form,
            nullable: true,
            generated: false,
            identity: false,
            folds: false,
        }
    }

    #[test]
    fn a_column_is_found_by_its_name_or_by_its_name_in_lower_case() {
        let columns = vec![made("Id", "integer", Form::Other), made("name", "text", Form::Other)];
        let name = TableName { schema: "s".into(), table: "t".into() };
        let table = Table::new(name, columns, vec![0], Traits::default(), Instant::now());
        assert_eq!(["Id", "NAME", "id", "x"].map(|name| table.column(name)), [Some(0), Some(1), None, None]);
    }
}
