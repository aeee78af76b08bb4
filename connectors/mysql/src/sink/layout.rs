//! The shape of rows of a table: which columns an image has, in which order, and the SQL that follows from that alone.
//!
//! Rows of one shape can go in one statement. Invariant: what a generated column says is used to find rows, never written.

use flowd_sink::image::Member;

use crate::query::identifier;
use crate::sink::session::Strictness;
use crate::sink::table::{Column, Table};
use crate::sink::value::{self, Form, Origin, Written};

/// More shapes of one table than these are forgotten, and made anew where they come again.
const LAYOUTS_MAX: usize = 256;

/// A shape.
#[derive(Debug)]
pub(super) struct Layout {
    names: Vec<String>,
    pub(super) origin: Origin,
    /// The column of each member.
    columns: Vec<usize>,
    /// The members whose columns are written.
    written: Vec<usize>,
    /// The members that tell which row it is; empty where the table has no key, or the image not all of it.
    pub(super) key: Vec<usize>,
    /// Whether every column that can be written is there.
    pub(super) complete: bool,
    /// `INSERT INTO t (…) VALUES `.
    pub(super) insert: Vec<u8>,
    /// ` ON DUPLICATE KEY UPDATE …`, behind the rows.
    pub(super) upsert: Vec<u8>,
}

/// How the new row of an upsert is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewRow {
    /// `AS new … new.a`: MySQL.
    Named,
    /// `VALUES(a)`: MariaDB, and MySQL before 8.0.19.
    Values,
}

