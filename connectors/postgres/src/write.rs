//! Events put into the target in one transaction together with the record of what is applied.
//!
//! First all at once: few statements, sent without waiting for one another. A statement that fails takes its transaction
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
use crate::run::{Run, Runs};
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
        let runs = self.gather(events, &mut refused)?;
        if !refused.is_empty() {
            return Ok(refused);
        }
        if self.all_at_once(&runs, applied)? {
            return Ok(refused);
        }
        self.one_by_one(&runs, applied, &mut refused)?;
        refused.sort_by_key(|refused| refused.index);
        Ok(refused)
    }

    fn gather(&mut self, events: &[StoreEvent<'_>], refused: &mut Vec<Refused>) -> Result<Vec<Run>, Failure> {
        let mut runs = Runs::default();
        let add = |index, change: &Change, images: &Images<'_>, tables: &mut Tables| {
            runs.add(index, change, images, tables)
        };
        self.tables.gather(self.session, events, self.now, refused, add)?;
        Ok(runs.into_list())
    }

    /// Whether all of it is committed; else nothing is, and some row is to blame.
    fn all_at_once(&mut self, runs: &[Run], applied: &Applied) -> Result<bool, Failure> {
        let result = self.calls(runs).and_then(|mut calls| {
            calls.extend(self.record.calls(self.session, applied)?);
            self.session.call_all(&calls)
        });
        let is_whole = |counts: &[u64]| {
            let found = runs.iter().zip(&counts[1..]);
            found.into_iter().all(|(run, count)| finds_all(run, run.events.len(), *count))
        };
        let result = match result {
            Ok(counts) if is_whole(&counts) => self.session.run("COMMIT"),
            Ok(_) => Err(Fault::Refused("rows are missing".into())),
            Err(fault) => Err(fault),
        };
        match result {
            Ok(()) => Ok(true),
            Err(Fault::Failed(failure)) => {
                self.roll_back();
                Err(failure)
            }
            // After a COMMIT that failed there is nothing to roll back, and the server only warns.
            Err(Fault::Refused(reason) | Fault::Unmet(reason)) => {
                tracing::debug!(reason, "a put fails as a whole; its rows are tried one by one");
                self.session.run("ROLLBACK").map_err(Fault::into_failure)?;
                Ok(false)
            }
        }
    }

    /// The failure at hand is the one that counts: this only tries not to leave a transaction open.
    fn roll_back(&mut self) {
        if let Err(fault) = self.session.run("ROLLBACK") {
            tracing::debug!(?fault, "the transaction goes with the session");
        }
    }

    /// BEGIN, and a call for each run.
    fn calls(&mut self, runs: &[Run]) -> Result<Vec<Call>, Fault> {
        let begin = Call { statement: self.session.prepare("BEGIN")?, params: Arc::new([]) };
        let mut calls = Vec::with_capacity(runs.len() + 2);
        calls.push(begin);
        for run in runs {
            let sql = &self.tables.at(run.table).statements[run.plan].sql;
            let statement = self.session.prepare(sql)?;
            calls.push(Call { statement, params: run.params.as_slice().into() });
        }
        Ok(calls)
    }

    /// Puts what can be put, run by run, and tells what cannot; commits only where all can.
    fn one_by_one(
        &mut self,
        runs: &[Run],
        applied: &Applied,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Failure> {
        let result = self.try_one_by_one(runs, applied, refused);
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
        recorded.and_then(|calls| self.session.call_all(&calls)).map_err(unrecorded)?;
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
            Ok(found) if finds_all(run, count, found) => {
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
        let recorded = calls.and_then(|calls| self.session.call_all(&calls));
        recorded.map_err(unrecorded).map_err(Fault::Failed)?;
        self.session.run("COMMIT")
    }
}

/// Whether a statement met all the rows that must be there.
fn finds_all(run: &Run, rows: usize, found: u64) -> bool {
    let must_find = matches!(run.step, Step::UpdateOnly | Step::UpdateMatching | Step::DeleteMatching);
    !must_find || usize::try_from(found) == Ok(rows)
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
