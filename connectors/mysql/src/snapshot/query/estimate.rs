//! The optimizer's estimate of the rows of a range: a look at two places of the index, no read of rows.

use super::{Order, SnapshotTable, bounds, compare};
use crate::connection::Connection;
use crate::error::WireError;
use crate::query::identifier;
use crate::server::Flavor;
use crate::snapshot::Range;

/// How many rows the optimizer believes a range to have; `None` where it does not say.
pub(in crate::snapshot) fn estimate(
    connection: &mut Connection,
    table: &SnapshotTable,
    range: &Range,
) -> Result<Option<u64>, WireError> {
    let index = table.index.as_deref().expect("ranges are those of a key's index");
    let (condition, parameters) = compare::condition(&table.key, &bounds(range));
    // USE INDEX, because MySQL estimates nothing where the index is forced; ORDER BY, so that MariaDB takes it at all.
    let sql = format!(
        "EXPLAIN FORMAT=TRADITIONAL SELECT 1 FROM {} USE INDEX ({}){condition} {}",
        table.name(),
        identifier(index),
        table.order(Order::Ascending)
    );
    let rows = connection.query_rows(&sql, &parameters)?;
    Ok(rows.first().and_then(|row| rows_of(row, connection.server().flavor)))
}

/// The column `rows` of EXPLAIN's row (binary protocol); 0 where the optimizer sees that there is none.
fn rows_of(row: &[u8], flavor: Flavor) -> Option<u64> {
    // MariaDB: id, select_type, table, type, possible_keys, key, key_len, ref, rows, Extra; all but id as text.
    // MySQL has partitions behind table, filtered behind rows, and rows as eight bytes.
    let (columns, index) = match flavor {
        Flavor::MariaDb => (10, 8),
        Flavor::MySql => (12, 9),
    };
    let nulls_bytes = (columns + 2_usize).div_ceil(8);
    let (nulls, mut rest) = row.split_first()?.1.split_at_checked(nulls_bytes)?;
    let is_null = |column: usize| nulls[(column + 2) / 8] & 1 << ((column + 2) % 8) != 0;
    for column in 0..index {
        if !is_null(column) {
            let size = if column == 0 { 8 } else { 1 + usize::from(short(*rest.first()?)?) };
            rest = rest.get(size..)?;
        }
    }
    if is_null(index) {
        return Some(0);
    }
    match flavor {
        Flavor::MySql => Some(u64::from_le_bytes(*rest.first_chunk()?)),
        Flavor::MariaDb => {
            let size = usize::from(short(*rest.first()?)?);
            std::str::from_utf8(rest.get(1..=size)?).ok()?.parse().ok()
        }
    }
}

/// A length of one byte; longer texts are not met before `rows`.
fn short(length: u8) -> Option<u8> {
    (length <= 250).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_read_from_the_answers_of_both_families() {
        let maria = b"\x00\x00\x02\x01\0\0\0\0\0\0\0\x06SIMPLE\x04t_c2\x05range\x07PRIMARY\x07PRIMARY\x018\x045000\x0bUsing where";
        assert_eq!(rows_of(maria, Flavor::MariaDb), Some(5000));
        let mysql = b"\x00\x20\x04\x01\0\0\0\0\0\0\0\x06SIMPLE\x04t_c2\x05range\x07PRIMARY\x07PRIMARY\x018\xf8\x11\0\0\0\0\0\0\0\0\0\0\0\0Y@\x0bUsing where";
        assert_eq!(rows_of(mysql, Flavor::MySql), Some(0x11f8));
    }

    #[test]
    fn a_range_that_cannot_have_rows_is_estimated_at_none() {
        let maria = b"\x00\xf0\x07\x01\0\0\0\0\0\0\0\x06SIMPLE\x10Impossible WHERE";
        assert_eq!(rows_of(maria, Flavor::MariaDb), Some(0));
    }

    #[test]
    fn an_answer_that_is_cut_gives_no_estimate() {
        let mysql =
            b"\x00\x20\x04\x01\0\0\0\0\0\0\0\x06SIMPLE\x04t_c2\x05range\x07PRIMARY\x07PRIMARY\x018\xf8\x11\0";
        for length in 0..mysql.len() {
            assert_eq!(rows_of(&mysql[..length], Flavor::MySql), None, "{length}");
        }
    }
}
