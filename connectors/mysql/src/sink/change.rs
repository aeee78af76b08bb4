//! What an event does to a table of the target: which statement, and with which shapes of rows.
//!
//! Decides, and writes nothing. Invariant: a step that could change another row than the event's is never chosen.

use std::time::Instant;

use flowd_sink::image::{self, Member};
use flowd_sink::store::{Op, StoreEvent};

use crate::sink::session::Session;
use crate::sink::tables::{Tables, Trouble};
use crate::sink::value::Origin;

/// What is done with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// INSERT … ON DUPLICATE KEY UPDATE.
    Upsert,
    /// INSERT into a table whose rows have no key.
    Insert,
    /// INSERT; where the key is there, UPDATE by it: an upsert that looks at no other unique index.
    InsertFirst,
    /// UPDATE by the key; where it is not there, INSERT.
    UpdateFirst,
    /// UPDATE of some columns; the row must be there.
    UpdateOnly,
    /// UPDATE of a row whose key at the target changes; where the old one is not there, as InsertFirst.
    Move,
    /// DELETE by the key.
    Delete,
    /// UPDATE of one row that is the whole `before`.
    UpdateMatching,
    /// DELETE of one row that is the whole `before`.
    DeleteMatching,
    /// DELETE of all rows.
    Truncate,
}

impl Step {
    /// Whether several rows can go in one statement.
    pub(super) fn joins(self) -> bool {
        matches!(self, Self::Upsert | Self::Insert | Self::InsertFirst | Self::Delete)
    }
}

/// Which image tells the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    ByAfter,
    ByBefore,
}

/// An event, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) table: usize,
    pub(super) step: Step,
    /// The shape of `after`; of no meaning where there is none.
    pub(super) after: usize,
    /// The shape of `before`, likewise.
    pub(super) before: usize,
    pub(super) told: Told,
}

/// The images of the event at hand; their memory is used again for the next.
#[derive(Debug, Default)]
pub(super) struct Images<'a> {
    pub(super) after: Vec<Member<'a>>,
    pub(super) before: Vec<Member<'a>>,
}

impl Change {
    /// The image that tells the row, and its shape.
    pub(super) fn teller<'i, 'a>(&self, images: &'i Images<'a>) -> (&'i [Member<'a>], usize) {
        match self.told {
            Told::ByAfter => (&images.after, self.after),
            Told::ByBefore => (&images.before, self.before),
        }
    }
}

/// Reads an event into `images` and says what it does.
pub(super) fn understand<'a>(
    event: &StoreEvent<'a>,
    images: &mut Images<'a>,
    tables: &mut Tables,
    session: &mut Session,
    now: Instant,
) -> Result<Change, Trouble> {
    if let Some(data) = event.plain {
        return plain(data, images, tables, session, now);
    }
    let table = tables.of(session, event.db, event.table, now)?;
    let change = |step| Change { table, step, after: 0, before: 0, told: Told::ByAfter };
    match event.op {
        Op::Truncate => Ok(change(Step::Truncate)),
        Op::Read | Op::Create => {
            let after = shape(event.after, "after", &mut images.after, table, tables)?;
            Ok(Change { after, ..change(insertion(tables, table, after)) })
        }
        Op::Update => update(event, images, table, tables),
        Op::Delete => {
            let before = shape(event.before, "before", &mut images.before, table, tables)?;
            let has_key = !tables.at(table).layouts[before].key.is_empty();
            let step = if has_key { Step::Delete } else { Step::DeleteMatching };
            Ok(Change { before, told: Told::ByBefore, ..change(step) })
        }
    }
}

/// How a row is put that may be there.
fn insertion(tables: &Tables, table: usize, after: usize) -> Step {
    let table = tables.at(table);
    match (table.layouts[after].key.is_empty(), table.delicate) {
        (true, _) => Step::Insert,
        (false, true) => Step::InsertFirst,
        (false, false) => Step::Upsert,
    }
}

/// Reads one image of a change event; gives its shape.
fn shape<'a>(
    json: Option<&'a [u8]>,
    which: &str,
    members: &mut Vec<Member<'a>>,
    table: usize,
    tables: &mut Tables,
) -> Result<usize, Trouble> {
    let json = json.ok_or_else(|| Trouble::Refused(format!("the event has no `{which}`")))?;
    image::read(json, members).map_err(|why| Trouble::Refused(format!("`{which}` is no row: {why}")))?;
    let new_row = tables.new_row;
    tables.at_mut(table).layout(members, Origin::Change, &[], new_row).map_err(Trouble::Refused)
}

fn update<'a>(
    event: &StoreEvent<'a>,
    images: &mut Images<'a>,
    table: usize,
    tables: &mut Tables,
) -> Result<Change, Trouble> {
    let after = shape(event.after, "after", &mut images.after, table, tables)?;
    let before = match event.before {
        Some(_) => Some(shape(event.before, "before", &mut images.before, table, tables)?),
        None => None,
    };
    let target = tables.at(table);
    let new = &target.layouts[after];
    let old = before.map(|before| &target.layouts[before]).filter(|old| !old.key.is_empty());
    let moved = !new.key.is_empty()
        && old.is_some_and(|old| {
            let pairs = old.key.iter().zip(&new.key);
            pairs.into_iter().any(|(old, new)| images.before[*old].1 != images.after[*new].1)
        });
    let (step, told) = match (new.key.is_empty(), old.is_some(), new.complete) {
        (true, false, _) if before.is_some() => (Step::UpdateMatching, Told::ByBefore),
        (true, false, _) => {
            return Err(Trouble::Refused("an update of a row without key has no `before`".into()));
        }
        (true, true, _) => (Step::UpdateOnly, Told::ByBefore),
        (false, _, false) => (Step::UpdateOnly, if moved { Told::ByBefore } else { Told::ByAfter }),
        (false, _, true) if moved => (Step::Move, Told::ByBefore),
        (false, _, true) if target.delicate => (Step::UpdateFirst, Told::ByAfter),
        (false, _, true) => (Step::Upsert, Told::ByAfter),
    };
    Ok(Change { table, step, after, before: before.unwrap_or(0), told })
}

/// An event that is no change event of ours: an object of columns for the table that the settings name.
fn plain<'a>(
    data: &'a [u8],
    images: &mut Images<'a>,
    tables: &mut Tables,
    session: &mut Session,
    now: Instant,
) -> Result<Change, Trouble> {
    let plain = tables.config().mapping.plain().cloned().ok_or_else(|| {
        Trouble::Refused(
            "it is no change event, and connectorConfig.plainTable names no table for such".into(),
        )
    })?;
    let table = tables.named(session, plain.table, now)?;
    image::read(data, &mut images.after)
        .map_err(|why| Trouble::Refused(format!("its data is no object of columns: {why}")))?;
    let new_row = tables.new_row;
    let target = tables.at_mut(table);
    let after = target.layout(&images.after, Origin::Plain, &plain.key, new_row).map_err(Trouble::Refused)?;
    let key = &target.layouts[after].key;
    let named: Vec<usize> = plain.key.iter().filter_map(|name| target.column(name)).collect();
    let own = named.is_empty()
        || (named.len() == target.key.len() && target.key.iter().all(|key| named.contains(key)));
    if key.is_empty() && !named.is_empty() {
        let text =
            format!("its data has not all the columns of connectorConfig.plainKey: {}", plain.key.join(", "));
        return Err(Trouble::Refused(text));
    }
    let step = if own { insertion(tables, table, after) } else { Step::UpdateFirst };
    Ok(Change { table, step, after, before: 0, told: Told::ByAfter })
}
