//! The shape of rows of a table: which columns an image has, and what follows from that alone.
//!
//! Invariant: what a generated column says is used to find rows by a key, never written.

use flowd_sink::image::Member;

use crate::table::Table;
use crate::texts::Texts;
use crate::value::{self, Reading};

/// A shape.
#[derive(Debug)]
pub(crate) struct Layout {
    names: Vec<String>,
    reading: Reading,
    /// The column of each member.
    pub(crate) columns: Vec<usize>,
    /// The members whose columns are written.
    pub(crate) written: Vec<usize>,
    /// The members that tell which row it is; empty where the table has no key, or the image not all of it.
    pub(crate) key: Vec<usize>,
    /// Whether every column that can be written is there.
    pub(crate) complete: bool,
}

impl Table {
    /// The index of the shape that these members have. `key` names the columns that tell the row, where that is not the
    /// table's own key. The error names what the table does not have.
    pub(crate) fn layout(
        &mut self,
        members: &[Member<'_>],
        reading: Reading,
        key: &[String],
    ) -> Result<usize, String> {
        let found = self.layouts.iter().rposition(|layout| layout.reading == reading && layout.has(members));
        if let Some(index) = found {
            return Ok(index);
        }
        let layout = self.new_layout(members, reading, key)?;
        self.layouts.push(layout);
        Ok(self.layouts.len() - 1)
    }

    fn new_layout(&self, members: &[Member<'_>], reading: Reading, key: &[String]) -> Result<Layout, String> {
        let mut columns = Vec::with_capacity(members.len());
        for (name, _) in members {
            let index = self.column(name).ok_or_else(|| format!("{} has no column \"{name}\"", self.name))?;
            if columns.contains(&index) {
                return Err(format!("column \"{name}\" of {} is there twice", self.name));
            }
            columns.push(index);
        }
        let named: Option<Vec<usize>> = key.iter().map(|name| self.column(name)).collect();
        let named = named.ok_or_else(|| {
            format!("{} has not all the columns of plainKey: {}", self.name, key.join(", "))
        })?;
        let key_columns = if named.is_empty() { &self.key } else { &named };
        let key: Option<Vec<usize>> =
            key_columns.iter().map(|key| columns.iter().position(|column| column == key)).collect();
        let written: Vec<usize> =
            (0..columns.len()).filter(|member| !self.columns[columns[*member]].generated).collect();
        let writable = self.columns.iter().filter(|column| !column.generated).count();
        Ok(Layout {
            names: members.iter().map(|(name, _)| name.clone().into_owned()).collect(),
            reading,
            key: key.unwrap_or_default(),
            complete: written.len() == writable,
            columns,
            written,
        })
    }
}

impl Layout {
    fn has(&self, members: &[Member<'_>]) -> bool {
        self.names.len() == members.len()
            && self.names.iter().zip(members).all(|(name, (member, _))| name == member)
    }

    /// Appends a member's value. The error names the column.
    pub(crate) fn push(
        &self,
        table: &Table,
        members: &[Member<'_>],
        member: usize,
        texts: &mut Texts,
    ) -> Result<(), String> {
        let column = &table.columns[self.columns[member]];
        texts
            .push(|out| value::write(column.form, members[member].1, self.reading, out))
            .map_err(|why| format!("column {} of {}: {why}", column.quoted, table.name))
    }

    /// Whether its key is the table's own.
    pub(crate) fn is_by_own_key(&self, table: &Table) -> bool {
        self.key.iter().map(|member| &self.columns[*member]).eq(&table.key)
    }
}
