//! Events put into the target in one transaction together with the record of what is applied.
//!
//! First as few statements; where one of several rows fails, its rows by themselves, to find those that are to blame.
//! Invariant: with anything refused, nothing is committed.

use std::time::Instant;

use flowd_engine::failure::Failure;
use flowd_sink::rows::change::{Change, Images, Step, Told, understand};
use flowd_sink::rows::mapping::TableName;
use flowd_sink::store::{Applied, Op, Refused, StoreEvent};

use crate::error::WireError;
use crate::sink::applied::Record;
use crate::sink::dialect::Tables;
use crate::sink::fault::{Fault, alters, is_empty_label};
use crate::sink::line::{LINE_MAX, Line, lines_up};
use crate::sink::row::Row;
use crate::sink::run::{Run, Runs};
use crate::sink::session::{Session, Strictness, Warning};
use crate::sink::single;
use crate::sink::truncate::TRUNCATE_WAIT;

/// The most text of rows in one statement, bytes; less where the server takes less.
const ROWS_BYTES_MAX: usize = 4 << 20;

/// One put under way.
pub(super) struct Writer<'s> {
    pub(super) session: &'s mut Session,
    pub(super) tables: &'s mut Tables,
    pub(super) record: &'s Record,
    /// The statement at hand.
    pub(super) sql: &'s mut Vec<u8>,
    pub(super) now: Instant,
}

/// Whether rows may share a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joining {
    Joined,
    /// A statement of several rows was altered by the server: each row by itself tells which.
    Single,
}

/// How an attempt ended.
enum Attempt {
    Committed,
    /// Rolled back.
    Refused(Vec<Refused>),
    /// Rolled back: some row of several was altered.
    Altered,
}

