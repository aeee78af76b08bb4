//! Events put into the target in one transaction together with the record of what is applied.
//!
//! First all at once: few statements, sent without waiting for one another, and those that are long already while the events
//! behind them are still read. A statement that fails takes its transaction
//! with it, so what is to blame is found in a second attempt, behind savepoints, a run halved until its row is alone.
//! Invariant: with anything refused, nothing is committed.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use flowd_engine::failure::Failure;
use flowd_sink::rows::change::{Change, Images, Step};
use flowd_sink::store::{Applied, Op, Refused, StoreEvent};

use crate::applied::Record;
use crate::dialect::Tables;
use crate::fault::Fault;
use crate::run::{ROWS_FULL, Run, Runs};
use crate::session::{Call, Session};
use crate::texts::Texts;

/// One put under way.
pub(crate) struct Writer<'s> {
    pub(crate) session: &'s mut Session,
    pub(crate) tables: &'s mut Tables,
    pub(crate) record: &'s Record,
    pub(crate) now: Instant,
}

/// How a row did not go in.
enum Unput {
    Fault(Fault),
    /// Rows that must be there are not.
    Missing,
}

impl Writer<'_> {
    /// All of it, or nothing and who is to blame.
    pub(crate) fn put(
        &mut self,
        events: &[StoreEvent<'_>],
        applied: &Applied,
    ) -> Result<Vec<Refused>, Failure> {
        self.tables.begin(self.now);
        if let [event] = events
            && event.op == Op::Truncate
            && event.plain.is_none()
        {
            return self.truncate(event, applied);
        }
        let refused = self.attempt(events, applied)?;
        if !self.tables.may_be_outdated(self.session, events, &refused, self.now) {
            return Ok(refused);
        }
        self.tables.forget();
        self.attempt(events, applied)
    }

    fn attempt(&mut self, events: &[StoreEvent<'_>], applied: &Applied) -> Result<Vec<Refused>, Failure> {
        let mut refused = Vec::new();
        match self.all_at_once(events, applied, &mut refused) {
            Ok(()) => {}
            Err(Fault::Failed(failure)) => {
                self.roll_back();
                return Err(failure);
            }
            // After a COMMIT that failed there is nothing to roll back, and the server only warns.
            Err(Fault::Refused(reason) | Fault::Unmet(reason)) => {
                tracing::debug!(reason, "a put fails as a whole; its rows are tried one by one");
                self.session.roll_back().map_err(Fault::into_failure)?;
                self.one_by_one(events, applied, &mut refused)?;
                refused.sort_by_key(|refused| refused.index);
            }
        }
        Ok(refused)
    }

    /// Sends what the events do while later ones are still gathered, and commits it. With any refused, nothing is committed.
    /// Any other fault than a failure means that some row is to blame.
    fn all_at_once(
        &mut self,
        events: &[StoreEvent<'_>],
        applied: &Applied,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Fault> {
        // A definition is read before the transaction, which may have failed without our knowledge.
        let is_early = events.len() > ROWS_FULL && events.iter().all(|event| self.tables.knows(event));
        let together = if is_early { ROWS_FULL } else { events.len().max(1) };
        let mut runs = Runs::default();
        let mut calls = vec![self.call("BEGIN")?];
        let mut sent = Vec::new();
        for (number, some) in events.chunks(together).enumerate() {
            self.gather(number * together, some, &mut runs, refused).map_err(Fault::Failed)?;
            let full = runs.take_full();
            if refused.is_empty() && !full.is_empty() {
                self.calls(full, &mut calls, &mut sent)?;
                self.session.send(std::mem::take(&mut calls))?;
            }
        }
        if !refused.is_empty() {
            if !sent.is_empty() {
                self.roll_back();
            }
            return Ok(());
        }
        self.calls(runs.take_all(), &mut calls, &mut sent)?;
        calls.extend(self.record.calls(self.session, applied)?);
        if !sent.iter().any(|sent| must_find(sent.step)) {
            // Behind a statement that failed it commits nothing.
            calls.push(self.call("COMMIT")?);
            return self.session.call_all(calls).map(drop);
        }
        let counts = self.session.call_all(calls)?;
        // The first answer is that to BEGIN.
        let mut found = sent.iter().zip(&counts[1..]);
        if !found.all(|(sent, count)| finds_all(sent.step, sent.rows, *count)) {
            return Err(Fault::Refused("rows are missing".into()));
        }
        self.session.run("COMMIT")
    }

    /// Gathers some events of a put, the first of which has the index `first`.
    fn gather(
        &mut self,
        first: usize,
        some: &[StoreEvent<'_>],
        runs: &mut Runs,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Failure> {
        let add = |index, change: &Change, images: &Images<'_>, tables: &mut Tables| {
            runs.add(index, change, images, tables)
        };
        let some = some.iter().enumerate().map(|(index, event)| (first + index, event));
        self.tables.gather(self.session, some, self.now, refused, add)
    }

    /// A statement without parameters.
    fn call(&mut self, sql: &str) -> Result<Call, Fault> {
        Ok(Call { statement: self.session.prepare(sql)?, params: Arc::new([]) })
    }

    /// The statements of some runs, added to `calls`, and what they must find to `sent`.
    fn calls(&mut self, runs: Vec<Run>, calls: &mut Vec<Call>, sent: &mut Vec<Sent>) -> Result<(), Fault> {
        for run in runs {
            let sql = &self.tables.at(run.table).statements[run.plan].sql;
            let statement = self.session.prepare(sql)?;
            sent.push(Sent { step: run.step, rows: run.events.len() });
            calls.push(Call { statement, params: run.params.into() });
        }
        Ok(())
    }

    /// The failure at hand is the one that counts: this only tries not to leave a transaction open.
    fn roll_back(&mut self) {
        if let Err(fault) = self.session.roll_back() {
            tracing::debug!(?fault, "the transaction goes with the session");
        }
    }

    /// Puts what can be put, run by run, and tells what cannot; commits only where all can.
    fn one_by_one(
        &mut self,
        events: &[StoreEvent<'_>],
        applied: &Applied,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Failure> {
        let mut runs = Runs::default();
        self.gather(0, events, &mut runs, refused)?;
        if !refused.is_empty() {
            return Ok(());
        }
        let result = self.try_one_by_one(&runs.take_all(), applied, refused);
        if result.is_err() || !refused.is_empty() {
            self.roll_back();
        }
        result
    }

    fn try_one_by_one(
        &mut self,
        runs: &[Run],
        applied: &Applied,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Failure> {
        // What is deferred to the COMMIT would blame nobody.
        self.session.run("BEGIN; SET CONSTRAINTS ALL IMMEDIATE").map_err(Fault::into_failure)?;
        for run in runs {
            self.halve(run, 0..run.events.len(), refused)?;
        }
        if !refused.is_empty() {
            return Ok(());
        }
        let recorded = self.record.calls(self.session, applied);
        recorded.and_then(|calls| self.session.call_all(calls)).map_err(unrecorded)?;
        self.session.run("COMMIT").map_err(Fault::into_failure)
    }

    /// Puts some rows of a run: together, or where that fails each half by itself.
    fn halve(&mut self, run: &Run, rows: Range<usize>, refused: &mut Vec<Refused>) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        let params: Arc<[Texts]> = run.slice(rows.clone()).into();
        let Err(unput) = self.try_rows(run, rows.len(), &params)? else { return Ok(()) };
        if rows.len() > 1 {
            let middle = rows.start + rows.len() / 2;
            self.halve(run, rows.start..middle, refused)?;
            return self.halve(run, middle..rows.end, refused);
        }
        let index = run.events[rows.start];
        refused.push(self.blame(run, index, &params, unput)?);
        Ok(())
    }

    /// Behind a savepoint: what fails leaves nothing.
    fn try_rows(
        &mut self,
        run: &Run,
        count: usize,
        params: &Arc<[Texts]>,
    ) -> Result<Result<(), Unput>, Failure> {
        let sql = self.tables.at(run.table).statements[run.plan].sql.clone();
        self.session.run("SAVEPOINT row").map_err(Fault::into_failure)?;
        let called = self
            .session
            .prepare(&sql)
            .and_then(|statement| self.session.call(&Call { statement, params: Arc::clone(params) }));
        let unput = match called {
            Ok(found) if finds_all(run.step, count, found) => {
                self.session.run("RELEASE row").map_err(Fault::into_failure)?;
                return Ok(Ok(()));
            }
            Ok(_) => Unput::Missing,
            Err(Fault::Failed(failure)) => return Err(failure),
            Err(fault) => Unput::Fault(fault),
        };
        self.session.run("ROLLBACK TO row; RELEASE row").map_err(Fault::into_failure)?;
        Ok(Err(unput))
    }

    fn blame(&mut self, run: &Run, index: usize, params: &[Texts], unput: Unput) -> Result<Refused, Failure> {
        let name = self.tables.at(run.table).definition.name.clone();
        let (reason, later) = match unput {
            Unput::Missing => {
                let table = self.tables.at(run.table);
                let told = table.statements[run.plan].told_key(table, params);
                let told = told.map_or("that is `before`".into(), |key| format!("with {key}"));
                (format!("there is no row {told}"), false)
            }
            Unput::Fault(Fault::Failed(failure)) => return Err(failure),
            Unput::Fault(Fault::Unmet(reason)) => (reason, true),
            Unput::Fault(Fault::Refused(reason)) => match self.column_to_blame(run, params)? {
                Some(column) => (format!("column {column}: {reason}"), false),
                None => (reason, false),
            },
        };
        Ok(Refused { index, reason: format!("{name}: {reason}"), later })
    }

    /// The server does not say whose value it cannot read: each is tried by itself.
    fn column_to_blame(&mut self, run: &Run, params: &[Texts]) -> Result<Option<String>, Failure> {
        for (param, texts) in params.iter().enumerate() {
            let table = self.tables.at(run.table);
            let (sql, column) = table.statements[run.plan].probe(table, param);
            self.session.run("SAVEPOINT value").map_err(Fault::into_failure)?;
            let called = self.session.prepare(&sql).and_then(|statement| {
                self.session.call(&Call { statement, params: Arc::new([texts.clone()]) })
            });
            self.session.run("ROLLBACK TO value; RELEASE value").map_err(Fault::into_failure)?;
            match called {
                Ok(_) => {}
                Err(Fault::Failed(failure)) => return Err(failure),
                Err(Fault::Refused(_) | Fault::Unmet(_)) => return Ok(Some(column)),
            }
        }
        Ok(None)
    }

    /// Empties the event's table and records it. Where the role may not truncate, or a foreign key refers to the table, its
    /// rows are deleted.
    fn truncate(&mut self, event: &StoreEvent<'_>, applied: &Applied) -> Result<Vec<Refused>, Failure> {
        let refused = |reason| vec![Refused { index: 0, reason, later: false }];
        let (name, quoted) = match self.tables.of(self.session, event.db, event.table, self.now) {
            Ok(table) => {
                let table = self.tables.at(table);
                (table.definition.name.clone(), table.quoted.clone())
            }
            Err(trouble) => return Ok(vec![trouble.refuse(0)?]),
        };
        let result = self.try_truncate(&quoted, applied);
        if result.is_err() {
            self.roll_back();
        }
        match result {
            Ok(()) => Ok(Vec::new()),
            Err(Fault::Failed(failure)) => Err(failure),
            Err(Fault::Refused(reason)) => Ok(refused(format!("{name}: {reason}"))),
            Err(Fault::Unmet(reason)) => {
                Ok(vec![Refused { index: 0, reason: format!("{name}: {reason}"), later: true }])
            }
        }
    }

    fn try_truncate(&mut self, table: &str, applied: &Applied) -> Result<(), Fault> {
        self.session.run("BEGIN; SAVEPOINT whole")?;
        let truncated = self.session.run_long(&format!("TRUNCATE TABLE {table}"));
        match truncated {
            Ok(()) => {}
            Err(Fault::Failed(failure @ (Failure::Retry(_) | Failure::Fatal(_)))) => {
                return Err(Fault::Failed(failure));
            }
            Err(fault) => {
                tracing::debug!(?fault, table, "not truncated: its rows are deleted");
                self.session.run("ROLLBACK TO whole")?;
                self.session.run_long(&format!("DELETE FROM {table}"))?;
            }
        }
        let calls = self.record.calls(self.session, applied);
        let recorded = calls.and_then(|calls| self.session.call_all(calls));
        recorded.map_err(unrecorded).map_err(Fault::Failed)?;
        self.session.run("COMMIT")
    }
}

/// A run that was sent.
struct Sent {
    step: Step,
    rows: usize,
}

/// Whether the rows of a statement must be there.
fn must_find(step: Step) -> bool {
    matches!(step, Step::UpdateOnly | Step::UpdateMatching | Step::DeleteMatching)
}

/// Whether a statement met all the rows that must be there.
fn finds_all(step: Step, rows: usize, found: u64) -> bool {
    !must_find(step) || usize::try_from(found) == Ok(rows)
}

/// Without its record the data may not be committed, and no event is to blame.
fn unrecorded(fault: Fault) -> Failure {
    match fault {
        Fault::Failed(failure) => failure.context("flowd_applied cannot be written"),
        Fault::Unmet(reason) | Fault::Refused(reason) => {
            Failure::Fatal(format!("flowd_applied cannot be written: {reason}"))
        }
    }
}
