//! Statements that each need an answer, sent without waiting for the one before: the way to the server is gone once for
//! many.
//!
//! They are those of tables where rows cannot share a statement. Invariant: what only the order of answers could tell is
//! not guessed; then the put begins anew, one statement after the other.

use flowd_engine::failure::Failure;
use flowd_sink::rows::change::{Change, Images, Step, understand};
use flowd_sink::store::{Refused, StoreEvent};

use crate::sink::fault::Fault;
use crate::sink::session::Strictness;
use crate::sink::single;
use crate::sink::write::{Found, Writer, refused_over};

/// The most statements under way: their answers fit into the socket's buffers, so neither side waits for the other.
pub(super) const LINE_MAX: usize = 64;
/// The most text of them, bytes.
const LINE_BYTES_MAX: usize = 256 << 10;

/// How a line went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// As far as it could; who is refused is told.
    Put,
    /// Nothing was sent: it holds what must go by itself.
    Unfit,
    /// It has to be done again, one by one.
    Again,
}

/// Whether it can be sent before the answer to the one before is there.
pub(super) fn lines_up(step: Step) -> bool {
    // Not UpdateMatching: a later one of the line may change the row that tells whether it found its own.
    matches!(step, Step::UpdateFirst | Step::UpdateOnly | Step::DeleteMatching)
}

impl Writer<'_> {
    /// Puts events whose steps line up, in order.
    pub(super) fn put_line<'a>(
        &mut self,
        line: &[usize],
        events: &[StoreEvent<'a>],
        images: &mut Images<'a>,
        refused: &mut Vec<Refused>,
    ) -> Result<Line, Failure> {
        let Some(ends) = self.write_line(line, events, images) else { return Ok(Line::Unfit) };
        let answers = self.session.run_all(self.sql, &ends)?;
        let mut unmet = Vec::new();
        let mut outcome = Line::Put;
        for (&index, answer) in line.iter().zip(answers) {
            match answer {
                Ok(done) if done.warnings > 0 => {
                    self.note_warnings(&events[index], images);
                    outcome = Line::Again;
                }
                Ok(done) if done.affected > 0 => {}
                Ok(_) => unmet.push(index),
                Err(error) => refused.push(self.refuse(index, &events[index], images, error.into())?),
            }
        }
        for index in unmet {
            if self.meet(index, &events[index], images, refused)? == Line::Again {
                outcome = Line::Again;
            }
        }
        Ok(outcome)
    }

    /// Writes the statements one behind the other; gives where each ends. `None` where one cannot be of the line.
    fn write_line<'a>(
        &mut self,
        line: &[usize],
        events: &[StoreEvent<'a>],
        images: &mut Images<'a>,
    ) -> Option<Vec<usize>> {
        self.sql.clear();
        let mut ends = Vec::with_capacity(line.len());
        for &index in line {
            let change = understand(&events[index], images, self.tables, self.session, self.now).ok()?;
            let table = self.tables.at(change.table);
            let single = match change.step {
                Step::DeleteMatching => single::delete(table, &change, images, self.sql),
                _ => single::update(table, &change, images, self.sql),
            };
            let single = single.ok()?;
            let fits = self.sql.len() <= LINE_BYTES_MAX.min(self.session.statement_bytes_max);
            if single.strictness == Strictness::Loose
                || single.is_idle
                || table.definition.known.warns
                || !fits
            {
                return None;
            }
            ends.push(self.sql.len());
        }
        Some(ends)
    }

    /// A statement changed no row: there is none, or it is already as it should be.
    fn meet<'a>(
        &mut self,
        index: usize,
        event: &StoreEvent<'a>,
        images: &mut Images<'a>,
        refused: &mut Vec<Refused>,
    ) -> Result<Line, Failure> {
        let change = self.understood(event, images)?;
        let found = match change.step {
            Step::DeleteMatching => Ok(Found::Nothing),
            _ => self.look_for(&change, images),
        };
        let fault = match found {
            Ok(Found::Row) => return Ok(Line::Put),
            // It is to be inserted, at its place.
            Ok(Found::Nothing) if change.step == Step::UpdateFirst => return Ok(Line::Again),
            Ok(Found::Nothing) => self.no_row(&change, images),
            Err(fault) => fault,
        };
        refused.push(self.refuse(index, event, images, fault)?);
        Ok(Line::Put)
    }

    fn look_for(&mut self, change: &Change, images: &Images<'_>) -> Result<Found, Fault> {
        let table = self.tables.at(change.table);
        self.sql.clear();
        let single = single::update(table, change, images, self.sql).map_err(Fault::Refused)?;
        let condition = self.sql.split_off(single.condition);
        self.find(change, &condition)
    }

    /// Understands again what was understood when the line was written.
    fn understood<'a>(&mut self, event: &StoreEvent<'a>, images: &mut Images<'a>) -> Result<Change, Failure> {
        understand(event, images, self.tables, self.session, self.now)
            .map_err(|trouble| trouble.into_failure(&String::from_utf8_lossy(event.id)))
    }

    fn refuse<'a>(
        &mut self,
        index: usize,
        event: &StoreEvent<'a>,
        images: &mut Images<'a>,
        fault: Fault,
    ) -> Result<Refused, Failure> {
        let change = self.understood(event, images)?;
        refused_over(index, &self.tables.at(change.table).definition.name, fault)
    }

    /// The table's statements warn: they go one by one from now on, so that each warning can be read.
    fn note_warnings<'a>(&mut self, event: &StoreEvent<'a>, images: &mut Images<'a>) {
        if let Ok(change) = understand(event, images, self.tables, self.session, self.now) {
            self.tables.at_mut(change.table).definition.known.warns = true;
        }
    }
}
