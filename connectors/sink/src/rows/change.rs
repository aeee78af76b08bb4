//! What an event does to a table of the target: which step, and with which shapes of rows.
//!
//! Decides, and writes nothing. Invariant: a step that could change another row than the event's is never chosen.

use std::time::Instant;

use super::dialect::Dialect;
use super::layout::Origin;
use super::table::Table;
use super::tables::{Tables, Trouble};
use crate::image::{self, Member};
use crate::store::{Op, StoreEvent};

/// What is done with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// INSERT, or UPDATE where the key is there, in one statement.
    Upsert,
    /// INSERT into a table whose rows have no key.
    Insert,
    /// INSERT; where the key is there, UPDATE by it: an upsert that looks at no other unique index.
    InsertFirst,
    /// UPDATE by the key; where it is not there, INSERT: likewise.
    UpdateFirst,
    /// UPDATE of some columns; the row must be there.
    UpdateOnly,
    /// UPDATE of a row whose key at the target changes; where the old one is not there, an insertion of the new one.
    Move,
    /// DELETE by the key.
    Delete,
    /// UPDATE of one row that is the whole `before`.
    UpdateMatching,
    /// DELETE of one row that is the whole `before`.
    DeleteMatching,
    /// All rows go.
    Truncate,
}

/// Which image tells the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Told {
    /// The row after the change.
    ByAfter,
    /// The row before it.
    ByBefore,
}

/// An event, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The table, by its number.
    pub table: usize,
    /// What is done.
    pub step: Step,
    /// The shape of `after`; of no meaning where there is none.
    pub after: usize,
    /// The shape of `before`, where it tells the row.
    pub before: usize,
    /// Which of them tells the row.
    pub told: Told,
}

impl Change {
    /// One of its images, and the shape that it has.
    pub fn image<'i, 'a>(&self, which: Told, images: &'i Images<'a>) -> (&'i [Member<'a>], usize) {
        match which {
            Told::ByAfter => (&images.after, self.after),
            Told::ByBefore => (&images.before, self.before),
        }
    }
}

/// The images of the event at hand; their memory is used again for the next.
#[derive(Debug, Default)]
pub struct Images<'a> {
    /// The row after the change.
    pub after: Vec<Member<'a>>,
    /// The row before it.
    pub before: Vec<Member<'a>>,
}

/// Reads an event into `images` and says what it does.
///
/// # Errors
/// The event cannot be taken, or its table cannot be read.
pub fn understand<'a, D: Dialect>(
    event: &StoreEvent<'a>,
    images: &mut Images<'a>,
    tables: &mut Tables<D>,
    session: &mut D::Session,
    now: Instant,
) -> Result<Change, Trouble> {
    images.after.clear();
    images.before.clear();
    if let Some(data) = event.plain {
        return plain(data, images, tables, session, now);
    }
    let table = tables.of(session, event.db, event.table, now)?;
    let change = |step| Change { table, step, after: 0, before: 0, told: Told::ByAfter };
    match event.op {
        Op::Truncate => Ok(change(Step::Truncate)),
        Op::Read | Op::Create => {
            let after = shape(event.after, "after", &mut images.after, table, tables)?;
            Ok(Change { after, ..change(insertion(tables.at(table), after)) })
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
fn insertion<D: Dialect>(table: &Table<D>, after: usize) -> Step {
    match (table.layouts[after].key.is_empty(), table.definition.delicate) {
        (true, _) => Step::Insert,
        (false, true) => D::DELICATE_INSERTION,
        (false, false) => Step::Upsert,
    }
}

/// Reads one image of a change event; gives its shape.
fn shape<'a, D: Dialect>(
    json: Option<&'a [u8]>,
    which: &str,
    members: &mut Vec<Member<'a>>,
    table: usize,
    tables: &mut Tables<D>,
) -> Result<usize, Trouble> {
    let json = json.ok_or_else(|| Trouble::Refused(format!("the event has no `{which}`")))?;
    image::read(json, members).map_err(|why| Trouble::Refused(format!("`{which}` is no row: {why}")))?;
    tables.layout(table, members, Origin::Change, &[]).map_err(Trouble::Refused)
}

fn update<'a, D: Dialect>(
    event: &StoreEvent<'a>,
    images: &mut Images<'a>,
    table: usize,
    tables: &mut Tables<D>,
) -> Result<Change, Trouble> {
    let after = shape(event.after, "after", &mut images.after, table, tables)?;
    let before = match event.before {
        Some(_) => Some(shape(event.before, "before", &mut images.before, table, tables)?),
        None => None,
    };
    let target = tables.at(table);
    if let Some(before) = before {
        keeps_identity(images, after, before, target)?;
    }
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
        (false, _, true) if target.definition.delicate => (Step::UpdateFirst, Told::ByAfter),
        (false, _, true) => (Step::Upsert, Told::ByAfter),
    };
    let before = before.filter(|_| told == Told::ByBefore).unwrap_or(0);
    Ok(Change { table, step, after, before, told })
}

