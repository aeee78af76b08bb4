//! A row of an event as SQL: its values and conditions, written for the columns of its shape.
//!
//! Invariant: what a generated column says is used to find rows, never written.

use flowd_sink::image::Member;
use flowd_sink::rows::change::{Change, Images, Told};

use crate::sink::dialect::{Column, Layout, Table};
use crate::sink::session::Strictness;
use crate::sink::value::{self, Form, Written};

/// A row, with all that says how it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'r, 'a> {
    pub(super) table: &'r Table,
    pub(super) layout: &'r Layout,
    members: &'r [Member<'a>],
}

impl<'r, 'a> Row<'r, 'a> {
    /// One image of an event.
    pub(super) fn of(table: &'r Table, change: &Change, which: Told, images: &'r Images<'a>) -> Self {
        let (members, layout) = change.image(which, images);
        Self { table, layout: &table.layouts[layout], members }
    }

    fn column(&self, member: usize) -> &'r Column {
        &self.table.definition.columns[self.layout.columns[member]]
    }

    fn value(&self, member: usize, out: &mut Vec<u8>) -> Result<Written, String> {
        let column = self.column(member);
        value::write(&column.data_type, self.members[member].1, self.layout.origin, out)
            .map_err(|why| format!("column {} of {}: {why}", column.quoted, self.table.definition.name))
    }

    /// `(1,'a',NULL)`, and how the server must take it.
    pub(super) fn tuple(&self, out: &mut Vec<u8>) -> Result<Strictness, String> {
        self.list(out, b"(", |member, out| self.value(member, out)).inspect(|_| out.push(b')'))
    }

    /// `a=1,b='a'`.
    pub(super) fn assignments(&self, out: &mut Vec<u8>) -> Result<Strictness, String> {
        self.list(out, b"", |member, out| {
            out.extend_from_slice(self.column(member).quoted.as_bytes());
            out.push(b'=');
            self.value(member, out)
        })
    }

    fn list(
        &self,
        out: &mut Vec<u8>,
        open: &[u8],
        mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<Written, String>,
    ) -> Result<Strictness, String> {
        out.extend_from_slice(open);
        let mut strictness = Strictness::Strict;
        for (position, member) in self.layout.written.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            if write(*member, out)? == Written::Loose {
                strictness = Strictness::Loose;
            }
        }
        Ok(strictness)
    }

    /// The key's value for `k IN (…)`; only where the key is one column.
    pub(super) fn key_literal(&self, out: &mut Vec<u8>) -> Result<(), String> {
        self.value(self.layout.key[0], out).map(drop)
    }

    /// `a=1 AND b='x'` over the key's columns.
    pub(super) fn key_condition(&self, out: &mut Vec<u8>) -> Result<(), String> {
        for (position, member) in self.layout.key.iter().enumerate() {
            if position > 0 {
                out.extend_from_slice(b" AND ");
            }
            out.extend_from_slice(self.column(*member).quoted.as_bytes());
            out.push(b'=');
            self.value(*member, out)?;
        }
        Ok(())
    }

    /// That every column is what its member says, down to the bytes of a text.
    pub(super) fn whole_condition(&self, out: &mut Vec<u8>) -> Result<(), String> {
        for member in 0..self.layout.columns.len() {
            if member > 0 {
                out.extend_from_slice(b" AND ");
            }
            let mut literal = Vec::new();
            self.value(member, &mut literal)?;
            equal(self.column(member), &literal, out);
        }
        Ok(())
    }
}

/// The key's one column as SQL; `None` where it has several.
pub(super) fn key_name<'t>(table: &'t Table, layout: &Layout) -> Option<&'t str> {
    match layout.key.as_slice() {
        [member] => Some(&table.definition.columns[layout.columns[*member]].quoted),
        _ => None,
    }
}

/// NULL is NULL; a text also equals in its bytes; documents are compared as such, and what has no comparison as bytes.
fn equal(column: &Column, literal: &[u8], out: &mut Vec<u8>) {
    let name = column.quoted.as_bytes();
    let parts: &[&[u8]] = match &column.data_type {
        _ if literal == b"NULL" => &[name, b" IS NULL"],
        Form::Json => &[name, b"=CAST(", literal, b" AS JSON)"],
        Form::Geometry | Form::Vector => &[b"HEX(", name, b")=HEX(", literal, b")"],
        Form::Text if column.folds => &[
            name,
            b"=",
            literal,
            b" AND CONVERT(CONVERT(",
            name,
            b" USING utf8mb4) USING binary)=CONVERT(",
            literal,
            b" USING binary)",
        ],
        _ => &[name, b"=", literal],
    };
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use flowd_sink::image;
    use flowd_sink::rows::layout::Origin;
    use flowd_sink::rows::mapping::TableName;

    use super::*;
    use crate::sink::table::tests::{MARIADB, made, table_of};

    const ROW: &[u8] = br#"{"id":1,"g":9,"b":"x'y","c":null}"#;

    fn table() -> Table {
        let integer = Form::Integer { min: 0, max: 255 };
        let mut columns = vec![
            made("id", integer.clone()),
            made("g", integer),
            made("b", Form::Text),
            made("c", Form::Year),
        ];
        columns[1].generated = true;
        table_of(TableName { schema: "s".into(), table: "t".into() }, columns, vec![0], Instant::now())
    }

    fn check(write: impl Fn(&Row<'_, '_>, &mut Vec<u8>), expected: &str) {
        let mut table = table();
        let mut members = Vec::new();
        image::read(ROW, &mut members).expect("an object");
        let index = table.layout(&MARIADB, &members, Origin::Change, &[]).expect("a shape");
        let mut out = Vec::new();
        write(&Row { table: &table, layout: &table.layouts[index], members: &members }, &mut out);
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn generated_columns_find_rows_and_are_not_written() {
        check(
            |row, out| out.extend_from_slice(&row.layout.shape.insert),
            "INSERT INTO `s`.`t` (`id`,`b`,`c`) VALUES ",
        );
        let tuple = |row: &Row<'_, '_>, out: &mut Vec<u8>| {
            row.tuple(out).expect("values");
        };
        check(tuple, "(1,'x\\'y',NULL)");
        let assignments = |row: &Row<'_, '_>, out: &mut Vec<u8>| {
            row.assignments(out).expect("values");
        };
        check(assignments, "`id`=1,`b`='x\\'y',`c`=NULL");
        check(
            |row, out| row.whole_condition(out).expect("values"),
            "`id`=1 AND `g`=9 AND `b`='x\\'y' AND CONVERT(CONVERT(`b` USING utf8mb4) USING binary)\
             =CONVERT('x\\'y' USING binary) AND `c` IS NULL",
        );
    }
}