impl Table {
    /// The index of the shape that these members have. `key` names the columns that tell the row, where that is not the
    /// table's own key. The error names what the table does not have.
    pub(super) fn layout(
        &mut self,
        members: &[Member<'_>],
        origin: Origin,
        key: &[String],
        new_row: NewRow,
    ) -> Result<usize, String> {
        let found = self.layouts.iter().rposition(|layout| layout.origin == origin && layout.has(members));
        if let Some(index) = found {
            return Ok(index);
        }
        let layout = self.new_layout(members, origin, key, new_row)?;
        self.layouts.push(layout);
        Ok(self.layouts.len() - 1)
    }

    /// Between two puts: an index of a shape means nothing afterwards.
    pub(super) fn bound_layouts(&mut self) {
        if self.layouts.len() > LAYOUTS_MAX {
            self.layouts.clear();
        }
    }

    fn new_layout(
        &self,
        members: &[Member<'_>],
        origin: Origin,
        key: &[String],
        new_row: NewRow,
    ) -> Result<Layout, String> {
        let mut columns = Vec::with_capacity(members.len());
        for (name, _) in members {
            let index = self.column(name).ok_or_else(|| format!("{} has no column `{name}`", self.name))?;
            if columns.contains(&index) {
                return Err(format!("column `{name}` of {} is there twice", self.name));
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
        let names: Vec<&str> =
            written.iter().map(|member| self.columns[columns[*member]].quoted.as_str()).collect();
        Ok(Layout {
            names: members.iter().map(|(name, _)| name.clone().into_owned()).collect(),
            origin,
            key: key.unwrap_or_default(),
            complete: written.len() == writable,
            insert: format!("INSERT INTO {} ({}) VALUES ", self.quoted, names.join(",")).into_bytes(),
            upsert: upsert(&names, new_row).into_bytes(),
            columns,
            written,
        })
    }
}

fn upsert(names: &[&str], new_row: NewRow) -> String {
    let new = identifier("flowd new");
    let each = |name: &&str| match new_row {
        NewRow::Named => format!("{name}={new}.{name}"),
        NewRow::Values => format!("{name}=VALUES({name})"),
    };
    let list: Vec<String> = names.iter().map(each).collect();
    let alias = if new_row == NewRow::Named { format!(" AS {new}") } else { String::new() };
    format!("{alias} ON DUPLICATE KEY UPDATE {}", list.join(","))
}

impl Layout {
    fn has(&self, members: &[Member<'_>]) -> bool {
        self.names.len() == members.len()
            && self.names.iter().zip(members).all(|(name, (member, _))| name == member)
    }

    fn column<'t>(&self, table: &'t Table, member: usize) -> &'t Column {
        &table.columns[self.columns[member]]
    }

    fn value(
        &self,
        table: &Table,
        members: &[Member<'_>],
        member: usize,
        out: &mut Vec<u8>,
    ) -> Result<Written, String> {
        let column = self.column(table, member);
        value::write(&column.form, members[member].1, self.origin, out)
            .map_err(|why| format!("column {} of {}: {why}", column.quoted, table.name))
    }

    /// `(1,'a',NULL)`, and how the server must take it.
    pub(super) fn tuple(
        &self,
        table: &Table,
        members: &[Member<'_>],
        out: &mut Vec<u8>,
    ) -> Result<Strictness, String> {
        self.list(out, b"(", |member, out| self.value(table, members, member, out))
            .inspect(|_| out.push(b')'))
    }

    /// `a=1,b='a'`.
    pub(super) fn assignments(
        &self,
        table: &Table,
        members: &[Member<'_>],
        out: &mut Vec<u8>,
    ) -> Result<Strictness, String> {
        self.list(out, b"", |member, out| {
            out.extend_from_slice(self.column(table, member).quoted.as_bytes());
            out.push(b'=');
            self.value(table, members, member, out)
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
        for (position, member) in self.written.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            if write(*member, out)? == Written::Loose {
                strictness = Strictness::Loose;
            }
        }
        Ok(strictness)
    }

    /// Whether its key is the table's own.
    pub(super) fn is_by_own_key(&self, table: &Table) -> bool {
        self.key.iter().map(|member| &self.columns[*member]).eq(&table.key)
    }

    /// The key's value for `k IN (…)`; only where the key is one column.
    pub(super) fn key_literal(
        &self,
        table: &Table,
        members: &[Member<'_>],
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        self.value(table, members, self.key[0], out).map(drop)
    }

    /// The key's one column as SQL; `None` where it has several.
    pub(super) fn key_name<'t>(&self, table: &'t Table) -> Option<&'t str> {
        match self.key.as_slice() {
            [member] => Some(&self.column(table, *member).quoted),
            _ => None,
        }
    }

    /// `a=1 AND b='x'` over the key's columns.
    pub(super) fn key_condition(
        &self,
        table: &Table,
        members: &[Member<'_>],
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        for (position, member) in self.key.iter().enumerate() {
            if position > 0 {
                out.extend_from_slice(b" AND ");
            }
            out.extend_from_slice(self.column(table, *member).quoted.as_bytes());
            out.push(b'=');
            self.value(table, members, *member, out)?;
        }
        Ok(())
    }

    /// That every column is what its member says, down to the bytes of a text.
    pub(super) fn whole_condition(
        &self,
        table: &Table,
        members: &[Member<'_>],
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        for member in 0..self.columns.len() {
            if member > 0 {
                out.extend_from_slice(b" AND ");
            }
            let mut literal = Vec::new();
            self.value(table, members, member, &mut literal)?;
            equal(self.column(table, member), &literal, out);
        }
        Ok(())
    }
}

/// NULL is NULL; a text also equals in its bytes; documents are compared as such, and what has no comparison as bytes.
fn equal(column: &Column, literal: &[u8], out: &mut Vec<u8>) {
    let name = column.quoted.as_bytes();
    let parts: &[&[u8]] = match &column.form {
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
    use flowd_sink::rows::mapping::TableName;

    use super::*;
    use crate::sink::table::tests::{made, table_of};

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

    fn check(write: impl Fn(&Layout, &Table, &[Member<'_>], &mut Vec<u8>), expected: &str) {
        let mut table = table();
        let mut members = Vec::new();
        image::read(ROW, &mut members).expect("an object");
        let index = table.layout(&members, Origin::Change, &[], NewRow::Values).expect("a shape");
        let mut out = Vec::new();
        write(&table.layouts[index], &table, &members, &mut out);
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn generated_columns_find_rows_and_are_not_written() {
        check(
            |layout, _, _, out| out.extend_from_slice(&layout.insert),
            "INSERT INTO `s`.`t` (`id`,`b`,`c`) VALUES ",
        );
        let tuple = |layout: &Layout, table: &Table, members: &[Member<'_>], out: &mut Vec<u8>| {
            layout.tuple(table, members, out).expect("values");
        };
        check(tuple, "(1,'x\\'y',NULL)");
        let assignments = |layout: &Layout, table: &Table, members: &[Member<'_>], out: &mut Vec<u8>| {
            layout.assignments(table, members, out).expect("values");
        };
        check(assignments, "`id`=1,`b`='x\\'y',`c`=NULL");
        let whole = |layout: &Layout, table: &Table, members: &[Member<'_>], out: &mut Vec<u8>| {
            layout.whole_condition(table, members, out).expect("values");
        };
        check(
            whole,
            "`id`=1 AND `g`=9 AND `b`='x\\'y' AND CONVERT(CONVERT(`b` USING utf8mb4) USING binary)\
             =CONVERT('x\\'y' USING binary) AND `c` IS NULL",
        );
    }

    #[test]
    fn an_upsert_says_new_values_in_the_servers_way() {
        assert_eq!(
            upsert(&["`a`", "`b`"], NewRow::Values),
            " ON DUPLICATE KEY UPDATE `a`=VALUES(`a`),`b`=VALUES(`b`)"
        );
        let named = " AS `flowd new` ON DUPLICATE KEY UPDATE `a`=`flowd new`.`a`";
        assert_eq!(upsert(&["`a`"], NewRow::Named), named);
    }

    #[test]
    fn a_shape_is_made_once_and_tells_whether_it_is_complete() {
        let mut table = table();
        let mut of = |json: &'static [u8]| {
            let mut members = Vec::new();
            image::read(json, &mut members).expect("an object");
            let index = table.layout(&members, Origin::Change, &[], NewRow::Values)?;
            Ok::<_, String>((index, table.layouts[index].complete, table.layouts[index].key.len()))
        };
        assert_eq!(of(ROW), Ok((0, true, 1)));
        assert_eq!(of(br#"{"id":1,"b":"x"}"#), Ok((1, false, 1)));
        assert_eq!(of(br#"{"B":"x","c":null}"#), Ok((2, false, 0)));
        assert_eq!(of(ROW), Ok((0, true, 1)));
        assert_eq!(of(br#"{"id":1,"z":"x"}"#), Err("s.t has no column `z`".into()));
        assert_eq!(of(br#"{"id":1,"ID":2}"#), Err("column `ID` of s.t is there twice".into()));
    }
}
