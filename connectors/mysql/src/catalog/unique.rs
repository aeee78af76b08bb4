//! Which tables have no other unique index than a primary key, asked for all tables at once.

use std::collections::BTreeMap;

use crate::connection::Connection;
use crate::error::WireError;
use crate::filter::TableFilter;
use crate::lanes::NameCase;
use crate::query::{Row, text};

/// The captured tables whose only unique index is a primary key over whole columns, as far as the account may see them,
/// sorted.
pub fn with_primary_key_alone(
    connection: &mut Connection,
    filter: &TableFilter,
) -> Result<Vec<(String, String)>, WireError> {
    // The two schemas are in no binlog, and a server makes a temporary table of each of theirs to answer.
    let result = connection.query(
        "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SUB_PART FROM information_schema.STATISTICS \
         WHERE NON_UNIQUE = 0 AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema')",
    )?;
    let captured = result.rows.iter().filter(|row| filter.captures(&text(row, 0), &text(row, 1)));
    Ok(primary_alone(captured))
}

/// How the server tells names apart; `None` where it stores them in one case and compares them in another.
pub fn name_case(connection: &mut Connection) -> Result<Option<NameCase>, WireError> {
    let setting = connection.query_text("SELECT @@global.lower_case_table_names")?;
    Ok(match setting.as_deref() {
        Some("0") => Some(NameCase::Exact),
        Some("1") => Some(NameCase::Lower),
        _ => None,
    })
}

/// Rows of schema, table, index, and length where only the head of a column counts: a row for each column of a unique
/// index.
fn primary_alone<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<(String, String)> {
    let mut tables: BTreeMap<(String, String), bool> = BTreeMap::new();
    for row in rows {
        let fits = text(row, 2) == "PRIMARY" && row[3].is_none();
        *tables.entry((text(row, 0), text(row, 1))).or_insert(true) &= fits;
    }
    tables.into_iter().filter_map(|(table, fits)| fits.then_some(table)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_unique_index_or_the_head_of_a_column_tells_against_a_table() {
        let row = |table: &str, index: &str, length: Option<&str>| -> Row {
            let some = |text: &str| Some(text.as_bytes().to_vec());
            vec![some("shop"), some(table), some(index), length.and_then(some)]
        };
        let rows = [
            row("lines", "PRIMARY", None),
            row("lines", "PRIMARY", None),
            row("orders", "PRIMARY", None),
            row("orders", "by_number", None),
            row("heads", "PRIMARY", Some("5")),
            row("unique", "u", None),
            row("customers", "PRIMARY", None),
        ];
        let expected = ["customers", "lines"].map(|table| ("shop".to_owned(), table.to_owned()));
        assert_eq!(primary_alone(rows.iter()), expected);
    }
}