/// No UPDATE writes a column that is GENERATED ALWAYS AS IDENTITY: its value must stay.
fn keeps_identity<D: Dialect>(
    images: &Images<'_>,
    after: usize,
    before: usize,
    table: &Table<D>,
) -> Result<(), Trouble> {
    let (new, old) = (&table.layouts[after], &table.layouts[before]);
    for member in &new.identities {
        let column = new.columns[*member];
        let was = old.columns.iter().position(|one| *one == column);
        if was.is_some_and(|was| images.before[was].1 != images.after[*member].1) {
            let name = &table.definition.columns[column].quoted;
            return Err(Trouble::Refused(format!(
                "column {name} of {} is GENERATED ALWAYS AS IDENTITY and cannot be updated; ALTER TABLE … ALTER COLUMN {name} \
                 SET GENERATED BY DEFAULT lets it",
                table.definition.name
            )));
        }
    }
    Ok(())
}

/// An event that is no change event of ours: an object of columns for the table that the settings name.
fn plain<'a, D: Dialect>(
    data: &'a [u8],
    images: &mut Images<'a>,
    tables: &mut Tables<D>,
    session: &mut D::Session,
    now: Instant,
) -> Result<Change, Trouble> {
    let plain = tables.mapping.plain().cloned().ok_or_else(|| {
        Trouble::Refused(
            "it is no change event, and connectorConfig.plainTable names no table for such".into(),
        )
    })?;
    let table = tables.named(session, plain.table, now)?;
    image::read(data, &mut images.after)
        .map_err(|why| Trouble::Refused(format!("its data is no object of columns: {why}")))?;
    let after = tables.layout(table, &images.after, Origin::Plain, &plain.key).map_err(Trouble::Refused)?;
    let target = tables.at(table);
    let (key, own_key) = (&target.layouts[after].key, &target.definition.key);
    let named: Vec<usize> = plain.key.iter().filter_map(|name| target.column(name)).collect();
    let own =
        named.is_empty() || (named.len() == own_key.len() && own_key.iter().all(|key| named.contains(key)));
    if key.is_empty() && !named.is_empty() {
        let text =
            format!("its data has not all the columns of connectorConfig.plainKey: {}", plain.key.join(", "));
        return Err(Trouble::Refused(text));
    }
    let step = if own { insertion(target, after) } else { Step::UpdateFirst };
    Ok(Change { table, step, after, before: 0, told: Told::ByAfter })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folding, table, tables};
    use super::*;

    const EVENT: StoreEvent<'static> =
        StoreEvent { op: Op::Create, db: "s", table: "t", before: None, after: None, plain: None, id: b"1" };

    /// What an event does to `s.t (id, code, v)` with that key; `change` alters the table.
    fn check(
        key: Vec<usize>,
        change: impl FnOnce(&mut Table<Folding>),
        event: &StoreEvent<'static>,
    ) -> Result<(Step, Told), String> {
        let mut table = table::<Folding>(&["id", "code", "v"], key);
        change(&mut table);
        let mut tables = tables(table);
        let understood = understand(event, &mut Images::default(), &mut tables, &mut (), Instant::now());
        match understood {
            Ok(change) => Ok((change.step, change.told)),
            Err(Trouble::Refused(reason)) => Err(reason),
            Err(Trouble::Failed(failure)) => panic!("{failure}"),
        }
    }

    fn updated(before: Option<&'static str>, after: &'static str) -> StoreEvent<'static> {
        StoreEvent {
            op: Op::Update,
            before: before.map(str::as_bytes),
            after: Some(after.as_bytes()),
            ..EVENT
        }
    }

    const ROW: &str = r#"{"id":1,"code":2,"v":3}"#;

    #[test]
    fn a_row_that_may_be_there_is_upserted_unless_that_could_touch_another() {
        let created = StoreEvent { after: Some(ROW.as_bytes()), ..EVENT };
        assert_eq!(check(vec![0], |_| (), &created), Ok((Step::Upsert, Told::ByAfter)));
        let delicate = |table: &mut Table<Folding>| table.definition.delicate = true;
        assert_eq!(check(vec![0], delicate, &created), Ok((Step::InsertFirst, Told::ByAfter)));
        assert_eq!(check(vec![], |_| (), &created), Ok((Step::Insert, Told::ByAfter)));
        assert_eq!(check(vec![0], |_| (), &EVENT), Err("the event has no `after`".into()));
    }

    #[test]
    fn an_update_finds_its_row_by_the_key_that_it_had() {
        let (upsert, of_old) = ((Step::Upsert, Told::ByAfter), |step| (step, Told::ByBefore));
        assert_eq!(check(vec![0], |_| (), &updated(None, ROW)), Ok(upsert));
        assert_eq!(check(vec![0], |_| (), &updated(Some(r#"{"id":1}"#), ROW)), Ok(upsert));
        assert_eq!(check(vec![0], |_| (), &updated(Some(r#"{"id":9}"#), ROW)), Ok(of_old(Step::Move)));
        let part = r#"{"id":1,"v":3}"#;
        let some = Ok((Step::UpdateOnly, Told::ByAfter));
        assert_eq!(check(vec![0], |_| (), &updated(None, part)), some);
        let moved = Ok(of_old(Step::UpdateOnly));
        assert_eq!(check(vec![0], |_| (), &updated(Some(r#"{"id":9}"#), part)), moved);
        assert_eq!(check(vec![0], |_| (), &updated(Some(r#"{"id":1}"#), r#"{"v":3}"#)), moved);
        let delicate = |table: &mut Table<Folding>| table.definition.delicate = true;
        let first = Ok((Step::UpdateFirst, Told::ByAfter));
        assert_eq!(check(vec![0], delicate, &updated(Some(ROW), ROW)), first);
    }

    #[test]
    fn a_row_without_a_key_is_found_whole_or_not_at_all() {
        let whole = |step| Ok((step, Told::ByBefore));
        assert_eq!(check(vec![], |_| (), &updated(Some(ROW), ROW)), whole(Step::UpdateMatching));
        let deleted = StoreEvent { op: Op::Delete, before: Some(ROW.as_bytes()), ..EVENT };
        assert_eq!(check(vec![], |_| (), &deleted), whole(Step::DeleteMatching));
        assert_eq!(check(vec![0], |_| (), &deleted), whole(Step::Delete));
        let blind = "an update of a row without key has no `before`".to_owned();
        assert_eq!(check(vec![], |_| (), &updated(None, ROW)), Err(blind));
    }

    #[test]
    fn an_identity_column_keeps_its_value() {
        let identity = |table: &mut Table<Folding>| table.definition.columns[1].identity = true;
        assert_eq!(check(vec![0], identity, &updated(Some(ROW), ROW)), Ok((Step::Upsert, Told::ByAfter)));
        let other = updated(Some(r#"{"id":1,"code":9,"v":3}"#), ROW);
        let reason = check(vec![0], identity, &other).expect_err("it changes");
        assert!(reason.starts_with("column code of s.t is GENERATED ALWAYS AS IDENTITY"), "{reason}");
    }

    #[test]
    fn a_plain_event_replaces_the_row_that_the_named_key_tells() {
        let plain = |data: &'static str| StoreEvent { plain: Some(data.as_bytes()), ..EVENT };
        let first = Ok((Step::UpdateFirst, Told::ByAfter));
        assert_eq!(check(vec![0], |_| (), &plain(ROW)), first);
        assert_eq!(check(vec![1], |_| (), &plain(ROW)), Ok((Step::Upsert, Told::ByAfter)));
        let reason = check(vec![0], |_| (), &plain(r#"{"id":1}"#)).expect_err("no code");
        assert!(reason.ends_with("plainKey: code"), "{reason}");
    }
}
