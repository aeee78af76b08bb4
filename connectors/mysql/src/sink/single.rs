//! The statement of one event: an UPDATE or a DELETE by its key or by its whole row.

use flowd_sink::rows::change::{Change, Images, Step, Told};

use crate::sink::dialect::Table;
use crate::sink::row::Row;
use crate::sink::session::Strictness;

/// What was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Single {
    /// How the server must take it.
    pub(super) strictness: Strictness,
    /// Where its ` WHERE` begins.
    pub(super) condition: usize,
    /// It would set no column: there is nothing to run.
    pub(super) is_idle: bool,
}

/// Appends an UPDATE to the event's `after`.
pub(super) fn update(
    table: &Table,
    change: &Change,
    images: &Images<'_>,
    out: &mut Vec<u8>,
) -> Result<Single, String> {
    let parts: [&[u8]; 3] = [b"UPDATE ", table.quoted.as_bytes(), b" SET "];
    parts.iter().for_each(|part| out.extend_from_slice(part));
    let head = out.len();
    let strictness = Row::of(table, change, Told::ByAfter, images).assignments(out)?;
    let (condition, is_idle) = (out.len(), out.len() == head);
    where_it_is(table, change, images, out)?;
    Ok(Single { strictness, condition, is_idle })
}

/// Appends a DELETE of the event's row.
pub(super) fn delete(
    table: &Table,
    change: &Change,
    images: &Images<'_>,
    out: &mut Vec<u8>,
) -> Result<Single, String> {
    let parts: [&[u8]; 2] = [b"DELETE FROM ", table.quoted.as_bytes()];
    parts.iter().for_each(|part| out.extend_from_slice(part));
    let condition = out.len();
    where_it_is(table, change, images, out)?;
    Ok(Single { strictness: Strictness::Strict, condition, is_idle: false })
}

fn where_it_is(table: &Table, change: &Change, images: &Images<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let row = Row::of(table, change, change.told, images);
    out.extend_from_slice(b" WHERE ");
    if matches!(change.step, Step::UpdateMatching | Step::DeleteMatching) {
        row.whole_condition(out)?;
        out.extend_from_slice(b" LIMIT 1");
        return Ok(());
    }
    row.key_condition(out)
}
