//! The dialect of MySQL and MariaDB, as the rows of [`flowd_sink`] need it.

use std::time::Instant;

use flowd_sink::rows;
use flowd_sink::rows::change::Step;
use flowd_sink::rows::layout::Origin;
use flowd_sink::rows::mapping::TableName;
use flowd_sink::rows::tables::Trouble;

use crate::query::identifier;
use crate::sink::session::Session;
use crate::sink::table;
use crate::sink::value::Form;

pub(super) type Column = rows::table::Column<Form>;
pub(super) type Layout = rows::layout::Layout<Statements>;
pub(super) type Table = rows::table::Table<MySql>;
pub(super) type Tables = rows::tables::Tables<MySql>;

/// The dialect.
#[derive(Debug)]
pub(super) struct MySql {
    /// How this server wants the new row of an upsert named.
    pub(super) new_row: NewRow,
}

/// How the new row of an upsert is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewRow {
    /// `AS new … new.a`: MySQL.
    Named,
    /// `VALUES(a)`: MariaDB, and MySQL before 8.0.19.
    Values,
}

/// What is known of a table besides its definition.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Statements on it were seen to warn.
    pub(super) warns: bool,
}

/// The statements of a shape, but for the rows.
#[derive(Debug)]
pub(super) struct Statements {
    /// `INSERT INTO t (…) VALUES `.
    pub(super) insert: Vec<u8>,
    /// ` ON DUPLICATE KEY UPDATE …`, behind the rows.
    pub(super) upsert: Vec<u8>,
}

impl rows::dialect::Dialect for MySql {
    type Session = Session;
    type DataType = Form;
    type Known = Known;
    type Shape = Statements;
    type Statement = ();

    const NAMES_FOLD: bool = true;
    const DELICATE_INSERTION: Step = Step::InsertFirst;

    fn identifier(name: &str) -> String {
        identifier(name)
    }

    fn read(&self, session: &mut Session, name: &TableName, now: Instant) -> Result<Option<Table>, Trouble> {
        table::read(session, name, now).map_err(|error| Trouble::Failed(error.into()))
    }

    fn shape(&self, table: &Table, _origin: Origin, written: &[&str]) -> Statements {
        Statements {
            insert: format!("INSERT INTO {} ({}) VALUES ", table.quoted, written.join(",")).into_bytes(),
            upsert: upsert(written, self.new_row).into_bytes(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upsert_says_new_values_in_the_servers_way() {
        assert_eq!(
            upsert(&["`a`", "`b`"], NewRow::Values),
            " ON DUPLICATE KEY UPDATE `a`=VALUES(`a`),`b`=VALUES(`b`)"
        );
        let named = " AS `flowd new` ON DUPLICATE KEY UPDATE `a`=`flowd new`.`a`";
        assert_eq!(upsert(&["`a`"], NewRow::Named), named);
    }
}
