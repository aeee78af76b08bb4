//! The shape of rows of a table: which columns an image has, in which order, and what follows from that alone.
//!
//! Rows of one shape can go in one statement. Invariant: what a generated column says is used to find rows, never written.

use super::dialect::Dialect;
use super::table::Table;
use crate::image::Member;

/// Whose values they are; a text in a JSON column is a document's text in a change event, and a string else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A change event's.
    Change,
    /// Those of an event that is none of ours.
    Plain,
}

/// A shape.
#[derive(Debug)]
pub struct Layout<S> {
    names: Vec<String>,
    /// Whose values.
    pub origin: Origin,
    /// The column of each member.
    pub columns: Vec<usize>,
    /// The members whose columns are written.
    pub written: Vec<usize>,
    /// The members whose columns no UPDATE may write.
    pub(super) identities: Vec<usize>,
    /// The members that tell which row it is; empty where the table has no key, or the image not all of it.
    pub key: Vec<usize>,
    /// Whether every column that can be written is there.
    pub complete: bool,
    /// What the dialect makes of it.
    pub shape: S,
}

impl<S> Layout<S> {
    fn has(&self, members: &[Member<'_>]) -> bool {
        self.names.len() == members.len()
            && self.names.iter().zip(members).all(|(name, (member, _))| name == member)
    }

    /// Whether its key is that of the table.
    pub fn is_by_key(&self, key: &[usize]) -> bool {
        self.key.iter().map(|member| self.columns[*member]).eq(key.iter().copied())
    }
}

impl<D: Dialect> Table<D> {
    /// The index of the shape that these members have. `key` names the columns that tell the row, where that is not the
    /// table's own key.
    ///
    /// # Errors
    /// What the table does not have.
    pub fn layout(
        &mut self,
        dialect: &D,
        members: &[Member<'_>],
        origin: Origin,
        key: &[String],
    ) -> Result<usize, String> {
        let found = self.layouts.iter().rposition(|layout| layout.origin == origin && layout.has(members));
        if let Some(index) = found {
            return Ok(index);
        }
        let layout = self.new_layout(dialect, members, origin, key)?;
        self.layouts.push(layout);
        Ok(self.layouts.len() - 1)
    }

    fn new_layout(
        &self,
        dialect: &D,
        members: &[Member<'_>],
        origin: Origin,
        key: &[String],
    ) -> Result<Layout<D::Shape>, String> {
        let table = &self.definition;
        let columns = self.columns_of(members)?;
        let named: Option<Vec<usize>> = key.iter().map(|name| self.column(name)).collect();
        let named = named.ok_or_else(|| {
            format!("{} has not all the columns of plainKey: {}", table.name, key.join(", "))
        })?;
        let key_columns = if named.is_empty() { &table.key } else { &named };
        let key: Option<Vec<usize>> =
            key_columns.iter().map(|key| columns.iter().position(|column| column == key)).collect();
        let of = |member: &usize| &table.columns[columns[*member]];
        let written: Vec<usize> = (0..columns.len()).filter(|member| !of(member).generated).collect();
        let writable = table.columns.iter().filter(|column| !column.generated).count();
        let quoted: Vec<&str> = written.iter().map(|member| of(member).quoted.as_str()).collect();
        Ok(Layout {
            names: members.iter().map(|(name, _)| name.clone().into_owned()).collect(),
            origin,
            identities: (0..columns.len()).filter(|member| of(member).identity).collect(),
            key: key.unwrap_or_default(),
            complete: written.len() == writable,
            shape: dialect.shape(self, origin, &quoted),
            columns,
            written,
        })
    }

    /// The column of each member.
    fn columns_of(&self, members: &[Member<'_>]) -> Result<Vec<usize>, String> {
        let table = &self.definition.name;
        let mut columns = Vec::with_capacity(members.len());
        for (name, _) in members {
            let index = self.column(name);
            let index = index.ok_or_else(|| format!("{table} has no column {}", D::identifier(name)))?;
            if columns.contains(&index) {
                return Err(format!("column {} of {table} is there twice", D::identifier(name)));
            }
            columns.push(index);
        }
        Ok(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folding, Texts, members, table};
    use super::*;

    #[test]
    fn a_shape_is_made_once_and_tells_whether_it_is_complete() {
        let mut table = table::<Folding>(&["id", "g", "b"], vec![0]);
        table.definition.columns[1].generated = true;
        let mut of = |json: &'static str| {
            let index = table.layout(&Texts::<true>, &members(json), Origin::Change, &[])?;
            let layout = &table.layouts[index];
            Ok::<_, String>((index, layout.shape.clone(), layout.complete, layout.key.len()))
        };
        assert_eq!(of(r#"{"id":1,"g":9,"b":"x"}"#), Ok((0, "id b".into(), true, 1)));
        assert_eq!(of(r#"{"B":"x","g":9}"#), Ok((1, "b".into(), false, 0)));
        assert_eq!(of(r#"{"id":2,"g":8,"b":"y"}"#), Ok((0, "id b".into(), true, 1)));
        assert_eq!(of(r#"{"id":1,"z":"x"}"#), Err("s.t has no column z".into()));
        assert_eq!(of(r#"{"id":1,"ID":2}"#), Err("column ID of s.t is there twice".into()));
    }

    #[test]
    fn a_key_that_is_named_takes_the_place_of_the_tables_own() {
        let mut table = table::<Folding>(&["id", "code"], vec![0]);
        let row = members(r#"{"id":1,"code":2}"#);
        let mut of = |key: &[&str]| {
            let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
            table.layouts.clear();
            let index = table.layout(&Texts::<true>, &row, Origin::Plain, &key)?;
            let layout = &table.layouts[index];
            Ok::<_, String>((layout.key.clone(), layout.is_by_key(&table.definition.key)))
        };
        assert_eq!(of(&[]), Ok((vec![0], true)));
        assert_eq!(of(&["code"]), Ok((vec![1], false)));
        assert_eq!(of(&["z"]), Err("s.t has not all the columns of plainKey: z".into()));
    }
}
