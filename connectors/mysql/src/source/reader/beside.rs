//! What runs beside the stream: a snapshot, whose chunks go between the stream's batches.

use bytes::Bytes;
use flowd_engine::failure::Failure;

use super::{Ended, Feed, Halt, LOOK_BESIDE, LOOK_EVERY, Reader, SourceEnd, halted, tls};
use crate::rows::{MySqlRecord, RunBeginning};
use crate::snapshot::state::EncodedState;
use crate::snapshot::{Ready, Snapshot, running};
use crate::stream::Stream;

/// Whether there is a snapshot.
pub(in crate::source) enum Beside {
    /// There never was one.
    Never,
    /// It runs.
    Running(Box<Snapshot>),
    /// It is done.
    Finished(EncodedState),
}

impl Beside {
    /// What a run of the snapshot that is not the first begins with.
    pub(in crate::source) fn beginning(&self) -> Option<RunBeginning> {
        match self {
            Self::Running(snapshot) => snapshot.beginning(),
            Self::Never | Self::Finished(_) => None,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    /// Whether the stream must not go further before the snapshot was looked after.
    pub(super) fn is_rest_due(&self, stream: &Stream) -> bool {
        matches!(self, Self::Running(snapshot) if snapshot.is_rest_due(stream))
    }

    /// Shows the snapshot what the stream is about to hand on.
    pub(super) fn observe(&mut self, stream: &mut Stream, bytes: &[u8], moved: bool) -> Result<(), Failure> {
        match self {
            Self::Running(snapshot) if moved || !stream.pending.is_empty() || !snapshot.is_open() => {
                snapshot.observe(stream, bytes)
            }
            _ => Ok(()),
        }
    }

    /// For the position of a batch.
    pub(super) fn encoded(&self) -> Option<EncodedState> {
        match self {
            Self::Never => None,
            Self::Running(snapshot) => Some(snapshot.encoded()),
            Self::Finished(state) => Some(state.clone()),
        }
    }
}

impl Reader<'_> {
    /// Sends what a run of the snapshot that is not the first begins with, and waits until it is applied: from then on no
    /// row that an earlier run left under way is applied over what the stream changes now.
    pub(super) fn begin_run(&mut self, beginning: RunBeginning) -> Result<Option<Ended>, Failure> {
        let records = vec![MySqlRecord::RunBeginning(beginning)];
        match halted(self.send(Bytes::new(), records))? {
            Some(ended) => Ok(Some(ended)),
            None => self.wait_for_all(),
        }
    }

    /// How long a silent read sleeps.
    pub(super) fn set_look(&self, feed: &Feed<tls::Stream>) -> Result<(), Failure> {
        let look = if self.beside.is_running() { LOOK_BESIDE } else { LOOK_EVERY };
        feed.socket().set_read_timeout(Some(look)).map_err(|error| Failure::Retry(error.to_string()))
    }

    /// Looks after the snapshot, with everything handed on that the stream has understood.
    pub(super) fn beside(&mut self, feed: &Feed<tls::Stream>) -> Result<Option<Ended>, Failure> {
        loop {
            if let Some(ended) = halted(self.hand_on_chunks())? {
                return Ok(Some(ended));
            }
            let Beside::Running(snapshot) = &mut self.beside else { return Ok(None) };
            let is_finished = snapshot.is_finished();
            if is_finished || !snapshot.must_rest(&self.stream) {
                let ended = self.wait_for_whole()?;
                return match ended {
                    None if is_finished => self.finish_snapshot(feed),
                    ended => Ok(ended),
                };
            }
            snapshot.wait(LOOK_BESIDE)?;
            if self.intake.is_closed() {
                return Ok(Some(Ended::Source(SourceEnd::Stopped)));
            }
            // Resting is no silence of the server.
            self.reading = std::time::Instant::now();
        }
    }

    /// Where rows of a table without usable key were handed on, waits until all of them are acknowledged: they hold no key
    /// that would keep what the stream does to them behind them.
    fn wait_for_whole(&mut self) -> Result<Option<Ended>, Failure> {
        if !std::mem::take(&mut self.is_behind_whole) {
            return Ok(None);
        }
        self.wait_for_all()
    }

    /// Hands on every chunk whose moment has come.
    fn hand_on_chunks(&mut self) -> Result<(), Halt> {
        while let Beside::Running(snapshot) = &mut self.beside {
            let Some(ready) = snapshot.ready(&self.stream)? else { break };
            self.intake.reserve(ready.bytes.len())?;
            snapshot.handed_on(&ready);
            self.is_behind_whole |= ready.is_of_whole();
            let Ready { record, bytes, rows, .. } = ready;
            self.source.metrics.read.rows.add(rows);
            let records = record.map(MySqlRecord::Chunk).into_iter().collect();
            self.send(bytes, records)?;
            // Whoever sees that it is finished may stop us: by then all of it is the pipeline's.
            if let Beside::Running(snapshot) = &self.beside {
                snapshot.show();
            }
        }
        Ok(())
    }

    /// Every row was handed on: from now on there is the stream alone, if there is any more of it to come.
    fn finish_snapshot(&mut self, feed: &Feed<tls::Stream>) -> Result<Option<Ended>, Failure> {
        let Beside::Running(snapshot) = &self.beside else { return Ok(None) };
        let state = snapshot.state();
        tracing::info!(
            snapshot = state.id,
            tables = state.tables,
            rows = state.rows,
            chunks = state.chunks,
            bytes = state.bytes,
            "the snapshot is finished"
        );
        // A table that is gone ends without a chunk that would have told.
        running::count(&state, &self.source.metrics);
        self.beside = Beside::Finished(snapshot.encoded());
        self.stream.ignore_definitions();
        self.set_look(feed)?;
        if let Some(ended) = halted(self.send(Bytes::new(), Vec::new()))? {
            return Ok(Some(ended));
        }
        Ok(self.is_end_reached().then_some(Ended::Source(SourceEnd::Reached)))
    }
}
