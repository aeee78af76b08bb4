//! A key about half way inside a range, so that two workers can share it.
//!
//! The range's ends are narrowed towards the middle of its rows: the arithmetic middle between two keys, snapped to the
//! key before it, and the optimizer's estimates of both sides say in which half to go on. Invariant: what is returned was
//! in the table, with a row before or at it and one behind it in the range; no statement reads more than one entry of
//! the index.

use flowd_binlog::result::KeyValue;

use super::query::{Order, Side, SnapshotTable, bounds, end_key, estimate};
use super::{Key, Range};
use crate::connection::Connection;
use crate::error::WireError;
use target::{Aim, target};

mod target;
mod temporal;
mod text;

/// How often the range is narrowed. With it a split costs fourteen statements at the most, mostly five.
const STEPS_MAX: u32 = 3;
/// The larger part may have so many times the smaller one's rows.
const BALANCED: u64 = 3;
/// With a larger part of so many times the smaller one's rows a split is worth nothing.
const WORTHLESS: u64 = 50;

/// A key that divides the range's rows roughly in half; `None` where it has too few, or they cannot be told apart.
///
/// # Panics
/// Where the table has no index for ranges.
pub fn split(
    connection: &mut Connection,
    table: &SnapshotTable,
    range: &Range,
) -> Result<Option<Key>, WireError> {
    let texts: Vec<_> = table.key.iter().map(|column| column.text()).collect();
    divide(&mut OnServer { connection, table }, &texts, range)
}

/// Where keys are looked up.
trait Keys {
    /// The first key, in this order, of those within the bounds.
    fn end(&mut self, bounds: &[(Side, &[KeyValue])], order: Order) -> Result<Option<Key>, WireError>;
    /// How many keys a range has, roughly; `None`: unknown.
    fn estimate(&mut self, range: &Range) -> Result<Option<u64>, WireError>;
}

struct OnServer<'a> {
    connection: &'a mut Connection,
    table: &'a SnapshotTable,
}

impl Keys for OnServer<'_> {
    fn end(&mut self, bounds: &[(Side, &[KeyValue])], order: Order) -> Result<Option<Key>, WireError> {
        end_key(self.connection, self.table, bounds, order)
    }

    fn estimate(&mut self, range: &Range) -> Result<Option<u64>, WireError> {
        estimate(self.connection, self.table, range)
    }
}

/// Character set and collation of a key's columns; `None` where one is no text.
type Texts<'a> = [Option<(&'a str, &'a str)>];

fn divide(keys: &mut impl Keys, texts: &Texts<'_>, range: &Range) -> Result<Option<Key>, WireError> {
    let ends = bounds(range);
    let Some(mut low) = keys.end(&ends, Order::Ascending)? else { return Ok(None) };
    let Some(mut high) = keys.end(&ends, Order::Descending)? else { return Ok(None) };
    let mut best: Option<(Parts, Key)> = None;
    for _ in 0..STEPS_MAX {
        let Some((target, middle)) = middle(keys, texts, &low, &high)? else { break };
        let Some(parts) = Parts::of(keys, range, &middle)? else { return Ok(Some(middle)) };
        if parts.differ_less_than(BALANCED) {
            return Ok(Some(middle));
        }
        if parts.before > parts.behind {
            high = middle.clone();
        } else {
            // Over the gap behind the middle, if there is one.
            let behind = [(Side::From, &*target), (Side::Upto, &*high)];
            low = keys.end(&behind, Order::Ascending)?.unwrap_or_else(|| high.clone());
        }
        if best.as_ref().is_none_or(|(known, _)| parts.smaller() > known.smaller()) {
            best = Some((parts, middle));
        }
    }
    Ok(best.filter(|(parts, _)| parts.differ_less_than(WORTHLESS)).map(|(_, key)| key))
}

/// The middle between two keys, values of the key's first columns, and the last key before it.
fn middle(
    keys: &mut impl Keys,
    texts: &Texts<'_>,
    low: &Key,
    high: &Key,
) -> Result<Option<(Key, Key)>, WireError> {
    if low == high {
        return Ok(None);
    }
    // A collation may sort otherwise than we think; where the high end's character begins there is a boundary anyway.
    for aim in [Aim::Middle, Aim::Boundary] {
        let Some(target) = target(texts, low, high, aim) else { continue };
        let before = [(Side::From, &**low), (Side::Before, &*target)];
        if let Some(key) = keys.end(&before, Order::Descending)? {
            return Ok(Some((target, key)));
        }
    }
    Ok(None)
}

/// Estimated rows on both sides of a key.
#[derive(Debug, Clone, Copy)]
struct Parts {
    before: u64,
    behind: u64,
}

impl Parts {
    fn of(keys: &mut impl Keys, range: &Range, middle: &Key) -> Result<Option<Self>, WireError> {
        let before = Range { after: range.after.clone(), upto: Some(middle.clone()) };
        let behind = Range { after: Some(middle.clone()), upto: range.upto.clone() };
        let (before, behind) = (keys.estimate(&before)?, keys.estimate(&behind)?);
        Ok(before.zip(behind).map(|(before, behind)| Self { before, behind }))
    }

    fn smaller(self) -> u64 {
        self.before.min(self.behind)
    }

    fn differ_less_than(self, times: u64) -> bool {
        self.before.max(self.behind) <= self.smaller().saturating_mul(times)
    }
}

#[cfg(test)]
mod tests;
