//! The reading, across connections: takes events from the feed to the stream and hands batches on; connects again when
//! a connection is lost.

use std::io;
use std::time::{Duration, Instant};

use flowd_engine::ack::Confirmed;
use flowd_engine::back_off::BackOff;
use flowd_engine::failure::Failure;
use flowd_engine::record::{Batch, Position};
use flowd_engine::worker::{Halt, Intake, SourceEnd};

use super::{MySqlSource, back_off};
use crate::begin::{self, End};
use crate::check::replicas;
use crate::config::SnapshotMode;
use crate::connection::Connection;
use crate::dump::{self, HEARTBEAT_EVERY};
use crate::feed::{CHUNK_BYTES, Feed, FeedError, Next};
use crate::lag::LagMeter;
use crate::rows::{MySqlRecord, RunBeginning};
use crate::stream::Stream;
use crate::tls;

/// How often a silent read looks whether the pipeline goes down …
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// … and while a snapshot runs, whether it has something to hand on.
const LOOK_BESIDE: Duration = Duration::from_millis(2);
/// Without an event or a heartbeat for this long, while we are reading, the connection is half-dead.
const SILENCE_MAX: Duration = HEARTBEAT_EVERY.saturating_mul(10);
/// What was understood is held back until this much of the buffer is taken, bytes.
const HOLD_BYTES: usize = CHUNK_BYTES / 2;
/// Thrown off twice within this time by another replica of our id means that somebody else holds it.
const CLASH_WITHIN: Duration = Duration::from_secs(60);

mod beside;

pub(super) use beside::Beside;

/// How one connection's reading ended.
enum Ended {
    Source(SourceEnd),
    /// Connect again.
    Lost(String),
}

/// The reading, across connections.
pub(super) struct Reader<'a> {
    source: &'a MySqlSource,
    intake: &'a mut dyn Intake<MySqlRecord>,
    stream: Stream,
    beside: Beside,
    lag: LagMeter,
    end: Option<End>,
    back_off: BackOff,
    /// When another replica of our id was last seen to throw us off.
    clash: Option<Instant>,
    /// When the last bytes came, or reading was taken up again.
    reading: Instant,
    /// Whether nothing came for [`LOOK_EVERY`].
    silent: bool,
    /// Whether there was a connection before.
    again: bool,
    /// Tells what is acknowledged.
    confirmed: Confirmed,
    /// The position of the last batch, where records were handed on that are not known to be acknowledged.
    unconfirmed: Option<Position>,
    /// Whether rows of a table that is read in one go were handed on, and the stream has not gone on since.
    is_behind_whole: bool,
}

impl<'a> Reader<'a> {
    /// A reader that has not connected yet.
    pub(super) fn new(
        source: &'a MySqlSource,
        intake: &'a mut dyn Intake<MySqlRecord>,
        stream: Stream,
        beside: Beside,
        end: Option<End>,
    ) -> Self {
        let lag = LagMeter::start(source.config.clone(), source.metrics.clone(), source.stop.clone());
        let reading = Instant::now();
        let (back_off, confirmed) = (back_off(), intake.confirmations());
        Self {
            source,
            intake,
            stream,
            beside,
            lag,
            end,
            back_off,
            clash: None,
            reading,
            silent: false,
            again: false,
            confirmed,
            unconfirmed: None,
            is_behind_whole: false,
        }
    }

    /// Reads until the end, a stop or a failure that cannot heal. `beginning` goes before everything else.
    pub(super) fn run(mut self, beginning: Option<RunBeginning>) -> Result<SourceEnd, Failure> {
        if let Some(beginning) = beginning
            && let Some(Ended::Source(end)) = self.begin_run(beginning)?
        {
            return Ok(end);
        }
        loop {
            let lost = match self.connection() {
                Ok(Ended::Source(end)) => return Ok(end),
                Ok(Ended::Lost(text)) | Err(Failure::Retry(text)) => text,
                Err(failure) => return Err(failure),
            };
            self.stream.reconnect();
            self.source.metrics.source_reconnects.add(1);
            self.check_clash(&lost)?;
            let wait = self.back_off.wait();
            tracing::warn!(wait_ms = wait.as_millis(), "{lost}; connecting again");
            if self.source.stop.wait(wait) || self.intake.is_closed() {
                return Ok(SourceEnd::Stopped);
            }
        }
    }

    /// One connection from its dump command to its end.
    fn connection(&mut self) -> Result<Ended, Failure> {
        let source = self.source;
        let position = self.stream.position();
        if self.again {
            begin::still_reachable(&source.config, &position)?;
            self.lag.at(self.stream.place());
            self.lag.take_reset();
        }
        self.again = true;
        let mut dump =
            dump::open(&source.config, &source.replica, &position, source.settings.event_bytes_max)?;
        self.set_look(&dump.feed)?;
        let ended = self.read(&mut dump.feed);
        if !matches!(ended, Ok(Ended::Lost(_)) | Err(Failure::Retry(_))) {
            dump.end(&source.config);
        }
        ended
    }