impl Writer<'_> {
    /// All of it, or nothing and who is to blame.
    pub(super) fn put(
        &mut self,
        events: &[StoreEvent<'_>],
        applied: &Applied,
    ) -> Result<Vec<Refused>, Failure> {
        self.tables.begin(self.now);
        if let [event] = events
            && event.op == Op::Truncate
            && event.plain.is_none()
            && applied.chunks.is_empty()
            && applied.over.is_empty()
        {
            return self.truncate(event, applied);
        }
        let mut joining = Joining::Joined;
        let mut fresh = false;
        loop {
            match self.attempt(events, applied, joining)? {
                Attempt::Committed => return Ok(Vec::new()),
                Attempt::Altered => joining = Joining::Single,
                Attempt::Refused(refused) => {
                    if fresh || !self.tables.may_be_outdated(self.session, events, &refused, self.now) {
                        return Ok(refused);
                    }
                    self.tables.forget();
                    fresh = true;
                }
            }
        }
    }

    fn attempt(
        &mut self,
        events: &[StoreEvent<'_>],
        applied: &Applied,
        joining: Joining,
    ) -> Result<Attempt, Failure> {
        let mut images = Images::default();
        let mut refused = Vec::new();
        let runs = self.gather(events, &mut refused)?;
        self.session.run(b"START TRANSACTION")?;
        let runs: Vec<&Run> = runs.iter().collect();
        let mut next = 0;
        while next < runs.len() {
            let some = line_of(&runs[next..], joining);
            let outcome = match some.len() {
                1 => self.put_run(some[0], events, &mut images, joining, &mut refused)?,
                _ => self.put_singles(some, events, &mut images, &mut refused)?,
            };
            if outcome == Line::Again {
                self.session.run(b"ROLLBACK")?;
                return Ok(Attempt::Altered);
            }
            next += some.len();
        }
        if !refused.is_empty() {
            self.session.run(b"ROLLBACK")?;
            refused.sort_by_key(|refused| refused.index);
            return Ok(Attempt::Refused(refused));
        }
        self.commit(applied)?;
        Ok(Attempt::Committed)
    }

    pub(super) fn commit(&mut self, applied: &Applied) -> Result<(), Failure> {
        self.record.write(self.session, applied).map_err(unrecorded)?;
        self.session.run(b"COMMIT")?;
        Ok(())
    }

    fn gather(&mut self, events: &[StoreEvent<'_>], refused: &mut Vec<Refused>) -> Result<Runs, Failure> {
        let bytes_max = ROWS_BYTES_MAX.min(self.session.statement_bytes_max / 2);
        let mut runs = Runs::new(bytes_max);
        let add = |index, change: &Change, images: &Images<'_>, tables: &mut Tables| {
            runs.add(index, change, images, tables)
        };
        self.tables.gather(self.session, events.iter().enumerate(), self.now, refused, add)?;
        Ok(runs)
    }

    /// Puts one run: as one statement, or event by event.
    fn put_run<'a>(
        &mut self,
        run: &Run,
        events: &[StoreEvent<'a>],
        images: &mut Images<'a>,
        joining: Joining,
        refused: &mut Vec<Refused>,
    ) -> Result<Line, Failure> {
        if joining == Joining::Joined && run.is_joined() {
            match self.put_joined(run) {
                Ok(()) => return Ok(Line::Put),
                Err(Fault::Failed(failure)) => return Err(failure),
                Err(Fault::Altered(_)) => return Ok(Line::Again),
                // The statement left nothing behind; its rows tell by themselves.
                Err(Fault::Refused(_) | Fault::Duplicate(_)) => {}
            }
        }
        for &index in &run.events {
            self.put_single(index, &events[index], images, refused)?;
        }
        Ok(Line::Put)
    }

    /// Puts runs of one event each, in a line where that can be.
    fn put_singles<'a>(
        &mut self,
        runs: &[&Run],
        events: &[StoreEvent<'a>],
        images: &mut Images<'a>,
        refused: &mut Vec<Refused>,
    ) -> Result<Line, Failure> {
        let line: Vec<usize> = runs.iter().flat_map(|run| run.events.iter().copied()).collect();
        let outcome = self.put_line(&line, events, images, refused)?;
        if outcome != Line::Unfit {
            return Ok(outcome);
        }
        for index in line {
            self.put_single(index, &events[index], images, refused)?;
        }
        Ok(Line::Put)
    }

    fn put_joined(&mut self, run: &Run) -> Result<(), Fault> {
        run.write(self.tables.at(run.table), self.sql);
        self.statement().map(drop)
    }

    /// An event by itself; what cannot be is added to `refused`.
    fn put_single<'a>(
        &mut self,
        index: usize,
        event: &StoreEvent<'a>,
        images: &mut Images<'a>,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Failure> {
        let change = match understand(event, images, self.tables, self.session, self.now) {
            Ok(change) => change,
            Err(trouble) => {
                refused.push(trouble.refuse(index)?);
                return Ok(());
            }
        };
        if let Err(fault) = self.one_row(&change, images) {
            refused.push(refused_over(index, &self.tables.at(change.table).definition.name, fault)?);
        }
        Ok(())
    }

    fn one_row(&mut self, change: &Change, images: &Images<'_>) -> Result<(), Fault> {
        match change.step {
            Step::Upsert | Step::Insert => self.insert(change, images),
            Step::InsertFirst => match self.insert(change, images) {
                // Of the key, or of another index? By the key alone, an UPDATE tells.
                Err(Fault::Duplicate(reason)) => match self.update(change, images)? {
                    Found::Row => Ok(()),
                    Found::Nothing => Err(Fault::Duplicate(reason)),
                },
                result => result,
            },
            Step::UpdateFirst => match self.update(change, images)? {
                Found::Row => Ok(()),
                Found::Nothing => self.insert(change, images),
            },
            Step::Move => match self.update(change, images)? {
                Found::Row => Ok(()),
                Found::Nothing => {
                    self.one_row(&Change { step: Step::InsertFirst, told: Told::ByAfter, ..*change }, images)
                }
            },
            Step::UpdateOnly | Step::UpdateMatching => match self.update(change, images)? {
                Found::Row => Ok(()),
                Found::Nothing => Err(self.no_row(change, images)),
            },
            Step::Delete => self.delete(change, images).map(drop),
            Step::DeleteMatching => match self.delete(change, images)? {
                Found::Row => Ok(()),
                Found::Nothing => Err(self.no_row(change, images)),
            },
            Step::Truncate => {
                let table = self.tables.at(change.table);
                let sql = format!("DELETE FROM {}", table.quoted);
                self.session.run_long(sql.as_bytes(), TRUNCATE_WAIT)?;
                Ok(())
            }
        }
    }

    pub(super) fn no_row(&self, change: &Change, images: &Images<'_>) -> Fault {
        let table = self.tables.at(change.table);
        let row = Row::of(table, change, change.told, images);
        let mut condition = Vec::new();
        // It was written before without fault.
        if row.layout.key.is_empty() || row.key_condition(&mut condition).is_err() {
            return Fault::Refused("there is no row that is `before`".into());
        }
        Fault::Refused(format!("there is no row with {}", String::from_utf8_lossy(&condition)))
    }

    fn insert(&mut self, change: &Change, images: &Images<'_>) -> Result<(), Fault> {
        let table = self.tables.at(change.table);
        let row = Row::of(table, change, Told::ByAfter, images);
        self.sql.clear();
        self.sql.extend_from_slice(&row.layout.shape.insert);
        let strictness = row.tuple(self.sql).map_err(Fault::Refused)?;
        if change.step == Step::Upsert {
            self.sql.extend_from_slice(&row.layout.shape.upsert);
        }
        self.statement_under(strictness).map(drop)
    }

    fn update(&mut self, change: &Change, images: &Images<'_>) -> Result<Found, Fault> {
        self.sql.clear();
        let table = self.tables.at(change.table);
        let single = single::update(table, change, images, self.sql).map_err(Fault::Refused)?;
        let condition = self.sql[single.condition..].to_vec();
        if !single.is_idle && self.statement_under(single.strictness)? > 0 {
            return Ok(Found::Row);
        }
        // A row that is already as it should be does not count as affected.
        self.find(change, &condition)
    }

    fn delete(&mut self, change: &Change, images: &Images<'_>) -> Result<Found, Fault> {
        self.sql.clear();
        let table = self.tables.at(change.table);
        single::delete(table, change, images, self.sql).map_err(Fault::Refused)?;
        Ok(if self.statement()? > 0 { Found::Row } else { Found::Nothing })
    }

    /// Whether there is a row; as it is now, not as an older view of the transaction shows it.
    pub(super) fn find(&mut self, change: &Change, condition: &[u8]) -> Result<Found, Fault> {
        let table = self.tables.at(change.table);
        let condition = String::from_utf8_lossy(condition);
        let limit = if condition.ends_with(" LIMIT 1") { "" } else { " LIMIT 1" };
        let sql = format!("SELECT 1 FROM {}{condition}{limit} FOR UPDATE", table.quoted);
        let found = self.session.connection().query_first(&sql)?;
        Ok(if found.is_some() { Found::Row } else { Found::Nothing })
    }

    fn statement_under(&mut self, strictness: Strictness) -> Result<u64, Fault> {
        if strictness == Strictness::Strict {
            return self.statement();
        }
        self.session.set_strictness(Strictness::Loose)?;
        let result = self.checked(|warning| alters(warning) && !is_empty_label(warning));
        self.session.set_strictness(Strictness::Strict)?;
        result
    }

    /// Runs the statement at hand and looks at what the server says of it. Gives the affected rows.
    fn statement(&mut self) -> Result<u64, Fault> {
        self.checked(alters)
    }

    fn checked(&mut self, is_fault: impl Fn(&Warning) -> bool) -> Result<u64, Fault> {
        let (size, most) = (self.sql.len(), self.session.statement_bytes_max);
        if size > most {
            return Err(Fault::Refused(format!(
                "a statement of {size} bytes is longer than the server's max_allowed_packet allows ({most})"
            )));
        }
        let done = self.session.run(self.sql)?;
        if done.warnings > 0 {
            let warnings = self.session.warnings()?;
            if let Some(warning) = warnings.iter().find(|warning| is_fault(warning)) {
                let text = format!("the server warns {}: {}", warning.code, warning.message);
                return Err(Fault::Altered(text));
            }
            tracing::debug!(?warnings, "warnings that change nothing");
        }
        Ok(done.affected)
    }
}