    /// Reads until the connection or the run ends.
    fn read(&mut self, feed: &mut Feed<tls::Stream>) -> Result<Ended, Failure> {
        self.reading = Instant::now();
        loop {
            let parsed = self.parse(feed);
            let hold = matches!(parsed, Ok(None)) && self.may_hold(feed);
            // What was understood before a failure is handed on: a connection may be lost behind it.
            if !hold && let Some(ended) = halted(self.flush(feed))? {
                return Ok(ended);
            }
            if let Some(ended) = parsed? {
                return Ok(ended);
            }
            if !hold && let Some(ended) = self.settle()? {
                return Ok(ended);
            }
            if !hold && let Some(ended) = self.beside(feed)? {
                return Ok(ended);
            }
            let filled = self.fill(feed);
            // What was held back lives in this connection's buffer, and the position counts it as handed on.
            if !matches!(filled, Ok(None))
                && let Some(ended) = halted(self.flush(feed))?
            {
                return Ok(ended);
            }
            if let Some(ended) = filled? {
                return Ok(ended);
            }
        }
    }

    /// Whether more should be read before what was understood is handed on: bytes that are here already make larger
    /// batches, and the rest of the open transaction, which the server is sending, makes batches that end with
    /// transactions (and one that ends in ROLLBACK can still be dropped).
    fn may_hold(&self, feed: &Feed<tls::Stream>) -> bool {
        let worth = self.stream.holds_whole_transaction() || feed.socket().has_more();
        let due = self.stream.must_settle() || self.beside.is_rest_due(&self.stream);
        feed.parsed() < HOLD_BYTES && !self.silent && worth && !due
    }

    /// Behind a definition waits until all that was handed on is acknowledged, where its lanes may not be those behind.
    fn settle(&mut self) -> Result<Option<Ended>, Failure> {
        if !self.stream.must_settle() {
            return Ok(None);
        }
        let ended = self.wait_for_all()?;
        if ended.is_none() {
            self.stream.settled();
        }
        Ok(ended)
    }

    /// Waits until all that was handed on is acknowledged.
    fn wait_for_all(&mut self) -> Result<Option<Ended>, Failure> {
        while self.unconfirmed.is_some() {
            let confirmed = self.confirmed.take();
            if confirmed.is_some() && confirmed == self.unconfirmed {
                self.unconfirmed = None;
            } else if self.intake.is_closed() {
                return Ok(Some(Ended::Source(SourceEnd::Stopped)));
            } else {
                self.source.stop.wait(LOOK_BESIDE);
            }
        }
        // Waiting for the pipeline is not the server's silence.
        self.reading = Instant::now();
        Ok(None)
    }

    /// Takes every whole event of the buffer.
    fn parse(&mut self, feed: &mut Feed<tls::Stream>) -> Result<Option<Ended>, Failure> {
        loop {
            let next = match feed.next_event() {
                Ok(next) => next,
                Err(error) => return self.lost(&error).map(Some),
            };
            match next {
                Next::Nothing => return Ok(None),
                Next::Event(range) => {
                    let start = u32::try_from(range.start).expect("a buffer is smaller than 4 GiB");
                    self.stream.event(&feed.bytes()[range], start)?;
                }
                Next::Oversize(head, size) => self.stream.oversize_event(&head, size)?,
            }
            if self.is_end_reached() {
                return Ok(Some(Ended::Source(SourceEnd::Reached)));
            }
            if self.stream.must_settle() || self.beside.is_rest_due(&self.stream) {
                return Ok(None);
            }
        }
    }

    /// Whether nothing is left to do: the stream has got where the user wants it to end, and no snapshot runs.
    fn is_end_reached(&self) -> bool {
        let only = self.source.config.snapshot.mode == SnapshotMode::InitialOnly;
        let at_end = |end: &End| end.is_reached(self.stream.gtids(), self.stream.passed());
        let reached = !self.beside.is_running()
            && self.stream.is_between()
            && (only || self.end.as_ref().is_some_and(at_end));
        if reached {
            let (file, offset) = self.stream.place();
            tracing::info!(place = format!("{file}:{offset}"), "the end is reached");
        }
        reached
    }

    /// Hands on what was understood.
    fn flush(&mut self, feed: &mut Feed<tls::Stream>) -> Result<(), Halt> {
        let moved = self.stream.take_moved();
        self.count();
        self.beside.observe(&mut self.stream, feed.bytes(), moved)?;
        if self.stream.pending.is_empty() {
            feed.discard();
            if !moved {
                return Ok(());
            }
            return self.send(bytes::Bytes::new(), Vec::new());
        }
        let (bytes, held) = feed.take();
        self.intake.reserve(held)?;
        let records = self.stream.take_pending();
        self.send(bytes, records)
    }

    fn send(&mut self, bytes: bytes::Bytes, records: Vec<MySqlRecord>) -> Result<(), Halt> {
        let lanes = self.stream.tables.lanes().encoded();
        let position = self.stream.position().to_position_with(self.beside.encoded().as_ref(), Some(lanes));
        if !records.is_empty() || self.unconfirmed.is_some() {
            self.unconfirmed = Some(position.clone());
        }
        let batch = Batch { bytes, records, position, time_us: self.stream.newest_us };
        let sent = self.intake.send(batch).map_err(Halt::from);
        // Waiting for the pipeline is not the server's silence.
        self.reading = Instant::now();
        sent
    }

    fn count(&mut self) {
        self.lag.at(self.stream.place());
        let (metrics, seen) = (&self.source.metrics, std::mem::take(&mut self.stream.seen));
        metrics.ddl.add(seen.ddl);
        metrics.truncate.add(seen.truncate);
        metrics.read.rows.add(seen.rows);
    }

    /// Waits for bytes, looking now and then whether the pipeline goes down.
    fn fill(&mut self, feed: &mut Feed<tls::Stream>) -> Result<Option<Ended>, Failure> {
        loop {
            match feed.fill() {
                Ok(_) => {
                    self.reading = Instant::now();
                    self.silent = false;
                    self.back_off.reset();
                    return Ok(self.intake.is_closed().then_some(Ended::Source(SourceEnd::Stopped)));
                }
                Err(FeedError::Io(error)) if is_silence(&error) => {
                    if self.intake.is_closed() {
                        return Ok(Some(Ended::Source(SourceEnd::Stopped)));
                    }
                    if let Some(text) = self.lag.take_reset() {
                        return Ok(Some(Ended::Lost(text)));
                    }
                    let silence = self.reading.elapsed();
                    if !self.stream.pending.is_empty() && silence >= LOOK_EVERY {
                        self.silent = true;
                        return Ok(None);
                    }
                    if silence > SILENCE_MAX {
                        let text = format!("no event and no heartbeat for {} s", SILENCE_MAX.as_secs());
                        return Ok(Some(Ended::Lost(text)));
                    }
                    if self.beside.is_running() {
                        return Ok(None);
                    }
                }
                Err(error) => return self.lost(&error).map(Some),
            }
        }
    }

    /// Whether a lost stream may be taken up again.
    fn lost(&self, error: &FeedError) -> Result<Ended, Failure> {
        match error {
            // The server cannot go on from here: purged, or damaged. Another replica of our id has the same code.
            FeedError::Server(1236, text) if !is_thrown_off(text) => {
                let at = self.stream.position();
                Err(Failure::Unusable(format!("{error}; asked for {} {}", at.gtids, at.place())))
            }
            _ => Ok(Ended::Lost(error.to_string())),
        }
    }

    /// Another replica that holds our id throws us off, and we it: the second time within a minute is the end.
    fn check_clash(&mut self, lost: &str) -> Result<(), Failure> {
        let thrown_off = is_thrown_off(lost);
        let holder = self.holder();
        if !thrown_off && holder.is_none() {
            return Ok(());
        }
        let again = self.clash.replace(Instant::now()).is_some_and(|before| before.elapsed() < CLASH_WITHIN);
        if again {
            let holder = holder.unwrap_or_else(|| "it is gone again, or the account may not see it".into());
            return Err(Failure::Unusable(format!(
                "another replica with server id {} reads this server's binlog and threw us off twice within a minute: \
                 {holder}; give each its own connectorConfig.serverId",
                self.source.replica.server_id
            )));
        }
        Ok(())
    }

    /// Who else is registered under our id, as far as the account may see it.
    fn holder(&self) -> Option<String> {
        let ours = &self.source.replica;
        let mut connection = Connection::connect(&self.source.config).ok()?;
        let others = replicas(&mut connection).ok()?;
        connection.close();
        others
            .into_iter()
            .find(|other| ours.is_held_by(other))
            .map(|other| format!("host \"{}\" port {} uuid \"{}\"", other.host, other.port, other.uuid))
    }
}

/// The end that a halt is; none where there was none.
fn halted(result: Result<(), Halt>) -> Result<Option<Ended>, Failure> {
    match result {
        Ok(()) => Ok(None),
        Err(Halt::Closed) => Ok(Some(Ended::Source(SourceEnd::Stopped))),
        Err(Halt::Failed(failure)) => Err(failure),
    }
}

/// Whether the server's text says that another replica took our id: "A slave with the same server_uuid/server_id as
/// this slave has connected to the master" (1236), without the UUID on MariaDB 11 (4052), "slave/replica" on MySQL 8.
fn is_thrown_off(text: &str) -> bool {
    text.contains("with the same server_")
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_servers_words_for_a_taken_id_are_known() {
        for text in [
            "A slave with the same server_uuid/server_id as this slave has connected to the master",
            "A slave with the same server_id is already connected",
            "A replica with the same server_uuid/server_id as this replica has connected to the source",
        ] {
            assert!(is_thrown_off(text), "{text}");
        }
        assert!(!is_thrown_off("Could not find first log file name in binary log index file"));
    }
}