/// The runs that go in one line: several of one event each, or one.
fn line_of<'r>(runs: &'r [&'r Run], joining: Joining) -> &'r [&'r Run] {
    let lines_up = |run: &&&Run| lines_up(run.step);
    let count = runs.iter().take(LINE_MAX).take_while(lines_up).count();
    if joining == Joining::Single { &runs[..1] } else { &runs[..count.max(1)] }
}

/// The event is refused, unless the fault is not its own.
pub(super) fn refused_over(index: usize, table: &TableName, fault: Fault) -> Result<Refused, Failure> {
    match fault {
        Fault::Failed(failure) => Err(failure),
        Fault::Duplicate(reason) => Ok(Refused { index, reason: format!("{table}: {reason}"), later: true }),
        Fault::Refused(reason) | Fault::Altered(reason) => {
            Ok(Refused { index, reason: format!("{table}: {reason}"), later: false })
        }
    }
}

/// Whether a statement met its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Row,
    Nothing,
}

/// Without its record the data may not be committed, and no event is to blame.
pub(super) fn unrecorded(error: WireError) -> Failure {
    match Fault::from(error) {
        Fault::Failed(failure) => failure.context("flowd_applied cannot be written"),
        Fault::Duplicate(reason) | Fault::Refused(reason) | Fault::Altered(reason) => {
            Failure::Fatal(format!("flowd_applied cannot be written: {reason}"))
        }
    }
}
